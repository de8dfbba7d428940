"""The tutorial of a BoTorch loop with two lines changed runs, at smoke size."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]


@pytest.mark.slow
def test_the_loop_with_two_lines_changed_runs():
    done = subprocess.run(
        [sys.executable, str(ROOT / "tutorials" / "botorch_loop.py")],
        env=os.environ | {"SMOKE_TEST": "1", "MPLBACKEND": "agg"},
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr[-2000:]
    assert "as it was: 0 cheap and" in done.stdout
    assert "changed: " in done.stdout
