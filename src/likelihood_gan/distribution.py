"""`SequenceDistribution`: a generator with its symbols, which draws sequences and scores them.

How a generator is trained is left to `estimator`; what all distributions have in common is
`DistributionMixin`.
"""

import dataclasses
import numbers
from collections import Counter
from collections.abc import Callable, Hashable, Iterable, Sized
from typing import Any

import numpy as np
import torch
from numpy.typing import ArrayLike, NDArray
from sklearn.base import BaseEstimator, DensityMixin
from sklearn.utils import check_random_state
from sklearn.utils.validation import check_scalar
from torch import Tensor

from likelihood_gan import persistence, prefix_tree
from likelihood_gan.devices import device_of, limited_threads, on_cpu, torch_rng
from likelihood_gan.progress import counted
from likelihood_gan.protocols import Generator, call_with_rng, checked_sample, has_step
from likelihood_gan.sampling import Constraints, sample_by_steps
from likelihood_gan.scoring import ROWS_WORTH_A_TREE, evaluating, score_rows
from likelihood_gan.validation import (
    Sequences,
    check_chunks,
    check_handle_unknown,
    check_known,
    check_one_type,
    check_sequences,
    check_weights,
)
from likelihood_gan.vocabulary import UNKNOWN, Vocabulary

_SAMPLES_PER_COUNT = 4096
"""Samples that are drawn at a time if only their counts are wanted."""


class DistributionMixin:
    """What every distribution over sequences can do, once it can draw some and score them.

    A class that inherits from it has `_draw` and `score_samples`.
    """

    def _draw(
        self,
        n: int,
        max_len: int | None,
        random_state: np.random.RandomState,
        constraints: dict[str, Any],
    ) -> list[Any]:
        """Draw `n` sequences; the other arguments are not checked yet."""
        raise NotImplementedError

    def score_samples(self, X: Sequences) -> NDArray[np.float64]:
        """Log-probability of each sequence in nats, END included."""
        raise NotImplementedError

    def sample(
        self,
        n_samples: int = 1,
        max_len: int | None = None,
        *,
        distinct: bool = False,
        random_state: Any = None,
        **constraints: Any,
    ) -> list[Any]:
        """Draw sequences.

        Parameters
        ----------
        n_samples : int, default=1
            Number of sequences.
        max_len : int, optional
            Most symbols of a sequence, prefix included; longer ones are cut there. Default: the
            `max_len` of the distribution.
        distinct : bool, default=False
            Leave repetitions out.
        random_state : int, RandomState or None, default=None
            An int repeats the draw, None draws anew.
        **constraints
            What is asked of every sequence, see `likelihood_gan.sampling.Constraints`:

            - ``prefix``, a str or sequence of symbols that it begins with;
            - ``min_len``, its fewest symbols; equal to `max_len` it forces the length;
            - ``temperature``: below 1 the next symbol is drawn from its likelier candidates, above
              1 more evenly.

        Returns
        -------
        list of str, or of tuples of symbols
            `n_samples` sequences, of the type of the data.

        Raises
        ------
        TypeError, ValueError
            If an argument is out of range; if a constraint is asked of a generator without `step`;
            or if too few distinct sequences were found.
        """
        check_scalar(n_samples, "n_samples", numbers.Integral, min_val=1)
        random_state = check_random_state(random_state)
        if not distinct:
            return self._draw(n_samples, max_len, random_state, constraints)
        found: dict[Any, None] = {}
        rounds = 20
        for _ in range(rounds):
            found |= dict.fromkeys(self._draw(n_samples, max_len, random_state, constraints))
            if len(found) >= n_samples:
                return list(found)[:n_samples]
        raise ValueError(
            f"distinct=True found {len(found)} different sequences in {rounds * n_samples} draws, "
            f"not n_samples={n_samples}; ask for fewer, or draw at a higher temperature"
        )

    def sample_counts(
        self,
        n_samples: int = 1,
        max_len: int | None = None,
        *,
        random_state: Any = None,
        **constraints: Any,
    ) -> tuple[list[Any], NDArray[np.int64]]:
        """Draw sequences, and tell how often each one came.

        Billions of draws from a generator with `step` are no problem: time and memory grow with the
        number of different sequences.

        Parameters
        ----------
        n_samples, max_len, random_state, **constraints
            As in `sample`.

        Returns
        -------
        sequences : list of str, or of tuples of symbols
            Different ones, in an order without meaning.
        counts : ndarray of int64
            Their numbers; the sum is `n_samples`.

        Raises
        ------
        TypeError, ValueError
            As in `sample`.
        """
        check_scalar(n_samples, "n_samples", numbers.Integral, min_val=1)
        return self._draw_counts(n_samples, max_len, check_random_state(random_state), constraints)

    def _draw_counts(
        self,
        n: int,
        max_len: int | None,
        random_state: np.random.RandomState,
        constraints: dict[str, Any],
    ) -> tuple[list[Any], NDArray[np.int64]]:
        found: Counter[Any] = Counter()
        for start in range(0, n, _SAMPLES_PER_COUNT):
            m = min(_SAMPLES_PER_COUNT, n - start)
            found.update(self._draw(m, max_len, random_state, constraints))
        return list(found), np.array(list(found.values()), dtype=np.int64)

    def score(self, X: Sequences, y: Any = None, sample_weight: ArrayLike | None = None) -> float:
        """Mean log-probability of the sequences, in nats per sequence; higher is better."""
        scores = self.score_samples(X)
        weights = check_weights(sample_weight, len(scores))
        counted = weights > 0  # 0 * -inf would be NaN
        return float(np.average(scores[counted], weights=weights[counted]))

    def perplexity(self, X: Sequences) -> float:
        r"""Perplexity per symbol, :math:`\exp(-\sum_i \log p(x_i) / \sum_i (|x_i| + 1))`.

        Each sequence's END counts as a symbol. From 1 to infinity, lower is better; a uniform choice
        among k symbols and END has k + 1.
        """
        sequences = check_sequences(X)
        n_symbols = sum(len(sequence) + 1 for sequence in sequences)
        with np.errstate(over="ignore"):
            return float(np.exp(-self.score_samples(sequences).sum() / n_symbols))


