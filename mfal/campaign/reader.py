"""What a store is asked: pool, labels, data set, cost, counts, events."""

import json
import math
import os
import sqlite3
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple, TypeVar

from mfal.campaign.database import StoreError, open_database
from mfal.campaign.records import (
    BUDGETED,
    STATES,
    StoredEvent,
    StoredLabel,
    StoredStep,
    StoredStructure,
    decode_label,
    stored_label,
    stored_structure,
)
from mfal.data import Fidelity, LabelledDataset


class LabelEntry(NamedTuple):
    """A label as it stands in the books: `StoredLabel` without what it gave."""

    id: int
    structure_id: int
    level: str
    step: int
    rank: int
    purpose: str
    state: str
    gain: float | None
    gain_per_cost: float | None
    attempts: int
    wall_seconds: float
    cpu_seconds: float
    error_kind: str | None
    error_message: str | None
    requested_at: str

    @property
    def n_labels(self) -> int:
        """One, as `Tally` has more."""
        return 1


class Tally(NamedTuple):
    """The labels of one step, level, purpose and state, added up.

    `gain_per_cost` is the largest, `requested_at` the first.
    """

    step: int
    level: str
    purpose: str
    state: str
    n_labels: int
    attempts: int
    wall_seconds: float
    cpu_seconds: float
    gain_per_cost: float | None
    requested_at: str


_Entry = TypeVar("_Entry", LabelEntry, Tally)


@dataclass(frozen=True)
class Tallies:
    """The books of a store at one moment, added up: fast whatever their length."""

    rows: list[Tally]
    paid: Mapping[str, list[tuple[int, float]]]

    def entries(
        self, level: str | None = None, purposes: Sequence[str] | None = None
    ) -> list[Tally]:
        """Those of a level and of some purposes; `None` is any."""
        return _selected(self.rows, level, purposes)

    def costs(self, level: str, up_to_step: int | None = None) -> list[float]:
        """CPU seconds of the labels of a level that are done, up to a step."""
        last = math.inf if up_to_step is None else up_to_step
        return [cost for step, cost in self.paid.get(level, []) if step <= last]


@dataclass(frozen=True)
class Books:
    """All entries of a store at one moment, in the order they were asked."""

    labels: list[LabelEntry]

    def entries(
        self, level: str | None = None, purposes: Sequence[str] | None = None
    ) -> list[LabelEntry]:
        """Those of a level and of some purposes; `None` is any."""
        return _selected(self.labels, level, purposes)

    def costs(self, level: str, up_to_step: int | None = None) -> list[float]:
        """CPU seconds of the labels of a level that are done, up to a step."""
        return _costs(self.entries(level), up_to_step)


