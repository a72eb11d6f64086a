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
    display = TrainingDisplay.from_estimator(fitted, keys=["generator_loss"])
    (ax,) = display.axes_
    (line,) = ax.lines
    shown = [r for r in fitted.history_ if "generator_loss" in r]
    assert line.get_xdata().tolist() == [r["epoch"] for r in shown]
    np.testing.assert_allclose(line.get_ydata(), [r["generator_loss"] for r in shown])
    assert display.figure_ is ax.figure


def test_several_fits_are_a_mean_and_a_band_from_lowest_to_highest():
    histories = [[{"generator_loss": v} for v in values] for values in ([1, 2, 3], [3, 2, 5], [2])]
    display = TrainingDisplay.from_histories(histories, keys=["generator_loss"])
    ax = display.axes_[0]
    assert ax.lines[0].get_ydata().tolist() == [2, 2, 4]
    band = ax.collections[0].get_paths()[0].vertices
    assert {(x, y) for x, y in band} == {(1, 1), (1, 3), (2, 2), (3, 3), (3, 5)}


def test_the_discriminators_loss_has_a_logarithmic_scale(fitted):
    display = TrainingDisplay.from_estimator(fitted)
    assert [ax.get_yscale() for ax in display.axes_] == ["log", "linear"]


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
    TrainingDisplay.from_estimator(fitted, axes=axes[:2])
    LengthDisplay.from_samples(["a"], ["b"], ax=axes[2])
    assert all(ax.has_data() for ax in axes)
    assert len(plt.get_fignums()) == 1
