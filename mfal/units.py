"""Units: eV and Angstrom everywhere; conversion only where codes and files are read.

Energies eV, positions A, forces eV/A, stress eV/A^3 (tension positive, Voigt order
xx yy zz yz xz xy, as in ASE). The factors are ASE's (CODATA 2014).
"""

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
