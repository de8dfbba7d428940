"""The SQLite file of a campaign: opening, schema versions, transactions."""

import os
import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import psutil

# Script i takes a file from schema version i to i + 1. What was released is never
# edited: a new version appends a script. No semicolon inside a statement.
MIGRATIONS: tuple[str, ...] = (
    """
    CREATE TABLE meta (key TEXT PRIMARY KEY, value TEXT NOT NULL);
    CREATE TABLE structures (
        id INTEGER PRIMARY KEY,
        role TEXT NOT NULL,
        key TEXT NOT NULL UNIQUE,
        numbers BLOB NOT NULL,    -- <i8
        positions BLOB NOT NULL,  -- <f8, Angstrom
        cell BLOB NOT NULL,       -- <f8, Angstrom
        pbc TEXT NOT NULL         -- e.g. 110
    );
    CREATE TABLE steps (
        step INTEGER PRIMARY KEY,
        phase TEXT NOT NULL,
        state TEXT NOT NULL CHECK (state IN ('open', 'finished')),
        begun TEXT NOT NULL,      -- info at the start, JSON
        info TEXT NOT NULL,       -- info by now, JSON
        begun_at TEXT NOT NULL,
        finished_at TEXT
    );
    CREATE TABLE labels (
        id INTEGER PRIMARY KEY,
        structure_id INTEGER NOT NULL REFERENCES structures (id),
        level TEXT NOT NULL,
        step INTEGER NOT NULL,
        rank INTEGER NOT NULL,
        purpose TEXT NOT NULL,
        state TEXT NOT NULL DEFAULT 'pending' CHECK (
            state IN ('pending', 'running', 'done', 'failed', 'quarantined')),
        gain REAL,
        gain_per_cost REAL,
        attempts INTEGER NOT NULL DEFAULT 0,
        wall_seconds REAL NOT NULL DEFAULT 0,
        cpu_seconds REAL NOT NULL DEFAULT 0,
        host TEXT,
        versions TEXT NOT NULL DEFAULT '{}',  -- JSON
        error_kind TEXT,
        error_message TEXT,
        requested_at TEXT NOT NULL,
        finished_at TEXT,
        result TEXT,                          -- JSON, present if and only if done
        UNIQUE (structure_id, level),
        UNIQUE (step, rank),
        CHECK ((state = 'done') = (result IS NOT NULL))
    );
    CREATE INDEX labels_by_level ON labels (level, state, purpose, cpu_seconds);
    CREATE INDEX labels_by_state ON labels (state);
    CREATE TABLE events (
        id INTEGER PRIMARY KEY,
        time TEXT NOT NULL,
        kind TEXT NOT NULL,
        message TEXT NOT NULL,
        label_id INTEGER REFERENCES labels (id)
    );
    CREATE INDEX events_by_kind ON events (kind);
    """,
)
_APPLICATION_ID = 0x6D66616C  # "mfal"
_BUSY_SECONDS = 60.0
_LOCAL = frozenset(
    {"apfs", "bcachefs", "btrfs", "ext2", "ext3", "ext4", "f2fs", "hfs", "jfs"}
    | {"overlay", "tmpfs", "ufs", "xfs", "zfs"}
)
_UNWRITABLE = frozenset(
    {
        sqlite3.SQLITE_FULL,
        sqlite3.SQLITE_IOERR,
        sqlite3.SQLITE_BUSY,
        sqlite3.SQLITE_READONLY,
        sqlite3.SQLITE_CANTOPEN,
    }
)


class StoreError(ValueError):
    """A store that cannot be opened, or a write that contradicts what stands."""


class StoreWriteError(OSError):
    """A write that did not reach the disk; nothing of it stands."""


