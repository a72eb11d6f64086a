"""What logits say: laws of `calibration`, on two Gaussians whose ratio is known.

Data have mean 1, samples mean 0, both variance 1: log u(x) = x - 1/2, KL = 1/2, and the relative
effective sample size of the weights u is exp(-1).
"""

import math
import warnings

import numpy as np
import pytest
from scipy import sparse
from scipy.stats import binom, norm
from sklearn.linear_model import LogisticRegression, RidgeClassifier
from sklearn.preprocessing import FunctionTransformer
from sklearn.tree import DecisionTreeClassifier

from likelihood_gan.calibration import (
    choose,
    log_partition,
    logit,
    relative_effective_sample_size,
)

BETAS = (0.25, 0.5, 0.75, 1.0)
QUANTILES = norm.ppf((np.arange(4000) + 0.5) / 4000)
REAL, GENERATED = QUANTILES + 1, QUANTILES


def chosen(real=REAL, weights=None, generated=GENERATED, betas=BETAS, least=0.0):
    weights = np.ones(len(real)) if weights is None else np.asarray(weights, dtype=float)
    return choose(np.asarray(real), weights, np.asarray(generated), betas, least)


def log_u(choice, x):
    return choice.beta * (choice.coef * x + choice.intercept)


# Calibration


@pytest.mark.parametrize(
    "scale, shift", [(1, 0), (3, 7), (0.01, -2), (1e5, 0), (1e-5, 1e3)], ids=str
)
def test_calibration_undoes_any_slope_and_intercept(scale, shift):
    choice = chosen(scale * REAL + shift, generated=scale * GENERATED + shift)
    x = np.linspace(-2, 3, 6)
    np.testing.assert_allclose(log_u(choice, scale * x + shift), x - 0.5, atol=0.02)
    assert choice.beta == 1
    assert choice.coef == pytest.approx(1 / scale, rel=0.01)


def test_the_gain_is_the_divergence_that_was_removed():
    choice = chosen()
    assert choice.gain == pytest.approx(0.5, abs=0.005)
    half = chosen(betas=(0.5,))
    # KL(p, q) - KL(p, q*) with q* of mean 1/2 after an exponent of 1/2
    assert half.gain == pytest.approx(0.5 - 0.125, abs=0.005)


def test_the_error_of_the_gain_is_its_deviation_over_many_draws():
    rng = np.random.RandomState(0)
    found = [
        chosen(rng.normal(1, 1, 200), generated=rng.normal(0, 1, 400), betas=(1.0,))
        for _ in range(200)
    ]
    gains, errors = (np.array([getattr(c, name) for c in found]) for name in ("gain", "error"))
    assert np.mean(errors) == pytest.approx(np.std(gains), rel=0.25)


def test_a_weight_of_two_is_a_sequence_given_twice_and_the_unit_makes_no_difference():
    weights = np.where(np.arange(len(REAL)) % 3 == 0, 2, 1)
    repeated = chosen(np.repeat(REAL, weights))
    weighed, scaled = chosen(weights=weights), chosen(weights=1e6 * weights)
    for name in ("beta", "gain", "coef", "intercept"):
        assert getattr(weighed, name) == pytest.approx(getattr(repeated, name), rel=1e-3)
        assert getattr(weighed, name) == pytest.approx(getattr(scaled, name), rel=1e-9)


def test_the_numbers_of_data_and_of_samples_are_no_information():
    few, many = chosen(REAL[::10]), chosen(generated=GENERATED[::10])
    assert few.intercept == pytest.approx(many.intercept, abs=0.05)


def test_a_logit_that_points_the_wrong_way_is_worth_nothing():
    choice = chosen(-REAL, generated=-GENERATED)
    assert (choice.coef, choice.intercept, choice.gain) == (0, 0, 0)


@pytest.mark.parametrize(
    "real, generated",
    [
        ([2.0] * 5, [2.0] * 9),
        ([5.0, 6.0, 7.0], [-5.0, -6.0]),
        ([1e100, -1e100, 0.0], [0.0, 1.0, -1e100]),
        (1e5 * REAL, 1e5 * GENERATED),
        ([0.3, 0.4], [0.1, 0.5]),
    ],
    ids=["constant", "separated", "huge", "large", "few"],
)
def test_whatever_the_logits_the_numbers_are_finite(real, generated):
    choice = chosen(real, generated=generated)
    assert np.isfinite([choice.gain, choice.coef, choice.intercept, choice.beta]).all()


def test_one_sequence_says_nothing_of_its_own_error():
    assert chosen([3.0]).error == math.inf
    assert chosen([3.0, -3.0], weights=[1.0, 1e-12]).error == math.inf
    assert chosen([3.0, -3.0], weights=[1.0, 1.0]).error < math.inf


def test_the_range_is_that_of_all_logits_that_were_met():
    assert chosen([1.0, 9.0], generated=[-4.0, 2.0]).logit_range == (-4, 9)
    assert chosen([-5.0, 1.0], generated=[-4.0, 20.0]).logit_range == (-5, 20)


# The choice of beta


