"""Imports run one way: a file may import only what stands above it in this list."""

import ast
import graphlib
from pathlib import Path

import pytest

import likelihood_gan

PACKAGE = Path(likelihood_gan.__file__).parent
ORDER = [
    "protocols",
    "splitting",
    "vocabulary",
    "containers",
    "validation",
    "rules",
    "ngrams",
    "schedules",
    "devices",
    "processes",
    "rows",
    "atomic",
    "rejection",
    "progress",
    "sampling",
    "prefix_tree",
    "search",
    "scoring",
    "estimates",
    "models",
    "huggingface",
    "objectives",
    "corpus",
    "controls",
    "training",
    "plugins",
    "snapshots",
    "phases",
    "runs",
    "fitting",
    "symbols",
    "files",
    "bundled",
    "encoding",
    "rebuilding",
    "decoding",
    "persistence",
    "checkpoint",
    "verbs",
    "distribution",
    "fitted",
    "callbacks",
    "parameters",
    "estimator",
    "ensemble",
    "calibration",
    "crossfitting",
    "refined",
    "conditional",
    "metrics",
    "datasets",
    "displays",
    "checks",
    "comparison",
    "console",
    "commands",
    "fit_command",
    "command_options",
    "command_line",
]
PACKAGES = ["datasets", "models"]


def module_of(path):
    """Name a file as it is imported, without the name of the package."""
    parts = path.relative_to(PACKAGE).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


FILES = {
    module_of(path): path for path in PACKAGE.rglob("*.py") if path.parent.name != "__pycache__"
}


def imported(path):
    """Name the modules of the package that a file imports."""
    found = set()
    for node in ast.walk(ast.parse(path.read_text())):
        names = []
        if isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path.name} has a relative import"
            names = [node.module, *(f"{node.module}.{alias.name}" for alias in node.names)]
        elif isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        # the name of a class is no module: `from likelihood_gan.models import CharLSTM`
        found |= {name.removeprefix("likelihood_gan.") for name in names} & FILES.keys()
    return found


GRAPH = {name: imported(path) for name, path in FILES.items() if name}  # "" is the package itself


def needed(name):
    """Name all modules that a module imports, and those that they import."""
    found, waiting = set(), [name]
    while waiting:
        new = GRAPH[waiting.pop()] - found
        found |= new
        waiting += new
    return found


def test_every_file_has_its_place():
    tops = {name.partition(".")[0] for name in GRAPH} - {"__main__"}
    assert tops == set(ORDER)
    assert sorted(path.parent.name for path in PACKAGE.glob("*/__init__.py")) == PACKAGES


@pytest.mark.parametrize("name", sorted(GRAPH.keys() - {"__main__"}))
def test_imports_run_upwards_only(name):
    top = name.partition(".")[0]
    above = {*ORDER[: ORDER.index(top)], top}
    wrong = {other for other in GRAPH[name] if other.partition(".")[0] not in above}
    assert not wrong, f"{name} imports {wrong}, which stand below it"


def test_no_import_comes_back_to_where_it_began():
    graphlib.TopologicalSorter(GRAPH).prepare()  # raises CycleError, also within a package


@pytest.mark.parametrize("name", ["validation", "ngrams", "metrics", "displays", "datasets"])
def test_what_measures_and_shows_imports_nothing_that_trains(name):
    assert not needed(name) & {"training", "fitting", "estimator"}
    assert "training" in needed("estimator")  # so the walk finds what is there


def test_the_library_never_seeds_the_global_state():
    # one exception: inside fork_rng, for plug-ins that know no explicit generator
    users = [p.name for p in PACKAGE.rglob("*.py") if "torch.manual_seed" in p.read_text()]
    assert users == ["protocols.py"]