def open_database(path: Path, *, read_only: bool = False) -> sqlite3.Connection:
    """A connection to the store at `path`, of the current schema version.

    For writing: created or migrated where needed; a write-ahead log on a local disk,
    a rollback journal elsewhere (shared memory does not work over a network); every
    commit is synced. For reading: works while another process writes.

    Raises:
        StoreError: no such file or directory, another program's file, or a schema
            version that this mfal does not know.
        StoreWriteError: the disk is full or not writable.
    """
    if read_only and not path.is_file():
        raise StoreError(f"{path} does not exist: check the directory of the campaign")
    # Opened for writing in either case: a reader may have to roll back what a killed
    # writer left in the journal.
    query = "mode=rw" if read_only else "mode=rwc"
    log = path.with_name(path.name + "-wal")
    if read_only and not os.access(path.parent, os.W_OK) and not log.exists():
        query = "immutable=1"  # a finished campaign in somebody else's directory
    try:
        connection = sqlite3.connect(
            f"{path.absolute().as_uri()}?{query}",
            uri=True,
            timeout=_BUSY_SECONDS,
            isolation_level=None,
        )
    except sqlite3.OperationalError as error:
        raise StoreError(
            f"{path} cannot be opened: {error}; the directory must exist and be yours"
        ) from None
    try:
        connection.row_factory = sqlite3.Row
        version = _schema_version(connection, path)
        if read_only:
            if version < len(MIGRATIONS):
                raise StoreError(
                    f"{path} has schema version {version}, this mfal reads "
                    f"{len(MIGRATIONS)}: resume the campaign once to bring it up"
                )
            connection.execute("PRAGMA query_only = ON")
        else:
            _make_durable(connection, path)
            _migrate(connection, path)
    except sqlite3.DatabaseError as error:
        connection.close()
        if _unwritable(error):
            raise _write_error(path, error) from error
        raise StoreError(f"{path} is not a readable store: {error}") from None
    except BaseException:
        connection.close()
        raise
    return connection


@contextmanager
def transaction(connection: sqlite3.Connection, path: Path) -> Iterator[None]:
    """All of the block's writes, synced on leaving it, or none of them.

    Inside another transaction it is a part of that one: undone alone if the block
    raises, and on the disk when the outer one is left.

    Raises:
        StoreWriteError: the disk is full or not writable, or another process held
            the store too long.
    """
    begin, commit, rollback = "BEGIN IMMEDIATE", "COMMIT", "ROLLBACK"
    if connection.in_transaction:
        begin, commit, rollback = "SAVEPOINT s", "RELEASE s", "ROLLBACK TO s"
    try:
        connection.execute(begin)
        yield
        connection.execute(commit)
    except BaseException as error:
        if connection.in_transaction:
            connection.execute(rollback)
        if isinstance(error, sqlite3.DatabaseError) and _unwritable(error):
            raise _write_error(path, error) from error
        raise


def on_local_disk(directory: Path) -> bool:
    """Whether `directory` is on a file system known to be local (else: network)."""
    types = {p.mountpoint: p.fstype.lower() for p in psutil.disk_partitions(all=True)}
    place = directory.resolve()
    mounted = (types[str(p)] for p in (place, *place.parents) if str(p) in types)
    return next(mounted, "") in _LOCAL


def _make_durable(connection: sqlite3.Connection, path: Path) -> None:
    mode = "WAL" if on_local_disk(path.parent) else "DELETE"
    connection.execute(f"PRAGMA journal_mode = {mode}")
    # FULL, and the removal of a rollback journal, which is its commit, synced too
    connection.execute("PRAGMA synchronous = EXTRA")
    connection.execute("PRAGMA foreign_keys = ON")


def _schema_version(connection: sqlite3.Connection, path: Path) -> int:
    application = connection.execute("PRAGMA application_id").fetchone()[0]
    version = connection.execute("PRAGMA user_version").fetchone()[0]
    used = connection.execute("SELECT count(*) FROM sqlite_master").fetchone()[0]
    if used and application != _APPLICATION_ID:
        raise StoreError(f"{path} is another program's database: give another name")
    if version > len(MIGRATIONS):
        raise StoreError(
            f"{path} has schema version {version}, this mfal knows up to "
            f"{len(MIGRATIONS)}: upgrade mfal"
        )
    return int(version)


def _migrate(connection: sqlite3.Connection, path: Path) -> None:
    if _schema_version(connection, path) == len(MIGRATIONS):
        return
    with transaction(connection, path):
        for script in MIGRATIONS[_schema_version(connection, path) :]:
            for statement in script.split(";"):
                connection.execute(statement)
        connection.execute(f"PRAGMA application_id = {_APPLICATION_ID}")
        connection.execute(f"PRAGMA user_version = {len(MIGRATIONS)}")


def _unwritable(error: sqlite3.DatabaseError) -> bool:
    code = getattr(error, "sqlite_errorcode", 0)
    return (code & 0xFF) in _UNWRITABLE  # the low byte is the kind, the rest detail


def _write_error(path: Path, error: sqlite3.DatabaseError) -> StoreWriteError:
    return StoreWriteError(
        f"{path} could not be written ({error}); what was recorded before stands: "
        "make room on the disk, or end what holds the store, and resume"
    )
