"""What a fitted estimator can do: draw sequences and tell their probability, plain or refined.

How it became fitted is left to `estimator`.
"""

import functools
import numbers
from collections import Counter
from collections.abc import Callable, Hashable, Iterable, Mapping, Sequence
from typing import Any

import numpy as np
import torch
from scipy.special import expit
from sklearn.utils import check_random_state
from sklearn.utils.validation import check_is_fitted, check_scalar
from torch import Tensor

from likelihood_gan import prefix_tree
from likelihood_gan.models import CharLSTM
from likelihood_gan.modules import device_of, torch_rng
from likelihood_gan.protocols import GeneratorModule, call_with_rng, checked_sample, has_step
from likelihood_gan.refinement import Refiner
from likelihood_gan.sampling import Autoregressive, sample_by_steps
from likelihood_gan.training import evaluating, log_probs, logits
from likelihood_gan.validation import check_chunks, check_sequences, check_weights
from likelihood_gan.vocabulary import Vocabulary, is_text

MANY = 512
"""Rows from which on it pays to look for prefixes that they share."""


class SequenceDistribution:
    """The distribution of a fitted generator, and the refined one if there is a `refiner_`."""

    generator_: GeneratorModule
    discriminator_: Any
    refiner_: Refiner | None
    vocabulary_: Vocabulary
    max_len_: int
    objective: Any
    handle_unknown: str
    verbose: int

    def sample(
        self,
        n_samples: int = 1,
        max_len: int | None = None,
        *,
        min_len: int = 0,
        temperature: float = 1.0,
        prefix: Any = None,
        refined: bool = False,
        distinct: bool = False,
        random_state: Any = None,
    ) -> list[Any]:
        """Draw sequences from the generator, or from the refined distribution.

        Parameters
        ----------
        n_samples : int, default=1
            Number of sequences.
        max_len : int, optional
            Most symbols of a sequence, prefix included; longer ones are cut there. Default:
            `max_len_`.
        min_len : int, default=0
            Fewest symbols; equal to `max_len` it forces the length, as the report does.
        temperature : float, default=1.0
            Below 1 the next symbol is drawn from its likelier candidates, above 1 more evenly.
        prefix : str or sequence of symbols, optional
            What every sequence begins with.
        refined : bool, default=False
            Draw from the refined distribution; `refiner_` weighs what the generator writes under
            the other arguments.
        distinct : bool, default=False
            Leave repetitions out.
        random_state : int, RandomState or None, default=None
            An int repeats the draw, None draws anew.

        Returns
        -------
        list of str, or of tuples of symbols
            `n_samples` sequences, of the type the model was fitted on.

        Raises
        ------
        ValueError
            If an argument is out of range; if min_len, temperature or prefix is asked of a
            generator without `step`; if there is no refined distribution; or if too few distinct
            sequences were found.

        Warns
        -----
        UserWarning
            If the effective sample size of the refined distribution is too low to trust it.
        """
        constraints = dict(min_len=min_len, temperature=temperature, prefix=prefix)
        arguments = self._check_draw(n_samples, max_len, **constraints)
        seeds = check_random_state(random_state)
        draw: Any = functools.partial(self._draw, **arguments, random_state=seeds)
        if refined:
            draw = functools.partial(self._draw_refined, propose=draw, random_state=seeds)
        return _draw_distinct(draw, n_samples) if distinct else draw(n_samples)

    def sample_counts(
        self,
        n_samples: int = 1,
        max_len: int | None = None,
        *,
        min_len: int = 0,
        temperature: float = 1.0,
        prefix: Any = None,
        random_state: Any = None,
    ) -> tuple[list[Any], np.ndarray]:
        """Draw from the generator, and tell how often each sequence came.

        Billions of draws are no problem: time and memory grow with the number of different
        sequences, if the generator has `step`.

        Parameters
        ----------
        n_samples, max_len, min_len, temperature, prefix, random_state
            As in `sample`.

        Returns
        -------
        sequences : list of str, or of tuples of symbols
            Different ones, in an order without meaning.
        counts : ndarray of int64
            Their numbers; the sum is `n_samples`.

        Raises
        ------
        ValueError
            As in `sample`.
        """
        constraints = dict(min_len=min_len, temperature=temperature, prefix=prefix)
        arguments = self._check_draw(n_samples, max_len, **constraints)
        random_state = check_random_state(random_state)
        return self._draw_counts(n_samples, **arguments, random_state=random_state)

    def score_samples(self, X: Any, *, refined: bool = False) -> np.ndarray:
        """Log-probability of each sequence in nats, END included.

        Parameters
        ----------
        X : iterable of sequences
            As in `fit`; any length.
        refined : bool, default=False
            Score with the refined distribution, log p + beta l - log Z. log Z is an estimate:
            ``refiner_.log_partition_`` has its interval.

        Returns
        -------
        ndarray of shape (n,), float64
            -inf where a symbol is unknown and ``handle_unknown="neg_inf"``.
        """
        refiner = self._get_refiner() if refined else None

        def score(sequences: Sequence[Any]) -> np.ndarray:
            scores = self._log_prob(self.vocabulary_.encode_rows(sequences))
            if refiner is not None:
                scores += refiner.log_weight(sequences, self._log_prob_cut)
                scores -= refiner.log_partition_.value
            return scores

        return self._evaluate(X, score, unknown=-np.inf)

    def score(
        self, X: Any, y: Any = None, sample_weight: Any = None, *, refined: bool = False
    ) -> float:
        """Mean log-probability of the sequences, in nats per sequence; higher is better."""
        scores = self.score_samples(X, refined=refined)
        weights = check_weights(sample_weight, len(scores))
        counted = weights > 0  # 0 * -inf would be NaN
        return float(np.average(scores[counted], weights=weights[counted]))

    def perplexity(self, X: Any) -> float:
        """Perplexity per symbol, each sequence's END counted as one; lower is better."""
        sequences = check_sequences(X)
        n_symbols = sum(len(sequence) + 1 for sequence in sequences)
        return float(np.exp(-self.score_samples(sequences).sum() / n_symbols))

    def discriminate(self, X: Any) -> np.ndarray:
        """Probability that each sequence is real, given that half are: (n,), float64.

        NaN where a symbol is unknown and ``handle_unknown="neg_inf"``: neither the data nor the
        generator can have written the sequence.

        Raises
        ------
        ValueError
            If the estimator was fitted without a discriminator.
        """
        check_is_fitted(self, "generator_")
        if self.discriminator_ is None:
            raise ValueError(
                f"objective={self.objective!r} trains no discriminator; fit with an adversarial "
                "objective such as 'pooled'"
            )

        def judge(sequences: Sequence[Any]) -> np.ndarray:
            tokens = self.vocabulary_.encode_rows(sequences)
            return expit(self._apply(self.discriminator_, logits, tokens))

        return self._evaluate(X, judge, unknown=np.nan)

    def _check_draw(
        self, n_samples: int, max_len: int | None, *, min_len: int, temperature: float, prefix: Any
    ) -> dict[str, Any]:
        """Check the arguments of `sample` and return those of `_draw`."""
        check_is_fitted(self, "generator_")
        max_len = self.max_len_ if max_len is None else max_len
        check_scalar(n_samples, "n_samples", numbers.Integral, min_val=1)
        check_scalar(max_len, "max_len", numbers.Integral, min_val=1)
        check_scalar(min_len, "min_len", numbers.Integral, min_val=0)
        check_scalar(
            temperature, "temperature", numbers.Real, min_val=0, include_boundaries="neither"
        )
        if max_len < min_len:
            raise ValueError(f"max_len must be at least min_len={min_len}, got {max_len}")
        start = [] if prefix is None else self._encode_prefix(prefix, max_len)
        constraints = {
            f"min_len={min_len}": min_len > 0,
            f"temperature={temperature}": temperature != 1,
            f"prefix={prefix!r}": prefix is not None,
        }
        asked = [constraint for constraint, active in constraints.items() if active]
        if asked and not has_step(self.generator_):
            raise ValueError(
                f"{asked[0]} needs a generator with a method step(tokens, state); "
                f"{type(self.generator_).__name__} has none: write one and inherit from "
                "likelihood_gan.Autoregressive"
            )
        steps = dict(min_len=min_len, temperature=temperature, prefix=start) if asked else {}
        return dict(max_len=max_len, steps=steps)

    def _draw(
        self,
        n: int,
        max_len: int,
        steps: Mapping[str, Any],
        random_state: np.random.RandomState,
    ) -> list[Any]:
        """Draw from the generator; `steps` are constraints that need its `step`."""
        generator = self.generator_
        device = device_of(generator)
        if n >= MANY and has_step(generator) and device.type == "cpu":
            sequences, counts = self._draw_counts(n, max_len, steps, random_state)
            index = random_state.permutation(np.repeat(np.arange(len(counts)), counts))
            return [sequences[i] for i in index.tolist()]
        rng = torch_rng(random_state, device)
        with torch.no_grad(), evaluating(generator):
            if steps:
                tokens = sample_by_steps(generator, n, max_len, **steps, rng=rng)
            else:
                tokens = call_with_rng(generator.sample, n, max_len, rng=rng)
                checked_sample(tokens, n, max_len, self.vocabulary_.n_tokens)
        return self.vocabulary_.decode(tokens)

    def _draw_counts(
        self,
        n: int,
        max_len: int,
        steps: Mapping[str, Any],
        random_state: np.random.RandomState,
    ) -> tuple[list[Any], np.ndarray]:
        """Draw how often each sequence comes."""
        generator = self.generator_
        rng = torch_rng(random_state, device_of(generator))
        if has_step(generator):
            with evaluating(generator):
                tokens, counts, _ = prefix_tree.sample_counts(
                    generator, n, max_len, **steps, rng=rng
                )
            return self.vocabulary_.decode(tokens), counts.cpu().numpy()
        found: Counter[Any] = Counter()
        for start in range(0, n, MANY):
            found.update(self._draw(min(MANY, n - start), max_len, steps, random_state))
        return list(found), np.array(list(found.values()), dtype=np.int64)

    def _draw_refined(self, n: int, propose: Any, random_state: np.random.RandomState) -> list[Any]:
        samples: list[Any] = []
        blocks = self._get_refiner().sample(n, propose, self._log_prob_cut, random_state)
        for block in blocks:
            samples += block
            if self.verbose and len(samples) < n:
                print(f"{len(samples)} of {n} refined samples")
        return samples

    def _log_prob_cut(self, sequences: Sequence[Any]) -> np.ndarray:
        """Score what `max_len_` leaves of known sequences: a row that is full need not end there."""
        return self._log_prob(self.vocabulary_.encode_rows(sequences)[:, : self.max_len_])

    def _log_prob(self, tokens: Tensor) -> np.ndarray:
        """Score rows of tokens: by their prefix tree if that has much fewer nodes than symbols."""
        generator = self.generator_
        on_cpu = device_of(generator).type == "cpu"
        if on_cpu and len(tokens) >= MANY and _steps_cost_little(generator) and _shared(tokens):
            with evaluating(generator):
                return prefix_tree.log_probs(generator, tokens).numpy()
        return self._apply(generator, log_probs, tokens)

    def _apply(self, model: Any, function: Any, tokens: Tensor) -> np.ndarray:
        """Apply a batch function to a module of this estimator and rows of tokens."""
        device = device_of(model)
        rng = torch.Generator(device).manual_seed(0)  # for plug-ins that draw when they score
        values: np.ndarray = function(model, tokens.to(device), rng).cpu().numpy()
        return values

    def _evaluate(
        self, X: Any, function: Callable[[Sequence[Any]], np.ndarray], unknown: float
    ) -> np.ndarray:
        """Apply a function to all sequences whose symbols are known, in chunks."""
        check_is_fitted(self, "generator_")
        self._check_handle_unknown()
        results = []
        for sequences in check_chunks(X):
            self._check_type(sequences)
            if self.handle_unknown == "error":
                require_known(self.vocabulary_, sequences, "X")
            known = [i for i, sequence in enumerate(sequences) if self.vocabulary_.knows(sequence)]
            result = np.full(len(sequences), unknown)
            if known:
                result[known] = function([sequences[i] for i in known])
            results.append(result)
        if not results:
            raise ValueError("X is empty; pass at least one sequence")
        return np.concatenate(results)

    def _encode_prefix(self, prefix: Any, max_len: int) -> list[int]:
        if self.vocabulary_.text and not isinstance(prefix, str):
            raise TypeError(f"prefix must be a str, like the data of fit, got {prefix!r}")
        sequence = check_sequences([prefix], "prefix")[0]
        require_known(self.vocabulary_, [sequence], "prefix")
        if len(sequence) > max_len:
            raise ValueError(
                f"max_len={max_len} is shorter than the prefix of {len(sequence)} symbols"
            )
        return self.vocabulary_.encode(sequence)

    def _check_type(self, sequences: Sequence[Sequence[Hashable]]) -> None:
        if self.vocabulary_.text != is_text(sequences):
            expected = "strings" if self.vocabulary_.text else "sequences of symbols"
            raise TypeError(f"X must hold {expected}, like the data of fit, got {sequences[0]!r}")

    def _get_refiner(self) -> Refiner:
        check_is_fitted(self, "generator_")
        if self.refiner_ is None:
            raise ValueError(
                "refined=True needs a refined distribution; call refine(X) with the data, or fit "
                "with refiner=Refiner()"
            )
        return self.refiner_

    def _check_handle_unknown(self) -> None:
        if self.handle_unknown not in ("error", "neg_inf"):
            raise ValueError(
                f"handle_unknown must be 'error' or 'neg_inf', got {self.handle_unknown!r}"
            )


