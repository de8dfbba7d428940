"""Files that are whole or not there: temporary file, fsync, rename."""

import os
from pathlib import Path


def write_atomically(path: Path, content: bytes) -> None:
    """Puts `content` in the place of `path`, which keeps its old content until then.

    Raises:
        OSError: the disk did not take it; what was there before still stands.
    """
    temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    try:
        with temporary.open("wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        temporary.replace(path)
    finally:
        temporary.unlink(missing_ok=True)


def write_text(path: Path, text: str) -> None:
    """`write_atomically` of text in UTF-8."""
    write_atomically(path, text.encode())
