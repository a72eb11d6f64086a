"""`LikelihoodGAN`, the scikit-learn estimator.

It translates: sequences to tokens, parameters to modules, seeds to random generators. What
happens to tokens and modules is left to the other files.
"""

import copy
import functools
import numbers
import os
import warnings
from collections.abc import Hashable, Iterable, Mapping, Sequence
from typing import Any, Self

import numpy as np
import torch
from sklearn.base import BaseEstimator, DensityMixin
from sklearn.utils import check_random_state
from sklearn.utils.validation import check_is_fitted, check_scalar
from torch import Tensor, nn

from likelihood_gan import persistence
from likelihood_gan.callbacks import PrintEpoch
from likelihood_gan.corpus import Corpus, count_distinct
from likelihood_gan.fitting import Phase, Run, fit_modules
from likelihood_gan.models import CharLSTM, LSTMDiscriminator
from likelihood_gan.modules import build_module, device_of, on_cpu, resolve_device, try_out
from likelihood_gan.objectives import MLE, Objective, get_objective, is_adversarial
from likelihood_gan.protocols import GeneratorModule, call_with_rng, checked_sample, has_step
from likelihood_gan.sampling import sample_by_steps
from likelihood_gan.training import Schedule, evaluating, log_probs, logits
from likelihood_gan.validation import check_schedule, check_sequences, check_weights
from likelihood_gan.vocabulary import Vocabulary, is_text, pad, sort_symbols

_BUNDLED = {"generator": CharLSTM, "discriminator": LSTMDiscriminator}


