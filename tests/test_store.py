"""Result files are resumed and grow columns, tables are paired by seed, experiments stand apart."""

import ast
import math
from pathlib import Path

import pytest
from scipy import stats

from benchmarks import store

EXPERIMENTS = ("compare", "refine", "oracle", "report", "speed", "alternatives/__main__")


def row(setting, seed, value):
    return {"setting": setting, "seed": seed, "x": value}


@pytest.fixture
def path(tmp_path):
    return tmp_path / "new" / "rows.csv"


def test_rows_come_back_as_numbers_without_a_half_written_one(path):
    assert store.read_rows(path) == []
    first, second = row("a, b", 0, 0.1), row("1", 1, math.inf)
    for each in (first, second):
        store.append_row(path, each)
    path.write_text(path.read_text() + "1,2,0.")
    assert store.read_rows(path) == [first, second]
    store.append_row(path, row("1", 2, -1.5))
    assert store.read_rows(path) == [first, second, row("1", 2, -1.5)]


def test_a_new_column_is_empty_in_the_rows_before_which_stay_as_they_were(path):
    store.append_row(path, row("a, b", 0, 0.1))
    before = path.read_text().splitlines()
    path.write_text(path.read_text() + "half")
    store.append_row(path, {"setting": "c", "seed": 1, "y": 2})
    assert path.read_text().splitlines()[:2] == [before[0] + ",y", before[1] + ","]
    old, new = store.read_rows(path)
    assert (old["x"], new["y"]) == (0.1, 2)
    assert math.isnan(old["y"]) and math.isnan(new["x"])
    summary = store.paired_summary([old, new], "a, b", ["x", "y"])
    assert [entry["mean"]["x"] for entry in summary[:1]] == [0.1]
    assert "nan" not in "".join(store.markdown_table(summary, "a, b", ["x", "y"]))


def test_a_killed_widening_leaves_the_file_as_it_was(path, monkeypatch):
    store.append_row(path, row("a", 0, 1))
    before = path.read_bytes()
    monkeypatch.setattr(store.os, "replace", lambda *names: 1 / 0)
    with pytest.raises(ZeroDivisionError):
        store.append_row(path, row("a", 1, 1) | {"y": 1})
    assert path.read_bytes() == before


def test_a_file_of_something_else_is_refused(path):
    store.append_row(path, row("a", 0, 1))
    with pytest.raises(ValueError, match="columns"):
        store.append_row(path, {"part": "a", "seed": 0})


def test_only_what_is_missing_is_measured_unless_it_is_asked_for_again(path):
    store.append_row(path, row("a", 0, 1.0))
    pairs = store.missing(path, ["a", "b"], seeds=2)
    assert pairs == [("b", 0), ("a", 1), ("b", 1)]
    rows = store.append_rows(path, lambda setting, seed: [row(setting, seed, 2.0)], pairs)
    assert store.missing(path, ["a", "b"], seeds=2) == []
    assert [one["x"] for one in rows] == [1.0, 2.0, 2.0, 2.0]
    again = store.missing(path, ["a"], seeds=1, again=True)
    rows = store.append_rows(path, lambda setting, seed: [row(setting, seed, 4.0)], again)
    assert store.paired_summary(rows, "a", ["x"])[0]["mean"]["x"] == 3  # the last row counts


def test_a_setting_that_is_only_in_the_file_keeps_its_place():
    rows = [row(setting, 0, 0) for setting in ("gone first", "b", "gone", "gone, too", "a")]
    ordered = [one["setting"] for one in store.in_order(rows, ["a", "b", "c"])]
    assert ordered == ["gone first", "a", "b", "gone", "gone, too"]


def test_committed_rows_can_be_read_and_every_setting_has_its_control():
    found = sorted(store.RESULTS.glob("*.csv"))
    assert found
    for file in found:
        rows = store.read_rows(file)
        assert rows and all(None not in one for one in rows)
        if file.name.startswith(("compare", "refine", "oracle")):
            controls = {one["seed"] for one in rows if one["setting"] == "mle"}
            assert {one["seed"] for one in rows} <= controls


def test_runs_come_back_by_seed_without_a_half_written_one(tmp_path):
    path = tmp_path / "runs.jsonl"
    assert store.read_runs(path) == {}
    store.append_run(path, {"seed": 2})
    store.append_run(path, {"seed": 1})
    path.write_text(path.read_text() + '{"seed": 3, "epochs')
    assert store.read_runs(path) == {2: {"seed": 2}, 1: {"seed": 1}}
    store.write_runs(path, store.read_runs(path))
    assert path.read_text() == '{"seed": 1}\n{"seed": 2}\n'


def test_a_summary_pairs_by_seed():
    rows = [row("control", seed, x) for seed, x in enumerate([1.0, 2.0, 4.0, 9.0])]
    rows += [row("other", seed, x) for seed, x in enumerate([2.0, 2.0, 6.0])]
    control, other = store.paired_summary(rows, "control", ["x"])
    assert control["mean"]["x"] == 4
    assert control["difference"]["x"] == control["half_width"]["x"] == 0
    assert (other["n"], other["pairs"]) == (3, 3)
    assert other["mean"]["x"] == pytest.approx(10 / 3)
    assert other["difference"]["x"] == pytest.approx(1)  # of 1, 0, 2
    assert other["half_width"]["x"] == pytest.approx(4.302653 / math.sqrt(3))  # t(0.975, 2)
    low, high = stats.ttest_rel([2.0, 2, 6], [1.0, 2, 4]).confidence_interval(0.95)
    assert other["half_width"]["x"] == pytest.approx((high - low) / 2)
    table = store.markdown_table([control, other], "control", ["x"])
    assert table[2:] == ["| control | 4 | 4.000 |", "| other | 3 | 3.333 (+1.000 ± 2.484) |"]


def test_one_pair_has_no_interval_and_none_no_difference():
    rows = [row("control", 0, 1.0), row("one", 0, 3.0), row("none", 1, 3.0)]
    _, one, none = store.paired_summary(rows, "control", ["x"])
    assert one["difference"]["x"] == 2
    assert math.isnan(one["half_width"]["x"]) and math.isnan(none["difference"]["x"])


def test_no_file_imports_an_experiment():
    folder = Path(store.__file__).parent
    files = {str(f.relative_to(folder).with_suffix("")): f for f in folder.rglob("*.py")}
    assert set(EXPERIMENTS) < files.keys()
    modules = {f"benchmarks.{name.replace('/', '.')}" for name in EXPERIMENTS}
    for name, file in files.items():
        for node in ast.walk(ast.parse(file.read_text())):
            if isinstance(node, ast.ImportFrom):
                imported = {node.module, *(f"{node.module}.{a.name}" for a in node.names)}
                assert not imported & modules, f"{name} imports {imported & modules}"
