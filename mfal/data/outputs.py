"""Places for results, checked before the work whose results they take."""

import os
from pathlib import Path


def check_writable(*paths: Path | None) -> None:
    """Refuses a path in a folder that could not be made or written.

    Raises:
        NotADirectoryError: a parent is a file.
        PermissionError: the nearest folder that exists may not be written.
    """
    for path in paths:
        if path is None:
            continue
        nearest = next(p for p in path.absolute().parents if p.exists())
        if not nearest.is_dir():
            raise NotADirectoryError(0, "this is a file, not a directory", str(nearest))
        if not os.access(nearest, os.W_OK):
            raise PermissionError(0, "this directory cannot be written", str(nearest))
