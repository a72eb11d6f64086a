"""Threads: small networks compute with one, and every thread gets its own number back."""

import math
import threading
import time
from types import SimpleNamespace

import joblib
import numpy as np
import pytest
import torch
from conftest import NAMES, tiny

from benchmarks import threads as benchmark
from likelihood_gan import CharLSTM, LSTMDiscriminator, SequenceDistribution, devices
from likelihood_gan.checks import check_discriminator, check_generator
from likelihood_gan.devices import limited_threads

SEEN = []  # with how many threads the models below computed
TROUBLE = threading.Event()  # lets them raise
ON_PURPOSE = "raised on purpose"


def compute():
    SEEN.append(torch.get_num_threads())
    if TROUBLE.is_set():
        raise RuntimeError(ON_PURPOSE)


class Writer(CharLSTM):
    def log_prob(self, tokens, rng=None):
        compute()
        return super().log_prob(tokens, rng)

    def step(self, tokens, state):
        compute()
        return super().step(tokens, state)


class Stepless(torch.nn.Module):
    def __init__(self, generator):
        super().__init__()
        self.inner = generator

    def log_prob(self, tokens):
        return self.inner.log_prob(tokens)

    def sample(self, n, max_len):
        return self.inner.sample(n, max_len)


class Judge(LSTMDiscriminator):
    def forward(self, tokens, rng=None):
        compute()
        return super().forward(tokens, rng)


def writer(n_tokens=27):
    return Writer(n_tokens, 8, dropout=0.0, rng=torch.Generator().manual_seed(0))


def fit(names=NAMES):
    return tiny(generator=Writer, discriminator=Judge).fit(names)


@pytest.fixture(scope="module")
def gan():
    return fit()


@pytest.fixture(autouse=True)
def two_threads():
    """Let the user have two threads; the other tests have one."""
    torch.set_num_threads(2)
    SEEN.clear()
    yield
    TROUBLE.clear()
    torch.set_num_threads(1)


