"""One process at a time drives a campaign."""

import errno
import fcntl
import json
import os
import socket
from datetime import UTC, datetime
from pathlib import Path
from types import TracebackType

_NOT_YOURS = {errno.EACCES, errno.EPERM, errno.EROFS, errno.ENOTDIR, errno.EEXIST}
_NO_LOCKS = {errno.ENOLCK, errno.ENOTSUP, errno.ENOSYS}


class CampaignLocked(RuntimeError):
    """Another process drives this campaign."""


class CampaignLock:
    """An OS lock on a campaign's directory (made if missing), held inside `with`.

    The system releases it when the holder ends, however it ends. Forked workers do
    not hold it, so one that outlives a killed driver does not block the next driver.

    Raises (on entering):
        CampaignLocked: another process holds it; tells which.
        ValueError: a directory that cannot be written, or a file system without locks.
    """

    def __init__(self, directory: str | os.PathLike[str]) -> None:
        self.directory = Path(directory)
        self.path = self.directory / "campaign.lock"
        self._descriptor: int | None = None

    def __enter__(self) -> "CampaignLock":
        if self._descriptor is not None:
            raise RuntimeError("this lock is already entered: make another one")
        descriptor = self._open()
        try:
            self._lock(descriptor)
            _write_holder(descriptor)
        except BaseException:
            os.close(descriptor)
            raise
        self._descriptor = descriptor
        os.register_at_fork(after_in_child=self._close)
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._close()

    def _open(self) -> int:
        try:
            self.directory.mkdir(parents=True, exist_ok=True)
            return os.open(self.path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o644)
        except OSError as error:
            if error.errno not in _NOT_YOURS:
                raise
            raise ValueError(
                f"a campaign needs a directory it can write, but {self.directory} is "
                f"not one ({error.strerror}): choose another with --dir, or change "
                "its permissions"
            ) from None

    def _lock(self, descriptor: int) -> None:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise CampaignLocked(
                f"the campaign in {self.directory} is being driven by "
                f"{_holder(descriptor)}: wait for it or end it; `mfal status` and "
                "`mfal report` work meanwhile"
            ) from None
        except OSError as error:
            if error.errno not in _NO_LOCKS:
                raise
            raise ValueError(
                f"the file system of {self.directory} has no locks "
                f"({error.strerror}): choose a directory on another with --dir"
            ) from None

    def _close(self) -> None:
        if self._descriptor is not None:
            os.close(self._descriptor)
            self._descriptor = None


def _write_holder(descriptor: int) -> None:
    holder = {
        "pid": os.getpid(),
        "host": socket.gethostname(),
        "started": datetime.now(UTC).isoformat(timespec="seconds"),
    }
    os.ftruncate(descriptor, 0)
    os.pwrite(descriptor, json.dumps(holder).encode(), 0)
    os.fsync(descriptor)


def _holder(descriptor: int) -> str:
    try:
        holder = json.loads(os.pread(descriptor, 4096, 0))
        return f"process {holder['pid']} on {holder['host']} since {holder['started']}"
    except (ValueError, TypeError, KeyError):
        return "another process"  # that has not written its name yet
