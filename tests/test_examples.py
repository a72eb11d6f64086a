"""The examples run, say something and stay short; here with small sizes."""

import re
import runpy
from pathlib import Path

import pytest
import torch

FOLDER = Path(__file__).parent.parent / "examples"
EXAMPLES = sorted(FOLDER.glob("*.py"))
SMALL = {
    "EPOCHS": 1,
    "PRETRAIN_EPOCHS": 2,
    "EVERY": 20,
    "HIDDEN_SIZE": 16,
    "N_SONGS": 50,
    "N_RUNS": 2,
    "N_WORDS": 1500,
    "N_SAMPLES": 500,
}
SLOW = {"plot_report.py", "plot_structure.py"}


def test_there_are_examples():
    assert {path.name for path in EXAMPLES} >= {
        "plot_bigram_generator.py",
        "plot_custom_generator.py",
        "plot_first_names.py",
    }


@pytest.mark.parametrize(
    "path",
    [pytest.param(p, marks=[pytest.mark.slow] * (p.name in SLOW), id=p.stem) for p in EXAMPLES],
)
def test_an_example_runs_and_prints(path, capsys, monkeypatch, tmp_path):
    monkeypatch.setattr(torch, "set_num_threads", lambda n: None)
    source, n_replaced = path.read_text(), 0
    for name, value in SMALL.items():
        source, n = re.subn(rf"^{name} = .*$", f"{name} = {value}", source, flags=re.MULTILINE)
        n_replaced += n
    assert n_replaced, f"{path.name} has none of the size constants {list(SMALL)}"
    small = tmp_path / path.name
    small.write_text(source)
    runpy.run_path(str(small), run_name="__main__")
    assert len(capsys.readouterr().out.splitlines()) > 2


@pytest.mark.parametrize("path", EXAMPLES, ids=lambda path: path.stem)
def test_an_example_is_short_and_asks_one_question(path):
    lines = path.read_text().splitlines()
    assert len(lines) <= 60
    assert lines[0] == '"""'
    assert lines[1].endswith("?")
    assert lines[2] == "=" * len(lines[1])
