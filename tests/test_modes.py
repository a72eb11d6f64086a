"""PyTorch's modes are the caller's: what is fitted, drawn and scored does not depend on them."""

from contextlib import contextmanager

import numpy as np
import pytest
import torch
from conftest import tiny

from likelihood_gan import CharLSTM, LikelihoodGAN
from likelihood_gan.datasets import load_first_names
from likelihood_gan.models import ResidualLSTM

NAMES = load_first_names()[::80]

MODES = {
    "autocast": lambda: torch.autocast("cpu", torch.bfloat16),
    "no_grad": torch.no_grad,
    "inference_mode": torch.inference_mode,
    "a default device that cannot compute": lambda: torch.device("meta"),
}


@contextmanager
def default_dtype(dtype):
    before = torch.get_default_dtype()
    torch.set_default_dtype(dtype)
    try:
        yield
    finally:
        torch.set_default_dtype(before)


def fit(**parameters):
    return tiny(generator=ResidualLSTM, objective="pooled", device="cpu", **parameters).fit(NAMES)


def results(gan):
    """Return what it scores and draws."""
    long = gan.sample(3, min_len=2, random_state=0)  # by `step`
    return [
        gan.score_samples(NAMES),
        gan.discriminate(NAMES),
        gan.sample(20, random_state=0) + long + gan.sample(2000, random_state=1),
    ]


def same(first, second):
    return all(np.array_equal(a, b) for a, b in zip(first, second, strict=True))


@pytest.fixture(scope="module")
def gan():
    return fit()


@pytest.mark.parametrize("mode", MODES.values(), ids=MODES)
def test_a_fit_gives_the_same_bits_in_every_mode(mode, gan):
    with mode():
        fitted = fit()
    assert same(results(fitted), results(gan))
    assert [r["generator_loss"] for r in fitted.history_ if "generator_loss" in r]


@pytest.mark.parametrize("mode", MODES.values(), ids=MODES)
def test_scores_samples_and_files_are_the_same_bits_in_every_mode(mode, gan, tmp_path):
    with mode():
        assert same(results(gan), results(gan))
        found = results(gan)
        gan.save(tmp_path / "gan")
        loaded = LikelihoodGAN.load(tmp_path / "gan")
    assert same(found, results(gan))
    assert same(results(loaded), results(gan))


def test_weights_of_the_default_dtype_learn_in_it(gan):
    with default_dtype(torch.float64):
        fitted = fit()
        assert {p.dtype for p in fitted.generator_.parameters()} == {torch.float64}
        scores, *_ = results(fitted)
    np.testing.assert_allclose(scores, results(fitted)[0])
    np.testing.assert_allclose(scores, gan.score_samples(NAMES), rtol=0.05)  # other first weights


@pytest.mark.parametrize("dtype", [torch.float64, torch.bfloat16, torch.float16])
def test_a_fitted_model_keeps_its_dtype(dtype, gan):
    with default_dtype(dtype):
        scores, judged, drawn = results(gan)
    np.testing.assert_allclose(judged, results(gan)[1], atol=1e-3)  # a mean over places is rounded
    assert same([scores, drawn], results(gan)[::2])


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_weights_too_coarse_for_small_steps_are_refused(dtype):
    with (
        default_dtype(dtype),
        pytest.raises(ValueError, match=f"ResidualLSTM.* is {dtype}.*float.*precision='bf16'"),
    ):
        fit()
    given = CharLSTM(27, hidden_size=4).to(dtype)
    letters = sorted(set("".join(NAMES)))
    with pytest.raises(ValueError, match=f"CharLSTM.* is {dtype}"):
        tiny(generator=given, generator_params=None, vocabulary=letters).fit(NAMES)
