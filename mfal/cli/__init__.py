"""The command line: one verb per question, and one place for exit codes.

Heavy libraries are imported by the verbs that need them.
"""

from mfal.cli import campaigns, labels, potentials, starting
from mfal.cli.application import app
from mfal.cli.errors import Stopped, verdict

__all__ = ["Stopped", "app", "main", "verdict"]

VERBS = (starting, campaigns, potentials, labels)  # each adds its own to `app`


def main() -> None:
    """The entry point of `mfal`."""
    app()
