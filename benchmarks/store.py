"""Where results are and how they are kept: rows that are paired by their seed, resumed and tabulated.

A row is a dict with "setting", "seed" and numbers, a result file has one line for each. What is
measured is left to the experiments.
"""

import csv
import io
import json
import math
import os
import statistics
from pathlib import Path

import joblib
from scipy import stats
from tqdm import tqdm

ROOT = Path(__file__).resolve().parents[1]
RESULTS = ROOT / "benchmarks" / "results"
STARTS = RESULTS / "starts"  # not in the repository: fits that a killed command need not repeat
FIGURES = ROOT / "docs" / "figures"


# Rows of CSV files


def read_rows(path):
    """Return the finished rows of a file, numbers converted; a half-written last line is dropped.

    Empty cells are NaN.
    """
    header, *rows = _read_cells(path) or [[]]
    return [
        {
            column: cell if column == "setting" else _number(cell)
            for column, cell in zip(header, cells, strict=True)
        }
        for cells in rows
    ]


def append_row(path, row):
    """Add a row to a file, which is made if it is missing; a half-written last line gives way.

    A column that the file lacks is added to it, with empty cells in the rows before; a cell that the
    row lacks is empty.

    Raises
    ------
    ValueError
        If the first column of the file is not one of the row: the file holds something else.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    header, *rows = _read_cells(path) or [list(row)]
    if header[0] not in row:
        raise ValueError(f"{path.name} has the columns {header}, not {list(row)}; move it away")
    new = [column for column in row if column not in header]
    if new or not rows:
        cells = [[*header, *new], *([*before, *[""] * len(new)] for before in rows)]
        _replace(path, _to_text(cells))
    whole = _whole_lines(path)
    with open(path, "r+b") as file:
        file.truncate(len(whole))
        file.seek(len(whole))
        file.write(_to_text([[row.get(column, "") for column in [*header, *new]]]).encode())


def missing(path, settings, seeds, again=False):
    """List the pairs (setting, seed) that a file lacks; with `again` nothing counts as finished."""
    done = set() if again else {(row["setting"], row["seed"]) for row in read_rows(path)}
    pairs = [(setting, seed) for seed in range(seeds) for setting in settings]
    return [pair for pair in pairs if pair not in done]


def append_rows(path, run_once, pairs, n_jobs=1):
    """Append the rows of `run_once(setting, seed)` for every pair; return all rows of the file."""
    parallel = joblib.Parallel(n_jobs=n_jobs, return_as="generator_unordered")
    jobs = [joblib.delayed(run_once)(*pair) for pair in pairs]
    for rows in tqdm(parallel(jobs), total=len(jobs), desc=path.stem, disable=not jobs):
        for row in rows:
            append_row(path, row)
    return read_rows(path)


def rounded(row, digits=5):
    """Return a row with its floats at so many significant digits."""
    return {k: float(f"{v:.{digits}g}") if isinstance(v, float) else v for k, v in row.items()}


# Runs, with more than numbers in them, as lines of JSON


def read_runs(path):
    """Return the finished runs of a file, by seed."""
    lines = path.read_text().splitlines() if path.exists() else []
    runs = []
    for line in lines:
        try:
            runs.append(json.loads(line))
        except json.JSONDecodeError:
            continue  # the line that was being written when the command was killed
    return {run["seed"]: run for run in runs}


def write_runs(path, runs):
    """Write runs in the order of their seeds, replacing the file at the end."""
    path.parent.mkdir(parents=True, exist_ok=True)
    _replace(path, "".join(json.dumps(runs[seed]) + "\n" for seed in sorted(runs)))


def append_run(path, run):
    """Add a line to a file."""
    with open(path, "a") as file:
        file.write(json.dumps(run) + "\n")


# Tables


def in_order(rows, settings):
    """Sort rows by the order of `settings`; one that is not among them follows what it follows now."""
    order, before = list(settings), None
    for setting in dict.fromkeys(row["setting"] for row in rows):
        if setting not in order:
            order.insert(0 if before is None else order.index(before) + 1, setting)
        before = setting
    return sorted(rows, key=lambda row: order.index(row["setting"]))


def measured(columns, rows):
    """Return the columns that are a number in some row."""
    return [c for c in columns if not all(math.isnan(row.get(c, math.nan)) for row in rows)]


def paired_summary(rows, control, columns, confidence=0.95):
    """Compare every setting with `control`, seed by seed.

    Returns
    -------
    list of dict
        For each setting, in the order of the rows: "setting"; "n", its number of seeds; "pairs",
        of those that the control has, too; and by column "mean" over its seeds, "difference", the
        mean of (setting - control) over the pairs, and "half_width" of its t-interval. NaN where
        there are too few; of several rows of a setting and seed the last counts.
    """
    by_setting = {}
    for row in rows:
        by_setting.setdefault(row["setting"], {})[row["seed"]] = row
    controls = by_setting.get(control, {})
    summary = []
    for setting, runs in by_setting.items():
        pairs = [(runs[seed], controls[seed]) for seed in runs if seed in controls]
        entry = {"setting": setting, "n": len(runs), "pairs": len(pairs)}
        entry |= {"mean": {}, "difference": {}, "half_width": {}}
        for column in columns:
            differences = [one[column] - other[column] for one, other in pairs]
            entry["mean"][column] = statistics.fmean(run[column] for run in runs.values())
            entry["difference"][column] = _mean(differences)
            entry["half_width"][column] = _half_width(differences, confidence)
        summary.append(entry)
    return summary


def markdown_table(summary, control, columns, plain=()):
    """Return lines of Markdown: the mean, and the difference with its interval, none if `plain`."""
    lines = [f"| setting | seeds | {' | '.join(columns)} |", "|---" * (len(columns) + 2) + "|"]
    for entry in summary:
        cells = []
        for column in columns:
            mean, difference, half_width = (
                entry[part][column] for part in ("mean", "difference", "half_width")
            )
            digits = 4 if abs(mean) < 1 else 3 if abs(mean) < 100 else 0
            cell = "" if math.isnan(mean) else f"{mean:.{digits}f}"
            if column not in plain and entry["setting"] != control and not math.isnan(difference):
                interval = "" if math.isnan(half_width) else f" ± {half_width:.{digits}f}"
                cell += f" ({difference:+.{digits}f}{interval})"
            cells.append(cell)
        lines.append(f"| {entry['setting']} | {entry['n']} | {' | '.join(cells)} |")
    return lines


def _whole_lines(path):
    data = path.read_bytes() if path.exists() else b""
    return data[: data.rfind(b"\n") + 1]


def _read_cells(path):
    """Return the header and the finished rows as text; nothing if there is no header yet."""
    return list(csv.reader(io.StringIO(_whole_lines(path).decode())))


def _to_text(cells):
    text = io.StringIO()
    csv.writer(text, lineterminator="\n").writerows(cells)
    return text.getvalue()


def _replace(path, text):
    """Write a whole file, or leave it as it is if that is interrupted."""
    temporary = path.with_suffix(".tmp")
    temporary.write_text(text)
    os.replace(temporary, path)


def _number(cell):
    for convert in (int, float):
        try:
            return convert(cell)
        except ValueError:
            continue
    return cell if cell else math.nan


def _mean(values):
    return statistics.fmean(values) if values else math.nan


def _half_width(values, confidence):
    if len(values) < 2 or not all(map(math.isfinite, values)):
        return math.nan
    error = statistics.stdev(values) / math.sqrt(len(values))
    return float(stats.t.ppf((1 + confidence) / 2, len(values) - 1)) * error
