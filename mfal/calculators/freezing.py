"""Results that outlive their calculator: in the arrays of the atoms, and in a file."""

from typing import Any

import numpy as np
from ase import Atoms
from ase.calculators.calculator import BaseCalculator
from ase.calculators.singlepoint import SinglePointCalculator

QUANTITIES = ("energy", "free_energy", "forces", "stress")
PREFIX = "mfal_"
"""Uncertainties stand in `info` and `arrays` as `mfal_energy_uncertainty` and so on."""


def freeze(atoms: Atoms) -> Atoms:
    """A copy with the results of its calculator as they are, uncertainties and all.

    Energies, forces and stresses are those of a `SinglePointCalculator`, as in any file
    that ASE reads. Standard deviations have no place there: they stand in the `info`
    (energy, stress) and the `arrays` (forces, energies) of the copy, under their names
    after `mfal_`, in the units of their quantity, and survive writing to extxyz.

    Raises:
        ValueError: atoms without a calculator, or that have moved since its last result.
    """
    calculator = atoms.calc
    if calculator is None:
        raise ValueError("there are no results to keep: set atoms.calc first")
    results = _results(calculator, atoms)
    if not results:
        raise ValueError(
            "the calculator has no results of this structure: ask for energy and "
            "forces first, and do not move the atoms after"
        )
    frozen = atoms.copy()
    known = {q: results[q] for q in QUANTITIES if q in results}
    frozen.calc = SinglePointCalculator(frozen, **known)
    for name, value in results.items():
        if not name.endswith("_uncertainty"):
            continue
        array = np.asarray(value)
        if array.ndim and len(array) == len(atoms) and not _is_stress(name):
            frozen.set_array(PREFIX + name, array.copy())
        else:
            frozen.info[PREFIX + name] = array.copy() if array.ndim else float(array)
    return frozen


def _results(calculator: BaseCalculator, atoms: Atoms) -> dict[str, Any]:
    check = getattr(calculator, "check_state", None)
    return {} if check is not None and check(atoms) else dict(calculator.results)


def _is_stress(name: str) -> bool:
    return name.startswith("stress")
