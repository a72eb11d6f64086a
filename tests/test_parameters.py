"""What a parameter may be: each row is a parameter, a value that it must not have, and the message.

The message has the name, the value and what to pass instead; no fit leaves anything behind.
"""

import math
import re

import numpy as np
import pytest
import torch
from conftest import NAMES, assert_refused, learned, tiny

from likelihood_gan.devices import resolve_device


def to_mapping(rate):
    return {1: 0.1, 2: rate}


def later(rate):
    return lambda epoch: 0.1 if epoch == 1 else rate


RATES = ("pretrain_learning_rate", "adversarial_learning_rate", "discriminator_learning_rate")
COUNTS = {
    "pretrain_epochs": 0,
    "discriminator_pretrain_epochs": 0,
    "adversarial_epochs": 0,
    "n_iter_no_change": 1,
}
AN_OBJECTIVE = [
    (lambda batch: batch.real.log_prob.mean() * math.nan, "returned nan before training"),
    (lambda batch: torch.tensor(1.0), "returned 1.0, a constant without gradient"),
    (lambda batch: batch.real.log_prob.detach().mean(), "without detach()"),
    (lambda batch: 1.0, "must return a scalar tensor, got float"),
]
MAPPING = 'a mapping of names to values, such as {"hidden_size": 64}'
# one parameter, its value and what it must be
PARAMETERS = [
    *(
        (name, value, error, f"{name} must be an integer >= {least}, got {value!r}")
        for name, least in COUNTS.items()
        for value, error in ((3.0, TypeError), (True, TypeError), (-1, ValueError))
    ),
    *(
        ("batch_size", value, error, f"an integer from 1 to 1048576, got {value!r}")
        for value, error in zip(
            (True, 8.0, 0, 10**9), [TypeError] * 2 + [ValueError] * 2, strict=True
        )
    ),
    ("max_len", True, TypeError, "max_len must be None or an integer >= 1, got True"),
    ("verbose", -1, ValueError, "verbose must be True or False or an integer >= 0, got -1"),
    *(
        (name, value, TypeError, f"{name} must be True or False, got {value!r}")
        for name in ("early_stopping", "warm_start")
        for value in ("no", 0, None)
    ),
    *(
        ("validation_fraction", value, error, f"between 0 and 1, neither included, got {value!r}")
        for value, error in ((1.0, ValueError), (math.nan, ValueError), (True, TypeError))
    ),
    *(
        (name, value, error, f"{name} must be a positive, finite number, got {value!r}")
        for name in RATES
        for value, error in (
            *((rate, ValueError) for rate in (0, -1, math.nan, math.inf)),
            *((rate, TypeError) for rate in ("fast", True, None)),
        )
    ),
    *(
        (name, form(rate), error, f"{name}, in epoch 2, must be a finite number >= 0, got {rate!r}")
        for name in RATES
        for form in (to_mapping, later)
        for rate, error in (
            *((rate, ValueError) for rate in (-1, math.nan, math.inf)),
            *((rate, TypeError) for rate in ("fast", True)),
        )
    ),
    *(
        (name, rates, ValueError, f"{name} must not be 0 in all epochs; to train nothing")
        for name in RATES
        for rates in ({1: 0, 2: 0.0}, lambda epoch: 0)
    ),
    ("pretrain_learning_rate", {2: 0.1}, ValueError, "must say the rate of epoch 1, got {2: 0.1}"),
    ("pretrain_learning_rate", {1: 0.1, 2.5: 1}, TypeError, "an epoch must be an integer", "2.5"),
    ("generator_params", [64], TypeError, f"generator_params must be None or {MAPPING}, got [64]"),
    ("discriminator_params", {1: 2}, TypeError, f"_params must be None or {MAPPING}, got {{1: 2}}"),
    ("generator_params", {"hiden": 8}, TypeError, "'hiden'; its parameters are ['hidden_size'"),
    (
        "generator_params",
        {"hidden_size": "big"},
        TypeError,
        "hidden_size must be an integer",
        "got 'big'",
    ),
    ("generator_params", {"n_layers": 1.5}, TypeError, "n_layers must be an integer >= 1, got 1.5"),
    ("discriminator_params", {"dropout": "x"}, TypeError, "dropout must be a number", "got 'x'"),
    (
        "discriminator_params",
        {"bidirectional": 1},
        TypeError,
        "bidirectional must be True or False",
    ),
    ("callbacks", print, TypeError, "callbacks must be None or a list of callables, such as"),
    ("callbacks", ["print"], TypeError, "callbacks must be None or a list of", "['print']"),
    ("vocabulary", 3, TypeError, "vocabulary must be None or an iterable of", "got 3"),
    ("vocabulary", [["a"]], TypeError, "an iterable of hashable symbols, got [['a']]"),
    ("precision", None, TypeError, "precision must be 'float32' or 'bf16', got None"),
    ("device", "gpu", ValueError, "device='gpu' is no device that PyTorch knows; pass a name"),
    ("device", 3, TypeError, "device must be a str or a torch.device, got 3; pass a name"),
    ("random_state", -1, ValueError, "random_state must be None, an integer from 0 to", "-1"),
    *(("objective", function, ValueError, words) for function, words in AN_OBJECTIVE),
]


