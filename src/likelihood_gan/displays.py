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
LOGARITHMIC = {"discriminator_loss"}  # as in the report


class TrainingDisplay:
    """Curves of one or several fits per epoch: the mean, and the band from lowest to highest.

    With the losses of 30 fits this is Figure 5 of the report.

    Parameters
    ----------
    curves : mapping of str to array of shape (n_fits, n_epochs)
        One entry per panel; NaN where an epoch has no such number.

    Attributes
    ----------
    axes_ : ndarray of matplotlib axes
        One per panel.
    figure_ : matplotlib figure
    """

    def __init__(self, *, curves: Mapping[str, np.ndarray]):
        self.curves = curves

    @classmethod
    def from_estimator(
        cls,
        estimator: Any,
        *,
        keys: Sequence[str] = ("discriminator_loss", "generator_loss"),
        axes: Any = None,
    ) -> Self:
        """Draw the history of one fitted estimator; see `from_histories`."""
        return cls.from_histories([estimator.history_], keys=keys, axes=axes)

    @classmethod
    def from_histories(
        cls,
        histories: Iterable[Sequence[Mapping[str, Any]]],
        *,
        keys: Sequence[str] = ("discriminator_loss", "generator_loss"),
        axes: Any = None,
    ) -> Self:
        """Draw some columns of the histories of several fits.

        Parameters
        ----------
        histories : iterable of lists of dict
            `history_` of each fit; shorter ones end earlier.
        keys : sequence of str
            Columns of the history, one panel each.
        axes : sequence of matplotlib axes, optional
            As many as `keys`; a new figure if missing.

        Raises
        ------
        ValueError
            If there is no history, or a key is in none of the records.
        """
        histories = [list(history) for history in histories]
        if not any(histories):
            raise ValueError("histories holds no epochs; fit the estimator first")
        for key in keys:
            if not any(key in record for history in histories for record in history):
                known = sorted(
                    {key for history in histories for record in history for key in record}
                )
                raise ValueError(f"keys must name columns of the history {known}, got {key!r}")
        n_epochs = max(map(len, histories))
        curves = {key: np.full((len(histories), n_epochs), np.nan) for key in keys}
        for key, curve in curves.items():
            for row, history in zip(curve, histories, strict=True):
                row[: len(history)] = [record.get(key, np.nan) for record in history]
        return cls(curves=curves).plot(axes)

    def plot(self, axes: Any = None) -> Self:
        """Draw one panel per curve."""
        self.axes_, self.figure_ = _make_axes(axes, len(self.curves))
        for ax, (key, curve) in zip(self.axes_, self.curves.items(), strict=True):
            seen = ~np.isnan(curve).all(0)
            epochs, values = np.arange(1, curve.shape[1] + 1)[seen], curve[:, seen]
            ax.plot(epochs, np.nanmean(values, 0), label="mean" if len(curve) > 1 else None)
            if len(curve) > 1:
                low, high = np.nanmin(values, 0), np.nanmax(values, 0)
                ax.fill_between(epochs, low, high, alpha=0.3, label=f"range of {len(curve)} fits")
                ax.legend()
            ax.set(xlabel="epoch", ylabel=LABELS.get(key, key))
            if key in LOGARITHMIC:
                ax.set_yscale("log")
        return self


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
