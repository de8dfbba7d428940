"""Results of codes that ran elsewhere, read from what they wrote, with their verdict.

| file | read as | converged if |
|---|---|---|
| `*.extxyz`, `*.xyz` | `REF_energy`, `REF_forces`, `REF_stress` | `converged` is not F |
| `vasprun.xml` | VASP | it is whole, fewer than NELM electronic steps |
| `OUTCAR` | VASP | EDIFF was reached, the closing table of times is there |
| `*.out`, `*.pwo`, `*.log` | Quantum ESPRESSO | it says so, and "JOB DONE" |
| the same | ORCA | it says so, and "ORCA TERMINATED NORMALLY" |

An extxyz file says nothing of convergence unless its writer did: a missing `converged`
there is the writer's word that it holds. The energy is the free energy of the electrons
where the code gives it, since forces and stress are the derivatives of that one.
"""

import hashlib
import re
import warnings
import xml.etree.ElementTree as ET
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import ase.io
from ase import Atoms

from mfal.data.checks import check_label_at
from mfal.data.dataset import Label, structure_key
from mfal.data.extxyz import read_extxyz
from mfal.data.fidelity import Fidelity
from mfal.data.frames import read_frames
from mfal.oracles.matching import matched
from mfal.oracles.oracle import Calculation, OracleError, label_of
from mfal.oracles.replay import COST_KEY

STRUCTURE = "structure.extxyz"
"""The file with the exported structure; any other extxyz file is a result."""
GIVEN_UP = "failed.txt"
"""A file that says why there will be no result."""
CONVERGED_KEYS = ("converged", "REF_converged")


@dataclass(frozen=True)
class Code:
    """How the output of a code is told apart, read, and judged."""

    name: str
    format: str  # of ase.io
    mark: str  # stands in the first lines
    converged: Callable[[str], bool]


def result_file(folder: Path) -> Path | None:
    """The file with the result of the structure in a folder, if there is one.

    Of VASP's two files the one with more digits, vasprun.xml, is read.

    Raises:
        OracleError: `code_error`, for more than one result.
    """
    found = sorted(
        path
        for path in folder.iterdir()
        if path.is_file() and path.name != STRUCTURE and _is_result(path)
    )
    names = {path.name for path in found}
    if "vasprun.xml" in names:
        found = [path for path in found if path.name != "OUTCAR"]
    if len(found) > 1:
        listed = " and ".join(path.name for path in found)
        raise OracleError("code_error", f"{listed} are results: keep one")
    return found[0] if found else None


def read_result(path: Path, atoms: Atoms, fidelity: Fidelity) -> Calculation:
    """The label in a result file, which must be of this structure and level.

    Raises:
        OracleError: `wrong_result` (another structure, level, charge or multiplicity),
            `not_converged`, `incomplete_label` (a quantity is missing),
            `unphysical_label` (not finite, forces beyond physics), `code_error` (a file
            that cannot be read, or what `failed.txt` says).
    """
    if path.name == GIVEN_UP:
        said = " ".join(path.read_text(errors="replace").split()) or "no reason given"
        raise OracleError("code_error", f"given up by hand: {said[:300]}")
    if path.suffix in (".extxyz", ".xyz"):
        calculation = _read_frame(path, atoms, fidelity)
    else:
        calculation = _read_output(path, atoms, fidelity)
    missing = [q for q in fidelity.quantities if q not in calculation.label.quantities]
    if missing:
        raise OracleError("incomplete_label", f"it holds no {' and no '.join(missing)}")
    if not calculation.converged:
        raise OracleError("not_converged", "it does not say that it converged")
    reason = check_label_at(atoms, calculation.label, fidelity)
    if reason:
        raise OracleError("unphysical_label", reason)
    return calculation


def digest(path: Path) -> str:
    """sha256 of a file: the same result is not judged twice."""
    return hashlib.sha256(path.read_bytes()).hexdigest()


def _is_result(path: Path) -> bool:
    if path.suffix in (".extxyz", ".xyz"):
        return True
    if path.name in ("OUTCAR", "vasprun.xml", GIVEN_UP):
        return True
    return path.suffix in (".out", ".pwo", ".log") and _code_of(path) is not None


