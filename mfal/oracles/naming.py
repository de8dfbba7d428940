"""Reference methods by the short names that people use for them."""

from collections.abc import Collection, Mapping
from copy import deepcopy
from typing import Any

from ase import Atoms
from ase.build import bulk, molecule

from mfal.data.fidelity import Fidelity
from mfal.oracles.ase_calculator import ALLOWED_MODULES
from mfal.oracles.manual import MANUAL
from mfal.oracles.presets import build_oracle
from mfal.oracles.specification import nearest

SHORT_NAMES: dict[str, dict[str, Any]] = {
    "gfn1": {"code": "tblite", "method": "GFN1-xTB"},
    "gfn2": {"code": "tblite", "method": "GFN2-xTB"},
    "emt": {"code": "emt"},
    "gpaw-coarse": {
        "code": "gpaw",
        "xc": "PBE",
        "setups": "paw",
        "smearing": 0.1,
        "cutoff": 300.0,
        "kpts": {"density": 2.0, "gamma": True},
    },
    "gpaw-fine": {
        "code": "gpaw",
        "xc": "PBE",
        "setups": "paw",
        "smearing": 0.1,
        "cutoff": 600.0,
        "kpts": {"density": 5.0, "gamma": True},
    },
}
FITTED = "-df"
"""Ending of a basis that asks for density fitting."""


def named_specification(name: str, *, density_fit: bool = False) -> dict[str, Any]:
    """The specification that a name stands for: one of `SHORT_NAMES`, or METHOD/BASIS.

    METHOD/BASIS is run by PySCF; a basis that ends in `-df` asks for density fitting.

    >>> named_specification("pbe/def2-svp-df")
    {'code': 'pyscf', 'method': 'pbe', 'basis': 'def2-svp', 'density_fit': True}

    Raises:
        ValueError: a name that stands for nothing.
    """
    short = name.strip().lower()
    if short in SHORT_NAMES:
        if density_fit:
            raise ValueError(f"{name!r} has no density fitting: leave the option out")
        return deepcopy(SHORT_NAMES[short])
    method, slash, basis = name.strip().partition("/")
    if not (slash and method and basis):
        raise ValueError(
            f"an oracle is one of {', '.join(SHORT_NAMES)}, METHOD/BASIS such as "
            f"pbe/def2-svp, or a YAML file with its specification, got {name!r}"
            f"{nearest(name, SHORT_NAMES)}"
        )
    if basis.lower().endswith(FITTED):
        basis, density_fit = basis[: -len(FITTED)], True
    specification = {"code": "pyscf", "method": method, "basis": basis}
    return {**specification, "density_fit": True} if density_fit else specification


def level_of(
    name: str,
    specification: Mapping[str, Any],
    quantities: tuple[str, ...] | None = None,
    charge: int = 0,
    multiplicity: int = 1,
    allowed_modules: Collection[str] = ALLOWED_MODULES,
) -> Fidelity:
    """The level that runs this specification.

    Without `quantities` it gives energy and forces where the method has forces.

    Raises:
        ValueError: a specification that `build_oracle` refuses.
    """
    if quantities is not None:
        fidelity = Fidelity(name, specification, quantities, charge, multiplicity)
        build_oracle(fidelity, allowed_modules)
        return fidelity
    both = Fidelity(name, specification, ("energy", "forces"), charge, multiplicity)
    try:
        build_oracle(both, allowed_modules)
        return both
    except ValueError:
        energy = Fidelity(name, specification, ("energy",), charge, multiplicity)
        build_oracle(energy, allowed_modules)  # another fault is raised again
        return energy


def named_level(
    name: str, quantities: tuple[str, ...] | None, charge: int, multiplicity: int
) -> Fidelity:
    """The level of a name for a method that may be run elsewhere."""
    specification = any_specification(name)
    return level_of(
        name.strip().lower(), specification, quantities, charge, multiplicity
    )


def any_specification(name: str) -> dict[str, Any]:
    """What `named_specification` gives, and for any other name a method by hand.

    >>> any_specification("VASP PBE")
    {'code': 'manual', 'name': 'VASP PBE'}

    Raises:
        ValueError: a name that is nearly one of `SHORT_NAMES`, or empty.
    """
    try:
        return named_specification(name)
    except ValueError:
        if not name.strip() or nearest(name, SHORT_NAMES):
            raise
        return {"code": MANUAL, "name": name.strip()}


def example_structure(fidelity: Fidelity) -> Atoms:
    """A structure that the level can be examined on: copper, or methanol for molecules."""
    if fidelity.oracle.get("code") in ("emt", "gpaw"):
        return bulk("Cu", cubic=True)
    return molecule("CH3OH")
