"""The spool: one JSON file per finished label, so that a dead driver loses nothing."""

import fcntl
import logging
import os
import zlib
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path

from mfal.oracles.request import LabelRequest, LabelResult

log = logging.getLogger(__name__)

LOCKS = ".locks"
"""File in the spool directory whose bytes are locked by running labels."""


def write_result(request: LabelRequest, result: LabelResult) -> None:
    """Write a result to its file: temporary, synced, renamed.

    A disk that does not take it is logged; the result then has only the way back
    through the executor.
    """
    if request.spool is None:
        return
    directory = Path(request.spool)
    path = directory / f"{request.label_id}.json"
    temporary = directory / f".{request.label_id}.{os.getpid()}.tmp"
    try:
        directory.mkdir(parents=True, exist_ok=True)
        with open(temporary, "w") as file:
            file.write(result.to_json())
            file.flush()
            os.fsync(file.fileno())
        os.replace(temporary, path)
        _sync(directory)
        _note(request).unlink(missing_ok=True)
    except OSError as error:
        with suppress(OSError):
            temporary.unlink()
        log.error("label %s is not in the spool: %s", request.label_id, error)


def note_begin(request: LabelRequest) -> None:
    """Leave a note that this attempt has begun; `write_result` takes it away."""
    if request.spool is None:
        return
    note = _note(request)
    try:
        note.parent.mkdir(parents=True, exist_ok=True)
        note.write_text(f"{request.task} {request.attempt}")
    except OSError as error:
        log.warning("label %s: no note that it has begun: %s", request.label_id, error)


def has_begun(request: LabelRequest) -> bool:
    """Whether a worker left the note that it has begun this attempt."""
    if request.spool is None:
        return False
    try:
        return _note(request).read_text() == f"{request.task} {request.attempt}"
    except (OSError, UnicodeDecodeError):
        return False


def collect_spool(directory: str | os.PathLike[str]) -> list[LabelResult]:
    """All results in a spool directory, by the time at which they were finished.

    Files that are not the result that their name says are logged and left alone.
    """
    results = []
    for path in sorted(Path(directory).glob("*.json")):
        result = _read(path)
        if result is not None:
            results.append(result)
    return sorted(results, key=lambda result: (result.finished, result.label_id))


def finished_before(request: LabelRequest) -> LabelResult | None:
    """The result of the same task in the spool: a label, or this attempt's error."""
    if request.spool is None:
        return None
    path = Path(request.spool) / f"{request.label_id}.json"
    result = _read(path) if path.exists() else None
    if result is None or result.task != request.task:
        return None
    good = result.label is not None or result.attempt >= request.attempt
    return result if good else None


@contextmanager
def only_here(request: LabelRequest) -> Iterator[None]:
    """Hold the label in this process; wait while another process holds it.

    A worker whose driver was killed goes on with its label. The worker that the next
    driver starts for the same label waits for it here. The lock is the system's: it
    ends with the process that holds it, however that ends.
    """
    with ExitStack() as held:
        if request.spool is not None:
            try:
                _hold(request.label_id, Path(request.spool), held)
            except OSError as error:  # e.g. a file system without locks
                log.warning("label %s is not locked: %s", request.label_id, error)
        yield


def _hold(label_id: str, directory: Path, held: ExitStack) -> None:
    directory.mkdir(parents=True, exist_ok=True)
    locks = held.enter_context((directory / LOCKS).open("a"))
    # one byte per label; two labels on the same byte only wait for each other
    fcntl.lockf(locks, fcntl.LOCK_EX, 1, zlib.crc32(label_id.encode()))


def _note(request: LabelRequest) -> Path:
    return Path(request.spool or "") / f".{request.label_id}.begun"


def _read(path: Path) -> LabelResult | None:
    try:
        result = LabelResult.from_json(path.read_text())
        if result.label_id != path.stem:
            raise ValueError(f"it holds label {result.label_id}")
        return result
    except (OSError, ValueError) as error:  # ValueError: also of JSON and of UTF-8
        log.warning("%s is not taken as a label: %s", path, error)
        return None


def _sync(directory: Path) -> None:
    handle = os.open(directory, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
