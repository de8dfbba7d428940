"""Killed anywhere: what was acknowledged stands, the rest wholly or not at all."""

import logging
import os
import resource
import shutil
import signal
import sqlite3
import tempfile
from itertools import count
from pathlib import Path

import pytest
from stored_campaign import (
    POOL,
    VERSIONS,
    WRITES,
    campaign,
    contents,
    forked,
    in_child,
    pool,
    result,
)

from mfal.campaign.database import StoreError, StoreWriteError
from mfal.campaign.store import CampaignStore


def killed_at(path, write, n_statements):
    """Runs `write`, killed at its n-th statement or after it; was it acknowledged?"""
    source, sink = os.pipe()

    def run():
        statements = []

        def die(statement):
            statements.append(statement)
            if len(statements) > n_statements:
                os.kill(os.getpid(), signal.SIGKILL)

        store = CampaignStore(path)
        store._connection.set_trace_callback(die)
        write(store)
        os.write(sink, b"acknowledged")
        os.kill(os.getpid(), signal.SIGKILL)

    status = in_child(run)
    os.close(sink)
    acknowledged = os.read(source, 100) == b"acknowledged"
    os.close(source)
    assert os.WTERMSIG(status) == signal.SIGKILL
    return acknowledged


@pytest.mark.faults
@pytest.mark.parametrize("name", WRITES)
def test_a_write_killed_anywhere_stands_wholly_or_not_at_all(path, tmp_path, name):
    write = WRITES[name]
    campaign(path).close()
    before = contents(path)
    shutil.copy(path, tmp_path / "whole.sqlite")
    with CampaignStore(tmp_path / "whole.sqlite") as store:
        write(store)
    after = contents(tmp_path / "whole.sqlite")
    assert after != before
    for n_statements in count():
        (tmp_path / "crash").mkdir()
        crashed = shutil.copy(path, tmp_path / "crash" / "campaign.sqlite")
        acknowledged = killed_at(crashed, write, n_statements)
        assert contents(crashed) == (after if acknowledged else before)
        shutil.rmtree(tmp_path / "crash")
        if acknowledged:
            break
    assert n_statements >= 3  # begin, the write, commit


@pytest.mark.faults
def test_a_pool_killed_anywhere_is_stored_wholly_or_not_at_all(path):
    for n_statements in count():
        acknowledged = killed_at(
            path, lambda store: store.add_structures(pool()), n_statements
        )
        with CampaignStore(path) as store:
            assert len(store.structures()) == (len(POOL) if acknowledged else 0)
        if acknowledged:
            break
    assert n_statements > len(POOL)


@pytest.mark.faults
def test_a_creation_killed_anywhere_is_completed_by_the_next(path, monkeypatch):
    connect = sqlite3.connect
    n_statements = 0
    for n_statements in count():

        def create(limit=n_statements):
            def dying(*words, **named):
                connection = connect(*words, **named)
                left = [None] * limit
                connection.set_trace_callback(
                    lambda _: left.pop() if left else os.kill(os.getpid(), 9)
                )
                return connection

            monkeypatch.setattr(sqlite3, "connect", dying)
            CampaignStore(path)

        finished = in_child(create) == 0
        with campaign(path) as store:
            assert len(store.labels()) == 6
        for file in path.parent.iterdir():
            file.unlink()
        if finished:
            break
    assert n_statements > 10


@pytest.mark.faults
def test_a_torn_write_ahead_log_keeps_what_was_synced_before(tmp_path):
    """Losing the tail of the log (power failure) loses last writes, never parts."""
    path = tmp_path / "campaign.sqlite"
    campaign(path).close()

    def run():
        store = CampaignStore(path)
        for name in ("open_step", "record", "log_event"):
            WRITES[name](store)
        os.kill(os.getpid(), signal.SIGKILL)

    states = [contents(path)]
    copy = tmp_path / "copy" / "campaign.sqlite"
    copy.parent.mkdir()
    shutil.copy(path, copy)
    with CampaignStore(copy) as store:
        for name in ("open_step", "record", "log_event"):
            WRITES[name](store)
            states.append(contents(copy))
    in_child(run)
    log = (tmp_path / "campaign.sqlite-wal").read_bytes()
    found = []
    for length in [*range(0, len(log), 997), len(log)]:
        shutil.rmtree(copy.parent)
        copy.parent.mkdir()
        shutil.copy(path, copy)
        copy.with_name("campaign.sqlite-wal").write_bytes(log[:length])
        found.append(states.index(contents(copy)))
    assert found == sorted(found)
    assert set(found) == {0, 1, 2, 3}


