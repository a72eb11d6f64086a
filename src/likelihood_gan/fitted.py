"""What estimators have in common that fit one `distribution_`: their verbs are its verbs.

How it is fitted is left to `estimator` and `ensemble`.
"""

import functools
from typing import Any

import numpy as np
from numpy.typing import NDArray
from sklearn.utils.validation import check_is_fitted

from likelihood_gan.distribution import SequenceDistribution, SequenceEstimator
from likelihood_gan.progress import watched
from likelihood_gan.protocols import Generator
from likelihood_gan.validation import Sequences
from likelihood_gan.vocabulary import Vocabulary


class FittedDistribution(SequenceEstimator):
    """Base of the estimators that fit a `SequenceDistribution`."""

    distribution_: SequenceDistribution
    handle_unknown: str
    verbose: int

    @property
    def generator_(self) -> Generator:
        """The trained generator."""
        return self.distribution_.generator

    @property
    def vocabulary_(self) -> Vocabulary:
        """The symbols in the order of their tokens."""
        return self.distribution_.vocabulary

    @property
    def max_len_(self) -> int:
        """Most symbols of a sample."""
        return self.distribution_.max_len

    def score_samples(self, X: Sequences) -> NDArray[np.float64]:
        """Log-probability of each sequence in nats, END included: (n,), float64.

        -inf where a symbol is unknown and ``handle_unknown="neg_inf"``.
        """
        check_is_fitted(self)
        with watched(self.verbose):
            return self.distribution_.score_samples(X, handle_unknown=self.handle_unknown)

    def _draw(self, *arguments: Any) -> list[Any]:
        check_is_fitted(self)
        with watched(self.verbose):
            return self.distribution_._draw(*arguments)

    def _draw_counts(self, *arguments: Any) -> tuple[list[Any], NDArray[np.int64]]:
        check_is_fitted(self)
        with watched(self.verbose):
            return self.distribution_._draw_counts(*arguments)

    @functools.wraps(SequenceDistribution.most_probable)
    def most_probable(  # noqa: D102
        self, *arguments: Any, **options: Any
    ) -> tuple[list[Any], NDArray[np.float64]]:
        check_is_fitted(self)
        return self.distribution_.most_probable(*arguments, **options)

    def __sklearn_is_fitted__(self) -> bool:
        return hasattr(self, "distribution_")
