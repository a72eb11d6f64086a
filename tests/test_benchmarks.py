"""The report's benchmark: resumable, and the same numbers whatever the workers."""

import joblib
import pytest
import torch
from conftest import NAMES
from enumeration import all_rows

from benchmarks import report, store
from likelihood_gan.objectives import ImportanceSampled

pytestmark = pytest.mark.slow


@pytest.fixture
def line(tmp_path):
    return report.run(NAMES, tmp_path / "one.jsonl", runs=2, epochs=2, n_jobs=1)


@pytest.mark.usefixtures("real_epochs")  # as in other processes
@pytest.mark.parametrize("backend", ["threading", "loky"])
def test_numbers_do_not_depend_on_backend_or_workers(tmp_path, backend):
    with joblib.parallel_config("threading", n_jobs=1):
        line = report.run(NAMES, tmp_path / "one.jsonl", runs=2, epochs=2)
    with joblib.parallel_config(backend, n_jobs=2):
        other = report.run(NAMES, tmp_path / "two.jsonl", runs=2, epochs=2)
    for runs in (line, other):
        for run in runs.values():
            run.pop("seconds")
    assert other == line


def test_finished_runs_are_not_repeated_and_a_broken_line_is(tmp_path, line, monkeypatch):
    path = tmp_path / "one.jsonl"
    path.write_text(path.read_text() + '{"seed": 2, "epochs')
    fitted = []
    original = report.run_once

    def watched(names, variant, seed, epochs):
        fitted.append(seed)
        return original(names, variant, seed, epochs)

    monkeypatch.setattr(report, "run_once", watched)
    again = report.run(NAMES, path, runs=3, epochs=2, n_jobs=1)
    assert fitted == [2]
    assert list(store.read_runs(path)) == [0, 1, 2]
    assert again[0] == line[0]


def test_the_broadcast_defect_drops_the_discriminator_and_the_method_does_not():
    def gradient(objective, logits):
        log_prob = torch.linspace(-3, -1, 5).requires_grad_()
        half = type(
            "Half", (), dict(log_prob=log_prob, logits=logits, log_frequency=torch.zeros(5))
        )
        return torch.autograd.grad(objective(type("Batch", (), dict(real=half))), log_prob)[0]

    one, other = torch.zeros(5), torch.tensor([4.0, -4, 2, 0, 1])
    broken, method = report.broadcast, ImportanceSampled()
    torch.testing.assert_close(gradient(broken, one), gradient(broken, other))
    assert (gradient(method, one) - gradient(method, other)).abs().max() > 0.05
    # it is the mean over the (B, B) product of the report's terms
    p, s = torch.linspace(-3, -1, 5).exp(), torch.nn.functional.softplus(other)
    literal = -((s[:, None] * p[None, :]).mean()).log()
    half = type("Half", (), dict(log_prob=p.log(), logits=other, log_frequency=torch.zeros(5)))
    torch.testing.assert_close(broken(type("Batch", (), dict(real=half))), literal)


def test_the_padding_defect_tells_equal_words_apart_by_their_side():
    judge = report.PaddingReader(4, 6, rng=torch.Generator().manual_seed(0))
    words = torch.tensor([[1, 2, 0]] * 4)
    real, generated = judge(words).view(2, 2)
    assert (real != generated).all()
    torch.testing.assert_close(judge.eval()(words[:2]), real)


def test_the_likelihood_defect_counts_symbols_after_the_end():
    writer = report.PaddingWriter(4, 6, dropout=0, rng=torch.Generator().manual_seed(0))
    rows = all_rows(4, 3)
    ended = rows[rows[:, -1] == 0]
    assert (writer.log_prob(ended) < super(report.PaddingWriter, writer).log_prob(ended)).all()


def test_the_figures_are_drawn_from_the_result_file(tmp_path, monkeypatch):
    report.run(NAMES, tmp_path / "report-method.jsonl", runs=2, epochs=2, n_jobs=1)
    monkeypatch.setattr(report.random.Random, "sample", lambda self, names, n: names[:n])
    report.plot(NAMES, tmp_path, tmp_path / "figures")
    assert len(list((tmp_path / "figures").glob("*.png"))) == 4
    assert "| method | 2 |" in (tmp_path / "figures" / "report-table.md").read_text()