@pytest.mark.faults
def test_a_disk_that_fills_up_keeps_what_was_recorded(path):
    campaign(path).close()

    def run():
        store = CampaignStore(path)
        size = max(file.stat().st_size for file in path.parent.iterdir())
        resource.setrlimit(resource.RLIMIT_FSIZE, (size + 200_000,) * 2)
        logging.disable()
        for i in range(1000):
            try:
                store.log_event("note", str(i) * 5000)
            except StoreWriteError as error:
                assert "make room" in str(error)
                with pytest.raises(StoreWriteError):
                    store.log_event("note", str(i) * 5000)
                assert len(store.events()) == i
                os._exit(min(i, 100))
        os._exit(0)

    n_recorded = os.waitstatus_to_exitcode(in_child(run))
    assert n_recorded > 3
    assert len(contents(path)["events"]) >= n_recorded


@pytest.mark.faults
def test_status_undoes_what_a_killed_writer_left_half_written_in_the_file(path):
    campaign(path).close()
    before = contents(path)
    size = path.stat().st_size

    def run():
        logging.disable()
        store = CampaignStore(path)
        store._connection.execute("PRAGMA cache_size = 1")  # pages are written early
        with store.batch():
            for label_id in range(1, 7):
                store.log_event("note", "x" * 50_000, label_id)
            os.kill(os.getpid(), signal.SIGKILL)

    in_child(run)
    left = sum(file.stat().st_size for file in path.parent.iterdir())
    assert left > size + 250_000
    assert contents(path) == before


def test_a_failed_commit_leaves_nothing_and_the_store_usable(path):
    campaign(path).close()
    before = contents(path)

    class Failing(sqlite3.Connection):
        fails = True

        def execute(self, statement, *values):
            if statement == "COMMIT" and self.fails:
                raise KeyboardInterrupt
            return super().execute(statement, *values)

    with CampaignStore(path) as store:
        uri = f"{path.absolute().as_uri()}?mode=rw"
        store._connection.close()
        store._connection = sqlite3.connect(
            uri, uri=True, isolation_level=None, factory=Failing
        )
        store._connection.row_factory = sqlite3.Row
        for write in WRITES.values():
            with pytest.raises(KeyboardInterrupt):
                write(store)
            assert contents(path) == before
        store._connection.fails = False
        assert store.record(3, result(3), 1.0, 1.0, "here", VERSIONS)


@pytest.mark.faults
def test_two_processes_that_write_lose_nothing(path):
    campaign(path).close()

    def write(name):
        logging.disable()
        with CampaignStore(path) as store:
            for i in range(30):
                store.log_event(name, str(i))

    writers = [forked(lambda name=name: write(name)) for name in ("one", "two")]
    assert [os.waitpid(writer, 0)[1] for writer in writers] == [0, 0]
    events = contents(path)["events"]
    assert len(events) == 60
    for name in ("one", "two"):
        told = [int(e["message"]) for e in events if e["kind"] == name]
        assert told == list(range(30))


@pytest.mark.faults
def test_status_reads_whole_steps_while_another_process_writes(path):
    campaign(path).close()
    go, told = os.pipe()

    def write():
        with CampaignStore(path) as store:
            os.write(told, b"x")
            for step in range(1, 100):
                requests = [(i, f"l{step}", "sweep", None, None) for i in range(6)]
                store.open_step(step, "sweep", {}, requests)

    child = forked(write)
    os.read(go, 1)
    seen = [0]
    with CampaignStore(path, read_only=True) as status:
        while not os.waitpid(child, os.WNOHANG)[0]:
            n_labels = sum(sum(by.values()) for by in status.counts().values())
            assert n_labels % 6 == 0
            seen.append(n_labels)
        assert len(status.labels()) == 600
    assert seen == sorted(seen)
    os.close(go)
    os.close(told)


def test_status_reads_while_a_write_is_under_way(tmp_path):
    path = tmp_path / "campaign.sqlite"
    with campaign(path) as store, CampaignStore(path, read_only=True) as status:
        with store.batch():
            store.start(4)
            assert status.counts()["b"]["running"] == 0
        assert status.counts()["b"]["running"] == 1


def test_a_store_opened_for_reading_cannot_be_written(path):
    campaign(path).close()
    before = contents(path)
    with CampaignStore(path, read_only=True) as status:
        for write in WRITES.values():
            with pytest.raises(StoreError, match="reading only"):
                write(status)
        with pytest.raises(sqlite3.OperationalError):
            status._connection.execute("DELETE FROM events")
    assert contents(path) == before


@pytest.mark.skipif(os.geteuid() != 0, reason="needs to become another user")
def test_a_finished_campaign_of_another_user_is_readable(path, tmp_path):
    campaign(path).close()
    for parent in (tmp_path, *tmp_path.parents):
        if parent == Path(tempfile.gettempdir()).resolve():
            break
        parent.chmod(0o755)

    def read():
        os.setuid(65534)
        with CampaignStore(path, read_only=True) as status:
            assert len(status.labels()) == 6

    assert in_child(read) == 0
