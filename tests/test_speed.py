"""The speed benchmark: its transcription of the report is right, and every part is measured."""

import functools
import math
from types import SimpleNamespace

import pytest
import torch
from conftest import NAMES
from enumeration import all_rows, frequencies
from torch.nn.functional import pad

from benchmarks import literal as literal_code
from benchmarks import speed
from likelihood_gan import CharLSTM, LSTMDiscriminator
from likelihood_gan.models import ResidualLSTM
from likelihood_gan.objectives import ImportanceSampled

pytestmark = pytest.mark.slow

TINY = SimpleNamespace(repeats=1, hidden=(2,), rows=16, square=8, n_samples=(50,))
TINY.lists = ("names",)
TINY.growth = {name: (4,) for name in speed.GROWTH} | {"samples": (40, 60), "corpus": (40, 60)}


def models(n_tokens, hidden=4):
    rng = torch.Generator().manual_seed(0)
    generator = CharLSTM(n_tokens, hidden, dropout=0.0, rng=rng)
    for parameter in generator.parameters():
        parameter.data *= 3  # far from uniform
    return generator, LSTMDiscriminator(n_tokens, hidden, rng=rng)


@pytest.fixture
def small(fitted, monkeypatch):
    """The names of the tests, and a fit to them, in place of the benchmark's."""

    def here(setting, x, sizes, folder):
        fitted.distribution_.save(folder / speed.SAVED)
        (folder / "words.txt").write_text("\n".join(NAMES[:60]))
        return speed.point(setting, x, folder, 1)

    monkeypatch.setattr(speed, "load_start", lambda task, seed: fitted)
    monkeypatch.setattr(speed, "report_names", lambda: NAMES)
    monkeypatch.setitem(speed.LISTS, "names", lambda: NAMES)
    monkeypatch.setitem(speed.PARTS, "growth", (here, speed.PARTS["growth"][1]))
    monkeypatch.setattr(speed, "mean_symbols", functools.partial(speed.mean_symbols, n=20))
    monkeypatch.setattr(speed, "BATCH", 16)
    speed.load_gan.cache_clear()
    speed.trained.cache_clear()
    yield
    speed.load_gan.cache_clear()
    speed.trained.cache_clear()


def test_the_literal_likelihood_is_that_of_the_same_weights_whatever_the_padding():
    generator, _ = models(4)
    rows = all_rows(4, 3)
    literal = literal_code.LiteralGenerator(generator)
    torch.testing.assert_close(literal.log_prob(rows), generator.log_prob(rows))
    ended = rows[(rows == 0).any(1)]
    torch.testing.assert_close(literal.log_prob(pad(ended, (0, 9))), generator.log_prob(ended))
    scores = torch.cat(literal.score(rows))
    torch.testing.assert_close(scores.sort()[0], generator.log_prob(rows).detach().sort()[0])


def test_literal_samples_are_as_frequent_as_their_likelihood_says():
    generator, _ = models(3)
    rows, n = all_rows(3, 3), 20_000
    literal = literal_code.LiteralGenerator(generator)
    with torch.random.fork_rng():
        torch.manual_seed(0)
        sample = torch.cat(literal.sample_blocks(n, 3))
    expected = generator.log_prob(rows).exp().detach()
    assert expected.sum() == pytest.approx(1, abs=1e-5)
    error = (frequencies(sample, rows) - expected).abs()
    assert (error < 4 * (expected * (1 - expected) / n).sqrt() + 1e-4).all()


def test_the_literal_discriminator_reads_the_same_as_ours_in_rows_without_padding():
    _, judge = models(4)
    rows = all_rows(4, 3)
    full = rows[(rows != 0).all(1)]
    logits = literal_code.LiteralDiscriminator(judge)(full)
    torch.testing.assert_close(logits, judge(full))


