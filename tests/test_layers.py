"""Each room of the house imports only from the floors below it (or from itself)."""

import ast
import subprocess
import sys
from pathlib import Path

import pytest

FLOORS = [  # from the bottom
    {"lazy", "units", "kernels", "descriptors"},
    {"data"},
    {"models", "oracles"},
    {"acquisition", "calculators"},
    {"campaign"},
    {"report"},
    {"cli"},
]
ROOT = Path(__file__).parents[1] / "mfal"
FILES = [f for f in sorted(ROOT.rglob("*.py")) if f != ROOT / "__init__.py"]


def room(file):
    return file.relative_to(ROOT).parts[0].removesuffix(".py")


def imported(file):
    for node in ast.walk(ast.parse(file.read_text())):
        if isinstance(node, ast.ImportFrom):
            assert node.level <= 1, f"{file}: import absolutely from other rooms"
            names = [f"{node.module}.{alias.name}" for alias in node.names]
        elif isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        else:
            continue
        yield from (n.split(".")[1] for n in names if n.startswith("mfal."))


@pytest.mark.parametrize("file", FILES, ids=lambda f: str(f.relative_to(ROOT)))
def test_imports_point_downwards(file):
    height = next(h for h, floor in enumerate(FLOORS) if room(file) in floor)
    below = set().union(*FLOORS[:height], {room(file), "__version__", "lazy"})
    if room(file) in {"kernels", "descriptors", "data"}:
        below |= {"units"}
    assert set(imported(file)) <= below


@pytest.mark.parametrize("name", ["data", "oracles"])
def test_labelling_workers_do_not_import_torch(name):
    """A worker that only runs a quantum-chemistry code starts without torch."""
    for file in (ROOT / name).rglob("*.py"):
        tree = ast.parse(file.read_text())
        names = [
            alias.name if isinstance(node, ast.Import) else node.module or ""
            for node in ast.walk(tree)
            if isinstance(node, ast.Import | ast.ImportFrom)
            for alias in node.names
        ]
        assert not any(n.split(".")[0] in {"torch", "gpytorch"} for n in names), file


def test_fitting_a_potential_needs_no_botorch():
    code = "import sys, mfal.campaign.fit, mfal.models; print('botorch' in sys.modules)"
    found = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True
    )
    assert found.stdout.strip() == "False"
