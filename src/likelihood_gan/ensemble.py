"""`Ensemble`, the average of estimators that differ by their seeds.

How one is fitted is left to the estimator, what an average of generators is to `models.mixture`.
"""

from collections.abc import Hashable, Mapping, Sequence
from typing import Any, Self

from joblib import Parallel, delayed
from numpy.typing import ArrayLike
from sklearn.base import clone
from sklearn.frozen import FrozenEstimator

from likelihood_gan import persistence
from likelihood_gan.checkpoint import Checkpoint
from likelihood_gan.distribution import SequenceDistribution, SequenceEstimator
from likelihood_gan.estimator import LikelihoodGAN
from likelihood_gan.fitted import FittedDistribution
from likelihood_gan.models import Mixture
from likelihood_gan.progress import say
from likelihood_gan.rules import (
    NONE,
    NOT_ZERO,
    Rule,
    check,
    check_attributes,
    instance,
    integer,
    random_source,
)
from likelihood_gan.validation import Sequences, check_weighed

_RULES: dict[str, Rule] = {"n_estimators": integer(1), "n_jobs": NONE | NOT_ZERO}


@persistence.bundled(distribution_=instance(SequenceDistribution), estimators_=instance(list))
class Ensemble(FittedDistribution):
    """Fit clones of an estimator with other seeds, and average their distributions.

    The seeds decide the first weights, the batches and what is held out. The average,
    p(x) = (1 / K) Σ_k p_k(x), is a distribution like any other: exact, sampled in one pass,
    refined by `Refined`. Since log is concave, it scores at least the mean of its members on any data.

    Parameters
    ----------
    estimator : estimator or None, default=None
        A `LikelihoodGAN`, or another estimator that fits a `distribution_`. Clones
        of it are fitted. None is `LikelihoodGAN`.
    n_estimators : int, default=2
        Number of members. All that is done takes as many times as long.
    n_jobs : int or None, default=None
        Members that are fitted at the same time, by joblib: its `parallel_config` chooses processes,
        threads or a cluster. The numbers are the same in each.
    random_state : int, RandomState or None, default=None
        Seed of the members' seeds, which replace every `random_state` of the estimator.
    verbose : int, default=0
        Whether `fit` and long `sample` and `score_samples` say how far they are. It is not saved.

    Attributes
    ----------
    estimators_ : list
        The fitted clones.
    distribution_ : SequenceDistribution
        Their average: its generator is a `models.Mixture`.
    generator_, vocabulary_, max_len_
        Those of the average.

    Notes
    -----
    Every member holds out other data, so the ensemble has no `held_out_`, and `Refined` calibrates on
    all data.

    Examples
    --------
    >>> from likelihood_gan import Ensemble, LikelihoodGAN
    >>> from likelihood_gan.datasets import load_first_names
    >>> names = load_first_names()[::9]
    >>> gan = LikelihoodGAN(pretrain_epochs=3, adversarial_epochs=0)
    >>> ensemble = Ensemble(gan, n_estimators=2, random_state=0).fit(names)
    >>> members = [member.score(names) for member in ensemble.estimators_]
    >>> bool(ensemble.score(names) > sum(members) / 2)
    True
    """

    def __init__(
        self,
        estimator: Any = None,
        n_estimators: int = 2,
        *,
        n_jobs: int | None = None,
        random_state: Any = None,
        verbose: int = 0,
    ):
        self.estimator = estimator
        self.n_estimators = n_estimators
        self.n_jobs = n_jobs
        self.random_state = random_state
        self.verbose = verbose

    def fit(self, X: Sequences, y: Any = None, sample_weight: ArrayLike | None = None) -> Self:
        """Fit the members, all of them to all sequences.

        Parameters
        ----------
        X : iterable of str, or of sequences of hashable symbols, or a mapping of them to counts
            The data.
        y : ignored
            But refused if it holds numbers, which may be meant as weights.
        sample_weight : array-like of shape (n,), optional
            Non-negative weight of each sequence, in any unit.

        Returns
        -------
        self

        Raises
        ------
        TypeError, ValueError
            If a parameter or the data are not as promised, or members have other symbols than others.
        """
        check_attributes(self, _RULES)
        wanted = _checked(self.estimator)
        sequences, weights = check_weighed(X, sample_weight, y)
        weighing = {} if (weights == 1).all() else {"sample_weight": weights}
        random_state = random_source(self.random_state)
        members = [clone(wanted) for _ in range(self.n_estimators)]
        for member in members:
            names = sorted(member.get_params())
            seeds = [name for name in names if name.split("__")[-1] == "random_state"]
            member.set_params(**{name: random_state.randint(2**31 - 1) for name in seeds})
        if self.verbose:
            say(f"fitting {len(members)} estimators, {type(wanted).__name__}")
        members = Parallel(n_jobs=self.n_jobs)(
            delayed(_fit)(member, sequences, weighing) for member in members
        )
        distribution = _average(members)
        self.estimators_, self.distribution_ = members, distribution
        return self

    @property
    def handle_unknown(self) -> str:  # type: ignore[override]
        """What the scores do with symbols that are not in the vocabulary: what the members do."""
        return getattr(self.estimators_[0], "handle_unknown", "error")

    def _finish_reading(self) -> None:
        check_attributes(self, _RULES)
        for member in getattr(self, "estimators_", ()):
            check(member, "estimators_", instance(SequenceEstimator))
        if hasattr(self, "estimators_") and not self.estimators_:
            raise ValueError("estimators_ must not be empty")


def _checked(estimator: Any) -> Any:
    """Return what is cloned, once it is clear that clones of it can be fitted beside each other."""
    if estimator is None:
        return LikelihoodGAN()
    fits = hasattr(estimator, "fit") and hasattr(estimator, "get_params")
    if isinstance(estimator, (FrozenEstimator, type)) or not fits:
        raise TypeError(
            "estimator must be one that can be cloned and fitted, such as LikelihoodGAN(), got "
            f"{estimator!r}; what is fitted already is averaged by likelihood_gan.models.Mixture"
        )
    if any(isinstance(c, Checkpoint) for c in getattr(estimator, "callbacks", None) or ()):
        raise ValueError(
            f"estimator has callbacks={estimator.callbacks!r}, and all members would write that one "
            "file; leave the Checkpoint out"
        )
    return estimator


def _fit(
    member: Any, sequences: Sequence[Sequence[Hashable]], weighing: Mapping[str, ArrayLike]
) -> Any:
    return member.fit(sequences, **weighing)


def _average(members: Sequence[Any]) -> SequenceDistribution:
    distributions: list[Any] = [getattr(member, "distribution_", None) for member in members]
    for found in distributions:
        if not isinstance(found, SequenceDistribution):
            raise TypeError(
                f"estimator must have a distribution_ after fit, got {members[0]!r}; an ensemble is refined "
                "as Refined(Ensemble(...))"
            )
        if found.vocabulary.symbols != distributions[0].vocabulary.symbols:
            raise ValueError(
                "all members must have the same symbols, and theirs differ; pass vocabulary= to the "
                "estimator"
            )
    mixture = Mixture(found.generator for found in distributions)
    max_len = max(found.max_len for found in distributions)
    return SequenceDistribution(mixture.eval(), distributions[0].vocabulary, max_len)
