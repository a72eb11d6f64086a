"""Figures in scikit-learn's Display pattern: each holds numbers, and draws them when asked.

matplotlib is imported only to draw. What the numbers mean is explained where they are made, in
`training`.
"""

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Self

import numpy as np

from likelihood_gan.validation import Sequences, check_sequences

LABELS = {
    "discriminator_loss": "discriminator loss",
    "discriminator_accuracy": "discriminator accuracy",
    "generator_loss": "generator loss",
    "effective_sample_size": "effective sample size",
    "weighted_mean_length": "mean length under the weights",
    "corpus_mass": "generator's mass on the corpus",
    "validation_nll": "held-out nats per sequence",
}
SHOWN = ("validation_nll", "generator_loss", "discriminator_loss")
"""The columns that are drawn if nothing else is asked for."""
LOGARITHMIC = {"discriminator_loss"}  # as in the report, where it spans a decade


class TrainingDisplay:
    """Curves of one or several fits per epoch: the mean, and the band from lowest to highest.

    Phases are shaded, and a loss is not joined across them: it means something else in each. A line
    marks the epoch that is kept. With the losses of 30 fits this is Figure 5 of the report.

    Parameters
    ----------
    curves : mapping of str to array of shape (n_fits, n_epochs)
        One entry per panel; NaN where an epoch has no such number.
    epochs : array of shape (n_epochs,), optional
        Their numbers; from 1 if missing.
    phases : sequence of str, optional
        The phase of each epoch, "" if the fits do not agree.
    best_epoch : int, optional
        The epoch that is kept.

    Attributes
    ----------
    axes_ : ndarray of matplotlib axes
        One per panel.
    figure_ : matplotlib figure
    """

    def __init__(
        self,
        *,
        curves: Mapping[str, np.ndarray],
        epochs: np.ndarray | None = None,
        phases: Sequence[str] | None = None,
        best_epoch: int | None = None,
    ):
        self.curves, self.best_epoch = curves, best_epoch
        n_epochs = max(curve.shape[1] for curve in curves.values())
        self.epochs = np.arange(1, n_epochs + 1) if epochs is None else epochs
        self.phases = [""] * n_epochs if phases is None else list(phases)

    @classmethod
    def from_estimator(
        cls, estimator: Any, *, keys: Sequence[str] | None = None, axes: Any = None
    ) -> Self:
        """Draw the history of one fitted estimator, and its best epoch; see `from_histories`."""
        display = cls._of([estimator.history_], keys)
        display.best_epoch = getattr(estimator, "best_epoch_", None)
        return display.plot(axes)

    @classmethod
    def from_histories(
        cls,
        histories: Iterable[Sequence[Mapping[str, Any]]],
        *,
        keys: Sequence[str] | None = None,
        axes: Any = None,
    ) -> Self:
        """Draw some columns of the histories of several fits.

        Parameters
        ----------
        histories : iterable of lists of dict
            `history_` of each fit; shorter ones end earlier.
        keys : sequence of str, optional
            Columns of the history, one panel each. If missing, the held-out nats and both losses, as
            far as there are any.
        axes : sequence of matplotlib axes, optional
            As many as `keys`; a new figure if missing.

        Raises
        ------
        ValueError
            If there is no history, or a key is in none of the records.
        """
        return cls._of(histories, keys).plot(axes)

    @classmethod
    def _of(
        cls, histories: Iterable[Sequence[Mapping[str, Any]]], keys: Sequence[str] | None
    ) -> Self:
        histories = [list(history) for history in histories]
        if not any(histories):
            raise ValueError("histories holds no epochs; fit the estimator first")
        known = Counter(key for history in histories for record in history for key in record)
        if keys is None:  # of one epoch or two there is no curve
            few = 2 * len(histories)
            keys = [key for key in SHOWN if known[key] > few] or [k for k in SHOWN if k in known]
            if not keys:
                raise ValueError(
                    f"histories hold none of {', '.join(SHOWN)}, only {sorted(known)}; pass keys="
                )
        for key in keys:
            if key not in known:
                raise ValueError(
                    f"keys must name columns of the history {sorted(known)}, got {key!r}"
                )
        n = max(map(len, histories))
        curves = {key: np.full((len(histories), n), np.nan) for key in keys}
        for key, curve in curves.items():
            for row, history in zip(curve, histories, strict=True):
                row[: len(history)] = [record.get(key, np.nan) for record in history]
        longest = max(histories, key=len)
        phases = []
        for i, record in enumerate(longest):
            seen = {history[i].get("phase", "") for history in histories if len(history) > i}
            phases.append(record.get("phase", "") if len(seen) == 1 else "")
        epochs = [record.get("epoch", i) for i, record in enumerate(longest, start=1)]
        return cls(curves=curves, epochs=np.array(epochs), phases=phases)

    def plot(self, axes: Any = None) -> Self:
        """Draw one panel per curve."""
        self.axes_, self.figure_ = _make_axes(axes, len(self.curves))
        for ax, (key, curve) in zip(self.axes_, self.curves.items(), strict=True):
            spans = self._spans() if key.endswith("_loss") else [np.arange(curve.shape[1])]
            for span in spans:
                seen = span[~np.isnan(curve[:, span]).all(0)]
                if len(seen):
                    self._draw(ax, self.epochs[seen], curve[:, seen])
            drawn = self.epochs[~np.isnan(curve).all(0)]
            ax.set(xlabel="epoch", ylabel=LABELS.get(key, key))
            ax.set_xlim(drawn.min() - 0.5, drawn.max() + 0.5)
            self._mark(ax, drawn.max())
            _make_readable(ax, curve, key in LOGARITHMIC)
        handles, labels = self.axes_[0].get_legend_handles_labels()
        once = dict(zip(labels, handles, strict=True))
        if once:
            self.axes_[0].legend(once.values(), once.keys(), fontsize="small")
        return self

    def _draw(self, ax: Any, epochs: np.ndarray, values: np.ndarray) -> None:
        several, marker = len(values) > 1, "o" if len(epochs) == 1 else None
        label = "mean" if several else None
        ax.plot(epochs, np.nanmean(values, 0), color="C0", marker=marker, label=label)
        if several:
            low, high = np.nanmin(values, 0), np.nanmax(values, 0)
            label = f"range of {len(values)} fits"
            ax.fill_between(epochs, low, high, color="C0", alpha=0.3, label=label)

    def _mark(self, ax: Any, last: int) -> None:
        """Shade the phases, and draw a line at the epoch that is kept."""
        for i, span in enumerate(self._spans(), start=1):
            first, end = self.epochs[span[0]] - 0.5, min(self.epochs[span[-1]], last) + 0.5
            if self.phases[span[0]] and first < end and ax.get_xlim()[0] < end:
                label = self.phases[span[0]]
                ax.axvspan(first, end, color=f"C{i}", alpha=0.15, linewidth=0, label=label)
        if self.best_epoch is not None:
            label = f"kept: epoch {self.best_epoch}"
            ax.axvline(self.best_epoch, color="black", linestyle=":", label=label)

    def _spans(self) -> list[np.ndarray]:
        """Return the places of the epochs of each phase."""
        changes = [i for i in range(1, len(self.phases)) if self.phases[i] != self.phases[i - 1]]
        return np.split(np.arange(len(self.phases)), changes)


