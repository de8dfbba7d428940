"""The rows of a campaign's store, and how structures and labels become rows."""

import hashlib
import json
import math
import sqlite3
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, NamedTuple

import numpy as np
from ase import Atoms

from mfal.campaign.database import StoreError
from mfal.data import Label, structure_key

ROLES = ("candidate", "target", "heldout", "probe")
PURPOSES = ("pilot", "sweep", "acquired", "validation")
BUDGETED = ("pilot", "sweep", "acquired")  # validation is bought outside the budget
STATES = ("pending", "running", "done", "failed", "quarantined")
OPEN = ("pending", "running")  # states that still wait for a result
GIVEN_UP = ("failed", "quarantined")  # states of labels that did not come back


@dataclass(frozen=True)
class StoredStructure:
    """A structure of the pool; `id` is its position in the pool."""

    id: int
    atoms: Atoms
    role: str
    key: str


class LabelRequest(NamedTuple):
    """A label that is wanted, what for, and the gain it was chosen by (if any).

    `purpose` is pilot, sweep, acquired or validation.
    """

    structure_id: int
    level: str
    purpose: str
    gain: float | None = None
    gain_per_cost: float | None = None


@dataclass(frozen=True)
class StoredLabel:
    """A wanted label: why it was asked for, how far it is, what it cost and gave.

    `attempts` counts the starts whose end was seen (and the one that is running);
    wall and CPU seconds are summed over them, failed ones included. The error is the
    last one of a label that is not done.
    """

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
    host: str | None
    versions: Mapping[str, str]
    error_kind: str | None
    error_message: str | None
    requested_at: str
    finished_at: str | None
    result: Label | None

    @property
    def n_labels(self) -> int:
        """One, as a tally of labels has more."""
        return 1


@dataclass(frozen=True)
class StoredStep:
    """A step of the campaign; `state` is open or finished."""

    step: int
    phase: str
    info: dict[str, Any]
    state: str


@dataclass(frozen=True)
class StoredEvent:
    """Something that was repaired, retried, rejected or reported."""

    time: str
    kind: str
    message: str
    label_id: int | None


def label_request(values: Sequence[Any]) -> LabelRequest:
    """A request from its fields in order, as plain numbers.

    Raises:
        ValueError: an unknown purpose, or a gain that is not a number.
    """
    request = LabelRequest(*values)
    one_of("purpose", request.purpose, PURPOSES)
    gains = (request.gain, request.gain_per_cost)
    if any(gain is not None and math.isnan(gain) for gain in gains):
        raise ValueError(
            f"the gain of structure {request.structure_id} at {request.level!r} is "
            "not a number: give a number, or None where nothing was ranked"
        )
    return request._replace(
        structure_id=int(request.structure_id),
        gain=None if request.gain is None else float(request.gain),
        gain_per_cost=(
            None if request.gain_per_cost is None else float(request.gain_per_cost)
        ),
    )


def one_of(name: str, value: str, allowed: Sequence[str]) -> None:
    """Raises `ValueError` unless `value` is one of the words allowed for `name`."""
    if value not in allowed:
        raise ValueError(f"{name} is one of {', '.join(allowed)}, got {value!r}")


def timestamp() -> str:
    """The time now, UTC."""
    return datetime.now(UTC).isoformat(timespec="seconds")


def check_seconds(*seconds: float) -> None:
    """Raises `ValueError` unless each is a length of time."""
    if not all(math.isfinite(value) and value >= 0 for value in seconds):
        raise ValueError(f"wall and CPU seconds are finite and >= 0, got {seconds}")


def check_result(label_id: int, result: Label, n_atoms: int) -> None:
    """Raises `ValueError` unless the result can belong to that many atoms."""
    if not result.quantities:
        raise ValueError(f"the result for label {label_id} holds no quantity")
    if result.forces is not None and len(result.forces) != n_atoms:
        raise ValueError(
            f"the structure of label {label_id} has {n_atoms} atoms, its result has "
            f"forces on {len(result.forces)}"
        )


def json_text(values: Mapping[str, Any]) -> str:
    """A JSON object as text, every float in the digits that give it back exactly."""
    try:
        return json.dumps(dict(values))
    except TypeError as error:
        raise ValueError(
            f"plain JSON values are stored: {error}; turn arrays and NumPy numbers "
            "into lists and floats (.tolist())"
        ) from None


def structure_row(index: int, atoms: Atoms, role: str) -> tuple[Any, ...]:
    """The row of a structure: id, role, key, numbers, positions, cell, pbc."""
    return (
        index,
        role,
        structure_key(atoms),
        atoms.numbers.astype("<i8").tobytes(),
        atoms.positions.astype("<f8").tobytes(),
        np.asarray(atoms.cell).astype("<f8").tobytes(),
        "".join("1" if periodic else "0" for periodic in atoms.pbc),
    )


def stored_structure(row: sqlite3.Row) -> StoredStructure:
    """The structure of a row, positions to the bit.

    Raises:
        StoreError: it is not the one that its key was made of.
    """
    atoms = Atoms(
        numbers=np.frombuffer(row["numbers"], "<i8"),
        positions=np.frombuffer(row["positions"], "<f8").reshape(-1, 3),
        cell=np.frombuffer(row["cell"], "<f8").reshape(3, 3),
        pbc=[flag == "1" for flag in row["pbc"]],
    )
    if structure_key(atoms) != row["key"]:
        raise StoreError(
            f"structure {row['id']} is damaged: restore campaign.sqlite from a copy"
        )
    return StoredStructure(row["id"], atoms, row["role"], row["key"])


def stored_label(row: sqlite3.Row) -> StoredLabel:
    """The label of a row."""
    values: dict[str, Any] = dict(row)
    values["versions"] = json.loads(row["versions"])
    if row["result"] is not None:
        values["result"] = decode_label(row["result"])
    return StoredLabel(**values)


def encode_label(label: Label) -> str:
    """A label as JSON; every number in the digits that give it back exactly.

    The last entry is a hash of what stands before it.
    """
    text = json.dumps(
        {
            "energy": label.energy,
            "forces": None if label.forces is None else label.forces.tolist(),
            "stress": None if label.stress is None else label.stress.tolist(),
            "sigma": {name: float(value) for name, value in label.sigma.items()},
        }
    )
    return f'{text[:-1]}{_HASH}"{_hash_of(text[:-1])}"}}'


def decode_label(text: str) -> Label:
    """The label that `encode_label` wrote; older ones have no hash.

    Raises:
        StoreError: it is not what was written.
    """
    told, hashed, digest = text.partition(_HASH)
    try:
        if hashed and digest != f'"{_hash_of(told)}"}}':
            raise ValueError("its hash is another one")
        values = json.loads(text)
        values.pop("sha256", None)
        for name in ("forces", "stress"):
            if values[name] is not None:
                values[name] = np.array(values[name], dtype=float)
        return Label(**values)
    except (ValueError, KeyError, TypeError) as error:
        raise StoreError(
            f"a stored label is damaged ({error}): restore campaign.sqlite from a copy"
        ) from None


_HASH = ', "sha256": '


def _hash_of(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()[:16]


def same_result(one: Label, other: Label) -> bool:
    """Whether two labels hold the same quantities, values and sigmas."""
    return one.agrees_with(other) and dict(one.sigma) == dict(other.sigma)
