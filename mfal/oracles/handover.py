"""Structures handed over to any queue or code, and their results taken back.

A batch is a folder: `manifest.json` says what is wanted of which structure, and each
structure has a folder of its own with `structure.extxyz`, into which its result is put
(see `mfal.oracles.outputs` for the files that are read).
"""

import json
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ase import Atoms

from mfal.data.dataset import Label, LabelledDataset, canonical, structure_key
from mfal.data.extxyz import read_extxyz, write_extxyz
from mfal.data.fidelity import Fidelity
from mfal.data.files import write_text
from mfal.oracles.oracle import Calculation, OracleError
from mfal.oracles.outputs import STRUCTURE, digest, read_result, result_file
from mfal.oracles.request import FILE_NAME, LabelError

FORMAT = 1
MANIFEST = "manifest.json"
HOW = (
    "Run each structure (eV, angstrom) at this level, with the charge and multiplicity "
    "given here, and put one result into its folder: result.extxyz with REF_energy, "
    "REF_forces, REF_stress (eV, eV/A, eV/A^3; stress xx yy zz yz xz xy, positive in "
    "tension), or OUTCAR, vasprun.xml, or the output of Quantum ESPRESSO or ORCA as "
    "*.out. Where there will be none, put failed.txt with the reason."
)


class HandoverError(ValueError):
    """A batch that is not what it says; names the file."""


@dataclass(frozen=True)
class Handover:
    """What was handed over: a level, and the key of each structure by its name."""

    folder: Path
    fidelity: Fidelity
    keys: Mapping[str, str]


@dataclass(frozen=True)
class Refusal:
    """Why a result was not taken; `digest` is of its file (empty if there is none)."""

    file: str
    digest: str
    error: LabelError

    def __str__(self) -> str:
        return f"{self.file}: {self.error.kind}: {self.error.message}"


@dataclass(frozen=True)
class Returned:
    """What came back of a batch: each of its structures stands in one of the three."""

    batch: Handover
    structures: Mapping[str, Atoms]
    results: Mapping[str, Calculation]
    refused: Mapping[str, Refusal]
    missing: tuple[str, ...]

    @property
    def summary(self) -> str:
        """One line."""
        total = len(self.batch.keys)
        return (
            f"{len(self.results)} of {total} labels of {self.batch.fidelity.name} are "
            f"back, {len(self.refused)} refused, {len(self.missing)} missing"
        )

    def dataset(self) -> LabelledDataset:
        """The structures whose label is back, with it."""
        level = self.batch.fidelity
        names = list(self.results)
        labels = {(i, level.name): self.results[n].label for i, n in enumerate(names)}
        return LabelledDataset(
            tuple(self.structures[n] for n in names), (level,), labels
        )


def hand_over(
    folder: Path, fidelity: Fidelity, structures: Mapping[str, Atoms]
) -> Handover:
    """Writes a batch, or adds to the one that is there; what stands is left alone.

    Raises:
        HandoverError: the folder holds a batch of another level, or another structure
            under one of these names.
        ValueError: a name that is no plain file name.
    """
    keys = {name: structure_key(atoms) for name, atoms in structures.items()}
    for name in keys:
        if not FILE_NAME.fullmatch(name):
            raise ValueError(f"a structure is named like a file, got {name!r}")
    known: Mapping[str, str] = {}
    if (folder / MANIFEST).exists():
        before = read_batch(folder)
        if (before.fidelity.identity, set(before.fidelity.quantities)) != (
            fidelity.identity,
            set(fidelity.quantities),
        ):
            raise HandoverError(
                f"{folder} holds structures for the level {before.fidelity.name!r} "
                "with other settings: give another folder"
            )
        known = before.keys
    for name in set(keys) & set(known):
        if keys[name] != known[name]:
            raise HandoverError(
                f"{folder / name} holds another structure: give another folder"
            )
    batch = Handover(folder, fidelity, {**known, **keys})
    if batch.keys == known:
        return batch
    for name in keys.keys() - known.keys():
        (folder / name).mkdir(parents=True, exist_ok=True)
        write_extxyz(
            folder / name / STRUCTURE, LabelledDataset((structures[name],), ())
        )
    write_text(folder / MANIFEST, json.dumps(_manifest(batch), indent=1) + "\n")
    return batch