class LengthDisplay:
    """Lengths of generated and of real sequences side by side: Figure 6 of the report.

    Parameters
    ----------
    counts : mapping of str to array of shape (max_len + 1,)
        How many sequences have 0, 1, ... symbols, for each list that is shown.

    Attributes
    ----------
    ax_ : matplotlib axes
    figure_ : matplotlib figure
    """

    def __init__(self, *, counts: Mapping[str, np.ndarray]):
        self.counts = counts

    @classmethod
    def from_samples(cls, generated: Sequences, real: Sequences, *, ax: Any = None) -> Self:
        """Draw the shares of the lengths in two lists of sequences."""
        lists = {
            name: [len(s) for s in check_sequences(sequences, name)]
            for name, sequences in {"generated": generated, "real": real}.items()
        }
        for name, lengths in lists.items():
            if not lengths:
                raise ValueError(f"{name} is empty; pass at least one sequence")
        longest = max(max(lengths) for lengths in lists.values())
        counts = {
            name: np.bincount(lengths, minlength=longest + 1) for name, lengths in lists.items()
        }
        return cls(counts=counts).plot(ax)

    def plot(self, ax: Any = None) -> Self:
        """Draw one bar per length and list."""
        (self.ax_,), self.figure_ = _make_axes(None if ax is None else [ax], 1)
        width = 0.8 / len(self.counts)
        for i, (name, counts) in enumerate(self.counts.items()):
            lengths = np.arange(len(counts))
            shift = (i - (len(self.counts) - 1) / 2) * width
            mean = (lengths * counts).sum() / counts.sum()
            label = f"{name}, mean {mean:.2f}"
            self.ax_.bar(lengths + shift, counts / counts.sum(), width, label=label)
        self.ax_.set(xlabel="symbols", ylabel="share of the sequences")
        self.ax_.legend()
        return self


