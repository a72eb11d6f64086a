"""`DiscriminatorClassifier`: any discriminator as a scikit-learn classifier of sequences.

It learns from labelled sequences alone; adversarial training is left to `training`, what is made of
its logits to `refinement`.
"""

import copy
import itertools
import math
import numbers
import time
from collections.abc import Hashable, Iterator, Mapping, Sequence
from typing import Any, Self

import numpy as np
import torch
from scipy.special import expit
from sklearn.base import BaseEstimator, ClassifierMixin
from sklearn.utils import check_random_state, column_or_1d
from sklearn.utils.multiclass import check_classification_targets, type_of_target
from sklearn.utils.validation import check_consistent_length, check_is_fitted, check_scalar
from torch import Tensor, nn
from torch.nn.functional import binary_cross_entropy_with_logits

from likelihood_gan.corpus import Corpus, count_distinct
from likelihood_gan.models import ConvDiscriminator
from likelihood_gan.modules import build_module, device_of, on_cpu, resolve_device, torch_rng
from likelihood_gan.protocols import END, call_with_rng
from likelihood_gan.training import Record, Schedule, logits, rate_at
from likelihood_gan.validation import check_schedule, check_sequences, check_weights
from likelihood_gan.vocabulary import Vocabulary, is_text, pad


class DiscriminatorClassifier(ClassifierMixin, BaseEstimator):
    """Tell two classes of sequences apart with a neural discriminator.

    Its logit depends on the sequence alone. It sees what no n-gram does, such as brackets that match
    or a beginning that fits the end; n-grams are faster, and better at what is local. Both together
    are a `sklearn.ensemble.StackingClassifier`, see the examples.

    Parameters
    ----------
    discriminator : module, callable or None, default=None
        A `torch.nn.Module`, tokens (batch, time) -> logits (batch,) (it is copied, never trained in
        place), or a callable `f(n_tokens, **discriminator_params)` that builds one; `n_tokens`
        counts END (0), every symbol, and one more for all that were not there in `fit`. None is
        `ConvDiscriminator` with dropout 0.3.
    discriminator_params : dict or None, default=None
        Keyword arguments for the callable, such as ``{"hidden_size": 32}``.
    max_epochs : int, default=20
        Most passes over the data.
    batch_size : int, default=256
        Sequences a step.
    learning_rate : float, mapping or callable, default=0.001
        AdamW's step size; as `learning_rate` of `LikelihoodGAN`.
    weight_decay : float, default=0.01
        AdamW's, decoupled: each step shrinks the weights by this share of the step size.
    symbol_dropout : float, default=0.05
        Share of the symbols that are hidden in training. This keeps it from learning sequences by
        heart, and teaches what to make of a symbol that was not there in `fit`.
    early_stopping : bool, default=True
        Hold out `validation_fraction` of the sequences of each class, keep the epoch with their
        lowest log loss, and stop after `n_iter_no_change` epochs without progress.
    validation_fraction : float, default=0.1
        Share that is held out.
    n_iter_no_change : int, default=5
        Epochs without progress that end the fit.
    device : str, torch.device or None, default=None
        Where to compute; None is PyTorch's default. A device that is missing falls back to the
        CPU with a warning.
    random_state : int, RandomState or None, default=None
        Seed of the weights, the held-out part, the batches and the dropout.

    Attributes
    ----------
    classes_ : ndarray of shape (2,)
        The labels; a high logit says the second.
    discriminator_ : torch.nn.Module
        The trained module.
    vocabulary_ : Vocabulary
        The symbols in the order of their tokens; the next token stands for any other symbol.
    history_ : list of dict
        One record per epoch: `epoch`, `loss`, with early stopping `validation_loss` (log loss,
        nats), `seconds`.
    n_iter_ : int
        Number of epochs run.
    best_epoch_ : int
        The epoch whose weights were kept.

    Notes
    -----
    A sequence of weight 2 is one that comes twice, exactly so without early stopping; with it, a
    weighted sequence is held out as one, and repeated ones are dealt one by one. An epoch draws as
    many sequences as there are distinct ones.

    Examples
    --------
    >>> from sklearn.ensemble import StackingClassifier
    >>> from sklearn.linear_model import LogisticRegression
    >>> from sklearn.pipeline import make_pipeline
    >>> from likelihood_gan.ngrams import NGramHasher
    >>> classifier = StackingClassifier(
    ...     [
    ...         ("ngrams", make_pipeline(NGramHasher(), LogisticRegression(C=0.1))),
    ...         ("neural", DiscriminatorClassifier(random_state=0)),
    ...     ]
    ... )
    """

    def __init__(
        self,
        discriminator: Any = None,
        *,
        discriminator_params: Mapping[str, Any] | None = None,
        max_epochs: int = 20,
        batch_size: int = 256,
        learning_rate: Schedule = 1e-3,
        weight_decay: float = 0.01,
        symbol_dropout: float = 0.05,
        early_stopping: bool = True,
        validation_fraction: float = 0.1,
        n_iter_no_change: int = 5,
        device: str | torch.device | None = None,
        random_state: Any = None,
    ):
        self.discriminator = discriminator
        self.discriminator_params = discriminator_params
        self.max_epochs = max_epochs
        self.batch_size = batch_size
        self.learning_rate = learning_rate
        self.weight_decay = weight_decay
        self.symbol_dropout = symbol_dropout
        self.early_stopping = early_stopping
        self.validation_fraction = validation_fraction
        self.n_iter_no_change = n_iter_no_change
        self.device = device
        self.random_state = random_state

    def fit(self, X: Any, y: Any, sample_weight: Any = None) -> Self:
        """Learn to tell the classes apart.

        Parameters
        ----------
        X : iterable of str, or of sequences of hashable symbols
            Empty sequences are legal.
        y : array-like of shape (n,)
            Labels of two classes.
        sample_weight : array-like of shape (n,), optional
            Non-negative weight of each sequence, in any unit.

        Returns
        -------
        self

        Raises
        ------
        TypeError, ValueError
            If a parameter, the data or the discriminator is not as promised; the classifier is
            unchanged.
        FloatingPointError
            If training diverged; the classifier is unchanged.
        """
        self._check_parameters()
        sequences = check_sequences(X)
        weights = check_weights(sample_weight, len(sequences))
        y = column_or_1d(y, warn=True)
        check_consistent_length(sequences, y)
        check_classification_targets(y)
        kept = np.flatnonzero(weights > 0)
        sequences = [sequences[i] for i in kept]
        classes, labels = np.unique(y[kept], return_inverse=True)
        if len(classes) != 2:
            raise ValueError(
                f"Only binary classification is supported. The type of the target is "
                f"{type_of_target(y)}: y must hold two classes, got {len(classes)} class(es), "
                f"{classes[:5]}; for more of them see sklearn.multiclass.OneVsRestClassifier"
            )
        vocabulary = Vocabulary.from_sequences(sequences)
        rows = _encode(vocabulary, sequences)
        # sorted, so that the order of the data does not matter
        drawn = sorted(zip(labels.tolist(), rows, weights[kept].tolist(), strict=True))
        random_state = check_random_state(self.random_state)
        device = resolve_device(self.device)
        # Weights are drawn on the CPU, so that the device makes no difference to them.
        initial_rng, rng = (torch_rng(random_state, place) for place in ("cpu", device))
        part, rest = self._split(np.array([label for label, _, _ in drawn]), classes, random_state)
        learned = _Labelled([drawn[i] for i in part], device)
        held_out = _Labelled([drawn[i] for i in rest], device) if len(rest) else None
        n_tokens = vocabulary.n_tokens + 1
        discriminator = self._make_discriminator(n_tokens, initial_rng).to(device)
        _try_out(discriminator, learned.corpus.tokens, n_tokens, rng)
        history, best_epoch = self._train(discriminator, learned, held_out, n_tokens - 1, rng)
        self.classes_ = classes
        self.vocabulary_ = vocabulary
        self.discriminator_ = discriminator.eval()
        self.history_ = history
        self.n_iter_ = len(history)
        self.best_epoch_ = best_epoch
        return self

    def decision_function(self, X: Any) -> np.ndarray:
        """Return the log-odds of the second class: (n,), float64, nats.

        Raises
        ------
        TypeError, ValueError
            If `X` holds no sequences, or strings where `fit` saw others.
        """
        check_is_fitted(self, "discriminator_")
        sequences = check_sequences(X)
        if not sequences:
            raise ValueError("X is empty; pass at least one sequence")
        if is_text(sequences) != self.vocabulary_.text:
            expected = "strings" if self.vocabulary_.text else "sequences of symbols"
            raise TypeError(f"X must hold {expected}, like the data of fit, got {sequences[0]!r}")
        device = device_of(self.discriminator_)
        tokens = pad(_encode(self.vocabulary_, sequences)).to(device)
        rng = torch.Generator(device).manual_seed(0)  # for plug-ins that draw when they judge
        return logits(self.discriminator_, tokens, rng).cpu().numpy()

    def predict(self, X: Any) -> np.ndarray:
        """Return the likelier label of each sequence: (n,)."""
        second = self.decision_function(X) > 0
        return self.classes_[second.astype(int)]

    def predict_proba(self, X: Any) -> np.ndarray:
        """Return the probability of each class, in the order of `classes_`: (n, 2)."""
        second = self.decision_function(X)
        return expit(np.stack([-second, second], 1))

    def __getstate__(self) -> dict[str, Any]:
        # CPU copies: a pickle with CUDA tensors cannot be opened on a machine without CUDA
        return {key: on_cpu(value) for key, value in super().__getstate__().items()}

    def __setstate__(self, state: dict[str, Any]) -> None:
        super().__setstate__(state)
        if hasattr(self, "discriminator_"):
            self.discriminator_.to(resolve_device(self.device))

    def __sklearn_tags__(self) -> Any:
        tags = super().__sklearn_tags__()
        tags.input_tags.string = True
        tags.input_tags.one_d_array = True
        tags.input_tags.two_d_array = False
        tags.classifier_tags.multi_class = False
        return tags

    def _check_parameters(self) -> None:
        for name in ("max_epochs", "batch_size", "n_iter_no_change"):
            check_scalar(getattr(self, name), name, numbers.Integral, min_val=1)
        check_schedule(self.learning_rate, "learning_rate")
        check_scalar(self.weight_decay, "weight_decay", numbers.Real, min_val=0)
        for name, boundaries in {
            "symbol_dropout": "left",
            "validation_fraction": "neither",
        }.items():
            check_scalar(
                getattr(self, name),
                name,
                numbers.Real,
                min_val=0,
                max_val=1,
                include_boundaries=boundaries,
            )

    def _split(
        self, labels: np.ndarray, classes: np.ndarray, random_state: np.random.RandomState
    ) -> tuple[np.ndarray, np.ndarray]:
        """Choose the sequences to learn from and, with early stopping, those to hold out.

        Repeated ones are dealt one by one: new data would repeat the old as often.
        """
        learned, held_out = [], []
        for label, name in enumerate(classes.tolist()):
            order = random_state.permutation(np.flatnonzero(labels == label))
            n = round(self.validation_fraction * len(order))
            n = min(max(n, 1), len(order) - 1) if self.early_stopping else 0
            if self.early_stopping and not n:
                raise ValueError(
                    "early_stopping=True holds sequences of each class out, so there must be at "
                    f"least two of each, got one of class {name!r}; pass more or set "
                    "early_stopping=False"
                )
            learned.append(order[n:])
            held_out.append(order[:n])
        return np.concatenate(learned), np.concatenate(held_out)

    def _make_discriminator(self, n_tokens: int, rng: torch.Generator) -> nn.Module:
        builder, params = self.discriminator, dict(self.discriminator_params or {})
        if builder is None:
            builder, params = ConvDiscriminator, {"dropout": 0.3} | params
        return build_module("discriminator", builder, params, n_tokens, rng)

    def _train(
        self,
        discriminator: nn.Module,
        learned: "_Labelled",
        held_out: "_Labelled | None",
        unknown: int,
        rng: torch.Generator,
    ) -> tuple[list[Record], int]:
        """Train in place; leave the weights of the best epoch and return its number."""
        history: list[Record] = []
        best, best_epoch, weights = math.inf, 0, {}
        epochs = self._epochs(discriminator, learned, unknown, rng)
        for record in itertools.islice(epochs, self.max_epochs):
            history.append(record)
            if held_out is not None:
                record["validation_loss"] = held_out.log_loss(discriminator, rng)
            if held_out is None or record["validation_loss"] < best:
                best, best_epoch = record.get("validation_loss", best), record["epoch"]
                weights = copy.deepcopy(discriminator.state_dict())
            elif record["epoch"] - best_epoch >= self.n_iter_no_change:
                break
        discriminator.load_state_dict(weights)
        return history, best_epoch

    def _epochs(
        self, discriminator: nn.Module, data: "_Labelled", unknown: int, rng: torch.Generator
    ) -> Iterator[Record]:
        """Train in place, without end, and yield one record per epoch."""
        parameters = [p for p in discriminator.parameters() if p.requires_grad]
        adam = torch.optim.AdamW(parameters, weight_decay=float(self.weight_decay), fused=True)
        discriminator.train()
        for epoch in itertools.count(1):
            started = time.perf_counter()
            adam.param_groups[0]["lr"] = rate_at(self.learning_rate, epoch)
            losses = []
            # Batches mix the classes and all lengths, so neither tells anything of the other.
            for index in data.corpus.epoch(self.batch_size, rng):
                tokens, _ = data.corpus.rows(index)
                hidden = torch.rand(tokens.shape, device=rng.device, generator=rng)
                hidden = (hidden < self.symbol_dropout) & (tokens != END)
                judged = call_with_rng(discriminator, tokens.masked_fill(hidden, unknown), rng=rng)
                loss = binary_cross_entropy_with_logits(judged, data.labels[index])
                adam.zero_grad()
                loss.backward()
                adam.step()
                losses.append(loss.detach())
            mean = float(torch.stack(losses).mean())
            if not math.isfinite(mean) or any(p.isnan().any() for p in parameters):
                raise FloatingPointError(
                    f"training diverged in epoch {epoch}: the loss became {mean}; try a learning_rate "
                    f"lower than {rate_at(self.learning_rate, epoch)}; the classifier is unchanged"
                )
            yield {"epoch": epoch, "loss": mean, "seconds": time.perf_counter() - started}


