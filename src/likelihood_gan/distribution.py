"""`SequenceDistribution`: a generator with its symbols, which draws sequences and scores them.

How a generator is trained is left to `estimator`; what all distributions have in common is in `verbs`.
"""

import dataclasses
from collections import Counter
from collections.abc import Callable, Hashable, Iterable, Iterator, Sized
from typing import Any, Self

import numpy as np
import torch
from numpy.typing import NDArray
from sklearn.base import BaseEstimator, DensityMixin
from torch import Tensor

from likelihood_gan import persistence, prefix_tree, search
from likelihood_gan.devices import computing, device_of, on_cpu, torch_rng
from likelihood_gan.progress import counted
from likelihood_gan.protocols import (
    END,
    Generator,
    call_with_rng,
    checked_sample,
    has_step,
    require_generator,
)
from likelihood_gan.rejection import Conditions, Predicate
from likelihood_gan.rows import by_length
from likelihood_gan.rules import check, integer
from likelihood_gan.sampling import Constraints, sample_by_steps
from likelihood_gan.scoring import ROWS_WORTH_A_TREE, evaluating, score_rows
from likelihood_gan.validation import (
    Sequences,
    check_chunks,
    check_handle_unknown,
    check_known,
    check_one_type,
    check_sequences,
)
from likelihood_gan.verbs import DistributionMixin
from likelihood_gan.vocabulary import UNKNOWN, Vocabulary

_FEWEST_THAT_SPLIT = 1e-3
"""Share of the draws that must split into their own symbols again, else `sample` gives up."""
_TOKENS_PER_MATRIX = 2**22
"""Most tokens, padding included, that are scored at a time, unless a single sequence has more."""


