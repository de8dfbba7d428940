"""Labelled structures in extended XYZ files: strict reading, exact writing.

Energy (eV) and stress (eV/A^3) stand in the comment line of a frame, forces (eV/A)
in columns, under the keys `REF_energy`, `REF_stress` and `REF_forces`; the level
under `mfal_fidelity` (or `head`); the standard deviations that a label brings under
`REF_energy_sigma`, `REF_forces_sigma` and `REF_stress_sigma`.
"""

import json
import logging
import lzma
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from ase import Atoms
from ase.io.extxyz import key_val_str_to_dict

from mfal.data.dataset import Label, LabelledDataset, canonical, structure_key
from mfal.data.fidelity import QUANTITIES, Fidelity
from mfal.data.files import write_atomically
from mfal.data.frames import DataFileError, Frame, read_frames
from mfal.units import unit_factors

__all__ = ["DataFileError", "read_extxyz", "write_extxyz"]

logger = logging.getLogger(__name__)

REFERENCE_KEYS = {q: f"REF_{q}" for q in QUANTITIES}
RESULT_KEYS = {q: q for q in QUANTITIES}
LEVEL_KEYS = ("mfal_fidelity", "head")
STRESS_ASYMMETRY = 1e-4  # eV/A^3, largest |s_ij - s_ji| of a stress given as a matrix


def read_extxyz(
    paths: str | Path | Sequence[str | Path],
    *,
    level: str | None = None,
    fidelities: Sequence[Fidelity] | None = None,
    keys: Mapping[str, str] | None = None,
    units: Mapping[str, str] | None = None,
    labels_required: bool = True,
) -> LabelledDataset:
    """The labelled structures of one or more extxyz files (plain or `.xz`).

    The same structure at different levels becomes one structure with several labels.
    A frame that names no level has the level `level`, else the only one of
    `fidelities`, else "reference" if no frame of any file names one. Levels are
    ordered as in `fidelities`, else as they first appear (name them where the order
    matters). A frame without any `REF_` key is read from the plain keys `energy`,
    `forces` and `stress`, which ASE writes for the results of a calculator.

    Of a structure the species, positions, cell and periodicity are kept
    (`canonical`). A stress may be 6 Voigt numbers or a symmetric 3x3 matrix.

    Args:
        keys: quantity -> key in the file, e.g. `{"energy": "mp2_energy"}`; then only
            these quantities are read. Standard deviations stand under `<key>_sigma`.
        units: quantity -> unit of its values in the files, e.g.
            `{"energy": "Hartree", "forces": "Hartree/Bohr"}` (`mfal.units`); what is not
            named is in eV, eV/A, eV/A^3. Positions are in angstrom, as the format says.
        labels_required: whether a frame without a label is an error (else it is a
            structure without a label, as in a pool).

    Raises:
        DataFileError: a number that is not finite, a wrong shape, an unknown species
            or level, the same structure twice at one level, a malformed or truncated
            file. Nothing is taken then.
        ValueError: unknown quantities in `keys`, unknown units, or `level` not among
            `fidelities`.
    """
    factors = unit_factors(units or {})
    names = None if fidelities is None else [f.name for f in fidelities]
    if keys is not None and not (keys and set(keys) <= set(QUANTITIES)):
        raise ValueError(f"keys maps some of {QUANTITIES} to names, got {dict(keys)}")
    if level is not None and names is not None and level not in names:
        raise ValueError(f"level {level!r} is not one of the levels {names}")
    files = [paths] if isinstance(paths, str | Path) else list(paths)
    frames = [
        (f, _label(f, keys, factors)) for path in files for f in read_frames(path)
    ]
    _report_plain_keys(frames, keys)
    default = level or (names[0] if names and len(names) == 1 else None)
    if default is None and names is None and not any(_level(f) for f, _ in frames):
        default = "reference"
    structures: dict[str, Atoms] = {}
    labels: dict[tuple[str, str], Label] = {}
    seen: dict[tuple[str, str | None], Frame] = {}
    for frame, label in frames:
        key = structure_key(frame.atoms)
        name = None
        if label is not None:
            name = _checked_level(frame, default, names)
            labels.setdefault((key, name), label)
        elif labels_required:
            raise frame.error(
                f"no label under {', '.join(_keys(frame, keys).values())}: say under "
                "which keys it stands"
            )
        twin = seen.setdefault((key, name), frame)
        if twin is not frame:
            raise frame.error(
                f"the same structure stands at {twin.place} already"
                + (f" with a label of level {name!r}" if name else "")
                + ": keep one of them"
            )
        structures.setdefault(key, frame.atoms)
    index = {key: i for i, key in enumerate(structures)}
    return LabelledDataset(
        tuple(structures.values()),
        tuple(fidelities) if fidelities is not None else _levels_of(labels),
        {(index[key], name): label for (key, name), label in labels.items()},
    )


