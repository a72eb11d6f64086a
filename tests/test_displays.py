"""Figures hold the numbers they claim to show."""

import matplotlib
import numpy as np
import pytest

from likelihood_gan.displays import DiscriminatorDisplay, LengthDisplay, TrainingDisplay

matplotlib.use("Agg")
import matplotlib.pyplot as plt


@pytest.fixture(autouse=True)
def close_figures():
    yield
    plt.close("all")


def test_training_display_shows_the_history_of_an_estimator(fitted):
    display = TrainingDisplay.from_estimator(fitted, keys=["validation_nll"])
    (ax,) = display.axes_
    line, kept = ax.lines
    assert line.get_xdata().tolist() == [r["epoch"] for r in fitted.history_]
    np.testing.assert_allclose(line.get_ydata(), [r["validation_nll"] for r in fitted.history_])
    assert kept.get_xdata() == [fitted.best_epoch_] * 2
    labels = [text.get_text() for text in ax.get_legend().get_texts()]
    assert labels == [
        "pretrain",
        "discriminator",
        "adversarial",
        f"kept: epoch {fitted.best_epoch_}",
    ]
    assert display.figure_ is ax.figure


HISTORY = [
    {"epoch": epoch, "phase": phase, key: value, "validation_nll": 3.0}
    for epoch, phase, key, value in [
        (0, "count", "seconds", 1.0),
        (1, "pretrain", "generator_loss", 9.0),
        (2, "pretrain", "generator_loss", 8.0),
        (3, "pretrain", "generator_loss", 7.0),
        (4, "discriminator", "discriminator_loss", 1.4),
        (5, "adversarial", "generator_loss", 0.5),
        (6, "adversarial", "generator_loss", 0.4),
    ]
]


def test_a_loss_is_not_joined_across_phases_and_each_phase_is_shaded():
    display = TrainingDisplay.from_histories([HISTORY], keys=["generator_loss"])
    (ax,) = display.axes_
    assert [line.get_xdata().tolist() for line in ax.lines] == [[1, 2, 3], [5, 6]]
    shaded = {
        p.get_label(): p.get_extents().transformed(ax.transData.inverted()) for p in ax.patches
    }
    spans = {name: (box.x0, box.x1) for name, box in shaded.items() if box.x1 > 0.5}
    expected = {"pretrain": (0.5, 3.5), "discriminator": (3.5, 4.5), "adversarial": (4.5, 6.5)}
    assert spans.keys() == expected.keys()
    for name, span in expected.items():
        assert spans[name] == pytest.approx(span)


def test_what_has_no_curve_is_left_out_unless_it_is_asked_for():
    display = TrainingDisplay.from_histories([HISTORY])
    assert list(display.curves) == ["validation_nll", "generator_loss"]
    assert display.epochs.tolist() == [0, 1, 2, 3, 4, 5, 6]
    display = TrainingDisplay.from_histories([HISTORY], keys=["discriminator_loss"])
    assert display.axes_[0].get_xlim() == (3.5, 4.5)
    assert list(TrainingDisplay.from_histories([HISTORY[:2]]).curves) == [
        "validation_nll",
        "generator_loss",
    ]


def test_phases_are_shaded_only_where_the_fits_agree():
    short = [HISTORY[0], HISTORY[1], *HISTORY[4:]]
    display = TrainingDisplay.from_histories([HISTORY, short])
    assert display.phases == ["count", "pretrain", "", "", "", "adversarial", "adversarial"]


def test_several_fits_are_a_mean_and_a_band_from_lowest_to_highest():
    histories = [[{"generator_loss": v} for v in values] for values in ([1, 2, 3], [3, 2, 5], [2])]
    display = TrainingDisplay.from_histories(histories, keys=["generator_loss"])
    ax = display.axes_[0]
    assert ax.lines[0].get_ydata().tolist() == [2, 2, 4]
    band = ax.collections[0].get_paths()[0].vertices
    assert {(x, y) for x, y in band} == {(1, 1), (1, 3), (2, 2), (3, 3), (3, 5)}


@pytest.mark.parametrize("last, scale", [(1.2, "linear"), (0.01, "log")])
def test_the_discriminators_loss_has_a_logarithmic_scale_where_it_spans_a_decade(last, scale):
    history = [{"discriminator_loss": value} for value in (1.4, 1.3, last)]
    display = TrainingDisplay.from_histories([history])
    assert [ax.get_yscale() for ax in display.axes_] == [scale]
    display.figure_.canvas.draw()
    ticks = [t for t in display.axes_[0].get_xticklabels() if t.get_text()]
    assert all(float(t.get_text()) == int(float(t.get_text())) for t in ticks)


def test_length_display_shows_the_share_of_every_length():
    display = LengthDisplay.from_samples(["", "a", "ab", "cd"], [("x", "y", "z")])
    assert display.counts["generated"].tolist() == [1, 1, 2, 0]
    heights = [bar.get_height() for bar in display.ax_.patches]
    assert heights == [0.25, 0.25, 0.5, 0, 0, 0, 0, 1]
    labels = [text.get_text() for text in display.ax_.get_legend().get_texts()]
    assert labels == ["generated, mean 1.25", "real, mean 3.00"]


def test_discriminator_display_puts_the_optimum_beside_the_discriminator(fitted, names):
    data = [*names, "anna", "anna"]
    display = DiscriminatorDisplay.from_estimator(fitted, data)
    i = list(dict.fromkeys(data)).index("anna")
    p = np.exp(fitted.score_samples(["anna"])[0])
    share = 3 / len(data)
    assert display.weight[i] == pytest.approx(share)
    assert display.optimum[i] == pytest.approx(share / (share + p))
    judged = fitted.discriminate(["anna"], random=False)[0]
    assert display.probability[i] == pytest.approx(judged, rel=1e-5)
    offsets = display.ax_.collections[0].get_offsets()
    np.testing.assert_allclose(offsets, np.c_[display.optimum, display.probability])
    areas = display.ax_.collections[0].get_sizes()
    assert areas[i] == pytest.approx(3 * areas[0])


def test_figures_are_drawn_into_given_axes(fitted):
    _, axes = plt.subplots(1, 3)
    keys = ["generator_loss", "discriminator_loss"]
    TrainingDisplay.from_estimator(fitted, keys=keys, axes=axes[:2])
    LengthDisplay.from_samples(["a"], ["b"], ax=axes[2])
    assert all(ax.has_data() for ax in axes)
    assert len(plt.get_fignums()) == 1
