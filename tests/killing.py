"""A fit in a process of its own, which is killed."""

import os
import signal
import time

import numpy as np
import torch
from conftest import NAMES, tiny
from forked import CONTEXT

from likelihood_gan import LikelihoodGAN, corpus
from likelihood_gan.callbacks import Checkpoint

STEPS = (3, 1000)
"""Fewest and most steps of an epoch here: it takes about as long as writing the file."""
SETTINGS = dict(
    generator=None, generator_params={"hidden_size": 16}, pretrain_epochs=12, adversarial_epochs=3
)


def fit(path, going_on=False):
    """Fit, or go on, and write a checkpoint after every epoch."""
    torch.set_num_threads(1)
    corpus.STEPS_PER_EPOCH = STEPS
    callbacks = [Checkpoint(path)]
    if going_on:
        return LikelihoodGAN.resume(path, NAMES, callbacks=callbacks)
    return tiny(**SETTINGS, callbacks=callbacks).fit(NAMES)


def seconds(path):
    """Measure how long a fit takes once its first checkpoint is written."""
    process = start(path, False)
    started = time.monotonic()
    process.join()
    assert process.exitcode == 0
    return time.monotonic() - started


def kill_after(wait, path, going_on=False):
    """Kill a fit that much time after its first checkpoint is there; tell whether it was running."""
    process = start(path, going_on)
    time.sleep(wait)
    process.kill()
    process.join()
    assert process.exitcode in (0, -signal.SIGKILL)
    return process.exitcode != 0


def start(path, going_on):
    process = CONTEXT.Process(target=fit, args=(path, going_on))
    process.start()
    while not os.path.exists(path) and process.is_alive():
        time.sleep(0.001)
    return process


def assert_same_bits(found, expected):
    """Two fitted estimators are one, but for the time it took."""
    for name in ("n_iter_", "best_epoch_", "held_out_", "max_len_"):
        assert getattr(found, name) == getattr(expected, name), name
    assert found.vocabulary_.symbols == expected.vocabulary_.symbols
    for name in ("generator_", "discriminator_"):
        states = [getattr(gan, name) for gan in (found, expected)]
        states = [{} if module is None else module.state_dict() for module in states]
        assert states[0].keys() == states[1].keys()
        for key, value in states[0].items():
            assert torch.equal(value, states[1][key]), key
    assert [without_seconds(r) for r in found.history_] == [
        without_seconds(r) for r in expected.history_
    ]
    assert (found.split_ is None) == (expected.split_ is None)
    for one, other in zip(found.split_ or (), expected.split_ or (), strict=True):
        np.testing.assert_array_equal(one, other)
    assert found.sample(50, random_state=0) == expected.sample(50, random_state=0)


def without_seconds(record):
    return {key: value for key, value in record.items() if key != "seconds"}
