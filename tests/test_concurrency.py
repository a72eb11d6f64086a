"""Threads of one process: each gets the numbers of a single one, and a model is the old or the new one."""

import os
import threading
from concurrent.futures import ThreadPoolExecutor

import pytest
import torch
from conftest import NAMES, tiny
from enumeration import NoStep

from likelihood_gan import LikelihoodGAN, SequenceDistribution
from likelihood_gan.protocols import call_with_rng

N_THREADS = 8


class Noisy(NoStep):
    """Draws from the global state, in two steps, so that another thread may come between them."""

    def sample(self, n, max_len):
        halves = [super(Noisy, self).sample(n, max_len // 2 + 1) for _ in range(2)]
        tokens = torch.cat(halves, 1)[:, :max_len]
        return tokens * ((tokens == 0).cumsum(1) == 0)


def in_threads(call, n=N_THREADS):
    """Call a function of the number of a thread in threads that begin together."""
    barrier = threading.Barrier(n)

    def run(k):
        barrier.wait()
        return call(k)

    with ThreadPoolExecutor(n) as pool:
        return list(pool.map(run, range(n)))


# A plug-in without rng


def test_draws_without_rng_are_in_threads_those_of_a_single_one_and_the_global_state_is_put_back():
    distribution = SequenceDistribution(Noisy(4), "abc", max_len=9)

    def draw(k):
        return [distribution.sample(50, random_state=k + i) for i in range(10)]

    alone = [draw(k) for k in range(N_THREADS)]
    torch.manual_seed(5)
    before = torch.random.get_rng_state()
    assert in_threads(draw) == alone
    assert torch.equal(torch.random.get_rng_state(), before)


def test_fits_without_rng_are_in_threads_those_of_a_single_one():
    def fit(k):
        gan = tiny(generator=Noisy, generator_params=None, random_state=k, objective="mle")
        return gan.fit(NAMES[:20]).sample(20, random_state=0)

    alone = [fit(k) for k in range(N_THREADS)]
    before = torch.random.get_rng_state()
    assert in_threads(fit) == alone
    assert torch.equal(torch.random.get_rng_state(), before)


def test_a_plugin_may_call_another_one_and_raise():
    def inner():
        return torch.rand(())

    def outer():
        call_with_rng(inner, rng=torch.Generator().manual_seed(1))
        raise KeyError("on purpose")

    with pytest.raises(KeyError):
        call_with_rng(outer, rng=torch.Generator().manual_seed(0))
    assert len(in_threads(lambda k: call_with_rng(inner, rng=torch.Generator()))) == N_THREADS


@pytest.mark.skipif(not hasattr(os, "fork"), reason="no fork")
@pytest.mark.filterwarnings("ignore:.*multi-threaded.*fork:DeprecationWarning")
def test_a_process_that_is_forked_during_a_call_does_not_wait_for_it():
    started, over = threading.Event(), threading.Event()

    def slow():
        started.set()
        over.wait()

    thread = threading.Thread(target=lambda: call_with_rng(slow, rng=torch.Generator()))
    thread.start()
    started.wait()
    child = os.fork()
    if child == 0:
        call_with_rng(lambda: None, rng=torch.Generator())
        os._exit(7)
    status = os.waitpid(child, 0)[1]
    over.set()
    thread.join()
    assert os.waitstatus_to_exitcode(status) == 7


# Refitting under readers

# the second model has another alphabet, and both have dropout, which must not be seen either
OTHER = [name.replace("a", "y") for name in NAMES] + NAMES[:3]
KNOWN = NAMES[:3]


def unfitted(kind=LikelihoodGAN, **changes):
    small = tiny(generator_params={"hidden_size": 8, "dropout": 0.5}, **changes)
    return kind(**small.get_params(deep=False))


def read(model):
    samples, log_probs = model.sample(3, return_log_prob=True, random_state=0)
    return (
        tuple(model.score_samples(KNOWN)),
        tuple(model.discriminate(KNOWN)),
        (*samples, *log_probs),
        model.perplexity(KNOWN),
        model.probability(lambda s: "a" in s, 50, random_state=0).value,
    )


class Watched(LikelihoodGAN):
    """Looks at all of itself whenever an attribute has changed."""

    def __setattr__(self, name, value):
        super().__setattr__(name, value)
        if hasattr(self, "distribution_"):
            here = vars(self)
            training = here["distribution_"].generator.training, here["discriminator_"].training
            SEEN.append(
                (id(here["distribution_"]), here["n_iter_"], len(here["history_"]), training)
            )


SEEN = []


def test_no_change_of_an_attribute_shows_half_of_a_fit_or_a_model_in_training():
    gan = unfitted(Watched)
    for X, epochs in ((NAMES, 1), (OTHER, 2), (OTHER, 3)):
        SEEN.clear()
        gan.set_params(pretrain_epochs=epochs, warm_start=epochs == 3)
        before = set(SEEN)
        gan.fit(X)
        assert len(set(SEEN) - before) == 1
    assert {training for *_, training in SEEN} == {(False, False)}


def test_a_call_goes_on_with_the_model_that_it_has_begun_with():
    gan, old = unfitted().fit(NAMES), unfitted().fit(NAMES)
    n_seen = 0

    def refit(sequence):
        nonlocal n_seen
        n_seen += 1
        if n_seen == 2:
            gan.fit(OTHER)
        return True

    arguments = dict(cut="redraw", return_log_prob=True, random_state=0)
    samples, log_probs = gan.sample(5, where=refit, **arguments)
    expected = old.sample(5, where=lambda sequence: True, **arguments)
    assert samples == expected[0]
    assert log_probs.tolist() == expected[1].tolist()
    assert gan.score(["yyy"]) != old.score(["aaa"])


def test_while_it_is_refitted_readers_in_threads_see_the_old_or_the_new_model():
    both = [read(unfitted().fit(X)) for X in (NAMES, OTHER)]
    gan, over = unfitted().fit(NAMES), threading.Event()

    def work(k):
        if k == 0:
            for X in (OTHER, NAMES):
                gan.fit(X)
            over.set()
            return []
        seen = [read(gan)]
        while not over.is_set():
            seen.append(read(gan))
        return seen

    seen = [reading for readings in in_threads(work) for reading in readings]
    for part, values in enumerate(zip(*seen, strict=True)):
        assert set(values) <= {model[part] for model in both}
