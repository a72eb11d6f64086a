"""Result files of benchmarks that are paired by their seed: one CSV row per setting and seed.

A row is a dict with "setting", "seed" and numbers. What is measured is left to the benchmarks.
"""

import csv
import io
import math
import statistics

from scipy import stats


def read_rows(path):
    """Return the finished rows of a file, numbers converted; a half-written last line is dropped.

    Empty cells are NaN.
    """
    text = path.read_text() if path.exists() else ""
    whole = text[: text.rfind("\n") + 1]
    return [
        {column: cell if column == "setting" else _number(cell) for column, cell in row.items()}
        for row in csv.DictReader(io.StringIO(whole))
    ]


def append_row(path, row):
    """Add a row to a file, which is made if it is missing; a half-written last line gives way.

    Raises
    ------
    ValueError
        If the file has other columns.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    path.touch()
    data = path.read_bytes()
    whole = data[: data.rfind(b"\n") + 1]
    header = next(csv.reader(io.StringIO(whole.decode())), None)
    if header not in (None, list(row)):
        raise ValueError(f"{path.name} has the columns {header}, not {list(row)}; move it away")
    text = io.StringIO()
    writer = csv.DictWriter(text, list(row), lineterminator="\n")
    if header is None:
        writer.writeheader()
    writer.writerow(row)
    with open(path, "r+b") as file:
        file.truncate(len(whole))
        file.seek(len(whole))
        file.write(text.getvalue().encode())


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
