"""The file of a store: journal, schema versions, and what is not a store."""

import sqlite3
from types import SimpleNamespace

import psutil
import pytest
from stored_campaign import (
    campaign,
    contents,
)

from mfal.campaign import database
from mfal.campaign.database import StoreError
from mfal.campaign.store import CampaignStore


@pytest.mark.parametrize(
    ("mounts", "mode"),
    [
        ({"/": "ext4"}, "wal"),
        ({"/": "overlay"}, "wal"),
        ({"/": "nfs4"}, "delete"),
        ({"/": "ext4", "HERE": "cifs"}, "delete"),
        ({"/": "lustre", "HERE": "xfs"}, "wal"),
        ({"/": "ext4", "HERE": "fuse.sshfs"}, "delete"),
        ({}, "delete"),
    ],
)
def test_the_write_ahead_log_is_for_local_disks_only(
    tmp_path, monkeypatch, mounts, mode
):
    here = str(tmp_path.resolve())
    partitions = [
        SimpleNamespace(mountpoint=point.replace("HERE", here), fstype=fstype)
        for point, fstype in mounts.items()
    ]
    monkeypatch.setattr(psutil, "disk_partitions", lambda all: partitions)
    with CampaignStore(tmp_path / "campaign.sqlite") as store:
        told = store._connection.execute("PRAGMA journal_mode").fetchone()[0]
        synchronous = store._connection.execute("PRAGMA synchronous").fetchone()[0]
    assert told == mode
    assert synchronous >= 2  # FULL


def test_a_path_with_blanks_and_marks_is_opened(tmp_path):
    path = tmp_path / "a %20b?mode=ro#c" / "campaign.sqlite"
    path.parent.mkdir()
    campaign(path).close()
    assert path.is_file()
    assert len(contents(path)["labels"]) == 6


@pytest.mark.faults
def test_a_newer_schema_is_refused_by_name(path):
    campaign(path).close()
    newer = len(database.MIGRATIONS) + 1
    connection = sqlite3.connect(path)
    connection.execute(f"PRAGMA user_version = {newer}")
    connection.close()
    for read_only in (True, False):
        with pytest.raises(StoreError, match=rf"version {newer}.*upgrade mfal"):
            CampaignStore(path, read_only=read_only)


@pytest.mark.faults
def test_an_older_schema_is_migrated_when_opened_for_writing(path, monkeypatch):
    campaign(path).close()
    before = contents(path)
    script = "CREATE TABLE later (x); INSERT INTO later SELECT id FROM labels"
    monkeypatch.setattr(database, "MIGRATIONS", (*database.MIGRATIONS, script))
    with pytest.raises(StoreError, match="resume the campaign"):
        CampaignStore(path, read_only=True)
    for _ in range(2):
        with CampaignStore(path) as store:
            rows = store._connection.execute("SELECT x FROM later").fetchall()
            assert [row[0] for row in rows] == [1, 2, 3, 4, 5, 6]
    assert contents(path) == before


def test_a_migration_that_fails_leaves_the_older_schema(path, monkeypatch):
    campaign(path).close()
    script = "CREATE TABLE later (x); INSERT INTO nowhere VALUES (1)"
    with monkeypatch.context() as patched:
        patched.setattr(database, "MIGRATIONS", (*database.MIGRATIONS, script))
        with pytest.raises(StoreError, match="nowhere"):
            CampaignStore(path)
    with CampaignStore(path) as store:
        assert len(store.labels()) == 6
        tables = store._connection.execute("SELECT name FROM sqlite_master").fetchall()
    assert "later" not in {row[0] for row in tables}


def test_what_is_not_a_store_is_refused(tmp_path):
    path = tmp_path / "campaign.sqlite"
    with pytest.raises(StoreError, match="does not exist"):
        CampaignStore(path, read_only=True)
    assert not path.exists()
    with pytest.raises(StoreError, match="must exist"):
        CampaignStore(tmp_path / "nowhere" / "campaign.sqlite")
    path.write_text("not a database, but long enough to be taken for one" * 100)
    with pytest.raises(StoreError, match="not a database"):
        CampaignStore(path)
    path.unlink()
    connection = sqlite3.connect(path)
    connection.execute("CREATE TABLE accounts (x)")
    connection.close()
    with pytest.raises(StoreError, match="another program"):
        CampaignStore(path)