class DiscriminatorDisplay:
    """The discriminator's probability against the best possible one, p̂ / (p̂ + p).

    Exact likelihoods make the optimum known (Goodfellow et al. 2014, Proposition 1): p is the
    generator's probability of a sequence, p̂ its share of the data.

    Parameters
    ----------
    optimum, probability : arrays of shape (n,)
        One entry per distinct sequence of the data.
    weight : array of shape (n,)
        p̂.

    Attributes
    ----------
    ax_ : matplotlib axes
    figure_ : matplotlib figure
    """

    def __init__(self, *, optimum: np.ndarray, probability: np.ndarray, weight: np.ndarray):
        self.optimum = optimum
        self.probability = probability
        self.weight = weight

    @classmethod
    def from_estimator(cls, estimator: Any, X: Sequences, *, ax: Any = None) -> Self:
        """Draw a fitted estimator's discriminator on the data `X`, duplicates counted."""
        counts = Counter(check_sequences(X))
        sequences = list(counts)
        share = np.array([counts[s] for s in sequences]) / counts.total()
        log_odds = np.log(share) - estimator.score_samples(sequences)
        optimum = 1 / (1 + np.exp(-log_odds))
        probability = estimator.discriminate(sequences, random=False)
        return cls(optimum=optimum, probability=probability, weight=share).plot(ax)

    def plot(self, ax: Any = None) -> Self:
        """Draw a point per sequence, its area the weight, and the diagonal of the optimum."""
        (self.ax_,), self.figure_ = _make_axes(None if ax is None else [ax], 1)
        self.ax_.plot([0, 1], [0, 1], color="black", linewidth=1, label="optimum")
        area = 4 * self.weight / self.weight.mean()
        self.ax_.scatter(self.optimum, self.probability, s=area, alpha=0.3, label="sequences")
        self.ax_.set(xlabel="p̂ / (p̂ + p)", ylabel="discriminator", xlim=(0, 1), ylim=(0, 1))
        self.ax_.legend()
        return self


def _make_readable(ax: Any, curve: np.ndarray, logarithmic: bool) -> None:
    """Give epochs whole numbers, and a logarithmic scale to what spans a decade: else it has no ticks."""
    from matplotlib.ticker import MaxNLocator

    ax.xaxis.set_major_locator(MaxNLocator(integer=True))
    values = curve[np.isfinite(curve)]
    if logarithmic and len(values) and values.min() > 0 and values.max() > 10 * values.min():
        ax.set_yscale("log")


def _make_axes(axes: Any, n: int) -> tuple[np.ndarray, Any]:
    """Return `n` axes and their figure: those given, or new ones side by side."""
    if axes is None:
        try:
            import matplotlib.pyplot as plt
        except ImportError as error:
            raise ImportError(
                "figures need matplotlib: pip install 'likelihood-gan[plot]'"
            ) from error
        figure, axes = plt.subplots(1, n, figsize=(5 * n, 3.5), squeeze=False, layout="constrained")
        return axes[0], figure
    axes = np.asarray(axes, dtype=object).ravel()
    if len(axes) != n:
        raise ValueError(f"axes must hold {n} matplotlib axes, got {len(axes)}")
    return axes, axes[0].figure