def write_extxyz(path: str | Path, dataset: LabelledDataset) -> None:
    """Write each label as one frame, and each structure without a label as one.

    Values are written with all their digits, positions to 1e-8 A; the file appears
    complete or not at all (temporary file, fsync, rename). A name ending in `.xz` is
    compressed. Reading gives the data set back; pass `fidelities` to `read_extxyz`
    to have the levels in their order and with their specifications.

    Raises:
        ValueError: the same structure stands twice in the data set.
    """
    path = Path(path)
    frames: list[str] = []
    first: dict[str, int] = {}
    for i, atoms in enumerate(dataset.structures):
        twin = first.setdefault(structure_key(atoms), i)
        if twin != i:
            raise ValueError(
                f"structures {twin} and {i} are the same: keep one, with the labels "
                "of both, before writing"
            )
        labels = [(n, dataset.label(i, n)) for n in dataset.levels]
        given = [(n, lab) for n, lab in labels if lab is not None and lab.quantities]
        frames += [_frame_text(atoms, lab, n) for n, lab in given]
        if not given:
            frames.append(_frame_text(atoms, Label(), None))
    content = "".join(frames).encode()
    if path.suffix == ".xz":
        content = lzma.compress(content)
    write_atomically(path, content)


def _keys(frame: Frame, keys: Mapping[str, str] | None) -> Mapping[str, str]:
    """Quantity -> key of this frame: as told, else REF_, else a calculator's."""
    if keys is not None:
        return keys
    names = [*frame.header, *frame.columns]
    reference = any(name.startswith("REF_") for name in names)
    plain = any(name in names for name in QUANTITIES)
    return RESULT_KEYS if plain and not reference else REFERENCE_KEYS


def _report_plain_keys(
    frames: Iterable[tuple[Frame, Label | None]], keys: Mapping[str, str] | None
) -> None:
    """One line in the log for each file that was read without any `REF_` key."""
    plain = [f.path for f, lab in frames if lab and _keys(f, keys) is RESULT_KEYS]
    for path in dict.fromkeys(plain):
        logger.info("%s: labels read from energy, forces, stress (no REF_ key)", path)


def _label(
    frame: Frame, keys: Mapping[str, str] | None, factors: Mapping[str, float]
) -> Label | None:
    """The label of a frame, or `None` if it has no value under any of the keys."""
    values: dict[str, Any] = {}
    sigma: dict[str, Any] = {}
    try:
        for quantity, key in _keys(frame, keys).items():
            place, other, name = frame.header, frame.columns, "the comment line"
            if quantity == "forces":
                place, other, name = other, place, "columns, three numbers per atom"
            if key in other:
                raise ValueError(f"{key} has to stand in {name}")
            factor = factors.get(quantity, 1.0)
            if key in place:
                values[quantity] = factor * _numbers(key, place[key], quantity)
            if (key_sigma := f"{key}_sigma") in frame.header:
                if key not in place:
                    raise ValueError(f"{key_sigma} is given, but {key} is not")
                given = _numbers(key_sigma, frame.header[key_sigma], "sigma")
                sigma[quantity] = factor * given
        return Label(**values, sigma=sigma) if values else None
    except ValueError as error:
        raise frame.error(str(error)) from error


