"""Structures of the pool as rows, inside a transaction of the caller."""

import sqlite3
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from ase import Atoms

from mfal.campaign.database import StoreError
from mfal.campaign.records import ROLES, one_of, structure_row


def pool_rows(
    structures: Sequence[tuple[Atoms, str]], first: int = 0
) -> list[tuple[Any, ...]]:
    """The rows of (atoms, role) with rising ids.

    Raises:
        StoreError: two of them are the same.
        ValueError: an unknown role.
    """
    rows: list[tuple[Any, ...]] = []
    known: dict[str, int] = {}
    for index, (atoms, role) in enumerate(structures, start=first):
        one_of("role", role, ROLES)
        row = structure_row(index, atoms, role)
        if (twin := known.setdefault(row[2], index)) != index:
            raise _twins(twin, index)
        rows.append(row)
    return rows


def add_pool(
    connection: sqlite3.Connection, rows: Sequence[tuple[Any, ...]], path: Path
) -> None:
    """Inserts the rows of the first pool.

    Raises:
        StoreError: there is one already.
    """
    if connection.execute("SELECT 1 FROM structures LIMIT 1").fetchone():
        raise StoreError(
            f"{path} already holds a pool, which is stored once: "
            "start another campaign in another directory"
        )
    _insert(connection, rows)


def extend_pool(
    connection: sqlite3.Connection,
    structures: Sequence[tuple[Atoms, str]],
    key: str,
    value: str,
) -> tuple[int, ...]:
    """Adds structures after those that are there, and a fact that says so; their ids.

    Raises:
        StoreError: the fact stands already with another value, or one of the structures
            is in the pool.
    """
    stands = connection.execute("SELECT value FROM meta WHERE key = ?", (key,))
    first = connection.execute("SELECT count(*) FROM structures").fetchone()[0]
    if (row := stands.fetchone()) is not None:
        wanted = [r[2] for r in pool_rows(structures)]
        last = first - len(wanted)
        keys = connection.execute(
            "SELECT key FROM structures WHERE id >= ? ORDER BY id", (last,)
        )
        if row["value"] != value or [k["key"] for k in keys] != wanted:
            raise StoreError(
                f"{key!r} stands already with another value or other structures: the "
                "pool is extended once under one name"
            )
        return tuple(range(last, first))
    rows = pool_rows(structures, first)
    for row in rows:
        twin = connection.execute(
            "SELECT id FROM structures WHERE key = ?", (row[2],)
        ).fetchone()
        if twin is not None:
            raise _twins(twin["id"], row[0])
    _insert(connection, rows)
    connection.execute("INSERT INTO meta VALUES (?, ?)", (key, value))
    return tuple(row[0] for row in rows)


def _insert(connection: sqlite3.Connection, rows: Sequence[tuple[Any, ...]]) -> None:
    marks = ", ".join("?" * 7)
    connection.executemany(f"INSERT INTO structures VALUES ({marks})", rows)


def _twins(one: int, other: int) -> StoreError:
    return StoreError(
        f"structures {one} and {other} of the pool are the same "
        "(species, positions to 1e-8 A, cell): leave one out"
    )
