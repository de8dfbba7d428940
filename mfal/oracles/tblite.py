"""GFN1-xTB and GFN2-xTB by tblite."""

from collections.abc import Collection
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np
from ase import Atoms
from ase.data import atomic_numbers
from ase.units import kB

from mfal.data.dataset import Label
from mfal.data.fidelity import QUANTITIES, Fidelity
from mfal.oracles.oracle import Calculation, OracleError, label_of
from mfal.oracles.specification import (
    check_positive,
    check_quantities,
    import_code,
    nearest,
)
from mfal.units import BOHR, HARTREE

METHODS = ("GFN1-xTB", "GFN2-xTB")
HEAVIEST = 86
"""Atomic number of the last element that the methods know."""
VOIGT = ((0, 0), (1, 1), (2, 2), (1, 2), (0, 2), (0, 1))


@dataclass(frozen=True)
class Tblite:
    """Extended tight binding, each label from a fresh start.

    A label never depends on the labels before it. `electronic_temperature` is in
    kelvin; the energy is the free energy of the electrons at that temperature, of
    which the forces are the derivatives.

    Source: Grimme, Bannwarth, Shushkov 2017 (GFN1); Bannwarth, Ehlert, Grimme 2019
    (GFN2).

    Raises:
        ValueError: an unknown method, or an option that is not above zero.
    """

    counts_electrons: ClassVar[bool] = True
    fidelity: Fidelity
    method: str
    accuracy: float = 1.0
    max_iterations: int = 250
    electronic_temperature: float = 300.0

    def __post_init__(self) -> None:
        if self.method not in METHODS:
            raise ValueError(
                f"level {self.fidelity.name!r}: the methods of tblite are "
                f"{' and '.join(METHODS)}, got {self.method!r}"
                f"{nearest(self.method, METHODS)}"
            )
        names = ("accuracy", "max_iterations", "electronic_temperature")
        check_positive(self.fidelity, {name: getattr(self, name) for name in names})
        check_quantities(self.fidelity, QUANTITIES, self.method)

    def check(self, species: Collection[str]) -> None:
        import_code("tblite.interface", "mfal[xtb]")
        for symbol in species:
            if atomic_numbers[symbol] > HEAVIEST:
                raise ValueError(
                    f"level {self.fidelity.name!r}: {self.method} knows the elements "
                    f"up to Rn, not {symbol}"
                )

    def __call__(self, atoms: Atoms, attempt: int = 1) -> Calculation:
        interface = import_code("tblite.interface", "mfal[xtb]")
        try:
            calculator = interface.Calculator(
                self.method,
                atoms.numbers,
                atoms.positions / BOHR,
                float(self.fidelity.charge),
                self.fidelity.multiplicity - 1,
                np.asarray(atoms.cell) / BOHR if atoms.pbc.any() else None,
                atoms.pbc if atoms.pbc.any() else None,
            )
            calculator.set("verbosity", 0)
            calculator.set("accuracy", self.accuracy)
            calculator.set("temperature", self.electronic_temperature * kB / HARTREE)
            calculator.set("max-iter", self.max_iterations * (4 if attempt > 1 else 1))
            if attempt > 1:
                calculator.set("mixer-damping", 0.1)
            result = calculator.singlepoint()
        except RuntimeError as error:
            unconverged = "not converged" in str(error)
            kind = "not_converged" if unconverged else "code_error"
            raise OracleError(kind, f"tblite: {error}") from None
        return Calculation(
            _label(result, atoms).only(self.fidelity.quantities),
            converged=True,  # tblite raises if the charges are not self-consistent
            versions={"tblite": ".".join(map(str, interface.library.get_version()))},
        )


def _label(result: Any, atoms: Atoms) -> Label:
    virial = np.asarray(result.get("virial")) * HARTREE
    return label_of(
        energy=float(result.get("energy")) * HARTREE,
        forces=-np.asarray(result.get("gradient")) * HARTREE / BOHR,
        stress=(
            np.array([virial[i, j] for i, j in VOIGT]) / atoms.get_volume()
            if atoms.pbc.all()
            else None
        ),
    )
