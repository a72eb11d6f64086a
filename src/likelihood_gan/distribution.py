"""What a fitted estimator can do: draw sequences and tell their probability, plain or refined.

How it became fitted is left to `estimator`.
"""

import functools
import numbers
from collections.abc import Hashable, Iterable, Mapping, Sequence
from typing import Any

import numpy as np
import torch
from sklearn.utils import check_random_state
from sklearn.utils.validation import check_is_fitted, check_scalar
from torch import Tensor

from likelihood_gan.modules import device_of, torch_rng
from likelihood_gan.protocols import GeneratorModule, call_with_rng, checked_sample, has_step
from likelihood_gan.refinement import Refiner
from likelihood_gan.sampling import sample_by_steps
from likelihood_gan.training import evaluating, log_probs, logits
from likelihood_gan.validation import check_sequences, check_weights
from likelihood_gan.vocabulary import Vocabulary, is_text, pad


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
        steps = dict(min_len=min_len, temperature=temperature, prefix=start) if asked else None
        seeds = check_random_state(random_state)
        draw = functools.partial(self._draw, max_len=max_len, steps=steps, random_state=seeds)
        if refined:
            draw = functools.partial(self._draw_refined, propose=draw, random_state=seeds)
        return _draw_distinct(draw, n_samples) if distinct else draw(n_samples)

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
        sequences, scores = self._evaluate(X, "generator_", log_probs, unknown=-np.inf)
        if refined:
            refiner = self._get_refiner()
            known = np.flatnonzero(scores > -np.inf)
            scores[known] += refiner.log_weight([sequences[i] for i in known], self._log_prob_cut)
            scores -= refiner.log_partition_.value
        return scores

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
        sequences, scores = self._evaluate(X, "generator_", log_probs, unknown=-np.inf)
        return float(np.exp(-scores.sum() / sum(len(sequence) + 1 for sequence in sequences)))

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
        values = self._evaluate(X, "discriminator_", logits, unknown=np.nan)[1]
        return torch.from_numpy(values).sigmoid().numpy()

    def _draw(
        self,
        n: int,
        max_len: int,
        steps: Mapping[str, Any] | None,
        random_state: np.random.RandomState,
    ) -> list[Any]:
        """Draw from the generator; `steps` are constraints that need its `step`."""
        generator = self.generator_
        rng = torch_rng(random_state, device_of(generator))
        with torch.no_grad(), evaluating(generator):
            if steps is None:
                tokens = call_with_rng(generator.sample, n, max_len, rng=rng)
                checked_sample(tokens, n, max_len, self.vocabulary_.n_tokens)
            else:
                tokens = sample_by_steps(generator, n, max_len, **steps, rng=rng)
        return self.vocabulary_.decode(tokens)

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
        tokens = pad([self.vocabulary_.encode(sequence) for sequence in sequences])
        return self._apply(self.generator_, log_probs, tokens[:, : self.max_len_])

    def _apply(self, model: Any, function: Any, tokens: Tensor) -> np.ndarray:
        """Apply a batch function to a module of this estimator and rows of tokens."""
        device = device_of(model)
        rng = torch.Generator(device).manual_seed(0)  # for plug-ins that draw when they score
        values: np.ndarray = function(model, tokens.to(device), rng).cpu().numpy()
        return values

    def _evaluate(
        self, X: Any, module: str, function: Any, unknown: float
    ) -> tuple[list[Sequence[Hashable]], np.ndarray]:
        """Apply a batch function of a module to all sequences whose symbols are known."""
        check_is_fitted(self, "generator_")
        self._check_handle_unknown()
        sequences = check_sequences(X)
        if not sequences:
            raise ValueError("X is empty; pass at least one sequence")
        self._check_type(sequences)
        if self.handle_unknown == "error":
            require_known(self.vocabulary_, sequences, "X")
        known = [i for i, sequence in enumerate(sequences) if self.vocabulary_.knows(sequence)]
        result = np.full(len(sequences), unknown)
        if known:
            tokens = pad([self.vocabulary_.encode(sequences[i]) for i in known])
            result[known] = self._apply(getattr(self, module), function, tokens)
        return sequences, result

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
