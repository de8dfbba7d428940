"""Every tutorial runs at smoke size, and its notebook holds the cells of its script."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
SCRIPTS = sorted((ROOT / "tutorials").glob("[0-9][0-9]_*.py"))


def test_there_are_tutorials():
    assert SCRIPTS


@pytest.mark.slow
@pytest.mark.parametrize("script", SCRIPTS, ids=lambda path: path.stem)
def test_a_tutorial_runs(script, tmp_path):
    done = subprocess.run(
        [sys.executable, str(script)],
        env=os.environ | {"SMOKE_TEST": "1", "MPLBACKEND": "agg"},
        cwd=ROOT,
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr[-2000:]


@pytest.mark.parametrize("script", SCRIPTS, ids=lambda path: path.stem)
def test_a_notebook_holds_the_cells_of_its_script(script):
    jupytext = pytest.importorskip("jupytext")
    cells = jupytext.read(script).cells
    notebook = jupytext.read(script.with_suffix(".ipynb")).cells
    assert [(c.cell_type, c.source) for c in notebook] == [
        (c.cell_type, c.source) for c in cells
    ]
