"""Adversarial training of discrete sequence models through their own likelihood.

`LikelihoodGAN` is the scikit-learn estimator; `CharLSTM` and `LSTMDiscriminator` are the bundled
modules; `Autoregressive` turns a module with `step` into a generator; `Refiner` fits the refined
distribution.
"""

from likelihood_gan.estimator import LikelihoodGAN
from likelihood_gan.models import CharLSTM, LSTMDiscriminator
from likelihood_gan.refinement import Refiner
from likelihood_gan.sampling import Autoregressive

__version__ = "0.1.0"

__all__ = [
    "Autoregressive",
    "CharLSTM",
    "LSTMDiscriminator",
    "LikelihoodGAN",
    "Refiner",
    "__version__",
]