class _Labelled:
    """Distinct pairs of a sequence and a label, and their shares.

    `corpus` holds the sequences; one that has both labels is in it twice.
    """

    def __init__(self, drawn: Sequence[tuple[int, list[int], float]], device: torch.device):
        pairs, shares = count_distinct(
            ((label, *row) for label, row, _ in drawn), (weight for _, _, weight in drawn)
        )
        tokens = pad([row for _, *row in pairs])
        self.corpus = Corpus(tokens, torch.tensor(shares, dtype=torch.float64)).to(device)
        self.labels = torch.tensor([float(label) for label, *_ in pairs], device=device)

    def log_loss(self, discriminator: nn.Module, rng: torch.Generator) -> float:
        """Mean of -log P(label), nats."""
        losses = binary_cross_entropy_with_logits(
            logits(discriminator, self.corpus.tokens, rng), self.labels.double(), reduction="none"
        )
        return float(self.corpus.log_frequency.double().exp() @ losses)


def _encode(vocabulary: Vocabulary, sequences: Sequence[Sequence[Hashable]]) -> list[list[int]]:
    """Give tokens to symbols, to all unknown ones that behind the last."""
    token = {symbol: token for token, symbol in enumerate(vocabulary.symbols, start=1)}
    return [[token.get(symbol, vocabulary.n_tokens) for symbol in seq] for seq in sequences]


def _try_out(discriminator: nn.Module, tokens: Tensor, n_tokens: int, rng: torch.Generator) -> None:
    """Judge some rows together and alone, so that a broken promise is found before training."""
    name = type(discriminator).__name__
    if not any(p.requires_grad for p in discriminator.parameters()):
        raise ValueError(f"discriminator {name} has no parameters to train")
    tokens = tokens[:: -(-len(tokens) // 32)].clone()
    tokens[0, 0] = n_tokens - 1
    try:
        together, alone = (logits(discriminator, tokens, rng, n) for n in (len(tokens), 1))
    except (IndexError, RuntimeError) as error:
        raise ValueError(
            f"discriminator {name} failed on tokens from 0 to {n_tokens - 1}: {error}; was it built "
            f"for n_tokens={n_tokens}?"
        ) from error
    wrong = (~together.isclose(alone, 1e-4, 1e-4)).nonzero()
    if len(wrong):
        i = int(wrong[0])
        raise ValueError(
            f"discriminator {name} gives the row {tokens[i].tolist()} the logit {together[i]:.5g} "
            f"among others, but {alone[i]:.5g} alone; it must ignore what stands behind the first 0, "
            "and the other rows"
        )
