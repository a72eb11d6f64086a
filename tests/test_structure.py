"""Imports run one way: a file may import only what stands above it in this list."""

import ast
from pathlib import Path

import likelihood_gan

PACKAGE = Path(likelihood_gan.__file__).parent
ORDER = [
    "protocols",
    "vocabulary",
    "corpus",
    "sampling",
    "prefix_tree",
    "models",
    "objectives",
    "training",
    "fitting",
    "callbacks",
    "modules",
    "validation",
    "ngrams",
    "calibration",
    "refinement",
    "classifiers",
    "metrics",
    "distribution",
    "persistence",
    "estimator",
    "datasets",
    "displays",
    "checks",
]


def imported(path):
    """Name the modules of the package that a file imports."""
    found = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.ImportFrom) and (node.module or "").startswith("likelihood_gan"):
            parts = node.module.split(".")
            found |= {parts[1]} if len(parts) > 1 else {alias.name for alias in node.names}
        elif isinstance(node, ast.Import):
            found |= {
                a.name.split(".")[1] for a in node.names if a.name.startswith("likelihood_gan.")
            }
    return found


def test_every_file_has_its_place():
    files = {path.stem for path in PACKAGE.glob("*.py")} | {
        path.name for path in PACKAGE.iterdir() if (path / "__init__.py").exists()
    }
    assert files - {"__init__", "__main__"} == set(ORDER)


def test_imports_run_upwards_only():
    for place, name in enumerate(ORDER):
        paths = [PACKAGE / f"{name}.py"] if (PACKAGE / f"{name}.py").exists() else []
        paths += (PACKAGE / name).glob("*.py")
        assert paths
        for path in paths:
            wrong = imported(path) - set(ORDER[:place]) - {name}
            assert not wrong, f"{path.name} imports {wrong}, which stand below it"


def test_the_library_never_seeds_the_global_state():
    # one exception: inside fork_rng, for plug-ins that know no explicit generator
    users = [p.name for p in PACKAGE.rglob("*.py") if "torch.manual_seed" in p.read_text()]
    assert users == ["protocols.py"]
