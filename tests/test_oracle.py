"""The known oracle: its divergences against enumeration, and fits that are resumed."""

import math

import pytest
import torch
from enumeration import all_rows

from benchmarks import oracle
from likelihood_gan.checks import check_generator

pytestmark = pytest.mark.slow

VOCABULARY, LENGTH = 3, 3
ROWS = all_rows(VOCABULARY + 1, LENGTH + 1)


def make(seed, temper=1.0):
    """Return an oracle; a smaller `temper` makes it less certain."""
    model = oracle.make_oracle(VOCABULARY, LENGTH, torch.Generator().manual_seed(seed))
    with torch.no_grad():
        for weight in model.parameters():
            weight.mul_(temper)
    return model


@pytest.fixture
def arguments():
    sizes = "--vocabulary 4 --length 3 --sequences 60 --epochs 2 --measured 200 --hidden-size 4"
    return oracle.parse([*sizes.split(), "--seeds", "2", "--objective", "mle", "pooled-kl"])


@pytest.fixture
def quick(monkeypatch):
    """Cut the epochs of the start."""
    monkeypatch.setattr(oracle, "START_EPOCHS", 2)


def test_the_oracle_is_a_lawful_generator_of_one_length():
    check_generator(make(0, 0.3), n_tokens=VOCABULARY + 1)
    tokens = make(0).sample(100, LENGTH + 5)
    assert ((tokens != 0).sum(1) == LENGTH).all()
    mass = make(0).log_prob(ROWS).double().exp().detach()
    assert float(mass.sum()) == pytest.approx(1)
    assert (mass[(ROWS != 0).sum(1) != LENGTH] == 0).all()


def test_there_is_no_divergence_of_an_oracle_from_itself():
    found = oracle.divergences(make(0), make(0), 100, LENGTH + 1, torch.Generator().manual_seed(0))
    for name in oracle.DIVERGENCES:
        assert found[name] == pytest.approx(0, abs=1e-5)
        assert found[name + "_se"] == pytest.approx(0, abs=1e-5)


def test_divergences_are_within_their_errors_of_enumerated_ones():
    model, truth = make(1, 0.3), make(0, 0.3)
    p, q = (m.log_prob(ROWS).double().exp().detach() for m in (model, truth))
    possible = (ROWS != 0).sum(1) == LENGTH
    p, q = p[possible], q[possible]
    m = (p + q) / 2
    expected = {
        "kl_model": (p * (p / q).log()).sum(),
        "kl_oracle": (q * (q / p).log()).sum(),
        "js": (p * (p / m).log() + q * (q / m).log()).sum() / 2,
    }
    found = oracle.divergences(model, truth, 4000, LENGTH + 1, torch.Generator().manual_seed(0))
    for name, value in expected.items():
        assert abs(found[name] - float(value)) < 4 * found[name + "_se"] < 0.2
    assert found["oracle_nll"] == pytest.approx(-float((p * q.log()).sum()), rel=0.1)
    assert found["outside"] == 0


def test_js_lies_between_0_and_log_2():
    for seed in range(1, 6):
        rng = torch.Generator().manual_seed(0)
        found = oracle.divergences(make(seed), make(0), 200, LENGTH + 1, rng)
        assert 0 < found["js"] < math.log(2)


def test_what_the_oracle_cannot_write_is_reported():
    longer = make(1)
    longer.length = LENGTH + 1
    rng = torch.Generator().manual_seed(0)
    found = oracle.divergences(longer, make(0), 50, LENGTH + 2, rng)
    assert found["outside"] == 1
    assert found["kl_model"] == found["kl_oracle"] == math.inf
    assert found["js"] == pytest.approx(math.log(2))


def test_finished_fits_are_not_repeated(tmp_path, arguments, quick, monkeypatch):
    path = tmp_path / "rows.csv"
    rows = oracle.run(path, arguments)
    assert [(row["setting"], row["seed"]) for row in rows] == [
        ("mle", 0), ("mle", 1), ("pooled-kl", 0), ("pooled-kl", 1)
    ]  # fmt: skip
    lines = path.read_text().splitlines(keepends=True)
    path.write_text("".join(lines[:-1]) + lines[-1][:-9])  # killed while the last was written
    fitted = []
    original = oracle.measure

    def watched(start, truth, sequences, setting, seed, arguments):
        fitted.append((setting, seed))
        return original(start, truth, sequences, setting, seed, arguments)

    monkeypatch.setattr(oracle, "measure", watched)
    again = oracle.run(path, arguments)
    assert fitted == [("pooled-kl", 1)]
    for row in (*rows, *again):
        row.pop("seconds")
    assert repr(again) == repr(rows)  # repr: NaN is not equal to itself


def test_all_settings_share_one_start(arguments, quick):
    truth, sequences, start = oracle.prepare(0, arguments)
    before = start.generator_.output.weight.clone()
    row = oracle.measure(start, truth, sequences, "pooled-kl", 0, arguments)
    torch.testing.assert_close(start.generator_.output.weight, before)
    assert (
        row["last_kl_model"]
        != oracle.measure(start, truth, sequences, "start", 0, arguments)["last_kl_model"]
    )