def test_the_exponent_of_the_highest_likelihood_is_chosen():
    gains = {beta: chosen(betas=(beta,)).gain for beta in (0.25, 0.5, 1.0, 2.0)}
    assert chosen(betas=tuple(gains)).beta == max(gains, key=gains.get) == 1
    assert chosen(betas=(0.25, 2.0)).beta == 0.25


def test_the_order_of_the_exponents_makes_no_difference():
    assert chosen() == chosen(betas=BETAS[::-1])


def test_an_exponent_that_leaves_few_samples_comes_last():
    sizes = {b: relative_effective_sample_size(log_u(chosen(betas=(b,)), GENERATED)) for b in BETAS}
    assert sorted(sizes.values(), reverse=True) == list(sizes.values())
    assert chosen(least=(sizes[1.0] + sizes[0.75]) / 2).beta == 0.75
    assert chosen(least=(sizes[0.5] + sizes[0.25]) / 2).beta == 0.25
    assert chosen(least=1.0).beta == 1  # none has as much: the gain decides
    assert not chosen(least=1.0).trusted


# log Z


def test_equal_weights_have_an_exact_partition():
    assert log_partition(np.full(7, -2.5), 0.95) == (-2.5, -2.5, -2.5)
    assert log_partition(np.zeros(1), 0.95) == (0, -math.inf, math.inf)


@pytest.mark.parametrize("confidence", [0.5, 0.9])
def test_the_interval_holds_the_truth_as_often_as_promised(confidence):
    rng = np.random.RandomState(0)
    n, inside = 400, 0
    for _ in range(n):
        # E exp(N(0, 1/4)) = exp(1/8)
        _, lower, upper = log_partition(rng.normal(0, 0.5, 500), confidence)
        inside += lower < 0.125 < upper
    assert binom.cdf(inside, n, confidence) > 1e-3, inside
    assert binom.sf(inside - 1, n, confidence) > 1e-3, inside


def test_a_constant_shifts_log_z_and_nothing_else():
    log_weights = np.random.RandomState(0).normal(size=50)
    plain = log_partition(log_weights, 0.95)
    for shift in (-1e4, 3.0, 1e4):
        shifted = log_partition(log_weights + shift, 0.95)
        np.testing.assert_allclose(np.subtract(shifted, plain), shift, atol=1e-9)
        assert relative_effective_sample_size(log_weights + shift) == pytest.approx(
            relative_effective_sample_size(log_weights)
        )


def test_the_relative_effective_sample_size_counts_what_weighs():
    assert relative_effective_sample_size(np.full(7, -2.5)) == pytest.approx(1)
    assert relative_effective_sample_size(np.array([0.0, 0, -1e5, -1e5])) == pytest.approx(1 / 2)
    assert relative_effective_sample_size(np.array([1e5, 0, 0, 0, -1e5])) == pytest.approx(1 / 5)
    exact = math.exp(-1)
    assert relative_effective_sample_size(GENERATED) == pytest.approx(exact, rel=0.02)


# Logits of classifiers

X = np.array([[0.0], [1], [2], [3], [1.4], [1.6]])
Y = np.array([0, 0, 1, 1, 1, 0])


def test_the_logit_is_that_of_the_second_class_whichever_way_it_is_told():
    fitted = LogisticRegression().fit(X, Y)

    class ProbabilitiesOnly:
        predict_proba = staticmethod(fitted.predict_proba)

    expected = fitted.decision_function(X)
    np.testing.assert_array_equal(logit(fitted, X), expected)
    np.testing.assert_allclose(logit(ProbabilitiesOnly(), X), expected, rtol=1e-6)
    np.testing.assert_allclose(logit(fitted, sparse.csr_matrix(X)), expected)
    assert logit(RidgeClassifier().fit(X, Y), X).shape == (6,)


def test_trees_that_say_0_and_1_have_finite_logits():
    tree = DecisionTreeClassifier(random_state=0).fit(X, Y)
    assert set(tree.predict_proba(X)[:, 1]) == {0, 1}
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        logits = logit(tree, X)
    assert np.isfinite(logits).all()
    assert (logits > 0).tolist() == Y.astype(bool).tolist()


class Says:
    """Gives the same whatever it is asked."""

    def __init__(self, answer):
        self.answer = answer

    def decision_function(self, X):
        return self.answer


@pytest.mark.parametrize(
    "classifier, error, message",
    [
        (FunctionTransformer(), TypeError,
         "FunctionTransformer has neither .* nor predict_proba; choose one that has, or wrap it in"),
        (Says([1.0, math.nan]), ValueError, "each of 2 sequences, got NaN or infinity; check its"),
        (Says([1.0, -math.inf]), ValueError, "got NaN or infinity"),
        (Says([1.0]), ValueError, r"one finite number for each of 2 sequences, got shape \(1,\)"),
        (Says([[1.0, 2], [3, 4]]), ValueError, r"got shape \(2, 2\)"),
    ],
)  # fmt: skip
def test_what_a_classifier_may_not_say(classifier, error, message):
    with pytest.raises(error, match=message):
        logit(classifier, ["ab", "c"])
