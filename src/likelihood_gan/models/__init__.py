"""The bundled models: some write sequences, one judges them; `Mixture` and `Product` join writers.

All obey the protocols and nothing else. `arguments` are what a module was built with.
"""

from likelihood_gan.models.from_numpy import FromNumpy
from likelihood_gan.models.mixture import Mixture
from likelihood_gan.models.ngram import NGram
from likelihood_gan.models.product import Product
from likelihood_gan.models.recurrent import CharLSTM, LSTMDiscriminator
from likelihood_gan.models.residual import ResidualLSTM

__all__ = [
    "CharLSTM",
    "FromNumpy",
    "LSTMDiscriminator",
    "Mixture",
    "NGram",
    "Product",
    "ResidualLSTM",
]
