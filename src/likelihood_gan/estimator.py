"""`LikelihoodGAN`, the scikit-learn estimator.

It translates: sequences to tokens, parameters to modules, seeds to random generators. What happens
to tokens and modules is left to the other files, the use of what was fitted to `distribution`.
"""

from collections.abc import Hashable, Iterable, Mapping, Sequence
from typing import Any, ClassVar, Self

import numpy as np
import torch
from numpy.typing import ArrayLike, NDArray
from sklearn.utils.validation import check_is_fitted
from torch import Tensor, nn

from likelihood_gan import persistence
from likelihood_gan.callbacks import Callback, attach
from likelihood_gan.checkpoint import Frame, Resumable, Saved
from likelihood_gan.corpus import Data, Split, hold_out
from likelihood_gan.devices import computing, device_of, own_modes, resolve_device, torch_rng
from likelihood_gan.distribution import SequenceDistribution, evaluate
from likelihood_gan.fitted import FittedDistribution
from likelihood_gan.fitting import fit_modules
from likelihood_gan.models import LSTMDiscriminator, ResidualLSTM
from likelihood_gan.objectives import Objective, is_adversarial
from likelihood_gan.parameters import check_parameters
from likelihood_gan.phases import PHASES, make_phases
from likelihood_gan.plugins import ModuleParameters, try_out
from likelihood_gan.processes import check_same, from_first, is_first
from likelihood_gan.protocols import has_count
from likelihood_gan.rows import count_distinct, repeat_themselves
from likelihood_gan.rules import (
    FLAG,
    NONE,
    RECORDS,
    SEQUENCES,
    array,
    check,
    instance,
    integer,
    random_source,
)
from likelihood_gan.runs import report
from likelihood_gan.schedules import Schedule
from likelihood_gan.scoring import posterior_logits
from likelihood_gan.splitting import TokenPattern, check_covered
from likelihood_gan.validation import (
    Sequences,
    check_known,
    check_longest,
    check_one_type,
    check_weighed,
)
from likelihood_gan.vocabulary import Vocabulary, is_text, sort_symbols

persistence.bundled(keys=array("i", 1), shares=array("f", 1))(Split)


