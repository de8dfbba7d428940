"""What goes to a worker and what comes back: plain values, written as JSON."""

import dataclasses
import hashlib
import json
import os
import re
import socket
import time
from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from ase import Atoms

from mfal.data.dataset import Label, canonical
from mfal.data.fidelity import Fidelity
from mfal.oracles.ase_calculator import ALLOWED_MODULES

FORMAT = 2
"""Version of the JSON of a result; 1 had no hash."""
FILE_NAME = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.+-]{0,199}")


@dataclass(frozen=True)
class LabelRequest:
    """One structure to be labelled at one level.

    `label_id` names the label in the campaign and its file in the directory `spool`
    (no file if that is `None`). Positions and cell are in angstrom.

    Raises:
        ValueError: a `label_id` that is not a plain file name, an attempt below 1.
    """

    label_id: str
    fidelity: Fidelity
    numbers: tuple[int, ...]
    positions: tuple[tuple[float, float, float], ...]
    cell: tuple[tuple[float, float, float], ...]
    pbc: tuple[bool, bool, bool]
    attempt: int = 1
    spool: str | None = None
    allowed_modules: tuple[str, ...] = ALLOWED_MODULES

    def __post_init__(self) -> None:
        if not FILE_NAME.fullmatch(self.label_id):
            raise ValueError(
                "a label_id is a file name of letters, digits and _ . + -, got "
                f"{self.label_id!r}"
            )
        if self.attempt < 1:
            raise ValueError(f"attempts are counted from 1, got {self.attempt}")

    @classmethod
    def of(
        cls,
        label_id: str,
        atoms: Atoms,
        fidelity: Fidelity,
        *,
        attempt: int = 1,
        spool: str | os.PathLike[str] | None = None,
        allowed_modules: Collection[str] = ALLOWED_MODULES,
    ) -> "LabelRequest":
        """The request for a structure (positions are rounded to 1e-8 A)."""
        bare = canonical(atoms)
        return cls(
            label_id,
            fidelity,
            numbers=tuple(bare.numbers.tolist()),
            positions=tuple(map(tuple, bare.positions.tolist())),
            cell=tuple(map(tuple, np.asarray(bare.cell).tolist())),
            pbc=tuple(bare.pbc.tolist()),
            attempt=attempt,
            spool=None if spool is None else str(spool),
            allowed_modules=tuple(allowed_modules),
        )

    @property
    def atoms(self) -> Atoms:
        """The structure."""
        return Atoms(
            numbers=self.numbers, positions=self.positions, cell=self.cell, pbc=self.pbc
        )

    @property
    def task(self) -> str:
        """Hash of what is to be computed: structure, level and quantities."""
        values = {
            name: getattr(self, name) for name in ("numbers", "positions", "cell")
        }
        values |= {"pbc": self.pbc, "identity": self.fidelity.identity}
        values |= {"quantities": sorted(self.fidelity.quantities)}
        return hashlib.sha256(json.dumps(values, sort_keys=True).encode()).hexdigest()

    def to_json(self) -> str:
        """The request as JSON, for a worker that shares no memory."""
        values = dataclasses.asdict(self) | {"fidelity": self.fidelity.to_dict()}
        return json.dumps(values)

    @classmethod
    def from_json(cls, text: str) -> "LabelRequest":
        """The request that `to_json` wrote."""
        values = json.loads(text)
        values["fidelity"] = Fidelity.from_dict(values["fidelity"])
        for name in ("positions", "cell"):
            values[name] = tuple(map(tuple, values[name]))
        for name in ("numbers", "pbc", "allowed_modules"):
            values[name] = tuple(values[name])
        return cls(**values)


@dataclass(frozen=True)
class LabelError:
    """Why a label failed: `kind` is one of `mfal.oracles.oracle.ERROR_KINDS`."""

    kind: str
    message: str


@dataclass(frozen=True, eq=False)
class LabelResult:
    """A label, or the reason why there is none, and what it cost.

    `cpu_seconds` counts the worker and the processes that it started; `finished` is in
    seconds since 1970; `task` is that of the request.

    Raises:
        ValueError: neither a label nor an error, or both.
    """

    label_id: str
    task: str
    attempt: int
    label: Label | None
    error: LabelError | None
    wall_seconds: float
    cpu_seconds: float
    host: str
    finished: float
    converged: bool | None = None
    versions: Mapping[str, str] = field(default_factory=dict)

    def __post_init__(self) -> None:
        if (self.label is None) == (self.error is None):
            raise ValueError(
                f"label {self.label_id}: a result is a label or an error, got "
                f"{'neither' if self.label is None else 'both'}"
            )

    @classmethod
    def of(
        cls,
        request: LabelRequest,
        what: Label | LabelError,
        wall_seconds: float,
        cpu_seconds: float,
        *,
        converged: bool | None = None,
        versions: Mapping[str, str] | None = None,
    ) -> "LabelResult":
        """The result of a request that is finished now, on this host."""
        return cls(
            request.label_id,
            request.task,
            request.attempt,
            label=what if isinstance(what, Label) else None,
            error=what if isinstance(what, LabelError) else None,
            wall_seconds=wall_seconds,
            cpu_seconds=cpu_seconds,
            host=socket.gethostname(),
            finished=time.time(),
            converged=converged,
            versions=versions or {},
        )

    def to_json(self) -> str:
        """The result as JSON with the hash of its content."""
        values: dict[str, Any] = {
            f.name: getattr(self, f.name) for f in dataclasses.fields(self)
        }
        values["versions"] = dict(self.versions)
        if self.label is not None:
            values["label"] = {
                "energy": self.label.energy,
                "forces": _plain(self.label.forces),
                "stress": _plain(self.label.stress),
                "sigma": dict(self.label.sigma),
            }
        if self.error is not None:
            values["error"] = dataclasses.asdict(self.error)
        return json.dumps({"format": FORMAT, "sha256": _digest(values), **values})

    @classmethod
    def from_json(cls, text: str) -> "LabelResult":
        """Read a result.

        Raises:
            ValueError: text that is not the JSON of a result of this format, or whose
                hash is another.
        """
        try:
            values = json.loads(text)
            version = values.pop("format")
            if version not in (1, FORMAT):
                raise ValueError(f"format {version}, this version reads 1 and {FORMAT}")
            if version != 1 and values.pop("sha256") != _digest(values):
                raise ValueError("its hash is another: it was changed or damaged")
            if values["label"] is not None:
                values["label"] = _label_from(values["label"])
            if values["error"] is not None:
                values["error"] = LabelError(**values["error"])
            return cls(**values)
        except (KeyError, TypeError, AttributeError) as error:
            raise ValueError(f"not the result of a label: {error!r}") from None


def _digest(values: Mapping[str, Any]) -> str:
    return hashlib.sha256(json.dumps(values, sort_keys=True).encode()).hexdigest()


def _label_from(values: Mapping[str, Any]) -> Label:
    arrays = {
        name: None if values[name] is None else np.array(values[name], dtype=float)
        for name in ("forces", "stress")
    }
    return Label(**{**values, **arrays})


def _plain(array: np.ndarray | None) -> list | None:
    return None if array is None else array.tolist()