@persistence.bundled()
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

    Notes
    -----
    `save` writes generators that are modules. A file holds no code, and so no other object; `pickle` and
    `joblib` do, but run code when they load: only open files that you trust.

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
        require_generator(generator)
        if not isinstance(vocabulary, Vocabulary):
            symbols = list(vocabulary)
            text = all(isinstance(symbol, str) and len(symbol) == 1 for symbol in symbols)
            vocabulary = Vocabulary(symbols, text)
        check(max_len, "max_len", integer(1))
        vars(self).update(generator=generator, vocabulary=vocabulary, max_len=int(max_len))

    def score_samples(self, X: Sequences, *, handle_unknown: str = "error") -> NDArray[np.float64]:
        """Log-probability of each sequence in nats, END included.

        Parameters
        ----------
        X : iterable of sequences
            Of the type of the data; any length.
        handle_unknown : {"error", "neg_inf", "token"}, default="error"
            Whether a symbol that is not in the vocabulary raises ValueError, or makes its sequence
            impossible: -inf. A vocabulary with a token for all unseen symbols has none of these; "token"
            asks for one.

        Returns
        -------
        ndarray of shape (n,), float64
        """

        def score(tokens: Tensor) -> NDArray[np.float64]:
            scores: NDArray[np.float64] = score_rows(self.generator, tokens).numpy()
            return scores

        with computing(self.generator):
            return evaluate(self.vocabulary, X, score, handle_unknown, unknown=-np.inf)

    def most_probable(
        self,
        n: int = 1,
        prefix: Any = None,
        max_len: int | None = None,
        *,
        exclude: Any = None,
        where: Predicate | None = None,
    ) -> tuple[list[Any], NDArray[np.float64]]:
        """Find the `n` likeliest sequences, in exact order, by best-first search.

        Parameters
        ----------
        n : int, default=1
            Number of sequences.
        prefix : str or sequence of symbols, optional
            What they begin with.
        max_len : int, optional
            Most symbols of a sequence, prefix included: longer ones are not considered. Default: the
            `max_len` of the distribution.
        exclude : container of sequences, optional
            Those that are passed over, such as the data: then the likeliest new ones are found.
        where : callable, optional
            ``where(sequence)`` is true for the sequences that count. Few of them make a long search.

        Returns
        -------
        sequences : list of str, or of tuples of symbols
            The likeliest first; fewer than `n` if no more have a probability above 0.
        log_probs : ndarray of float64
            Their log-probabilities in nats, prefix and END included, as by `score_samples`.

        Raises
        ------
        TypeError, ValueError
            If an argument is out of range; if the generator has no `step`; or if more than
            `likelihood_gan.search.MAX_OPEN_PREFIXES` beginnings would have to be kept in mind.

        Notes
        -----
        A beginning is at least as likely as all that begins with it. Beginnings are continued in the
        order of their probability, until `n` sequences are found that are at least as likely as every
        beginning that is left. The order is exact up to the rounding of single precision.
        """
        check(n, "n", integer(1))
        self._require_step("most_probable")
        asked, _ = self._constraints(max_len, {} if prefix is None else {"prefix": prefix})
        conditions = Conditions(exclude, where)

        split = self.vocabulary.text and self.vocabulary.token_pattern is not None

        def accept(tokens: Tensor) -> Tensor:
            accepted = map(conditions.accepts, self.vocabulary.decode(tokens))
            return torch.tensor(list(accepted)) & self.vocabulary.splits_again(tokens)

        with computing(self.generator), evaluating(self.generator):
            tokens, log_probs = search.most_probable(
                self.generator,  # type: ignore[arg-type]
                n,
                asked.max_len,
                prefix=asked.prefix,
                accept=accept if conditions or split else None,
                device=device_of(self.generator),
            )
        return self.vocabulary.decode(tokens), log_probs.cpu().numpy()

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
        asked, cut = self._constraints(max_len, constraints)
        generator = self.generator
        device = device_of(generator)
        if n >= ROWS_WORTH_A_TREE and has_step(generator) and device.type == "cpu":
            sequences, counts = self._draw_counts(n, max_len, random_state, constraints)
            index = random_state.permutation(np.repeat(np.arange(len(counts)), counts))
            return [sequences[i] for i in index.tolist()]
        rng = torch_rng(random_state, device)

        def draw(m: int) -> tuple[Tensor, Tensor]:
            if asked.needs_step:
                tokens = sample_by_steps(generator, m, asked, rng=rng)  # type: ignore[arg-type]
            else:
                tokens = call_with_rng(generator.sample, m, asked.max_len, rng=rng)
                checked_sample(tokens, m, asked.max_len, self.vocabulary.n_tokens)
            return tokens, torch.ones(m, dtype=torch.int64)

        with computing(generator), torch.no_grad(), evaluating(generator):
            return [
                sequence
                for tokens, _ in self._legal(draw, n, asked.max_len, cut)
                for sequence in self.vocabulary.decode(tokens)
            ]

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
        asked, cut = self._constraints(max_len, constraints)
        rng = torch_rng(random_state, device_of(generator))

        def draw(m: int) -> tuple[Tensor, Tensor]:
            return prefix_tree.sample_counts(generator, m, asked, rng=rng)[:2]

        found: Counter[Any] = Counter()
        with computing(generator), evaluating(generator):
            for tokens, counts in self._legal(draw, n, asked.max_len, cut):
                sequences, times = self.vocabulary.decode(tokens), counts.cpu().numpy()
                if times.sum() == n:
                    return sequences, times
                found.update(dict(zip(sequences, times.tolist(), strict=True)))
        return list(found), np.array(list(found.values()), dtype=np.int64)

    def _legal(
        self, draw: Callable[[int], tuple[Tensor, Tensor]], n: int, max_len: int, cut: str
    ) -> Iterator[tuple[Tensor, Tensor]]:
        """Draw until there are `n` sequences that split again into the symbols they were drawn as.

        `draw(m)` gives rows and how often each came, `m` times in all. Others are drawn anew: their
        string has other symbols, and so another probability. Unless `cut` is "keep", those that
        `max_len` cuts are not among what is yielded.
        """
        drawn, missing = 0, n
        while True:
            tokens, counts = draw(missing)
            drawn += missing
            good = self.vocabulary.splits_again(tokens)
            if not good.all():
                tokens, counts = tokens[good.to(tokens.device)], counts[good.to(counts.device)]
            missing -= int(counts.sum())
            if cut != "keep":
                complete = _complete(tokens, max_len, cut)
                tokens, counts = tokens[complete], counts[complete]
            yield tokens, counts
            if missing == 0:
                return
            if drawn > 1000 and n - missing < _FEWEST_THAT_SPLIT * drawn:
                raise ValueError(
                    f"only {n - missing} of {drawn} draws split again into the symbols that they were "
                    f"drawn as, by token_pattern={self.vocabulary.token_pattern!r}: what the generator "
                    "writes is not like the data; train it longer, or choose symbols that do not join to "
                    "others"
                )

    def _constraints(self, max_len: int | None, given: dict[str, Any]) -> tuple[Constraints, str]:
        """Check what is asked of the samples and turn it into tokens; return `cut` beside it.

        To see which rows `max_len` cuts, they are drawn one symbol longer.
        """
        cut = given.get("cut", "keep")
        given = {name: value for name, value in given.items() if name != "cut"}
        names = {field.name for field in dataclasses.fields(Constraints)} - {"max_len"}
        if odd := sorted(given.keys() - names):
            raise TypeError(f"sample has no constraint {odd}, only {sorted(names)}")
        max_len = self.max_len if max_len is None else max_len
        prefix = given.get("prefix")
        symbols = {
            name: self._encode_symbols(given[name], name)
            for name in ("banned", "allowed")
            if given.get(name) is not None
        }
        start = () if prefix is None else self._encode_prefix(prefix)
        constraints = Constraints(max_len, **(given | symbols | {"prefix": start}))
        if constraints.needs_step:
            self._require_step(", ".join(f"{name}={given[name]!r}" for name in sorted(given)))
        if cut != "keep":
            constraints = dataclasses.replace(constraints, max_len=max_len + 1)
        return constraints, cut

    def _require_step(self, what: str) -> None:
        if not has_step(self.generator):
            raise ValueError(
                f"{what} needs a generator with a method step(tokens, state); "
                f"{type(self.generator).__name__} has none: write one and inherit from "
                "likelihood_gan.Autoregressive"
            )

    def _encode_symbols(self, symbols: Any, name: str) -> list[int]:
        sequence = check_sequences([symbols], name)[0]
        check_known(self.vocabulary, [sequence], name)
        return sorted(set(self.vocabulary.encode(sequence)))

    def _encode_prefix(self, prefix: Any) -> list[int]:
        """Return the tokens of a prefix, which is of the type of the data."""
        text = self.vocabulary.text
        if isinstance(prefix, str) != text:
            wanted = "str" if text else f"list of symbols, [{prefix!r}] or list({prefix!r})"
            raise TypeError(f"prefix must be a {wanted}, like the data of fit, got {prefix!r}")
        (sequence,) = check_sequences([prefix], "prefix")
        if unknown := self.vocabulary.unknown([sequence]):
            raise ValueError(
                f"prefix={prefix!r} holds symbols that are not in the vocabulary: {unknown[:20]}; "
                f"choose among {list(self.vocabulary.symbols[:20])}, or fit with vocabulary="
            )
        return self.vocabulary.encode(sequence)


