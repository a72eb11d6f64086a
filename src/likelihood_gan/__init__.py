"""Adversarial training of discrete sequence models through their own likelihood.

`LikelihoodGAN` is the scikit-learn estimator, `SequenceDistribution` what it fits, `Refined` a
meta-estimator above any distribution. `CharLSTM` and `LSTMDiscriminator` are the bundled modules;
`Autoregressive` makes a generator of a module with `step`.
"""

from likelihood_gan.conditional import GenerativeClassifier
from likelihood_gan.distribution import SequenceDistribution
from likelihood_gan.ensemble import Ensemble
from likelihood_gan.estimator import LikelihoodGAN
from likelihood_gan.models import CharLSTM, LSTMDiscriminator
from likelihood_gan.refined import Refined
from likelihood_gan.sampling import Autoregressive

__version__ = "0.1.0"

__all__ = [
    "Autoregressive",
    "CharLSTM",
    "Ensemble",
    "GenerativeClassifier",
    "LSTMDiscriminator",
    "LikelihoodGAN",
    "Refined",
    "SequenceDistribution",
    "__version__",
]