def numbers_elsewhere(work, n=1):
    """Call a function in threads that start together and never computed: their numbers after it."""
    barrier, numbers = threading.Barrier(n), []

    def run():
        barrier.wait()
        work()
        numbers.append(torch.get_num_threads())

    threads = [threading.Thread(target=run) for _ in range(n)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return numbers


def stepless(gan):
    distribution = gan.distribution_
    return SequenceDistribution(Stepless(distribution.generator), distribution.vocabulary, 9)


VERBS = {
    "fit": lambda gan: fit(),
    "score_samples": lambda gan: gan.score_samples(["ada"]),
    "score_samples of many": lambda gan: gan.score_samples(NAMES * 20),
    "score": lambda gan: gan.score(NAMES),
    "perplexity": lambda gan: gan.perplexity(NAMES),
    "sample": lambda gan: gan.sample(3, random_state=0),
    "sample with a prefix": lambda gan: gan.sample(3, prefix="a", random_state=0),
    "sample many": lambda gan: gan.sample(1000, random_state=0),
    "sample distinct": lambda gan: gan.sample(3, distinct=True, random_state=0),
    "sample what is new": lambda gan: gan.sample(3, exclude=NAMES, random_state=0),
    "sample without step": lambda gan: stepless(gan).sample(3, random_state=0),
    "sample_counts": lambda gan: gan.sample_counts(1000, random_state=0),
    "sample_counts without step": lambda gan: stepless(gan).sample_counts(9, random_state=0),
    "most_probable": lambda gan: gan.most_probable(3),
    "probability": lambda gan: gan.probability(str.isalpha, 99, random_state=0),
    "divergence": lambda gan: gan.divergence(gan, 99, random_state=0),
    "discriminate": lambda gan: gan.discriminate(["ada"]),
    "check_generator": lambda gan: check_generator(writer(3), 3, n_samples=1000),
    "check_discriminator": lambda gan: check_discriminator(Judge(3, 8), 3),
}
every_verb = pytest.mark.parametrize("verb", VERBS.values(), ids=VERBS)


@every_verb
def test_small_networks_compute_with_one_thread_and_the_user_gets_his_number_back(gan, verb):
    verb(gan)
    assert set(SEEN) == {1}
    assert torch.get_num_threads() == 2
    assert numbers_elsewhere(lambda: None) == [2]


@every_verb
def test_the_number_comes_back_after_an_error(gan, verb):
    TROUBLE.set()
    with pytest.raises(Exception, match=ON_PURPOSE):
        verb(gan)
    assert set(SEEN) == {1}
    assert torch.get_num_threads() == 2
    assert numbers_elsewhere(lambda: None) == [2]


def test_the_number_comes_back_after_data_that_break_off(gan):
    def broken():
        yield from NAMES
        raise RuntimeError(ON_PURPOSE)

    with pytest.raises(RuntimeError, match=ON_PURPOSE):
        gan.score_samples(broken())
    assert torch.get_num_threads() == 2


@every_verb
def test_a_lower_number_of_the_user_stays(gan, verb):
    torch.set_num_threads(1)
    verb(gan)
    assert set(SEEN) == {1}
    assert torch.get_num_threads() == 1


def test_large_networks_compute_with_the_number_of_the_user(gan, monkeypatch):
    size = sum(parameter.numel() for parameter in gan.generator_.parameters())
    monkeypatch.setattr(devices, "PARAMETERS_WORTH_THREADS", size)
    gan.score_samples(["ada"])
    assert set(SEEN) == {2}
    SEEN.clear()
    monkeypatch.setattr(devices, "PARAMETERS_WORTH_THREADS", size + 1)
    gan.score_samples(["ada"])
    assert set(SEEN) == {1}


def test_what_may_be_of_any_size_or_is_elsewhere_is_not_limited():
    for models in [(object(),), (writer(), object()), (writer().to("meta"),)]:
        with limited_threads(*models):
            assert torch.get_num_threads() == 2
    with limited_threads(writer(), None):
        assert torch.get_num_threads() == 1


def test_a_call_within_a_call_is_free(monkeypatch):
    with limited_threads(writer()):
        monkeypatch.setattr(threading, "Thread", None)  # none is started
        with limited_threads(writer()):
            assert torch.get_num_threads() == 1
        assert torch.get_num_threads() == 1
    assert torch.get_num_threads() == 2


def test_where_no_thread_can_be_started_the_number_comes_back(monkeypatch):
    def start(thread):
        raise RuntimeError("can't start new thread")

    monkeypatch.setattr(threading.Thread, "start", start)
    with limited_threads(writer()):
        assert torch.get_num_threads() == 1
    assert torch.get_num_threads() == 2


# Several threads


def test_a_thread_that_first_computes_during_a_call_is_not_limited():
    with limited_threads(writer()):
        assert numbers_elsewhere(lambda: None) == [2]
        assert torch.get_num_threads() == 1


def test_threads_that_first_compute_in_the_library_at_once_are_not_limited_afterwards(gan):
    for _ in range(5):
        assert numbers_elsewhere(lambda: gan.score_samples(["ada"]), n=8) == [2] * 8
    assert set(SEEN) == {1}
    assert numbers_elsewhere(lambda: None) == [2]


def test_calls_that_overlap_give_each_thread_its_own_number_back():
    started, inside, first_is_out = threading.Barrier(2), threading.Barrier(2), threading.Event()
    after = {}

    def call(name, number, wait):
        torch.get_num_threads()  # PyTorch forgets what a thread sets before it knows its number
        started.wait()
        torch.set_num_threads(number)
        with limited_threads(writer()):
            inside.wait()
            wait()
            after[name, "inside"] = torch.get_num_threads()
        after[name] = torch.get_num_threads()
        first_is_out.set()

    calls = [("first", 3, lambda: None), ("last", 2, first_is_out.wait)]
    threads = [threading.Thread(target=call, args=args) for args in calls]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert after == {("first", "inside"): 1, "first": 3, ("last", "inside"): 1, "last": 2}
    assert torch.get_num_threads() == 2


def numbers_of_a_worker(distribution):
    torch.set_num_threads(2)
    inside = []

    def names():
        for name in NAMES:
            inside.append(torch.get_num_threads())
            yield name

    distribution.score_samples(names())
    return set(inside), torch.get_num_threads()


@pytest.mark.parametrize("backend", ["loky", "threading"])
def test_workers_of_joblib_get_their_number_back(backend):
    distribution = SequenceDistribution(writer(), "abcdefghijklmnopqrstuvwxyz", 9)
    with joblib.parallel_config(backend, n_jobs=2):
        jobs = [joblib.delayed(numbers_of_a_worker)(distribution)] * 2
        assert joblib.Parallel()(jobs) == [({1}, 2)] * 2
    assert torch.get_num_threads() == 2


# Numbers


class Summing(torch.nn.Module):
    """Scores whose last bits depend on how a long sum is split among threads."""

    def __init__(self):
        super().__init__()
        rng = torch.Generator().manual_seed(0)
        self.terms = torch.nn.Parameter(torch.rand(2**18, generator=rng) / 2**18)

    def log_prob(self, tokens):
        return -torch.stack([self.terms[i:].sum() for i in range(len(tokens))])

    def sample(self, n, max_len):
        return torch.zeros(n, 1, dtype=torch.int64)


def test_scores_do_not_depend_on_the_number_of_threads():
    distribution = SequenceDistribution(Summing(), "ab", 9)
    alone, scores = [], []
    for n in (1, 2):
        torch.set_num_threads(n)
        with torch.no_grad():
            alone.append(distribution.generator.log_prob(torch.zeros(8, 1)).numpy())
        scores.append(distribution.score_samples(["a"] * 8))
    assert (alone[0] != alone[1]).any()
    np.testing.assert_array_equal(scores[0], scores[1])


# The benchmark


@pytest.mark.slow
def test_every_part_is_measured_once(tmp_path, monkeypatch):
    torch.set_num_threads(1)
    monkeypatch.setattr(benchmark, "report_names", lambda: NAMES)
    sizes = SimpleNamespace(repeats=1, hidden=(2,), rows=16)
    rows = benchmark.run(sizes, tmp_path / "threads.csv")
    ways = {part: [1, 2] for part in benchmark.WORK} | {"readme": ["default", "limited"]}
    assert {(row["part"], row["setting"], row["threads"]) for row in rows} == {
        (part, machine, way)
        for part in ways
        for machine in benchmark.MACHINES
        for way in ways[part]
    }
    assert all(row["ratio"] == 1 for row in rows if row["threads"] in (1, "default"))
    assert benchmark.run(sizes, tmp_path / "threads.csv") == rows
    assert torch.get_num_threads() == 1
    assert len(benchmark.table(rows).splitlines()) == len(rows) + 2


@pytest.mark.slow
def test_the_process_that_spins_is_counted_among_the_others():
    found = {}
    with benchmark.spinning("busy"), benchmark.counting_others(found):
        time.sleep(2)
    assert found["others"] > 0.2 or math.isnan(found["others"])