def _steps_cost_little(generator: GeneratorModule) -> bool:
    """Tell whether scoring by steps is no detour; a Transformer may read all it has read again."""
    by_steps = Autoregressive.log_prob, CharLSTM.log_prob
    return has_step(generator) and getattr(type(generator), "log_prob", None) in by_steps


def _shared(tokens: Tensor) -> bool:
    return prefix_tree.sharing(tokens) > 2  # a step costs more than a position of a whole row


def require_known(
    vocabulary: Vocabulary, sequences: Iterable[Sequence[Hashable]], name: str
) -> None:
    """Raise ValueError if a symbol is not in the vocabulary."""
    unknown = vocabulary.unknown(sequences)
    if unknown:
        raise ValueError(
            f"{name} holds symbols that are not in the vocabulary: {unknown[:20]}; pass "
            "vocabulary= with all symbols before fitting, or handle_unknown='neg_inf' to "
            "score such sequences as impossible"
        )


def _draw_distinct(draw: Any, n: int) -> list[Any]:
    """Draw until there are `n` different sequences."""
    found: dict[Any, None] = {}
    rounds = 20
    for _ in range(rounds):
        found |= dict.fromkeys(draw(n))
        if len(found) >= n:
            return list(found)[:n]
    raise ValueError(
        f"distinct=True found {len(found)} different sequences in {rounds * n} draws, "
        f"not n_samples={n}; ask for fewer, or draw at a higher temperature"
    )
