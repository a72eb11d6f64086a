"""`LikelihoodGAN`, the scikit-learn estimator.

It translates: sequences to tokens, parameters to modules, seeds to random generators. What happens
to tokens and modules is left to the other files, the use of what was fitted to `distribution`.
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
from sklearn.base import BaseEstimator, DensityMixin, clone
from sklearn.utils import check_random_state
from sklearn.utils.validation import check_is_fitted, check_scalar
from torch import Tensor, nn

from likelihood_gan import persistence
from likelihood_gan.callbacks import PrintEpoch
from likelihood_gan.corpus import Corpus, count_distinct
from likelihood_gan.distribution import SequenceDistribution, require_known
from likelihood_gan.fitting import Phase, Run, fit_modules
from likelihood_gan.models import CharLSTM, LSTMDiscriminator
from likelihood_gan.modules import build_module, on_cpu, resolve_device, torch_rng, try_out
from likelihood_gan.objectives import MLE, Objective, get_objective, is_adversarial
from likelihood_gan.protocols import GeneratorModule
from likelihood_gan.refinement import Refiner
from likelihood_gan.training import Schedule
from likelihood_gan.validation import check_schedule, check_sequences, check_weights
from likelihood_gan.vocabulary import Vocabulary, is_text, pad, sort_symbols

_BUNDLED = {"generator": CharLSTM, "discriminator": LSTMDiscriminator}


class LikelihoodGAN(SequenceDistribution, DensityMixin, BaseEstimator):
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
    objective : str or callable, default="pooled"
        What the generator minimises in the adversarial epochs: "pooled", "likelihood" (the
        report's), "mixture", "reinforce", "maligan", "mle" (which trains no discriminator), or a
        callable of a batch such as ``objectives.Pooled("js")``; see `likelihood_gan.objectives`.
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
    precision : {"float32", "bf16"}, default="float32"
        What training computes the networks in. "bf16" is faster where the processor or GPU has it;
        weights, losses and everything that is scored or drawn afterwards stay float32.
    length_buckets : bool, default=False
        Pretrain on batches of sequences of similar length, which are padded less.
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
    refiner : Refiner or None, default=None
        Fits the refined distribution at the end, such as ``Refiner()``; see `refine`.
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
    held_out_ : list
        The sequences that early stopping held out.
    refiner_ : Refiner or None
        The fitted refined distribution: `beta_`, `log_partition_`, `effective_sample_size_`.

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
        objective: str | Objective = "pooled",
        pretrain_epochs: int = 40,
        discriminator_pretrain_epochs: int = 5,
        max_epochs: int = 10,
        batch_size: int = 128,
        pretrain_learning_rate: Schedule = 0.005,
        learning_rate: Schedule = 0.0005,
        discriminator_learning_rate: Schedule = 0.002,
        precision: str = "float32",
        length_buckets: bool = False,
        max_len: int | None = None,
        vocabulary: Iterable[Hashable] | None = None,
        handle_unknown: str = "error",
        early_stopping: bool = True,
        validation_fraction: float = 0.1,
        n_iter_no_change: int = 8,
        refiner: Refiner | None = None,
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
        self.precision = precision
        self.length_buckets = length_buckets
        self.max_len = max_len
        self.vocabulary = vocabulary
        self.handle_unknown = handle_unknown
        self.early_stopping = early_stopping
        self.validation_fraction = validation_fraction
        self.n_iter_no_change = n_iter_no_change
        self.refiner = refiner
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
            If a parameter, the data or a plug-in is not as promised; the estimator is unchanged. If
            only the refined distribution could not be fitted, it holds the trained generator.
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
        parts = self._split(len(rows), random_state)
        corpora = [
            Corpus(pad([rows[i] for i in part]), torch.tensor([shares[i] for i in part])).to(device)
            for part in parts
        ]
        corpus, validation = corpora if self.early_stopping else (corpora[0], None)
        # Weights are drawn on the CPU, so that the device makes no difference to them.
        make = functools.partial(
            self._make_module,
            n_tokens=vocabulary.n_tokens,
            rng=torch_rng(random_state, torch.device("cpu")),
            device=device,
        )
        generator = make("generator")
        discriminator = make("discriminator") if is_adversarial(objective) else None
        rng = torch_rng(random_state, device)
        try_out(generator, discriminator, corpus, vocabulary.n_tokens, rng)

        held_out = vocabulary.decode(validation.tokens) if validation is not None else []

        def become_fitted(estimator: LikelihoodGAN, run: Run) -> LikelihoodGAN:
            return estimator._set_fitted(
                vocabulary, max_len, generator, discriminator, run, held_out
            )

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
            precision=self.precision,
            watchers=[functools.partial(callback, view) for callback in self._watchers()],
            rng=rng,
        )
        if run.history or not isinstance(run.stopped_by, FloatingPointError):
            become_fitted(self, run)
        if self.refiner is not None and run.stopped_by is None:
            try:
                self.refiner_ = self._fit_refiner(self.refiner, rows, shares, random_state)
            except KeyboardInterrupt as reason:
                run.stopped_by = reason
            except Exception as error:
                error.add_note("the generator is trained: correct `refiner` and call refine(X)")
                raise
        _report(run)
        return self

    def refine(self, X: Any, y: Any = None, sample_weight: Any = None) -> Self:
        """Fit the refined distribution of a generator that is fitted already, `refiner_`.

        p*(x) = p(x) exp(beta l(x)) / Z moves the generator towards the data by what a classifier
        can still tell apart; see `likelihood_gan.refinement.Refiner`. `fit` does it at its end if
        `refiner` is given. Both calibrate on `held_out_`, which the generator was not trained on; if
        `X` holds none of it, the classifier is cross-fitted, which refines less: a generator that
        has learnt the data by heart looks better on them than it is.

        Parameters
        ----------
        X : iterable of sequences
            The data, as in `fit`.
        y : ignored
        sample_weight : array-like of shape (n,), optional
            As in `fit`.

        Returns
        -------
        self
            `refiner`, or ``Refiner()`` if it is None, is fitted; nothing else changes.

        Raises
        ------
        TypeError, ValueError
            If the data or `refiner` are not as promised; the estimator is unchanged.
        """
        check_is_fitted(self, "generator_")
        self._check_refiner()
        sequences = check_sequences(X)
        weights = check_weights(sample_weight, len(sequences))
        sequences = [s for s, weight in zip(sequences, weights, strict=True) if weight > 0]
        self._check_type(sequences)
        require_known(self.vocabulary_, sequences, "X")
        rows, shares = count_distinct(map(self.vocabulary_.encode, sequences), weights[weights > 0])
        self.refiner_ = self._fit_refiner(
            Refiner() if self.refiner is None else self.refiner,
            rows,
            shares,
            check_random_state(self.random_state),
        )
        return self

    def distill(
        self,
        X: Any,
        y: Any = None,
        sample_weight: Any = None,
        *,
        n_samples: int | None = None,
        share: float = 0.5,
    ) -> Self:
        """Return a plain generator, fitted to data and samples of the refined distribution.

        It has the same size, an exact and normalised likelihood, and samples at full speed.

        Parameters
        ----------
        X : iterable of sequences
            The data, as in `fit`.
        y : ignored
        sample_weight : array-like of shape (n,), optional
            As in `fit`.
        n_samples : int or None, default=None
            Refined samples to learn from; None is twice the number of sequences.
        share : float, default=0.5
            Their share of the weight.

        Returns
        -------
        LikelihoodGAN
            A new estimator with the parameters of this one, but maximum likelihood as objective.

        Raises
        ------
        TypeError, ValueError
            If an argument is out of range, there is no refined distribution, or the parameters say
            that nothing is trained.
        """
        sequences = check_sequences(X)
        weights = check_weights(sample_weight, len(sequences))
        check_scalar(share, "share", numbers.Real, min_val=0, max_val=1)
        if self.pretrain_epochs + self.max_epochs == 0:
            raise ValueError(
                "pretrain_epochs and max_epochs are both 0: nothing would be distilled; set "
                "pretrain_epochs, and generator to what shall learn"
            )
        n_samples = 2 * len(sequences) if n_samples is None else n_samples
        samples = self.sample(n_samples, refined=True, random_state=self.random_state)
        student = clone(self).set_params(
            objective="mle", refiner=None, warm_start=False, vocabulary=self.vocabulary_.symbols
        )
        both = [weights / weights.sum() * (1 - share), np.full(n_samples, share / n_samples)]
        return student.fit([*sequences, *samples], sample_weight=np.concatenate(both))

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
        # what pickles of earlier versions lack
        added: dict[str, Any] = {"refiner": None, "precision": "float32", "length_buckets": False}
        if "generator_" in state:
            added |= {"refiner_": None, "held_out_": []}
        super().__setstate__(added | state)
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
        given = isinstance(self.generator, nn.Module) or self._fitted("generator_") is not None
        if self.pretrain_epochs + self.max_epochs == 0 and not given:
            raise ValueError(
                "pretrain_epochs and max_epochs are both 0: nothing would be trained; pass a "
                "trained module as generator, or train"
            )
        self._check_refiner()
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
        if self.precision not in ("float32", "bf16"):
            raise ValueError(f"precision must be 'float32' or 'bf16', got {self.precision!r}")
        for callback in self.callbacks or []:
            if not callable(callback):
                raise TypeError(f"callbacks must be callables, got {callback!r}")
        return get_objective(self.objective)

    def _check_refiner(self) -> None:
        if self.refiner is None:
            return
        if not isinstance(self.refiner, Refiner):
            raise TypeError(f"refiner must be a Refiner() or None, got {self.refiner!r}")
        self.refiner.check()

    def _phases(self, objective: Objective) -> list[Phase]:
        judging = self.discriminator_pretrain_epochs if is_adversarial(objective) else 0
        n, rate = self.pretrain_epochs, self.pretrain_learning_rate
        if isinstance(rate, numbers.Real):
            slow = n // 4
            pretraining = [(n - slow, rate), (slow, rate / 10)]
        else:
            pretraining = [(n, rate)]
        return [
            *(Phase("pretrain", MLE(), *part, self.length_buckets) for part in pretraining),
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
        require_known(vocabulary, sequences, "X")
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
        held_out: list[Any],
    ) -> Self:
        self.vocabulary_ = vocabulary
        self.max_len_ = max_len
        self.generator_ = generator.eval()
        self.discriminator_ = None if discriminator is None else discriminator.eval()
        self.history_ = run.history
        self.n_iter_ = len(run.history)
        self.best_epoch_ = run.best_epoch
        self.held_out_ = held_out
        self.refiner_ = None
        return self

    def _restore(
        self,
        vocabulary: Vocabulary,
        max_len: int,
        weights: Mapping[str, Mapping[str, Tensor]],
        run: Run,
        held_out: list[Any],
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
            vocabulary, max_len, modules["generator"], modules.get("discriminator"), run, held_out
        )

    def _fit_refiner(
        self,
        refiner: Refiner,
        rows: Sequence[Sequence[int]],
        shares: Sequence[float],
        random_state: np.random.RandomState,
    ) -> Refiner:
        """Fit a clone of the refiner to this estimator's generator."""
        sequences = self.vocabulary_.decode(pad(rows))
        held_out = set(self.held_out_)
        refiner = clone(refiner).fit(
            sequences,
            np.asarray(shares),
            np.array([sequence in held_out for sequence in sequences]),
            functools.partial(
                self._draw, max_len=self.max_len_, steps={}, random_state=random_state
            ),
            self._log_prob_cut,
            random_state,
            self.max_len_,
        )
        if self.verbose:
            print(
                f"refined: beta {refiner.beta_:g}, held-out nats {refiner.gain_:+.3f}, "
                f"effective sample size {refiner.effective_sample_size_:.2f}"
            )
        return refiner


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