def _numbers(key: str, value: Any, quantity: str) -> float | np.ndarray:
    """The value as float64, if it is numbers in the shape of this quantity."""
    array = np.asarray(value)
    if array.dtype.kind not in "if":
        raise ValueError(f"{key} has to be numbers, got {value!r:.60}")
    if quantity == "stress":
        array = _voigt(array)
    shapes = {"forces": (*array.shape[:1], 3), "stress": (6,)}
    shape = shapes.get(quantity, ())
    if array.shape != shape:
        raise ValueError(f"{key} has shape {array.shape}, {quantity} needs {shape}")
    return array.astype(float) if shape else float(array)


def _voigt(stress: np.ndarray) -> np.ndarray:
    """xx yy zz yz xz xy of a stress given in this order or as a symmetric matrix."""
    if stress.size != 9:
        return stress
    matrix = stress.reshape(3, 3)
    if np.abs(matrix - matrix.T).max() > STRESS_ASYMMETRY:
        raise ValueError(f"stress is not a symmetric matrix: {matrix.tolist()}")
    return (0.5 * (matrix + matrix.T))[[0, 1, 2, 1, 0, 0], [0, 1, 2, 2, 2, 1]]


def _level(frame: Frame) -> str | None:
    """The level that a frame names."""
    named = {key: frame.header[key] for key in LEVEL_KEYS if key in frame.header}
    for key, name in named.items():
        if not (isinstance(name, str) and name and name == name.strip()):
            raise frame.error(f"{key} has to be the name of a level, got {name!r}")
    if len(set(named.values())) > 1:
        raise frame.error(f"two levels are named: {named}")
    return next(iter(named.values()), None)


def _checked_level(
    frame: Frame, default: str | None, names: Sequence[str] | None
) -> str:
    name = _level(frame) or default
    if name is None:
        raise frame.error(
            "no level is named, unlike in other frames (or there are several): add "
            f"{LEVEL_KEYS[0]}=NAME to the comment line or say the level of the file"
        )
    if names is not None and name not in names:
        raise frame.error(f"the level is {name!r}, the levels known are {names}")
    return name


def _levels_of(labels: Mapping[tuple[str, str], Label]) -> tuple[Fidelity, ...]:
    """The levels in the order of their first label, each with what it holds."""
    present: dict[str, set[str]] = {}
    for (_, name), label in labels.items():
        present.setdefault(name, set()).update(label.quantities)
    return tuple(
        Fidelity(name, quantities=tuple(q for q in QUANTITIES if q in found))
        for name, found in present.items()
    )


def _frame_text(atoms: Atoms, label: Label, level: str | None) -> str:
    bare = canonical(atoms)
    columns = [[f"{s:<2}" for s in bare.get_chemical_symbols()]]
    columns += [[f"{x:16.8f}" for x in axis] for axis in bare.positions.T]
    properties = "species:S:1:pos:R:3"
    if label.forces is not None:
        properties += ":REF_forces:R:3"
        columns += [[f"{x:24.16e}" for x in axis] for axis in label.forces.T]
    entries = []
    if bare.cell.any():
        entries.append(f'Lattice="{_digits(np.ravel(bare.cell))}"')
    entries.append(f"Properties={properties}")
    if level is not None:
        entries.append(f"{LEVEL_KEYS[0]}={_quoted(level)}")
    if label.energy is not None:
        entries.append(f"REF_energy={label.energy!r}")
    if label.stress is not None:
        entries.append(f'REF_stress="{_digits(label.stress)}"')
    for quantity in label.quantities:
        if quantity in label.sigma:
            entries.append(f"REF_{quantity}_sigma={float(label.sigma[quantity])!r}")
    entries.append(f'pbc="{" ".join("FT"[int(p)] for p in bare.pbc)}"')
    rows = (" ".join(row) for row in zip(*columns, strict=True))
    return "\n".join([str(len(bare)), " ".join(entries), *rows, ""])


def _digits(values: Iterable[float]) -> str:
    return " ".join(repr(float(x)) for x in values)


def _quoted(name: str) -> str:
    """The name as it stands if it is read back as itself, else as a JSON string."""
    read = key_val_str_to_dict(f"level={name} next=1")  # a "=" at the end joins both
    itself = isinstance(read.get("level"), str) and read["level"] == name
    if itself and list(read) == ["level", "next"]:
        return name
    text = "_JSON " + json.dumps(name)
    return '"' + text.replace("\\", "\\\\").replace('"', '\\"') + '"'