class StoreReader:
    """The reading half of `CampaignStore`. Every answer is one consistent state."""

    def __init__(
        self, path: str | os.PathLike[str], *, read_only: bool = False
    ) -> None:
        self.path = Path(path)
        self.read_only = read_only
        self._connection = open_database(self.path, read_only=read_only)

    def close(self) -> None:
        """Closes the file; the store cannot be used any more."""
        self._connection.close()

    def meta(self, key: str) -> str | None:
        """A fact about the whole campaign, e.g. its configuration as JSON."""
        rows = self._rows("SELECT value FROM meta WHERE key = ?", key)
        return rows[0]["value"] if rows else None

    def structures(self) -> list[StoredStructure]:
        """The pool, by id."""
        rows = self._rows("SELECT * FROM structures ORDER BY id")
        return [stored_structure(row) for row in rows]

    def roles(self) -> dict[str, int]:
        """Number of structures of the pool per role."""
        rows = self._rows("SELECT role, count(*) FROM structures GROUP BY role")
        return {row[0]: row[1] for row in rows}

    def structure(self, structure_id: int) -> StoredStructure:
        """One structure of the pool.

        Raises:
            StoreError: there is none with this number.
        """
        rows = self._rows("SELECT * FROM structures WHERE id = ?", structure_id)
        if not rows:
            raise StoreError(f"there is no structure {structure_id}")
        return stored_structure(rows[0])

    def steps(self) -> list[StoredStep]:
        """The steps, in order."""
        rows = self._rows("SELECT step, phase, info, state FROM steps ORDER BY step")
        return [
            StoredStep(r["step"], r["phase"], json.loads(r["info"]), r["state"])
            for r in rows
        ]

    def label(self, label_id: int) -> StoredLabel:
        """One label."""
        rows = self._rows("SELECT * FROM labels WHERE id = ?", label_id)
        if not rows:
            raise StoreError(f"there is no label {label_id} in {self.path}")
        return stored_label(rows[0])

    def labels(
        self,
        state: str | None = None,
        level: str | None = None,
        purpose: str | None = None,
        step: int | None = None,
    ) -> list[StoredLabel]:
        """The labels that are all of what is given, in the order they were asked."""
        where, values = _where(state=state, level=level, purpose=purpose, step=step)
        rows = self._rows(f"SELECT * FROM labels {where} ORDER BY step, rank", *values)
        return [stored_label(row) for row in rows]

    def entries(
        self,
        level: str | None = None,
        purposes: Sequence[str] | None = None,
        states: Sequence[str] | None = None,
    ) -> list[LabelEntry]:
        """The labels without what they gave, in the order they were asked.

        Nothing is decoded: 10^5 of them take a fraction of a second.
        """
        where, values = _where(level=level, purpose=purposes, state=states)
        rows = self._connection.cursor()
        rows.row_factory = None
        rows.execute(
            f"SELECT {', '.join(LabelEntry._fields)} FROM labels {where} "
            "ORDER BY step, rank",
            values,
        )
        return list(map(LabelEntry._make, rows))

    def tallies(self) -> Tallies:
        """Sums over the labels of each step, level, purpose and state, by step."""
        paid: dict[str, list[tuple[int, float]]] = {}
        cursor = self._connection.cursor()
        cursor.row_factory = None
        with self._one_state():
            rows = self._rows(
                "SELECT step, level, purpose, state, count(*), sum(attempts), "
                "sum(wall_seconds), sum(cpu_seconds), max(gain_per_cost), "
                "min(requested_at) FROM labels GROUP BY step, level, purpose, state "
                "ORDER BY step, min(rank)"
            )
            for level in {row["level"] for row in rows}:
                cursor.execute(
                    "SELECT step, cpu_seconds FROM labels "
                    "WHERE level = ? AND state = 'done'",
                    [level],
                )
                paid[level] = cursor.fetchall()
        return Tallies([Tally(*row) for row in rows], paid)

    def costs(self, level: str, up_to_step: int | None = None) -> list[float]:
        """CPU seconds of the labels of a level that are done, up to a step."""
        return _costs(self.entries(level), up_to_step)

    def versions(self) -> dict[str, str]:
        """Versions of what labelled, by name; of two the one that was asked for last."""
        rows = self._rows(
            "SELECT versions FROM labels GROUP BY versions ORDER BY max(id)"
        )
        return {k: v for row in rows for k, v in json.loads(row["versions"]).items()}

    def dataset(
        self,
        fidelities: Sequence[Fidelity],
        *,
        roles: Sequence[str] = ("candidate", "target"),
        purposes: Sequence[str] | None = None,
        up_to_step: int | None = None,
    ) -> tuple[LabelledDataset, list[int]]:
        """What is known: the done labels at these levels, and the structures' ids.

        Structures are those with such a label, by id. `purposes` of `None` is all,
        `up_to_step` is included.
        """
        where, values = _where(
            state="done",
            level=[f.name for f in fidelities],
            role=roles,
            purpose=purposes,
        )
        last = math.inf if up_to_step is None else up_to_step
        rows = self._rows(
            "SELECT structure_id, level, result, structures.* "
            "FROM labels JOIN structures ON structures.id = structure_id "
            f"{where} AND step <= ? ORDER BY structure_id, level",
            *(*values, last),
        )
        ids = list(dict.fromkeys(row["structure_id"] for row in rows))
        index = {structure_id: i for i, structure_id in enumerate(ids)}
        rows_by_id = {row["structure_id"]: row for row in rows}
        structures = tuple(stored_structure(rows_by_id[i]).atoms for i in ids)
        labels = {
            (index[row["structure_id"]], row["level"]): decode_label(row["result"])
            for row in rows
        }
        return LabelledDataset(structures, tuple(fidelities), labels), ids

    def spent(
        self, level: str | None = None, purposes: Sequence[str] | None = BUDGETED
    ) -> float:
        """CPU seconds charged, failed attempts included.

        The default leaves out validation, which is bought outside the budget;
        `purposes=None` is everything.
        """
        where, values = _where(level=level, purpose=purposes)
        rows = self._rows(f"SELECT cpu_seconds FROM labels {where}", *values)
        return math.fsum(row["cpu_seconds"] for row in rows)  # whatever the order

    def counts(self) -> dict[str, dict[str, int]]:
        """Number of labels per level and state (every state, 0 included)."""
        counts: dict[str, dict[str, int]] = {}
        for level, state, n_labels in self._rows(
            "SELECT level, state, count(*) FROM labels GROUP BY level, state"
        ):
            counts.setdefault(level, dict.fromkeys(STATES, 0))[state] = n_labels
        return counts

    def events(self) -> list[StoredEvent]:
        """What was repaired, retried, rejected or reported, in order."""
        rows = self._rows(
            "SELECT time, kind, message, label_id FROM events ORDER BY id"
        )
        return [StoredEvent(*row) for row in rows]

    def event_counts(self) -> dict[str, int]:
        """Number of events per kind."""
        rows = self._rows("SELECT kind, count(*) FROM events GROUP BY kind")
        return {row[0]: row[1] for row in rows}

    @contextmanager
    def _one_state(self) -> Iterator[None]:
        """Several questions about one moment, while others write."""
        if self._connection.in_transaction:  # there it is so anyway
            yield
            return
        self._connection.execute("BEGIN")
        try:
            yield
        finally:
            self._connection.execute("COMMIT")

    def _rows(self, query: str, *values: Any) -> list[sqlite3.Row]:
        return self._connection.execute(query, values).fetchall()


def _costs(entries: Sequence[LabelEntry], up_to_step: int | None) -> list[float]:
    last = math.inf if up_to_step is None else up_to_step
    return [x.cpu_seconds for x in entries if x.state == "done" and x.step <= last]


def _selected(
    entries: list[_Entry], level: str | None, purposes: Sequence[str] | None
) -> list[_Entry]:
    return [
        x
        for x in entries
        if (level is None or x.level == level)
        and (purposes is None or x.purpose in purposes)
    ]


def _where(**columns: str | int | Sequence[str] | None) -> tuple[str, list[Any]]:
    """The SQL of "each column is (one of) this", with its values; `None` is any."""
    clauses: list[str] = ["1"]
    values: list[Any] = []
    for column, wanted in columns.items():
        if wanted is None:
            continue
        choices = [wanted] if isinstance(wanted, str | int) else list(wanted)
        clauses.append(f"{column} IN ({', '.join('?' * len(choices))})")
        values += choices
    return f"WHERE {' AND '.join(clauses)}", values
