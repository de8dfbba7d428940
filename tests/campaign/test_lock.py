"""One process at a time holds a campaign, and only while it lives."""

import errno
import fcntl
import json
import os
import select
import signal
import socket
import subprocess
import sys

import pytest

from mfal.campaign.lock import CampaignLock, CampaignLocked

HOLDER = """
import os, sys
from mfal.campaign.lock import CampaignLock
with CampaignLock(sys.argv[1]):
    # forked: a worker that outlives its driver until the test ends, and says "held"
    worker = os.fork() if "fork" in sys.argv else None
    if not worker:
        print("held", flush=True)
    sys.stdin.read()
    if worker == 0:
        os._exit(0)
"""


@pytest.fixture
def holder(tmp_path):
    """Starts a process that holds the lock until its standard input is closed."""
    started = []

    def start(*words):
        process = subprocess.Popen(
            [sys.executable, "-c", HOLDER, str(tmp_path), *words],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        started.append(process)
        assert select.select([process.stdout], [], [], 60)[0], "the holder hangs"
        assert process.stdout.readline() == "held\n"
        return process

    yield start
    for process in started:
        process.stdin.close()
        process.wait(60)
        process.stdout.close()


@pytest.mark.faults
def test_a_second_process_is_refused_and_told_who_holds_it(tmp_path, holder):
    process = holder()
    with (
        pytest.raises(
            CampaignLocked,
            match=rf"process {process.pid} on {socket.gethostname()} since \d{{4}}-",
        ),
        CampaignLock(tmp_path),
    ):
        pass


@pytest.mark.faults
@pytest.mark.parametrize("words", [(), ("fork",)], ids=["alone", "with a live worker"])
def test_a_killed_holder_releases_it(tmp_path, holder, words):
    process = holder(*words)
    os.kill(process.pid, signal.SIGKILL)
    process.wait(60)
    with CampaignLock(tmp_path):
        told = json.loads((tmp_path / "campaign.lock").read_text())
    assert told["pid"] == os.getpid()


@pytest.mark.faults
def test_a_worker_that_ends_does_not_release_the_drivers_lock(tmp_path):
    lock = CampaignLock(tmp_path)
    with lock:
        worker = os.fork()
        if worker == 0:
            lock.__exit__(None, None, None)
            os._exit(0)
        os.waitpid(worker, 0)
        with pytest.raises(CampaignLocked), CampaignLock(tmp_path):
            pass


def test_two_locks_in_one_process_exclude_each_other(tmp_path):
    with CampaignLock(tmp_path):
        with pytest.raises(CampaignLocked, match=str(os.getpid())):
            CampaignLock(tmp_path).__enter__()
        with pytest.raises(CampaignLocked):  # the refusal has not freed the first
            CampaignLock(tmp_path).__enter__()
    with CampaignLock(tmp_path):
        pass


def test_an_error_inside_releases_it(tmp_path):
    with pytest.raises(KeyError), CampaignLock(tmp_path):
        raise KeyError
    with CampaignLock(tmp_path):
        pass


def test_an_entered_lock_is_not_entered_again(tmp_path):
    lock = CampaignLock(tmp_path)
    with lock, pytest.raises(RuntimeError, match="already entered"):
        lock.__enter__()


@pytest.mark.parametrize("text", ["", "{", "[]", "{}"])
def test_a_holder_without_a_name_is_still_refused(tmp_path, text):
    with CampaignLock(tmp_path):
        (tmp_path / "campaign.lock").write_text(text)
        with pytest.raises(CampaignLocked, match="driven by another process"):
            CampaignLock(tmp_path).__enter__()


def test_the_directory_is_made(tmp_path):
    with CampaignLock(tmp_path / "a" / "b"):
        assert (tmp_path / "a" / "b" / "campaign.lock").is_file()


def test_a_directory_below_a_file_is_refused(tmp_path):
    (tmp_path / "file").write_text("")
    for path in (tmp_path / "file", tmp_path / "file" / "below"):
        with pytest.raises(ValueError, match=r"can write.*--dir"):
            CampaignLock(path).__enter__()


@pytest.mark.parametrize("number", [errno.EACCES, errno.EROFS, errno.EPERM])
def test_an_unwritable_directory_is_refused_with_the_remedy(
    tmp_path, monkeypatch, number
):
    def refused(*_, **__):
        raise OSError(number, os.strerror(number))

    monkeypatch.setattr(os, "open", refused)
    with pytest.raises(ValueError, match=r"can write.*--dir"):
        CampaignLock(tmp_path).__enter__()


def test_a_full_disk_is_not_called_bad_input(tmp_path, monkeypatch):
    def full(*_):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    with monkeypatch.context() as patched:
        patched.setattr(os, "pwrite", full)
        with pytest.raises(OSError, match="No space"):
            CampaignLock(tmp_path).__enter__()
    with CampaignLock(tmp_path):
        pass


def test_a_file_system_without_locks_is_refused_with_the_remedy(tmp_path, monkeypatch):
    def none(*_):
        raise OSError(errno.ENOLCK, os.strerror(errno.ENOLCK))

    monkeypatch.setattr(fcntl, "flock", none)
    with pytest.raises(ValueError, match=r"no locks.*--dir"):
        CampaignLock(tmp_path).__enter__()
