"""The store: what was asked, told and spent; the truth of a campaign."""

import json
import logging
from collections.abc import Mapping, Sequence
from contextlib import AbstractContextManager
from types import TracebackType
from typing import Any

from ase import Atoms

from mfal.campaign import asking, pooling
from mfal.campaign.database import StoreError, transaction
from mfal.campaign.reader import StoreReader
from mfal.campaign.records import (
    GIVEN_UP,
    OPEN,
    check_result,
    check_seconds,
    encode_label,
    json_text,
    one_of,
    same_result,
    timestamp,
)
from mfal.data import Label

_log = logging.getLogger(__name__)


class CampaignStore(StoreReader):
    """One SQLite file; a method that writes returns once all of it is on the disk.

    Label states: pending -> running -> done | failed | quarantined, and back to
    pending for another attempt. `read_only` works while another process writes.

    Every write raises `StoreError` if it contradicts what stands, and
    `StoreWriteError` (an `OSError`) if it did not reach the disk; nothing of it
    stands then.
    """

    def __enter__(self) -> "CampaignStore":
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

    def set_meta(self, key: str, value: str) -> None:
        """Writes a fact about the whole campaign (over an older value)."""
        with self._transaction():
            self._execute("INSERT OR REPLACE INTO meta VALUES (?, ?)", key, value)

    def add_structures(self, structures: Sequence[tuple[Atoms, str]]) -> None:
        """Stores the pool, (atoms, role) each, once; ids are positions in it."""
        rows = pooling.pool_rows(structures)
        with self._transaction():
            pooling.add_pool(self._connection, rows, self.path)

    def extend_structures(
        self, structures: Sequence[tuple[Atoms, str]], key: str, value: str
    ) -> tuple[int, ...]:
        """Adds structures to the pool and a fact under `key`, together; their ids.

        The same again, as the last that was added, changes nothing.
        """
        with self._transaction():
            return pooling.extend_pool(self._connection, structures, key, value)

    def open_step(
        self,
        step: int,
        phase: str,
        info: Mapping[str, Any],
        requests: Sequence[tuple[Any, ...]],
    ) -> tuple[int, ...]:
        """Begins a step and requests its labels, together; returns their ids.

        The same again changes nothing; something else under this number is an error.
        """
        with self._transaction():
            return asking.open_step(self._connection, step, phase, info, requests)

    def begin_step(self, step: int, phase: str, info: Mapping[str, Any]) -> None:
        """Begins a step; `info` is any JSON object."""
        with self._transaction():
            asking.begin_step(self._connection, step, phase, info)

    def finish_step(self, step: int, info: Mapping[str, Any]) -> None:
        """Finishes a step, adding to (or replacing in) its info."""
        with self._transaction():
            rows = self._rows("SELECT state, info FROM steps WHERE step = ?", step)
            if not rows:
                raise StoreError(f"step {step} was never begun, so it cannot finish")
            merged = json_text({**json.loads(rows[0]["info"]), **info})
            if rows[0]["state"] == "open":
                self._execute(
                    "UPDATE steps SET state = 'finished', info = ?, finished_at = ? "
                    "WHERE step = ?",
                    *(merged, timestamp(), step),
                )
            elif merged != rows[0]["info"]:
                raise StoreError(f"step {step} is already finished with another info")

    def request_labels(
        self, step: int, requests: Sequence[tuple[Any, ...]]
    ) -> tuple[int, ...]:
        """Asks for labels (fields as in `LabelRequest`), all or none; their ids.

        The same again changes nothing; other labels under this step, or a label that
        was asked for before, are an error.
        """
        with self._transaction():
            return asking.request_labels(self._connection, step, requests)

    def start(self, label_id: int) -> None:
        """pending -> running: one more attempt."""
        with self._transaction():
            state = self.label(label_id).state
            if state != "pending":
                raise StoreError(
                    f"label {label_id} is {state}: only a pending one runs"
                )
            self._execute(
                "UPDATE labels SET state = 'running', attempts = attempts + 1 "
                "WHERE id = ?",
                label_id,
            )

    def record(
        self,
        label_id: int,
        result: Label,
        wall_seconds: float,
        cpu_seconds: float,
        host: str,
        versions: Mapping[str, str],
    ) -> bool:
        """Takes a result if the label is open (-> done); whether it was taken.

        The same result again is a no-op. A different one, and one for a label that
        was given up, is left out and becomes an event (`conflict`, `late`).

        Raises:
            ValueError: a result without any quantity, or for another number of atoms.
        """
        check_seconds(wall_seconds, cpu_seconds)
        with self._transaction():
            stored = self.label(label_id)
            if stored.state in OPEN:
                check_result(label_id, result, self._n_atoms(stored.structure_id))
                self._execute(
                    "UPDATE labels SET state = 'done', result = ?, host = ?, "
                    "versions = ?, finished_at = ?, error_kind = NULL, "
                    "error_message = NULL, attempts = max(attempts, 1), "
                    "wall_seconds = wall_seconds + ?, cpu_seconds = cpu_seconds + ? "
                    "WHERE id = ?",
                    *(encode_label(result), host, json_text(versions), timestamp()),
                    *(wall_seconds, cpu_seconds, label_id),
                )
                return True
            if stored.result is None:
                told = f"a result came after the label was {stored.state}: left out"
                self._event("late", told, label_id)
            elif not same_result(stored.result, result):
                told = f"another result came from {host}: the first one is kept"
                self._event("conflict", told, label_id)
            return False

    def record_failure(
        self,
        label_id: int,
        kind: str,
        message: str,
        wall_seconds: float,
        cpu_seconds: float,
        *,
        retry: bool,
        final: str = "quarantined",
    ) -> str:
        """Charges a failed attempt; the label's state after it.

        With `retry` the label is pending again, else in the state `final` (failed or
        quarantined). A failure of a label that is closed is an event only (`late`).
        """
        one_of("final", final, GIVEN_UP)
        check_seconds(wall_seconds, cpu_seconds)
        state = "pending" if retry else final
        with self._transaction():
            stored = self.label(label_id)
            if stored.state not in OPEN:
                told = f"a failure ({kind}) came after the label was {stored.state}"
                self._event("late", told, label_id)
                return stored.state
            self._execute(
                "UPDATE labels SET state = ?, error_kind = ?, error_message = ?, "
                "wall_seconds = wall_seconds + ?, cpu_seconds = cpu_seconds + ?, "
                "finished_at = ? WHERE id = ?",
                *(state, kind, message, wall_seconds, cpu_seconds),
                *(None if retry else timestamp(), label_id),
            )
            told = f"attempt {stored.attempts}: {kind}: {message}"
            self._event("retried" if retry else final, told, label_id)
            return state

    def reset_running(self) -> int:
        """running -> pending, for a driver that found them on resuming; how many.

        What was interrupted is an event (`reset`) and does not count as an attempt:
        the label did not fail.
        """
        with self._transaction():
            rows = self._rows("SELECT id FROM labels WHERE state = 'running'")
            self._execute(
                "UPDATE labels SET state = 'pending', attempts = attempts - 1 "
                "WHERE state = 'running'"
            )
            for row in rows:
                self._event("reset", "was running when the driver ended", row["id"])
        return len(rows)

    def batch(self) -> AbstractContextManager[None]:
        """`with store.batch():` the writes in it stand together, with one sync.

        None of them is acknowledged before the block is left.
        """
        return self._transaction()

    def log_event(self, kind: str, message: str, label_id: int | None = None) -> None:
        """Notes something that the user should see in the status and the report."""
        with self._transaction():
            if label_id is not None:
                self.label(label_id)
            self._event(kind, message, label_id)

    def _transaction(self) -> AbstractContextManager[None]:
        if self.read_only:
            raise StoreError(f"{self.path} was opened for reading only")
        return transaction(self._connection, self.path)

    def _execute(self, statement: str, *values: Any) -> None:
        self._connection.execute(statement, values)

    def _event(self, kind: str, message: str, label_id: int | None) -> None:
        _log.warning("%s: label %s: %s", kind, label_id, message)
        self._execute(
            "INSERT INTO events (time, kind, message, label_id) VALUES (?, ?, ?, ?)",
            *(timestamp(), kind, message, label_id),
        )

    def _n_atoms(self, structure_id: int) -> int:
        query = "SELECT length(numbers) / 8 FROM structures WHERE id = ?"
        return int(self._rows(query, structure_id)[0][0])