class LikelihoodGAN(DensityMixin, BaseEstimator):
    """Adversarially trained distribution over discrete sequences with an exact likelihood.

    The generator is any autoregressive model that gives the log-probability of a sequence and
    draws samples. It is pretrained by maximum likelihood; then a discriminator learns to tell its
    samples from the data and the generator descends `objective`, which needs the generator's
    likelihood alone: nothing is differentiated through sampling.

    Parameters
    ----------
    generator : module, callable or None, default=None
        A `torch.nn.Module` with `log_prob(tokens)` and `sample(n, max_len)` (it is copied, never
        trained in place), or a callable `f(n_tokens, **generator_params)` that builds one;
        `n_tokens` counts END (0) and every symbol. None is `CharLSTM`.
    generator_params : dict or None, default=None
        Keyword arguments for the callable, such as ``{"hidden_size": 256}``.
    discriminator : module, callable or None, default=None
        The same for the discriminator, tokens (batch, time) -> logits (batch,). None is
        `LSTMDiscriminator`.
    discriminator_params : dict or None, default=None
        Keyword arguments for the callable.
    objective : str or callable, default="likelihood"
        What the generator minimises in the adversarial epochs: "likelihood", "mixture", "pooled",
        "reinforce", "maligan", "mle" (which trains no discriminator), or a callable of a batch such
        as ``objectives.Pooled("js")``; see `likelihood_gan.objectives`.
    pretrain_epochs : int, default=40
        Maximum-likelihood epochs at the start.
    discriminator_pretrain_epochs : int, default=5
        Epochs that follow, in which only the discriminator learns.
    max_epochs : int, default=10
        Epochs with `objective` after that.
    batch_size : int, default=128
        Sequences a step. An epoch draws as many sequences as there are distinct ones.
    pretrain_learning_rate : float, mapping or callable, default=0.005
        Adam's step size in the maximum-likelihood epochs. A number is followed by a tenth of it
        in the last quarter of the epochs, which starts from the best weights so far.
    learning_rate : float, mapping or callable, default=0.0005
        The generator's step size in the epochs with `objective`: a number, a mapping such as
        ``{1: 0.02, 6: 0.002}`` (from this epoch of the phase on) or a callable of the epoch.
    discriminator_learning_rate : float, mapping or callable, default=0.002
        The discriminator's.
    max_len : int or None, default=None
        Most symbols a sequence may have; None takes the longest of the data.
    vocabulary : iterable of symbols or None, default=None
        All symbols that may occur; None collects those of the data.
    handle_unknown : {"error", "neg_inf"}, default="error"
        What the scores do with symbols that are not in the vocabulary: raise ValueError, or give
        the sequence log-probability -inf.
    early_stopping : bool, default=True
        Hold out `validation_fraction` of the distinct sequences, keep the epoch with their lowest
        negative log-likelihood, and end a phase without progress after `n_iter_no_change` epochs.
    validation_fraction : float, default=0.1
        Share of the distinct sequences that is held out.
    n_iter_no_change : int, default=8
        Epochs without progress that end a phase.
    warm_start : bool, default=False
        Start from the weights of the previous fit instead of fresh ones.
    callbacks : sequence of callables or None, default=None
        Each is called as ``callback(estimator, record)`` after an epoch; a true result stops the
        fit. See `likelihood_gan.callbacks`.
    device : str, torch.device or None, default=None
        Where to compute; None is PyTorch's default. A device that is missing falls back to the
        CPU with a warning.
    verbose : int, default=0
        Print a line every `verbose` epochs.
    random_state : int, RandomState or None, default=None
        Seed of the weights, the held-out part, the batches and the samples of a fit.

    Attributes
    ----------
    generator_, discriminator_ : torch.nn.Module
        The trained modules; `discriminator_` is None if the objective needs none.
    vocabulary_ : Vocabulary
        The symbols in the order of their tokens.
    max_len_ : int
        Most symbols of a sequence in the data, or `max_len`.
    history_ : list of dict
        One record per epoch: losses, effective sample size, held-out nats, seconds.
    n_iter_ : int
        Number of epochs run.
    best_epoch_ : int
        The epoch whose weights were kept.

    References
    ----------
    V. Toth, "GAN Training for Discrete Generators".

    Examples
    --------
    >>> from likelihood_gan import LikelihoodGAN
    >>> from likelihood_gan.datasets import load_first_names
    >>> gan = LikelihoodGAN(pretrain_epochs=2, max_epochs=1, random_state=0)
    >>> gan.fit(load_first_names()[:500]).sample(3, random_state=0)  # doctest: +SKIP
    ['alen', 'brina', 'annenna']
    """

    def __init__(
        self,
        generator: Any = None,
        *,
        generator_params: Mapping[str, Any] | None = None,
        discriminator: Any = None,
        discriminator_params: Mapping[str, Any] | None = None,
        objective: str | Objective = "likelihood",
        pretrain_epochs: int = 40,
        discriminator_pretrain_epochs: int = 5,
        max_epochs: int = 10,
        batch_size: int = 128,
        pretrain_learning_rate: Schedule = 0.005,
        learning_rate: Schedule = 0.0005,
        discriminator_learning_rate: Schedule = 0.002,
        max_len: int | None = None,
        vocabulary: Iterable[Hashable] | None = None,
        handle_unknown: str = "error",
        early_stopping: bool = True,
        validation_fraction: float = 0.1,
        n_iter_no_change: int = 8,
        warm_start: bool = False,
        callbacks: Sequence[Any] | None = None,
        device: str | torch.device | None = None,
        verbose: int = 0,
        random_state: Any = None,
    ):
        self.generator = generator
        self.generator_params = generator_params
        self.discriminator = discriminator
        self.discriminator_params = discriminator_params
        self.objective = objective
        self.pretrain_epochs = pretrain_epochs
        self.discriminator_pretrain_epochs = discriminator_pretrain_epochs
        self.max_epochs = max_epochs
        self.batch_size = batch_size
        self.pretrain_learning_rate = pretrain_learning_rate
        self.learning_rate = learning_rate
        self.discriminator_learning_rate = discriminator_learning_rate
        self.max_len = max_len
        self.vocabulary = vocabulary
        self.handle_unknown = handle_unknown
        self.early_stopping = early_stopping
        self.validation_fraction = validation_fraction
        self.n_iter_no_change = n_iter_no_change
        self.warm_start = warm_start
        self.callbacks = callbacks
        self.device = device
        self.verbose = verbose
        self.random_state = random_state

    # Fitting

    def fit(self, X: Any, y: Any = None, sample_weight: Any = None) -> Self:
        """Train on sequences.

        Parameters
        ----------
        X : iterable of str, or of sequences of hashable symbols
            The data. Repeated sequences count as often as they come; empty ones are legal.
        y : ignored
        sample_weight : array-like of shape (n,), optional
            Non-negative weight of each sequence, in any unit. With the counts it makes the
            empirical distribution of the report's Equation 4.

        Returns
        -------
        self

        Raises
        ------
        TypeError, ValueError
            If a parameter, the data or a plug-in is not as promised; the estimator is unchanged.
        FloatingPointError
            If training diverged. The estimator then holds the last good epoch, if there was one.
        """
        objective = self._check_parameters()
        sequences = check_sequences(X)
        weights = check_weights(sample_weight, len(sequences))
        sequences = [s for s, weight in zip(sequences, weights, strict=True) if weight > 0]
        weights = weights[weights > 0]
        vocabulary = self._make_vocabulary(sequences)
        rows, shares = count_distinct(map(vocabulary.encode, sequences), weights)
        max_len = self._check_lengths(rows)

        random_state = check_random_state(self.random_state)
        device = resolve_device(self.device)
        corpora = [
            Corpus(pad([rows[i] for i in part]), torch.tensor([shares[i] for i in part])).to(device)
            for part in self._split(len(rows), random_state)
        ]
        corpus, validation = corpora if self.early_stopping else (corpora[0], None)
        # Weights are drawn on the CPU, so that the device makes no difference to them.
        make = functools.partial(
            self._make_module,
            n_tokens=vocabulary.n_tokens,
            rng=_torch_rng(random_state, torch.device("cpu")),
            device=device,
        )
        generator = make("generator")
        discriminator = make("discriminator") if is_adversarial(objective) else None
        rng = _torch_rng(random_state, device)
        try_out(generator, discriminator, corpus, vocabulary.n_tokens, rng)

        def become_fitted(estimator: LikelihoodGAN, run: Run) -> LikelihoodGAN:
            return estimator._set_fitted(vocabulary, max_len, generator, discriminator, run)

        view = become_fitted(copy.copy(self), Run())  # what callbacks see: `self` is not fitted yet
        run = fit_modules(
            generator,
            discriminator,
            corpus,
            self._phases(objective),
            validation=validation,
            patience=self.n_iter_no_change,
            batch_size=int(self.batch_size),
            discriminator_learning_rate=self.discriminator_learning_rate,
            watchers=[functools.partial(callback, view) for callback in self._watchers()],
            rng=rng,
        )
        if run.history or not isinstance(run.stopped_by, FloatingPointError):
            become_fitted(self, run)
        _report(run)
        return self

    # Using the distribution

    def sample(
        self,
        n_samples: int = 1,
        max_len: int | None = None,
        *,
        min_len: int = 0,
        temperature: float = 1.0,
        prefix: Any = None,
        random_state: Any = None,
    ) -> list[Any]:
        """Draw sequences from the generator.

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
        random_state : int, RandomState or None, default=None
            An int repeats the draw, None draws anew.

        Returns
        -------
        list of str, or of tuples of symbols
            `n_samples` sequences, of the type the model was fitted on.

        Raises
        ------
        ValueError
            If an argument is out of range, or min_len, temperature or prefix is asked of a
            generator without `step`.
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

        generator = self.generator_
        rng = _torch_rng(check_random_state(random_state), device_of(generator))
        constraints = {
            f"min_len={min_len}": min_len > 0,
            f"temperature={temperature}": temperature != 1,
            f"prefix={prefix!r}": prefix is not None,
        }
        asked = [constraint for constraint, active in constraints.items() if active]
        with torch.no_grad(), evaluating(generator):
            if not asked:
                tokens = call_with_rng(generator.sample, n_samples, max_len, rng=rng)
                checked_sample(tokens, n_samples, max_len, self.vocabulary_.n_tokens)
            elif has_step(generator):
                tokens = sample_by_steps(
                    generator,
                    n_samples,
                    max_len,
                    min_len=min_len,
                    temperature=temperature,
                    prefix=start,
                    rng=rng,
                )
            else:
                raise ValueError(
                    f"{asked[0]} needs a generator with a method step(tokens, state); "
                    f"{type(generator).__name__} has none: write one and inherit from "
                    "likelihood_gan.Autoregressive"
                )
        return self.vocabulary_.decode(tokens)

    def score_samples(self, X: Any) -> np.ndarray:
        """Log-probability of each sequence in nats, END included.

        Parameters
        ----------
        X : iterable of sequences
            As in `fit`; any length.

        Returns
        -------
        ndarray of shape (n,), float64
            -inf where a symbol is unknown and ``handle_unknown="neg_inf"``.
        """
        return self._evaluate(X, "generator_", log_probs, unknown=-np.inf)[1]

    def score(self, X: Any, y: Any = None, sample_weight: Any = None) -> float:
        """Mean log-probability of the sequences, in nats per sequence; higher is better."""
        scores = self.score_samples(X)
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
                "objective such as 'likelihood'"
            )
        values = self._evaluate(X, "discriminator_", logits, unknown=np.nan)[1]
        return torch.from_numpy(values).sigmoid().numpy()

    # Keeping it

    def save(self, path: str | os.PathLike[str]) -> None:
        """Write the fitted estimator to one safetensors file, atomically.

        The file holds numbers and JSON, nothing executable. See `load`.

        Raises
        ------
        ValueError
            If something cannot be written as JSON, such as a symbol that is neither text nor
            number; an existing file stays as it is.
        """
        check_is_fitted(self, "generator_")
        persistence.save(self, path)

    @classmethod
    def load(cls, path: str | os.PathLike[str], **parameters: Any) -> Self:
        """Read an estimator that `save` wrote.

        Parameters
        ----------
        path : path
            The file.
        **parameters
            Parameters of the estimator to replace. Those that are code (a custom `generator`,
            `discriminator`, `objective`, callbacks) are not in the file and must be passed again.

        Raises
        ------
        ValueError
            If the file is damaged, foreign or of a newer format, or a parameter is missing.
        """
        return persistence.load(cls, path, parameters)

    def __getstate__(self) -> dict[str, Any]:
        # CPU copies: a pickle with CUDA tensors cannot be opened on a machine without CUDA
        state = super().__getstate__()
        return {key: on_cpu(value) for key, value in state.items()}

    def __setstate__(self, state: dict[str, Any]) -> None:
        super().__setstate__(state)
        if hasattr(self, "generator_"):
            device = resolve_device(self.device)
            for module in (self.generator_, self.discriminator_):
                if module is not None:
                    module.to(device)

    def __sklearn_tags__(self) -> Any:
        tags = super().__sklearn_tags__()
        tags.input_tags.string = True
        tags.input_tags.one_d_array = True
        tags.input_tags.two_d_array = False
        return tags

    # Parameters to objects

    def _check_parameters(self) -> Objective:
        """Check what needs no data and return the objective."""
        for name, least in {
            "pretrain_epochs": 0,
            "discriminator_pretrain_epochs": 0,
            "max_epochs": 0,
            "batch_size": 1,
            "n_iter_no_change": 1,
            "verbose": 0,
        }.items():
            check_scalar(getattr(self, name), name, numbers.Integral, min_val=least)
        if self.pretrain_epochs + self.max_epochs == 0:
            raise ValueError("pretrain_epochs and max_epochs are both 0: nothing would be trained")
        if self.max_len is not None:
            check_scalar(self.max_len, "max_len", numbers.Integral, min_val=1)
        check_scalar(
            self.validation_fraction,
            "validation_fraction",
            numbers.Real,
            min_val=0,
            max_val=1,
            include_boundaries="neither",
        )
        for name in ("pretrain_learning_rate", "learning_rate", "discriminator_learning_rate"):
            check_schedule(getattr(self, name), name)
        self._check_handle_unknown()
        for callback in self.callbacks or []:
            if not callable(callback):
                raise TypeError(f"callbacks must be callables, got {callback!r}")
        return get_objective(self.objective)

    def _check_handle_unknown(self) -> None:
        if self.handle_unknown not in ("error", "neg_inf"):
            raise ValueError(
                f"handle_unknown must be 'error' or 'neg_inf', got {self.handle_unknown!r}"
            )

    def _phases(self, objective: Objective) -> list[Phase]:
        judging = self.discriminator_pretrain_epochs if is_adversarial(objective) else 0
        n, rate = self.pretrain_epochs, self.pretrain_learning_rate
        if isinstance(rate, numbers.Real):
            slow = n // 4
            pretraining = [(n - slow, rate), (slow, rate / 10)]
        else:
            pretraining = [(n, rate)]
        return [
            *(Phase("pretrain", MLE(), epochs, schedule) for epochs, schedule in pretraining),
            Phase("discriminator", None, judging, 0.0),
            Phase("adversarial", objective, self.max_epochs, self.learning_rate),
        ]

    def _watchers(self) -> list[Any]:
        printing = [PrintEpoch(self.verbose)] if self.verbose else []
        return printing + list(self.callbacks or [])

    def _fitted(self, name: str) -> Any:
        """Return an attribute of the previous fit if this one is to start from it, else None."""
        return getattr(self, name, None) if self.warm_start else None

    def _make_vocabulary(self, sequences: Sequence[Sequence[Hashable]]) -> Vocabulary:
        text = is_text(sequences)
        if self._fitted("vocabulary_") is not None:
            vocabulary = self.vocabulary_
            self._check_type(sequences)
        elif self.vocabulary is not None:
            vocabulary = Vocabulary(sort_symbols(self.vocabulary), text)
        else:
            return Vocabulary.from_sequences(sequences)
        self._require_known(vocabulary, sequences, "X")
        return vocabulary

    def _check_lengths(self, rows: Iterable[Sequence[int]]) -> int:
        longest = max(len(row) for row in rows)
        if self.max_len is not None and longest > self.max_len:
            raise ValueError(
                f"max_len={self.max_len}, but X holds a sequence of {longest} symbols; raise "
                "max_len or leave longer sequences out"
            )
        return self.max_len or max(longest, 1)

    def _split(self, n: int, random_state: np.random.RandomState) -> list[np.ndarray]:
        """Choose the distinct sequences to train on and, with early stopping, to hold out."""
        order = random_state.permutation(n)
        if not self.early_stopping:
            return [order]
        if n < 2:
            raise ValueError(
                "early_stopping=True holds sequences out, so X must have at least two distinct "
                f"ones, got n_samples={n}; pass more or set early_stopping=False"
            )
        n_held_out = min(max(round(self.validation_fraction * n), 1), n - 1)
        return [np.sort(order[n_held_out:]), np.sort(order[:n_held_out])]

    def _make_module(
        self,
        name: str,
        n_tokens: int,
        rng: torch.Generator,
        device: torch.device,
    ) -> Any:
        """Build the generator or the discriminator, or copy that of the previous fit."""
        fitted = self._fitted(name + "_")
        if fitted is not None:
            return copy.deepcopy(fitted).to(device)
        given = getattr(self, name)
        params = getattr(self, name + "_params") or {}
        builder = _BUNDLED[name] if given is None else given
        return build_module(name, builder, params, n_tokens, rng).to(device)

    def _set_fitted(
        self,
        vocabulary: Vocabulary,
        max_len: int,
        generator: GeneratorModule,
        discriminator: nn.Module | None,
        run: Run,
    ) -> Self:
        self.vocabulary_ = vocabulary
        self.max_len_ = max_len
        self.generator_ = generator.eval()
        self.discriminator_ = None if discriminator is None else discriminator.eval()
        self.history_ = run.history
        self.n_iter_ = len(run.history)
        self.best_epoch_ = run.best_epoch
        return self

    def _restore(
        self,
        vocabulary: Vocabulary,
        max_len: int,
        weights: Mapping[str, Mapping[str, Tensor]],
        run: Run,
    ) -> Self:
        """Become fitted with weights from a file; those of the discriminator may be missing."""
        device = resolve_device(self.device)
        modules = {}
        for name, state in weights.items():
            modules[name] = self._make_module(name, vocabulary.n_tokens, torch.Generator(), device)
            try:
                modules[name].load_state_dict(state)
            except RuntimeError as error:
                raise ValueError(f"{name} does not fit the weights in the file: {error}") from None
        return self._set_fitted(
            vocabulary, max_len, modules["generator"], modules.get("discriminator"), run
        )

    # Sequences to tokens

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
            self._require_known(self.vocabulary_, sequences, "X")
        known = [i for i, sequence in enumerate(sequences) if self.vocabulary_.knows(sequence)]
        result = np.full(len(sequences), unknown)
        if known:
            model = getattr(self, module)
            device = device_of(model)
            tokens = pad([self.vocabulary_.encode(sequences[i]) for i in known]).to(device)
            rng = torch.Generator(device).manual_seed(0)  # for plug-ins that draw when they score
            result[known] = function(model, tokens, rng).cpu().numpy()
        return sequences, result

    def _encode_prefix(self, prefix: Any, max_len: int) -> list[int]:
        if self.vocabulary_.text and not isinstance(prefix, str):
            raise TypeError(f"prefix must be a str, like the data of fit, got {prefix!r}")
        sequence = check_sequences([prefix], "prefix")[0]
        self._require_known(self.vocabulary_, [sequence], "prefix")
        if len(sequence) > max_len:
            raise ValueError(
                f"max_len={max_len} is shorter than the prefix of {len(sequence)} symbols"
            )
        return self.vocabulary_.encode(sequence)

    def _check_type(self, sequences: Sequence[Sequence[Hashable]]) -> None:
        if self.vocabulary_.text != is_text(sequences):
            expected = "strings" if self.vocabulary_.text else "sequences of symbols"
            raise TypeError(f"X must hold {expected}, like the data of fit, got {sequences[0]!r}")

    @staticmethod
    def _require_known(
        vocabulary: Vocabulary, sequences: Iterable[Sequence[Hashable]], name: str
    ) -> None:
        unknown = vocabulary.unknown(sequences)
        if unknown:
            raise ValueError(
                f"{name} holds symbols that are not in the vocabulary: {unknown[:20]}; pass "
                "vocabulary= with all symbols before fitting, or handle_unknown='neg_inf' to "
                "score such sequences as impossible"
            )


def _report(run: Run) -> None:
    """Raise or warn if a fit was cut short."""
    if isinstance(run.stopped_by, FloatingPointError):
        raise FloatingPointError(
            f"training diverged in epoch {len(run.history) + 1}: {run.stopped_by}; try a lower "
            "learning_rate (or pretrain_learning_rate, discriminator_learning_rate); "
            + (
                f"the estimator holds the model of epoch {run.best_epoch}"
                if run.history
                else "the estimator is unchanged"
            )
        ) from run.stopped_by
    if run.stopped_by is not None:
        kept = f"the model of epoch {run.best_epoch}" if run.history else "an unfinished model"
        warnings.warn(
            f"fit was interrupted after {len(run.history)} epochs; the estimator holds {kept}",
            stacklevel=3,
        )


def _torch_rng(random_state: np.random.RandomState, device: torch.device) -> torch.Generator:
    return torch.Generator(device).manual_seed(int(random_state.randint(2**31 - 1)))
