"""What the logits of a classifier say: calibrated, weighed by an exponent, and normalised.

How classifiers are fitted and samples drawn is left to `refined`.
"""

import math
from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray
from scipy.stats import norm
from sklearn.linear_model import LogisticRegression

Array = NDArray[np.float64]


class LogPartition(NamedTuple):
    """Estimate of log Z in nats and its interval."""

    value: float
    lower: float
    upper: float


class Choice(NamedTuple):
    """A calibrated logit and an exponent; of two, the greater one serves held-out data better."""

    trusted: bool
    gain: float
    error: float
    beta: float
    coef: float
    intercept: float
    logit_range: tuple[float, float]


def choose(
    real: Array, weights: Array, generated: Array, betas: Sequence[float], least: float
) -> Choice:
    """Calibrate logits of held-out data against those of samples; choose beta by likelihood.

    An exponent that leaves a relative effective sample size below `least` comes last.
    """
    shares = weights / weights.sum()
    coef, intercept = _calibrate(real, shares, generated)
    seen = np.concatenate([real, generated])
    logit_range = float(seen.min()), float(seen.max())
    choices = []
    for beta in betas:
        l_real = beta * (coef * real + intercept)
        l_generated = beta * (coef * generated + intercept)
        mean = float(shares @ l_real)
        log_z = log_partition(l_generated, 0.95)
        # one sequence, or one that outweighs all others, says nothing of its own error
        spare = 1 - float(shares @ shares)
        of_mean = math.inf
        if spare > 1e-9:
            of_mean = math.sqrt(float((shares**2) @ (l_real - mean) ** 2) / spare)
        of_log_z = (log_z.upper - log_z.value) / float(norm.ppf(0.975))
        gain, error = mean - log_z.value, math.hypot(of_mean, of_log_z)
        trusted = relative_effective_sample_size(l_generated) >= least
        choices.append(Choice(trusted, gain, error, beta, coef, intercept, logit_range))
    return max(choices)


def logit(classifier: Any, sequences: Any) -> Array:
    """Return the log-odds that a classifier gives each sequence, or row, of being real: (n,)."""
    n = sequences.shape[0] if hasattr(sequences, "shape") else len(sequences)
    if hasattr(classifier, "decision_function"):
        logits = np.asarray(classifier.decision_function(sequences), dtype=np.float64)
    elif hasattr(classifier, "predict_proba"):
        p = np.asarray(classifier.predict_proba(sequences), dtype=np.float64)[:, 1]
        p = p.clip(1e-6, 1 - 1e-6)  # trees say 0 and 1
        logits = np.log(p) - np.log1p(-p)
    else:
        raise TypeError(
            f"classifier {type(classifier).__name__} has neither decision_function nor "
            "predict_proba; choose one that has, or wrap it in CalibratedClassifierCV"
        )
    if logits.shape != (n,) or not np.isfinite(logits).all():
        found = f"shape {logits.shape}" if np.isfinite(logits).all() else "NaN or infinity"
        raise ValueError(
            f"classifier {type(classifier).__name__} must give one finite number for each of "
            f"{n} sequences, got {found}; check its features, or choose another"
        )
    return logits


def log_partition(log_weights: Array, confidence: float) -> LogPartition:
    """Return the logarithm of the mean weight with an interval, by the delta method."""
    n = len(log_weights)
    highest = log_weights.max()
    w = np.exp(log_weights - highest)
    value = float(highest + np.log(w.mean()))
    error = float(w.std(ddof=1) / w.mean() / math.sqrt(n)) if n > 1 else math.inf
    z = float(norm.ppf((1 + confidence) / 2))
    return LogPartition(value, value - z * error, value + z * error)


def relative_effective_sample_size(log_weights: Array) -> float:
    """(Σ w)² / (n Σ w²), between 0 and 1 (Kong 1992)."""
    w = np.exp(log_weights - log_weights.max())
    return float(w.sum() ** 2 / (len(w) * (w**2).sum()))


def _calibrate(real: Array, shares: Array, generated: Array) -> tuple[float, float]:
    """Fit slope and intercept by logistic regression, both classes of equal weight (Platt 1999)."""
    X = np.concatenate([real, generated])
    centre, scale = X.mean(), X.std().clip(1e-12)
    weight = np.concatenate(
        [shares * len(X) / 2, np.full(len(generated), len(X) / 2 / len(generated))]
    )
    model = LogisticRegression(C=1e6, max_iter=1000)
    y = np.repeat([1, 0], [len(real), len(generated)])
    model.fit(((X - centre) / scale)[:, None], y, sample_weight=weight)
    coef = float(model.coef_[0, 0] / scale)
    if coef < 0:  # would prefer what the classifier thinks is generated
        return 0.0, 0.0
    return coef, float(model.intercept_[0] - coef * centre)
