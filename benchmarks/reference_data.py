"""Where the reference data are: published sets of other people, not in the repository."""

import os
from pathlib import Path

VARIABLE = "MFAL_DATA"
DEFAULT = Path("../shared/data")
"""Relative to the root of the repository."""

ROOT = Path(__file__).parents[1]


def reference_folder() -> Path:
    """The folder that `MFAL_DATA` names, else the default."""
    named = os.environ.get(VARIABLE)
    return Path(named).expanduser() if named else (ROOT / DEFAULT).resolve()


def reference_data(*parts: str) -> Path:
    """A file or folder of the reference data, e.g. `reference_data("mlearn")`.

    Raises:
        FileNotFoundError: it is not there.
    """
    path = reference_folder().joinpath(*parts)
    if not path.exists():
        raise FileNotFoundError(
            f"there is no {Path(*parts)} in {reference_folder()}: set {VARIABLE} to the "
            f"folder that holds the reference data, or put them into {DEFAULT} (from "
            "the root of the repository)"
        )
    return path