@persistence.bundled
@dataclasses.dataclass(frozen=True, eq=False, init=False, repr=False)
class SequenceDistribution(persistence.Savable, DistributionMixin):
    """The distribution over sequences that a generator writes.

    It cannot be changed, and knows nothing of training: a fitted `LikelihoodGAN` has one,
    `distribution_`, a callback is given one, and a file holds one. Any generator makes one, also a
    `models.Mixture` of generators or an n-gram model.

    Parameters
    ----------
    generator : Generator
        Has `log_prob(tokens)` and `sample(n, max_len)`; constraints need `step`, too. It is not
        copied.
    vocabulary : Vocabulary or iterable of symbols
        Its symbols, in the order of their tokens, which start at 1. Of single characters the
        sequences are str, of anything else tuples; a `Vocabulary` can say it otherwise.
    max_len : int
        Most symbols of a sample, if nothing else is asked for.

    Raises
    ------
    TypeError, ValueError
        If the generator has not both methods, a symbol comes twice, or `max_len` is below 1.

    Examples
    --------
    >>> from likelihood_gan import CharLSTM, SequenceDistribution
    >>> distribution = SequenceDistribution(CharLSTM(n_tokens=4), "abc", max_len=5)
    >>> len(distribution.sample(3))
    3
    """

    generator: Generator
    vocabulary: Vocabulary
    max_len: int

    def __init__(
        self, generator: Generator, vocabulary: Vocabulary | Iterable[Hashable], max_len: int
    ):
        if not isinstance(generator, Generator) or isinstance(generator, type):
            raise TypeError(
                f"generator must have the methods log_prob and sample, got {generator!r}; see "
                "likelihood_gan.protocols.Generator"
            )
        if not isinstance(vocabulary, Vocabulary):
            symbols = list(vocabulary)
            text = all(isinstance(symbol, str) and len(symbol) == 1 for symbol in symbols)
            vocabulary = Vocabulary(symbols, text)
        check_scalar(max_len, "max_len", numbers.Integral, min_val=1)
        vars(self).update(generator=generator, vocabulary=vocabulary, max_len=int(max_len))

    def score_samples(self, X: Sequences, *, handle_unknown: str = "error") -> NDArray[np.float64]:
        """Log-probability of each sequence in nats, END included.

        Parameters
        ----------
        X : iterable of sequences
            Of the type of the data; any length.
        handle_unknown : {"error", "neg_inf"}, default="error"
            Whether a symbol that is not in the vocabulary raises ValueError, or makes its sequence
            impossible: -inf.

        Returns
        -------
        ndarray of shape (n,), float64
        """

        def score(tokens: Tensor) -> NDArray[np.float64]:
            scores: NDArray[np.float64] = score_rows(self.generator, tokens).numpy()
            return scores

        with limited_threads(self.generator):
            return evaluate(self.vocabulary, X, score, handle_unknown, unknown=-np.inf)

    def __repr__(self) -> str:
        generator = type(self.generator).__name__
        return f"SequenceDistribution({generator}, {self.vocabulary!r}, max_len={self.max_len})"

    def __getstate__(self) -> dict[str, Any]:
        # CPU copies: a pickle with CUDA tensors cannot be opened on a machine without CUDA
        return {name: on_cpu(value) for name, value in vars(self).items()}

    def __setstate__(self, state: dict[str, Any]) -> None:
        vars(self).update(state)

    def _draw(
        self,
        n: int,
        max_len: int | None,
        random_state: np.random.RandomState,
        constraints: dict[str, Any],
    ) -> list[Any]:
        asked = self._constraints(max_len, constraints)
        generator = self.generator
        device = device_of(generator)
        if n >= ROWS_WORTH_A_TREE and has_step(generator) and device.type == "cpu":
            sequences, counts = self._draw_counts(n, max_len, random_state, constraints)
            index = random_state.permutation(np.repeat(np.arange(len(counts)), counts))
            return [sequences[i] for i in index.tolist()]
        rng = torch_rng(random_state, device)
        with limited_threads(generator), torch.no_grad(), evaluating(generator):
            if asked.needs_step:
                tokens = sample_by_steps(generator, n, asked, rng=rng)  # type: ignore[arg-type]
            else:
                tokens = call_with_rng(generator.sample, n, asked.max_len, rng=rng)
                checked_sample(tokens, n, asked.max_len, self.vocabulary.n_tokens)
            return self.vocabulary.decode(tokens)

    def _draw_counts(
        self,
        n: int,
        max_len: int | None,
        random_state: np.random.RandomState,
        constraints: dict[str, Any],
    ) -> tuple[list[Any], NDArray[np.int64]]:
        generator = self.generator
        if not has_step(generator):
            return super()._draw_counts(n, max_len, random_state, constraints)
        asked = self._constraints(max_len, constraints)
        rng = torch_rng(random_state, device_of(generator))
        with limited_threads(generator), evaluating(generator):
            tokens, counts, _ = prefix_tree.sample_counts(generator, n, asked, rng=rng)
            return self.vocabulary.decode(tokens), counts.cpu().numpy()

    def _constraints(self, max_len: int | None, given: dict[str, Any]) -> Constraints:
        """Check what is asked of the samples and turn it into tokens."""
        names = {field.name for field in dataclasses.fields(Constraints)} - {"max_len"}
        if odd := sorted(given.keys() - names):
            raise TypeError(f"sample has no constraint {odd}, only {sorted(names)}")
        max_len = self.max_len if max_len is None else max_len
        prefix = given.get("prefix")
        start = () if prefix is None else self._encode_prefix(prefix)
        constraints = Constraints(max_len, **(given | {"prefix": start}))
        if constraints.needs_step and not has_step(self.generator):
            asked = ", ".join(f"{name}={value!r}" for name, value in sorted(given.items()))
            raise ValueError(
                f"{asked} needs a generator with a method step(tokens, state); "
                f"{type(self.generator).__name__} has none: write one and inherit from "
                "likelihood_gan.Autoregressive"
            )
        return constraints

    def _encode_prefix(self, prefix: Any) -> list[int]:
        if self.vocabulary.text and not isinstance(prefix, str):
            raise TypeError(f"prefix must be a str, like the data of fit, got {prefix!r}")
        sequence = check_sequences([prefix], "prefix")[0]
        check_known(self.vocabulary, [sequence], "prefix")
        return self.vocabulary.encode(sequence)