def _read_frame(path: Path, atoms: Atoms, fidelity: Fidelity) -> Calculation:
    """A frame of extxyz: strictly the same structure, to 1e-8 A."""
    try:
        frames = list(read_frames(path))
        dataset = read_extxyz(path, level=fidelity.name, labels_required=False)
    except ValueError as error:
        kind = "unphysical_label" if "not finite" in str(error) else "code_error"
        raise OracleError(kind, str(error)) from None
    if len(frames) != 1:
        raise OracleError(
            "wrong_result", f"it holds {len(frames)} structures: a result has one"
        )
    if structure_key(frames[0].atoms) != structure_key(atoms):
        raise OracleError(
            "wrong_result",
            "species, positions, cell or periodicity are not those of the exported "
            "structure",
        )
    if dataset.levels not in ((), (fidelity.name,)):
        raise OracleError(
            "wrong_result",
            f"it is of level {dataset.levels[0]!r}, wanted is {fidelity.name!r}",
        )
    header = frames[0].header
    cost = header.get(COST_KEY, 0.0)
    if isinstance(cost, bool) or not isinstance(cost, int | float) or not cost >= 0:
        raise OracleError("code_error", f"{COST_KEY} is a number >= 0, got {cost!r}")
    said = [header[key] for key in CONVERGED_KEYS if key in header]
    return Calculation(
        (dataset.label(0, fidelity.name) or Label()).only(fidelity.quantities),
        converged=all(value is True or value == 1 for value in said),
        versions={"by_hand": path.name},
        cpu_seconds=float(cost),
    )


def _read_output(path: Path, atoms: Atoms, fidelity: Fidelity) -> Calculation:
    code = _code_of(path)
    if code is None:
        raise OracleError("code_error", "it is not the output of a code that is known")
    text = path.read_text(errors="replace")
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # what is wrong is judged below
            converged = code.converged(text)
            images: Any = ase.io.read(path, index=":", format=code.format)
    except Exception as error:  # parsers raise anything on a broken file
        said = " ".join(f"{type(error).__name__}: {error}".split())[:200]
        raise OracleError("code_error", f"{code.name} did not finish: {said}") from None
    if len(images) != 1:
        raise OracleError(
            "wrong_result",
            f"it holds {len(images)} structures with results: a result has one",
        )
    order = matched(atoms, images[0])
    _check_state(text, fidelity)
    results = images[0].calc.results if images[0].calc is not None else {}
    forces = results.get("forces")
    if forces is not None and len(forces) != len(atoms):
        raise OracleError(
            "incomplete_label",
            f"it holds forces on {len(forces)} of {len(atoms)} atoms",
        )
    values: dict[str, Any] = {
        "energy": results.get("free_energy", results.get("energy")),
        "forces": None if forces is None else forces[order],
        "stress": results.get("stress"),
    }
    return Calculation(
        label_of(**{q: values[q] for q in fidelity.quantities}),
        converged=converged,
        versions={"by_hand": f"{code.name}, {path.name}"},
        cpu_seconds=0.0,
    )


def _code_of(path: Path) -> Code | None:
    if path.name in ("OUTCAR", "vasprun.xml"):
        return VASP if path.name == "OUTCAR" else VASP_XML
    with path.open(errors="replace") as file:
        start = file.read(20_000)
    return next((code for code in (ESPRESSO, ORCA) if code.mark in start), None)


def _outcar_converged(text: str) -> bool:
    reached = "aborting loop because EDIFF is reached" in text
    failed = "EDIFF was not reached" in text
    return reached and not failed and "General timing and accounting" in text


def _vasprun_converged(text: str) -> bool:
    """Fewer electronic steps than allowed; the last allowed one may not have been."""
    if "<!ENTITY" in text or "<!DOCTYPE" in text:
        raise ValueError("entities have no place in vasprun.xml")
    root = ET.fromstring(text)  # raises for a file that was cut
    most = root.find(".//i[@name='NELM']")
    steps = [len(c.findall("scstep")) for c in root.findall("calculation")]
    if most is None or most.text is None or not steps:
        return False
    return 0 < steps[-1] < int(most.text)


def _espresso_converged(text: str) -> bool:
    reached = "convergence has been achieved" in text
    failed = "convergence NOT achieved" in text
    return reached and not failed and "JOB DONE" in text


def _orca_converged(text: str) -> bool:
    failed = re.search(r"not\s+(fully\s+)?converged", text, re.IGNORECASE)
    reached = "SCF CONVERGED AFTER" in text
    return reached and not failed and "ORCA TERMINATED NORMALLY" in text


def _check_state(text: str, fidelity: Fidelity) -> None:
    """ORCA prints charge and multiplicity: they must be those of the level."""
    for name, pattern, wanted in (
        ("charge", r"Total Charge\s+Charge\s+\.*\s+(-?\d+)", fidelity.charge),
        ("multiplicity", r"Multiplicity\s+Mult\s+\.*\s+(\d+)", fidelity.multiplicity),
    ):
        found = re.search(pattern, text)
        if found and int(found[1]) != wanted:
            raise OracleError(
                "wrong_result", f"its {name} is {found[1]}, wanted is {wanted}"
            )


VASP = Code("VASP", "vasp-out", "", _outcar_converged)
VASP_XML = Code("VASP", "vasp-xml", "", _vasprun_converged)
ESPRESSO = Code(
    "Quantum ESPRESSO", "espresso-out", "Program PWSCF", _espresso_converged
)
ORCA = Code("ORCA", "orca-output", "* O   R   C   A *", _orca_converged)
