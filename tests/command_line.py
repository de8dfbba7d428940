"""The command line as tests use it."""

import os
import subprocess
import sys

from typer.testing import CliRunner

from mfal.cli import app


def command(*words):
    """Runs a verb in this process."""
    return CliRunner().invoke(app, [str(word) for word in words])


def command_in_process(*words, cwd, **settings):
    """Runs a verb in a process of its own."""
    return subprocess.run(
        [sys.executable, "-c", "from mfal.cli import main; main()", *map(str, words)],
        cwd=cwd,
        capture_output=True,
        text=True,
        env={**os.environ, "OMP_NUM_THREADS": "1"},
        timeout=120,
        **settings,
    )


def refused(result, *words, code=2):
    """Exit code, and one line on stderr that says why."""
    assert result.exit_code == code, result.output
    assert len(result.stderr.splitlines()) == 1, result.stderr
    assert "Traceback" not in result.output
    for word in words:
        assert word in result.stderr