@pytest.mark.parametrize("row", PARAMETERS, ids=lambda row: f"{row[0]}-{row[3][:40]}")
def test_a_bad_parameter_is_refused_and_leaves_what_was_there(fitted, row):
    name, value, error, *words = row
    gan = tiny(**{name: value})
    assert_refused(lambda: gan.fit(NAMES), error, words)
    assert not learned(gan)
    vars(gan).update(learned(fitted))  # as if it had been fitted before
    assert_refused(lambda: gan.fit(NAMES), error, words)
    assert learned(gan) == learned(fitted)


def test_what_the_rules_allow_is_allowed():
    gan = tiny(
        pretrain_epochs=np.int64(1),
        adversarial_epochs=np.int32(1),
        early_stopping=np.bool_(False),
        verbose=False,
        validation_fraction=np.float32(0.1),
        pretrain_learning_rate=lambda epoch: 0.01 if epoch == 1 else 0,
        adversarial_learning_rate={1: 0, 2: np.float32(0.01)},
        callbacks=[],
        generator_params={"hidden_size": np.int64(8)},
    )
    assert len(gan.fit(NAMES).sample(np.int64(2), distinct=np.bool_(True), random_state=0)) == 2


@pytest.mark.parametrize("device", ["mps", torch.device("mps"), "meta"])
def test_a_device_that_cannot_compute_is_replaced_with_a_warning(device):
    words = re.escape(f"device={device!r} is not available here; using the CPU")
    with pytest.warns(UserWarning, match=words):
        assert resolve_device(device) == torch.device("cpu")


def test_a_rate_that_changes_after_the_check_is_refused_during_the_fit():
    calls = []

    def moody(epoch):
        calls.append(epoch)
        return 0.01 if len(calls) < 4 else math.nan

    gan = tiny(pretrain_learning_rate=moody)
    told = ("the learning rate of epoch 2 must be a finite number >= 0, got nan",)
    assert_refused(lambda: gan.fit(NAMES), ValueError, told)


@pytest.mark.parametrize("name", RATES)
@pytest.mark.parametrize("rate", [-1, math.nan, math.inf])
def test_a_schedule_that_gives_another_rate_when_it_is_asked_again_is_named(name, rate):
    asked = []

    def changing(epoch):
        asked.append(epoch)
        return 0.01 if len(asked) <= 2 else rate

    gan = tiny(**{name: changing})
    said = "discriminator_learning_rate" if "discr" in name else "the learning rate"
    with pytest.raises(ValueError, match=f"{said} of epoch \\d must be .* got {rate}"):
        gan.fit(NAMES)