def read_batch(folder: Path) -> Handover:
    """The batch in a folder.

    Raises:
        HandoverError: no manifest, or one that cannot be read.
    """
    path = folder / MANIFEST
    try:
        values = json.loads(path.read_text())
        if values["format"] != FORMAT:
            raise HandoverError(
                f"{path} has format {values['format']!r}, this version reads {FORMAT}"
            )
        fidelity = Fidelity.from_dict(values["level"])
        keys = {str(s["name"]): str(s["hash"]) for s in values["structures"]}
        if len(keys) < len(values["structures"]):
            raise ValueError("a name stands twice")
        bad = [name for name in keys if not FILE_NAME.fullmatch(name)]
        if bad:
            raise ValueError(f"{bad[0]!r} is no name of a folder")
    except FileNotFoundError:
        raise HandoverError(
            f"{folder} holds no {MANIFEST}: give the folder that `mfal label --export` "
            "wrote"
        ) from None
    except HandoverError:
        raise
    except (ValueError, TypeError, KeyError, AttributeError) as error:
        raise HandoverError(f"{path} is no manifest of a batch: {error!r}") from None
    return Handover(folder, fidelity, keys)


def take_back(batch: Handover, names: Collection[str] | None = None) -> Returned:
    """Reads the results that are there, of these structures or of all.

    Nothing raises for a single result: it is taken, refused with its reason, or
    missing.
    """
    wanted = [name for name in batch.keys if names is None or name in names]
    structures: dict[str, Atoms] = {}
    results: dict[str, Calculation] = {}
    refused: dict[str, Refusal] = {}
    missing = []
    for name in wanted:
        path: Path | None = None
        try:
            structures[name] = _exported(batch, name)
            path = result_file(batch.folder / name)
            if path is None:
                missing.append(name)
                continue
            results[name] = read_result(path, structures[name], batch.fidelity)
        except OracleError as error:
            refused[name] = Refusal(
                f"{name}/{path.name}" if path else name,
                digest(path) if path else "",
                LabelError(error.kind, error.message),
            )
    return Returned(batch, structures, results, refused, tuple(missing))


def merged(returned: Returned, output: Path) -> tuple[LabelledDataset, int]:
    """What came back together with what a file holds already; how much of it is new.

    Raises:
        HandoverError: the file holds other structures or levels, or another label of
            the same structure.
    """
    fresh = returned.dataset()
    if not output.exists():
        return fresh, len(fresh)
    level = returned.batch.fidelity
    before = read_extxyz(output, level=level.name)
    names = {key: name for name, key in returned.batch.keys.items()}
    known: dict[str, tuple[Atoms, Label]] = {}
    for i, found, label in before:
        name = names.get(structure_key(before.structures[i]))
        if found != level.name or name is None:
            raise HandoverError(
                f"{output} holds more than labels of this batch: give another name"
            )
        known[name] = (before.structures[i], label)
    for name, calculation in returned.results.items():
        if name in known and not known[name][1].agrees_with(calculation.label):
            raise HandoverError(
                f"{returned.batch.folder / name} holds another label than {output}: "
                "remove the wrong one"
            )
        known.setdefault(name, (returned.structures[name], calculation.label))
    order = [name for name in returned.batch.keys if name in known]
    labels = {(i, level.name): known[name][1] for i, name in enumerate(order)}
    together = LabelledDataset(
        tuple(known[name][0] for name in order), (level,), labels
    )
    return together, len(together) - len(before)


def _exported(batch: Handover, name: str) -> Atoms:
    """The structure as it was handed over.

    Raises:
        OracleError: `wrong_result`, if its file is not what was written.
    """
    path = batch.folder / name / STRUCTURE
    try:
        (atoms,) = read_extxyz(path, labels_required=False).structures
    except ValueError as error:
        raise OracleError("wrong_result", f"{STRUCTURE}: {error}") from None
    if structure_key(atoms) != batch.keys[name]:
        raise OracleError(
            "wrong_result", f"{STRUCTURE} is not the structure that was handed over"
        )
    return canonical(atoms)


def _manifest(batch: Handover) -> dict[str, Any]:
    level = batch.fidelity
    return {
        "format": FORMAT,
        "how": HOW,
        "level": level.to_dict(),
        "identity": level.identity,
        "charge": level.charge,
        "multiplicity": level.multiplicity,
        "unpaired_electrons": level.multiplicity - 1,
        "quantities": list(level.quantities),
        "structures": [
            {"name": name, "hash": key, "file": f"{name}/{STRUCTURE}"}
            for name, key in batch.keys.items()
        ],
    }
