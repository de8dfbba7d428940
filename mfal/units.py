"""Units: eV and Angstrom everywhere; conversion only where codes and files are read.

Energies eV, positions A, forces eV/A, stress eV/A^3 (tension positive, Voigt order
xx yy zz yz xz xy, as in ASE). The factors are ASE's (CODATA 2014).
"""

from collections.abc import Mapping
from types import MappingProxyType

from ase import units as _ase

HARTREE = float(_ase.Hartree)
"""eV per hartree."""
BOHR = float(_ase.Bohr)
"""Angstrom per bohr."""
GPA = float(_ase.GPa)
"""eV/A^3 per gigapascal."""

ENERGY = MappingProxyType(
    {
        "eV": 1.0,
        "meV": 1e-3,
        "Hartree": HARTREE,
        "kcal/mol": float(_ase.kcal / _ase.mol),
        "kJ/mol": float(_ase.kJ / _ase.mol),
    }
)
"""eV per unit of energy, by the names that configuration files may use."""
LENGTH = MappingProxyType({"Angstrom": 1.0, "Bohr": BOHR, "nm": 10.0})
"""Angstrom per unit of length."""
PRESSURE = MappingProxyType({"GPa": GPA, "kbar": 0.1 * GPA, "bar": 1e-4 * GPA})
"""eV/A^3 per unit of stress, beside energies per volume such as `eV/Angstrom^3`."""


def in_house_units(quantity: str, unit: str) -> float:
    """What a value of energy, forces or stress in this unit is multiplied by.

    Energies: `eV`, `meV`, `Hartree`, `kcal/mol`, `kJ/mol`. Forces: these per `Angstrom`,
    `Bohr` or `nm`. Stress: these per length cubed (`eV/Angstrom^3`), `GPa`, `kbar`, `bar`.

    >>> round(in_house_units("forces", "Hartree/Bohr"), 3)
    51.422

    Raises:
        ValueError: another quantity, or a unit that it cannot have.
    """
    powers = {"energy": 0, "forces": 1, "stress": 3}
    if quantity not in powers:
        raise ValueError(f"units are of energy, forces and stress, not of {quantity!r}")
    known = dict(ENERGY)
    if power := powers[quantity]:
        ending = "" if power == 1 else f"^{power}"
        known = {
            f"{energy}/{length}{ending}": a / b**power
            for energy, a in ENERGY.items()
            for length, b in LENGTH.items()
        }
    if quantity == "stress":
        known |= PRESSURE
    if unit not in known:
        raise ValueError(
            f"{unit!r} is no unit of {quantity} that is known: one of {', '.join(known)}"
        )
    return known[unit]


def unit_factors(units: Mapping[str, str]) -> dict[str, float]:
    """`in_house_units` of each quantity of a file, by its unit.

    Raises:
        ValueError: as there.
    """
    return {
        quantity: in_house_units(quantity, unit) for quantity, unit in units.items()
    }