class SequenceEstimator(persistence.Savable, DistributionMixin, DensityMixin, BaseEstimator):
    """Base of the estimators of a distribution over sequences."""

    def __sklearn_tags__(self) -> Any:
        tags = super().__sklearn_tags__()
        tags.input_tags.string = True
        tags.input_tags.one_d_array = True
        tags.input_tags.two_d_array = False
        return tags


def evaluate(
    vocabulary: Vocabulary,
    X: Sequences,
    function: Callable[[Tensor], NDArray[np.float64]],
    handle_unknown: str,
    unknown: float,
) -> NDArray[np.float64]:
    """Apply a function of tokens to all sequences, in chunks: (n,).

    What holds a symbol without a token raises ValueError, or gives `unknown` if `handle_unknown` is
    "neg_inf".
    """
    check_handle_unknown(handle_unknown)
    results = []
    n = len(X) if isinstance(X, Sized) else None
    for sequences in counted(check_chunks(X), n, "scoring sequences"):
        check_one_type(sequences, vocabulary.text, "X", like="the data of fit")
        tokens = vocabulary.encode_rows(sequences)
        known = (tokens != UNKNOWN).all(1)
        if known.all():
            results.append(function(tokens))
            continue
        if handle_unknown == "error":
            check_known(vocabulary, sequences)
        result = np.full(len(sequences), unknown)
        if known.any():
            result[known.numpy()] = function(tokens[known])
        results.append(result)
    if not results:
        raise ValueError("X is empty; pass at least one sequence")
    return np.concatenate(results)
