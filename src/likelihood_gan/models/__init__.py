"""The bundled modules: some write sequences, some judge them, and `Mixture` averages writers.

All obey the protocols and nothing else. `arguments` are what a module was built with.
"""

from likelihood_gan.models.mixture import Mixture
from likelihood_gan.models.recurrent import CharLSTM, LSTMDiscriminator

__all__ = ["CharLSTM", "LSTMDiscriminator", "Mixture"]
