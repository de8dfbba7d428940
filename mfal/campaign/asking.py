"""Beginning a step and asking for its labels, inside a transaction of the caller."""

import sqlite3
from collections.abc import Mapping, Sequence
from typing import Any

from mfal.campaign.database import StoreError
from mfal.campaign.records import LabelRequest, json_text, label_request, timestamp


def open_step(
    connection: sqlite3.Connection,
    step: int,
    phase: str,
    info: Mapping[str, Any],
    requests: Sequence[tuple[Any, ...]],
) -> tuple[int, ...]:
    """Begins a step and asks for its labels; their ids.

    Raises:
        StoreError: what was begun or asked before under this number is not this.
    """
    new = begin_step(connection, step, phase, info)
    if not new and requests and not _asked(connection, step):
        raise StoreError(f"step {step} was opened before and asked for no label then")
    return request_labels(connection, step, requests)


def begin_step(
    connection: sqlite3.Connection, step: int, phase: str, info: Mapping[str, Any]
) -> bool:
    """Begins a step; whether it is new.

    Raises:
        StoreError: it was begun before with another phase or info.
    """
    text = json_text(info)
    stands = connection.execute(
        "SELECT phase, begun FROM steps WHERE step = ?", (step,)
    ).fetchone()
    if stands is None:
        connection.execute(
            "INSERT INTO steps (step, phase, state, begun, info, begun_at) "
            "VALUES (?, ?, 'open', ?, ?, ?)",
            (step, phase, text, text, timestamp()),
        )
    elif tuple(stands) != (phase, text):
        raise StoreError(
            f"step {step} was begun before (as {stands['phase']!r}) with another phase "
            f"or info than now ({phase!r}): a step is begun once"
        )
    return stands is None


def request_labels(
    connection: sqlite3.Connection, step: int, requests: Sequence[tuple[Any, ...]]
) -> tuple[int, ...]:
    """Asks for labels in order of rank; their ids.

    Raises:
        StoreError: the step asked for other labels before, or one of them was asked
            for in another step.
    """
    wanted = [label_request(values) for values in requests]
    asked = _asked(connection, step)
    if asked and [tuple(row)[1:] for row in asked] != [tuple(w) for w in wanted]:
        raise StoreError(
            f"step {step} asked for {len(asked)} labels before, and now for "
            f"{len(wanted)} that are not the same: a step asks once"
        )
    if not asked:
        for rank, request in enumerate(wanted):
            _ask(connection, step, rank, request)
    return tuple(row["id"] for row in _asked(connection, step))


def _asked(connection: sqlite3.Connection, step: int) -> list[sqlite3.Row]:
    return connection.execute(
        "SELECT id, structure_id, level, purpose, gain, gain_per_cost "
        "FROM labels WHERE step = ? ORDER BY rank",
        (step,),
    ).fetchall()


def _ask(
    connection: sqlite3.Connection, step: int, rank: int, request: LabelRequest
) -> None:
    try:
        connection.execute(
            "INSERT INTO labels (step, rank, requested_at, structure_id, level, "
            "purpose, gain, gain_per_cost) VALUES (?, ?, ?, ?, ?, ?, ?, ?)",
            (step, rank, timestamp(), *request),
        )
    except sqlite3.IntegrityError:
        stands = connection.execute(
            "SELECT id, step, state FROM labels WHERE structure_id = ? AND level = ?",
            request[:2],
        ).fetchone()
        reason = (
            f"it is label {stands['id']}, asked in step {stands['step']} and "
            f"{stands['state']}: a label is asked for once"
            if stands
            else "there is no such structure in the pool"
        )
        raise StoreError(
            f"structure {request.structure_id} at {request.level!r} cannot be asked "
            f"for in step {step}: {reason}"
        ) from None