def test_the_literal_losses_are_equations_2_and_5():
    generator, judge = models(4)
    real = all_rows(4, 3)
    literal = literal_code.LiteralTraining(real, generator, judge)
    logits = literal.judge(real)
    half = dict(
        log_prob=generator.log_prob(real),
        logits=logits.detach(),
        log_frequency=torch.full((len(real),), -math.log(len(real))),
    )
    batch = type("Batch", (), dict(real=type("Half", (), half)))
    loss = literal.generator_loss(real)
    torch.testing.assert_close(loss.float(), ImportanceSampled()(batch))
    loss.backward()
    assert all(parameter.grad is None for parameter in literal.judge.parameters())
    towards_real = -torch.nn.functional.binary_cross_entropy_with_logits(logits, logits * 0 + 1)
    towards_generated = -torch.nn.functional.binary_cross_entropy_with_logits(logits, logits * 0)
    expected = -(towards_real + towards_generated)
    torch.testing.assert_close(literal.judge_loss(real, real), expected)


def test_the_literal_training_learns():
    generator, judge = models(4, hidden=8)
    rows = pad(torch.tensor([[1, 2, 3], [1, 2, 2]]).repeat(32, 1), (0, 3))
    with torch.random.fork_rng():
        torch.manual_seed(0)
        literal = literal_code.LiteralTraining(rows, generator, judge, rate=0.02)
        generated = literal.generator.sample(*rows.shape)
        before = literal.judge_loss(rows, generated), literal.generator.log_prob(rows).mean()
        for _ in range(20):
            literal.likelihood_epoch()
        likelier = literal.generator.log_prob(rows).mean()
        assert likelier > before[1] + 1
        literal = literal_code.LiteralTraining(rows, generator, judge, rate=0.02)
        for _ in range(20):
            literal.adversarial_epoch()
        assert literal.generator.log_prob(rows).mean() > before[1] + 1
        assert literal.judge_loss(rows, generated) < before[0] - 0.1


def test_operations_are_those_of_the_matrix_products():
    for generator in (models(3, hidden=2)[0], ResidualLSTM(3, hidden_size=2)):
        products = sum(p.numel() for p in generator.parameters() if p.ndim == 2)
        assert speed.gflop(generator, 5) == pytest.approx(5 * 2 * products / 1e9)


def test_a_ratio_is_the_median_over_rounds():
    times = {"literal": [4.0, 9, 8], speed.DROPPING: [2.0, 3, 2], "ours": [1.0, 3, 4]}
    rows = {row["method"]: row for row in speed.to_rows(times, items=6, calls=2, needed=3)}
    assert [row["ratio"] for row in rows.values()] == [1, 3, 3]
    assert rows["ours"]["ratio_to_dropping"] == 1
    assert (rows["ours"]["seconds"], rows["ours"]["items_per_second"]) == (1.5, 2)
    assert rows["ours"]["gflops"] == 1 and math.isnan(rows["ours"]["peak_mb"])


def test_every_part_is_measured_resumed_tabulated_and_drawn(small, tmp_path, monkeypatch):
    path = tmp_path / "speed.csv"
    rows = speed.run(list(speed.PARTS), TINY, path)
    assert {row["part"] for row in rows} == set(speed.PARTS)
    assert all(0 < row["seconds"] < math.inf for row in rows)
    with_literal = {row["part"] for row in rows if math.isfinite(row["ratio"])}
    assert with_literal == set(speed.PARTS) - {"peak", "import", "default"}
    assert {row["setting"] for row in rows if row["peak_mb"] >= 0} == set(speed.GROWTH)

    with monkeypatch.context() as patched:
        patched.setattr(speed, "alternate", None)  # nothing is measured again
        assert str(speed.run(list(speed.PARTS), TINY, path)) == str(rows)

    text = speed.table(rows)
    assert all(f"**{part}**" in text for part in speed.PARTS)
    assert "of_peak" in text and "nan" not in text
    speed.plot(rows, tmp_path / "speed.png")
    assert (tmp_path / "speed.png").stat().st_size > 0


def test_a_process_of_its_own_sees_its_own_memory_only(small, tmp_path):
    held = bytearray(800 * 2**20)
    literal, ours = sorted(
        speed.growing("samples", 60, TINY, tmp_path), key=lambda row: row["method"]
    )
    assert 0 < ours["peak_mb"] < len(held) / 2**21
    assert literal["method"] == "literal" and math.isnan(literal["peak_mb"])