def _complete(tokens: Tensor, width: int, cut: str) -> Tensor:
    """Tell which rows have an END within `width` tokens, (n,); if `cut` is "error", all must."""
    complete = (tokens == END).any(1) | torch.tensor(tokens.shape[1] < width, device=tokens.device)
    if cut == "error" and not complete.all():
        raise ValueError(
            f"cut='error', but {int((~complete).sum())} or more of the draws are longer than "
            f"max_len={width - 1}; raise max_len, or pass cut='redraw' to leave them out"
        )
    return complete


class SequenceEstimator(persistence.Savable, DistributionMixin, DensityMixin, BaseEstimator):
    """Base of the estimators of a distribution over sequences.

    While one thread refits it, others see the old model or the new one, never half of each: `fit` calls
    `_become`, and whatever reads more than one attribute reads those of `_as_it_is`.
    """

    def _become(self, **learned: Any) -> None:
        """Take all that was learned at once: one assignment, which no thread sees half done."""
        self.__dict__ = vars(self) | learned

    def _as_it_is(self) -> Self:
        now = object.__new__(type(self))
        now.__dict__ = vars(self).copy()
        return now

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
    """Apply a function of tokens to all sequences, in matrices of those of similar length: (n,).

    What holds a symbol without a token raises ValueError, or gives `unknown` if `handle_unknown` is
    "neg_inf".
    """
    check_handle_unknown(handle_unknown)
    if handle_unknown == "token" and not vocabulary.unknown_token:
        raise ValueError(
            "handle_unknown='token' needs a vocabulary with a token for unseen symbols, and this one was "
            "made without; fit with handle_unknown='token'"
        )
    results = []
    n = len(X) if isinstance(X, Sized) else None
    for sequences in counted(check_chunks(X), n, "scoring sequences"):
        check_one_type(sequences, vocabulary.text, "X", like="the data of fit")
        result = np.full(len(sequences), unknown)
        widths = np.fromiter(map(len, sequences), np.int64, len(sequences)) + 1
        for index in by_length(widths, _TOKENS_PER_MATRIX):
            tokens = vocabulary.encode_rows([sequences[i] for i in index])
            known = (tokens != UNKNOWN).all(1)
            if not known.all() and handle_unknown == "error":
                check_known(vocabulary, sequences)
            if known.any():
                result[index[known.numpy()]] = function(tokens[known])
        results.append(result)
    if not results:
        raise ValueError("X is empty; pass at least one sequence")
    return np.concatenate(results)
