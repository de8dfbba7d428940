"""The command line: one verb per question, and one place for exit codes.

Heavy libraries are imported by the verbs that need them, after the threads of OpenMP are
told to sleep while they wait: as they spin by default, a small fit beside other work on the
same cores took three times as long.
"""

import os

from mfal.cli import campaigns, labels, potentials, starting
from mfal.cli.application import app
from mfal.cli.errors import Stopped, verdict

__all__ = ["Stopped", "app", "main", "verdict"]

VERBS = (starting, campaigns, potentials, labels)  # each adds its own to `app`


def main() -> None:
    """The entry point of `mfal`."""
    os.environ.setdefault("OMP_WAIT_POLICY", "passive")
    app()