@persistence.bundled(
    best_epoch_=integer(0),
    discriminator_=NONE | instance(nn.Module),
    distribution_=instance(SequenceDistribution),
    held_out_=SEQUENCES,
    history_=RECORDS,
    n_iter_=integer(0),
    split_=NONE | instance(Split),
)
class LikelihoodGAN(ModuleParameters, Resumable, FittedDistribution):
    """Adversarially trained distribution over discrete sequences with an exact likelihood.

    The generator is any autoregressive model that gives the log-probability of a sequence and
    draws samples. It is pretrained by maximum likelihood; then a discriminator learns to tell its
    samples from the data and the generator descends `objective`, which needs the generator's
    likelihood alone: nothing is differentiated through sampling.

    Parameters
    ----------
    generator : object, callable or None, default=None
        Any object with `log_prob(tokens)` and `sample(n, max_len)` (it is copied, never trained in
        place), or a callable `f(n_tokens, **generator_params)` that builds one; `n_tokens` counts END
        (0) and every symbol. None is `ResidualLSTM`, an LSTM that corrects an n-gram model. Gradients
        train the parameters of a `torch.nn.Module`. One that learns by counting has a method `count`,
        see `likelihood_gan.protocols.CountingGenerator`. One that does neither is taken as it is if
        `pretrain_epochs` and `adversarial_epochs` are 0, and refused otherwise.
    generator_params : dict or None, default=None
        Keyword arguments for the callable, such as ``{"hidden_size": 256}``; in `set_params` and a
        grid search also ``generator__hidden_size``.
    discriminator : module, callable or None, default=None
        The same for the discriminator, tokens (batch, time) -> logits (batch,). None is
        `LSTMDiscriminator`.
    discriminator_params : dict or None, default=None
        Keyword arguments for the callable.
    objective : str or callable, default="pooled"
        What the generator minimises in the adversarial epochs: "pooled", "importance" (the
        report's), "balance", "reinforce", "maligan", "mle" (which trains no discriminator), or a
        callable of a batch such as ``objectives.Pooled("js")``; see `likelihood_gan.objectives`.
    pretrain_epochs : int, default=40
        Most maximum-likelihood epochs at the start, on batches of sequences of similar length. An
        epoch draws as many sequences as there are distinct ones, but 50 batches at least and 500
        at most (150 where samples are drawn, too): so it is a budget of steps.
    discriminator_pretrain_epochs : int, default=1
        Epochs that follow, in which only the discriminator learns.
    adversarial_epochs : int, default=1
        Epochs with `objective` after that.
    batch_size : int, default=128
        Sequences a step, at most 2**20.
    pretrain_learning_rate : float, mapping or callable, default=0.005
        Adam's step size in the maximum-likelihood epochs. A number is positive, and falls to 0 along
        a cosine.
    adversarial_learning_rate : float, mapping or callable, default=0.0005
        The generator's step size in the epochs with `objective`: a number, a mapping such as
        ``{1: 0.02, 6: 0.002}`` (from this epoch of the phase on) or a callable of the epoch, which is
        asked for all rates before the fit. These may be 0, if not all are.
    discriminator_learning_rate : float, mapping or callable, default=0.002
        The discriminator's.
    precision : {"float32", "bf16"}, default="float32"
        What training computes the networks in. "bf16" is faster where the processor or GPU has it;
        weights, losses and everything that is scored or drawn afterwards stay float32.
    max_len : int or None, default=None
        Most symbols a sequence may have; None takes the longest of the data.
    vocabulary : iterable of symbols or None, default=None
        All symbols that may occur, such as an Enum class; None collects those of the data.
    token_pattern : str, callable or None, default=None
        What splits strings into symbols of several characters: a regular expression such as
        ``"Cl|Br|."``, whose matches they are and which has to cover all of a string, or a callable
        str -> list of str. The symbols join to the string again, and samples are strings. None takes
        single characters.
    handle_unknown : {"error", "neg_inf", "token"}, default="error"
        What the scores do with symbols that are not in the vocabulary: raise ValueError, give the
        sequence log-probability -inf, or let one token that `fit` adds stand for all of them, so that
        they have a probability. Drawn, it is U+FFFD in a string, else
        `likelihood_gan.vocabulary.UNKNOWN_SYMBOL`.
    early_stopping : bool, default=True
        Hold out `validation_fraction` of the data, keep the epoch with their lowest negative
        log-likelihood, and end a phase without progress after `n_iter_no_change` epochs (not one whose
        step size still falls). Distinct
        sequences are held out, since the next one is likely to be new. If the data repeat themselves
        (by Good's estimate the next one is more likely a known one) occurrences are.
    validation_fraction : float, default=0.1
        Share that is held out.
    n_iter_no_change : int, default=10
        Epochs without progress that end a phase.
    warm_start : bool, default=False
        Continue the previous fit: with its weights, its symbols and its history. What was held out is
        held out again, as far as it is in the data, and the epochs are numbered on. A number as
        `pretrain_learning_rate` begins at three tenths of itself.
    callbacks : sequence of callables or None, default=None
        Each is called as ``callback(distribution, history)`` after an epoch, with the distribution
        as it is and the records so far; a true result stops the fit, and what it raises ends it as
        Ctrl-C does. See `likelihood_gan.callbacks`.
    device : str, torch.device or None, default=None
        Where to compute; None is PyTorch's default. A device that is missing, or that cannot compute
        in float64, falls back to the CPU with a warning.
    verbose : int or bool, default=0
        0 is silent. Otherwise a progress bar on a terminal or in a notebook, and elsewhere a line
        every `verbose` epochs. Long `sample` and `score_samples` show theirs, too. It is not saved.
    random_state : int, RandomState or None, default=None
        Seed of the weights, the held-out part, the batches and the samples of a fit.

    Attributes
    ----------
    distribution_ : SequenceDistribution
        The fitted distribution: it samples, scores and is saved without the estimator.
    generator_ : Generator
        Its generator.
    vocabulary_ : Vocabulary
        Its symbols in the order of their tokens.
    max_len_ : int
        Most symbols of a sequence in the data, or `max_len`.
    discriminator_ : torch.nn.Module or None
        The trained discriminator; None if the objective needs none.
    history_ : list of dict
        One record per epoch: losses, effective sample size, held-out nats, seconds.
    n_iter_ : int
        Number of epochs run, those of the fits that a warm start continues included.
    best_epoch_ : int
        The epoch whose weights were kept, as the records name it; 0 is what was counted.
    held_out_ : list
        The sequences that early stopping held out, for what is fitted on top, such as `Refined`. It
        is empty if occurrences were held out, and if the generator counts: in the end it has
        counted them, too.
    split_ : Split or None
        The same by hashes, for the next warm start; None if nothing was held out.

    References
    ----------
    V. Toth, "GAN Training for Discrete Generators".

    Examples
    --------
    >>> from likelihood_gan.datasets import load_first_names
    >>> gan = LikelihoodGAN(pretrain_epochs=2, adversarial_epochs=1, random_state=0)
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
        discriminator_pretrain_epochs: int = 1,
        adversarial_epochs: int = 1,
        batch_size: int = 128,
        pretrain_learning_rate: Schedule = 0.005,
        adversarial_learning_rate: Schedule = 0.0005,
        discriminator_learning_rate: Schedule = 0.002,
        precision: str = "float32",
        max_len: int | None = None,
        vocabulary: Iterable[Hashable] | None = None,
        token_pattern: TokenPattern | None = None,
        handle_unknown: str = "error",
        early_stopping: bool = True,
        validation_fraction: float = 0.1,
        n_iter_no_change: int = 10,
        warm_start: bool = False,
        callbacks: Sequence[Callback] | None = None,
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
        self.adversarial_epochs = adversarial_epochs
        self.batch_size = batch_size
        self.pretrain_learning_rate = pretrain_learning_rate
        self.adversarial_learning_rate = adversarial_learning_rate
        self.discriminator_learning_rate = discriminator_learning_rate
        self.precision = precision
        self.max_len = max_len
        self.vocabulary = vocabulary
        self.token_pattern = token_pattern
        self.handle_unknown = handle_unknown
        self.early_stopping = early_stopping
        self.validation_fraction = validation_fraction
        self.n_iter_no_change = n_iter_no_change
        self.warm_start = warm_start
        self.callbacks = callbacks
        self.device = device
        self.verbose = verbose
        self.random_state = random_state

    _builders: ClassVar[Mapping[str, Any]] = {
        "generator": ResidualLSTM,
        "discriminator": LSTMDiscriminator,
    }

    def fit(self, X: Sequences, y: Any = None, sample_weight: ArrayLike | None = None) -> Self:
        """Train on sequences.

        Parameters
        ----------
        X : iterable of str, or of sequences of hashable symbols, or a mapping of them to counts
            The data. Repeated sequences count as often as they come; empty ones are legal. For files
            see `likelihood_gan.datasets.read_sequences`.
        y : ignored
            But refused if it holds numbers, which may be meant as weights.
        sample_weight : array-like of shape (n,), optional
            Non-negative weight of each sequence, in any unit. With the counts it makes the
            empirical distribution of the report's Equation 4.

        Returns
        -------
        self

        Raises
        ------
        TypeError, ValueError
            If a parameter, the data or a plug-in is not as promised.
        FloatingPointError
            If training diverged: to NaN, or to a model that finds the data much less likely than
            random symbols.
        BaseException
            Ctrl-C, and whatever a callback or a plug-in raises. In all these cases the estimator holds
            the best epoch so far, if a good one was finished, without having counted what was held
            out; a note of the exception says so. Else it is unchanged.

        Warns
        -----
        PoorFitWarning
            If an n-gram model, or the frequencies of the data, explain the held-out data better.
            Where nothing is held out, if random symbols explain the data better.

        See Also
        --------
        resume : Go on with a fit from its checkpoint.
        """
        return self._fit(X, sample_weight, resolve_device(self.device), y=y)

    @own_modes()
    def _fit(
        self,
        X: Sequences,
        sample_weight: ArrayLike | None,
        device: torch.device,
        saved: Saved | None = None,
        y: Any = None,
    ) -> Self:
        """Fit, from a checkpoint on if there is one."""
        objective = check_parameters(self)
        sequences, weights = check_weighed(X, sample_weight, y)
        vocabulary = saved.frame.vocabulary if saved else self._make_vocabulary(sequences)
        tokens = vocabulary.encode_rows(sequences)
        first, shares = count_distinct(tokens, weights)
        max_len = check_longest(tokens.shape[1] - 1, self.max_len)

        rows = tokens[first]

        random_state = from_first(random_source(self.random_state))
        if saved is None:
            held_out = self._hold_out(rows, shares, random_state)
        else:
            saved.check(rows, shares)
            held_out = saved.frame.held_out
        # Weights are drawn on the CPU, so that the device makes no difference to them.
        rng = torch_rng(random_state, torch.device("cpu"))
        modules = self._make_modules(is_adversarial(objective), vocabulary.n_tokens, rng, device)
        device = device_of(modules[0])  # what is no module has not been moved there
        data = Data.of(rows, shares - held_out, held_out, device)
        rng = torch_rng(random_state, device)
        frame = saved.frame if saved else Frame.of(self, vocabulary, rows, shares, held_out)
        check_same("X, sample_weight and symbols", lambda: (frame.data, list(vocabulary.symbols)))
        with computing(*modules):
            try_out(*modules, data.training, vocabulary.n_tokens, objective, rng)
            distribution = SequenceDistribution(modules[0], vocabulary, max_len)
            watchers, savers = attach(self.callbacks or [], distribution, frame)
            history = self._fitted("history_") or []
            run = fit_modules(
                *modules,
                data,
                make_phases(
                    objective,
                    **{name: getattr(self, name) for name in PHASES},
                    warm=saved.is_warm if saved else bool(history),
                ),
                watchers=watchers,
                savers=savers,
                state=saved.state if saved else None,
                history=history,
                best_epoch=self._fitted("best_epoch_") or 0,
                n_tokens=vocabulary.n_tokens,
                patience=self.n_iter_no_change,
                batch_size=int(self.batch_size),
                discriminator_learning_rate=self.discriminator_learning_rate,
                precision=self.precision,
                verbose=self.verbose if is_first() else 0,
                rng=rng,
            )
        if run.fitted:
            self.distribution_, self.discriminator_ = distribution, modules[1]
            self.history_, self.n_iter_ = run.history, run.n_epochs
            self.best_epoch_ = run.best_epoch
            self.split_ = Split.of(rows, shares, held_out) if held_out.any() else None
            unseen = not run.counted_all or not has_count(modules[0])
            new_ones = unseen and not repeat_themselves(shares)
            self.held_out_ = [sequences[i] for i in first[held_out > 0]] if new_ones else []
            for module in modules:
                if isinstance(module, nn.Module):
                    module.eval()
        report(run)
        return self

    def discriminate(self, X: Sequences, *, random: bool = True) -> NDArray[np.float64]:
        """Probability that each sequence is real, and neither generated nor random: (n,), float64.

        All three are equally probable beforehand. The discriminator has met data and samples alone:
        its logit l estimates log p_data / p there, and says nothing of other sequences. The
        likelihood p does. Beside q(x) = V^-(length + 1), which draws every symbol and END from all V
        tokens alike, Bayes' rule gives

            u p / (u p + p + q),   u = exp(l).

        Where q is far below p, this is the discriminator's own sigmoid, 1/2 if it cannot tell data
        from samples. It is never higher, and near 0 where random symbols explain a sequence better
        than the generator does, which can be a real one that is like no other.

        ``random=False`` leaves random sequences out: the discriminator's sigmoid, the probability
        given that half are real and the others generated. Where a symbol is unknown and
        ``handle_unknown="neg_inf"``, the result is 0, or NaN without `random`.

        Raises
        ------
        ValueError
            If the estimator was fitted without a discriminator.
        """
        check_is_fitted(self)
        check(random, "random", FLAG)
        discriminator, generator = self.discriminator_, self.generator_
        if discriminator is None:
            raise ValueError(
                "fit has trained no discriminator; it needs an adversarial objective such as 'pooled' "
                f"and a generator to train, got {self.objective!r} and {type(generator).__name__}"
            )

        def judge(tokens: Tensor) -> NDArray[np.float64]:
            n_tokens = self.vocabulary_.n_tokens if random else None
            logits = posterior_logits(generator, discriminator, tokens, n_tokens)
            probabilities: NDArray[np.float64] = logits.sigmoid().numpy()
            return probabilities

        unknown = 0.0 if random else np.nan
        with computing(discriminator, generator):
            return evaluate(self.vocabulary_, X, judge, self.handle_unknown, unknown)

    def _finish_reading(self) -> None:
        check_parameters(self)
        super()._finish_reading()

    # Parameters to objects

    def _hold_out(
        self, rows: Tensor, shares: NDArray[np.float64], random_state: np.random.RandomState
    ) -> NDArray[np.float64]:
        """Return the weights of distinct rows that are held out: as in the fit that is continued."""
        if not self.early_stopping:
            return np.zeros_like(shares)
        before = self._fitted("split_")
        again = None if before is None else before.again(rows, shares)
        return (
            hold_out(shares, self.validation_fraction, random_state)[1] if again is None else again
        )

    def _make_vocabulary(self, sequences: list[Sequence[Hashable]]) -> Vocabulary:
        text = is_text(sequences)
        options: Any = dict(
            token_pattern=self.token_pattern, unknown_token=self.handle_unknown == "token"
        )
        if self.token_pattern is not None and text:
            check_covered(self.token_pattern, sequences)
        if self._fitted("distribution_") is not None:
            vocabulary = self.vocabulary_
            check_one_type(sequences, vocabulary.text, "X", like="the data of the previous fit")
            for name, value in options.items():
                if getattr(vocabulary, name) != value:
                    raise ValueError(
                        f"warm_start goes on with the symbols of the previous fit, which had {name}="
                        f"{getattr(vocabulary, name)!r}, and now it is {value!r}; set warm_start=False"
                    )
        elif self.vocabulary is not None:
            vocabulary = Vocabulary(sort_symbols(self.vocabulary), text, **options)
        else:
            return Vocabulary.from_sequences(sequences, **options)
        check_known(vocabulary, sequences)
        return vocabulary
