"""Settings for all tests, and one small fitted estimator for those that only read it."""

import os

import pytest
import torch

from likelihood_gan import CharLSTM, LikelihoodGAN, corpus

# Two threads are slower than one on a busy machine, and the numbers differ in the last digit.
torch.set_num_threads(1)

TEXT = """
ada alan alma anna anne ben bess beth carl cara dan dana dora ed ella emma eva finn gail hal
ida ian jane jean joan john kate kim lea lena lily lisa mae mara mary nan nina nora olga otto
pam paul rae rita ron rosa ruth sam sara tess tim tina una vera walt zoe
"""
NAMES = TEXT.split()


def tiny(**changes):
    """Build an estimator that fits in a fraction of a second."""
    settings = dict(
        generator=CharLSTM,
        generator_params={"hidden_size": 8},
        discriminator_params={"hidden_size": 8},
        pretrain_epochs=2,
        discriminator_pretrain_epochs=1,
        adversarial_epochs=2,
        batch_size=16,
        random_state=0,
    )
    return LikelihoodGAN(**(settings | changes))


def assert_refused(call, error, words):
    with pytest.raises(error) as raised:
        call()
    message = str(raised.value)
    missing = [word for word in words if word not in message]
    assert not missing, f"{missing} not in: {message}"


def learned(estimator):
    """Return the attributes that a fit leaves: the very objects."""
    return {key: value for key, value in vars(estimator).items() if key.endswith("_")}


STEPS_PER_EPOCH = corpus.STEPS_PER_EPOCH


@pytest.fixture(scope="session", autouse=True)
def short_epochs():
    """Let an epoch of few sequences have few batches: fifty would teach no test more than one."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(corpus, "STEPS_PER_EPOCH", (1, 1000))
        yield


@pytest.fixture
def real_epochs(monkeypatch):
    """Epochs as they are for users."""
    monkeypatch.setattr(corpus, "STEPS_PER_EPOCH", STEPS_PER_EPOCH)


@pytest.fixture(scope="session")
def names():
    return list(NAMES)


@pytest.fixture(scope="session")
def fitted():
    return tiny().fit(NAMES)


def pytest_runtest_logreport(report):
    # In CI a test that is skipped is a test that fails, unless the machine has no GPU for it.
    if os.environ.get("CI") and report.skipped and "cuda" not in report.nodeid.lower():
        report.outcome = "failed"
