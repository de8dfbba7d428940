"""Hartree-Fock, density functionals, MP2 and coupled cluster by PySCF."""

import warnings
from collections.abc import Collection
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np
from ase import Atoms

from mfal.data.fidelity import Fidelity
from mfal.oracles.oracle import Calculation, OracleError, label_of
from mfal.oracles.specification import (
    check_positive,
    check_quantities,
    import_code,
    nearest,
)
from mfal.units import BOHR, HARTREE

WAVEFUNCTIONS = ("HF", "MP2", "CCSD", "CCSD(T)")
"""Methods that are not density functionals."""
EXTRA = "mfal[pyscf]"


@dataclass(frozen=True)
class Pyscf:
    """Gaussian-basis quantum chemistry of molecules, all electrons correlated.

    `method` is HF, MP2, CCSD, CCSD(T) or the name of any density functional that
    PySCF knows. Restricted orbitals for singlets, unrestricted otherwise. Elements
    whose basis set comes with an effective core potential get it. Forces are
    analytic: MP2 without density fitting, none for coupled cluster. `conv_tol` is in
    hartree. The code itself returns the energy of a calculation that did not
    converge; here that is an error.

    Source: Sun et al. 2020, J. Chem. Phys. 153, 024109.

    Raises:
        ValueError: quantities that the method cannot give, or an option that is not
            above zero.
    """

    counts_electrons: ClassVar[bool] = True
    fidelity: Fidelity
    method: str
    basis: str
    density_fit: bool = False
    conv_tol: float = 1e-9
    max_cycle: int = 50
    grid_level: int = 3

    def __post_init__(self) -> None:
        names = ("conv_tol", "max_cycle")
        check_positive(self.fidelity, {name: getattr(self, name) for name in names})
        if not 0 <= self.grid_level <= 9:
            raise ValueError(
                f"level {self.fidelity.name!r}: grid_level is from 0 (coarse) to 9, "
                f"got {self.grid_level}"
            )
        no_forces = self.wavefunction.startswith("CCSD") or (
            self.wavefunction == "MP2" and self.density_fit
        )
        how = " with density_fit: true" if self.wavefunction == "MP2" else ""
        given = ("energy",) if no_forces else ("energy", "forces")
        check_quantities(self.fidelity, given, f"PySCF's {self.method}{how}")

    @property
    def wavefunction(self) -> str:
        """HF, MP2, CCSD or CCSD(T); empty for a density functional."""
        name = self.method.upper()
        return name if name in WAVEFUNCTIONS else ""

    def check(self, species: Collection[str]) -> None:
        for module in ("gto", "scf", "dft", "grad", "mp", "cc"):
            import_code(f"pyscf.{module}", EXTRA)
        if not self.wavefunction:
            self._check_functional()
        for symbol in species:
            self._check_basis(symbol)

    def _check_functional(self) -> None:
        libxc = import_code("pyscf.dft.libxc", EXTRA)
        try:
            hybrid, terms = libxc.parse_xc(self.method)
        except (KeyError, ValueError):
            hybrid, terms = (0,), ()
        if not terms and not any(hybrid):
            known = [*WAVEFUNCTIONS, *libxc.XC_CODES, *libxc.XC_ALIAS]
            raise ValueError(
                f"level {self.fidelity.name!r}: method {self.method!r} is neither one "
                f"of {', '.join(WAVEFUNCTIONS)} nor a density functional that PySCF "
                f"knows{nearest(self.method, known)}"
            )
        dispersion = import_code("pyscf.scf.dispersion", EXTRA)
        if dispersion.parse_disp(self.method)[1] is not None:
            try:
                import_code("pyscf.dispersion", "pyscf-dispersion")
            except OracleError:
                raise OracleError(
                    "missing_package",
                    f"the dispersion correction of {self.method} needs one more "
                    "package: pip install pyscf-dispersion",
                ) from None

    def _check_basis(self, symbol: str) -> None:
        basis = import_code("pyscf.gto.basis", EXTRA)
        where = f"level {self.fidelity.name!r}: basis {self.basis!r}"
        name = self.basis.lower().replace("-", "").replace("_", "").replace(" ", "")
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # advice to install a basis set library
            try:
                basis.load(self.basis, symbol)
            except (RuntimeError, KeyError, ValueError):
                if name in basis.ALIAS:
                    raise ValueError(f"{where} does not hold {symbol}") from None
                raise ValueError(
                    f"{where} is not known to PySCF{nearest(name, basis.ALIAS)}"
                ) from None

    def __call__(self, atoms: Atoms, attempt: int = 1) -> Calculation:
        pyscf = import_code("pyscf", EXTRA)
        field = self._mean_field(self._molecule(atoms), attempt)
        forces = "forces" in self.fidelity.quantities
        if self.wavefunction == "MP2":
            energy, gradient = self._mp2(field, forces)
        elif self.wavefunction.startswith("CCSD"):
            energy, gradient = self._coupled_cluster(field, attempt), None
        else:
            energy = field.e_tot
            gradient = field.nuc_grad_method().kernel() if forces else None
        label = label_of(
            energy=float(energy) * HARTREE,
            forces=None if gradient is None else -np.asarray(gradient) * HARTREE / BOHR,
        )
        return Calculation(
            label.only(self.fidelity.quantities),
            converged=True,  # otherwise an error was raised on the way
            versions={"pyscf": pyscf.__version__},
        )

    def _molecule(self, atoms: Atoms) -> Any:
        gto = import_code("pyscf.gto", EXTRA)
        if atoms.pbc.any():
            raise OracleError(
                "bad_specification",
                f"level {self.fidelity.name!r}: molecules only, got a structure with "
                f"pbc {atoms.pbc.tolist()}",
            )
        symbols = atoms.get_chemical_symbols()
        try:
            return gto.M(
                atom=list(zip(symbols, atoms.positions / BOHR, strict=True)),
                unit="Bohr",
                basis=self.basis,
                ecp={s: self.basis for s in set(symbols) if self._has_core(s)},
                charge=self.fidelity.charge,
                spin=self.fidelity.multiplicity - 1,
                verbose=0,
            )
        except RuntimeError as error:  # electrons and multiplicity do not agree
            raise OracleError("bad_specification", f"PySCF: {error}") from None

    def _has_core(self, symbol: str) -> bool:
        basis = import_code("pyscf.gto.basis", EXTRA)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            try:
                return bool(basis.load_ecp(self.basis, symbol))
            except (RuntimeError, KeyError, ValueError):
                return False

    def _mean_field(self, molecule: Any, attempt: int) -> Any:
        """The converged HF or Kohn-Sham calculation."""
        if self.wavefunction:
            scf = import_code("pyscf.scf", EXTRA)
            field = scf.RHF(molecule) if molecule.spin == 0 else scf.UHF(molecule)
        else:
            dft = import_code("pyscf.dft", EXTRA)
            field = dft.RKS(molecule) if molecule.spin == 0 else dft.UKS(molecule)
            field.xc = self.method
            field.grids.level = self.grid_level
        if self.density_fit:
            field = field.density_fit()
        field.chkfile = None
        field.conv_tol = self.conv_tol
        field.max_cycle = self.max_cycle
        field = field.run() if attempt == 1 else _second_order(field)
        if not field.converged:
            raise OracleError(
                "not_converged",
                f"PySCF: SCF not converged in {field.max_cycle} cycles "
                f"(attempt {attempt}, conv_tol {self.conv_tol:g} hartree)",
            )
        return field

    def _mp2(self, field: Any, forces: bool) -> tuple[float, np.ndarray | None]:
        perturbation = import_code("pyscf.mp", EXTRA).MP2(field).run()
        gradient = perturbation.nuc_grad_method().kernel() if forces else None
        return perturbation.e_tot, gradient

    def _coupled_cluster(self, field: Any, attempt: int) -> float:
        cluster = import_code("pyscf.cc", EXTRA).CCSD(field)
        cluster.max_cycle = self.max_cycle * (1 if attempt == 1 else 4)
        cluster.run()
        if not cluster.converged:
            raise OracleError(
                "not_converged",
                f"PySCF: CCSD not converged in {cluster.max_cycle} cycles "
                f"(attempt {attempt})",
            )
        triples = cluster.ccsd_t() if self.wavefunction == "CCSD(T)" else 0.0
        return cluster.e_tot + triples


def _second_order(field: Any) -> Any:
    """The same equations, solved by damped, level-shifted cycles, then by Newton's."""
    max_cycle = field.max_cycle
    field.max_cycle = 4 * max_cycle
    field.level_shift, field.damp = 0.3, 0.3
    field.run()
    field.level_shift, field.damp = 0.0, 0.0
    newton = field.newton()
    newton.max_cycle = 4 * max_cycle
    return newton.run(field.mo_coeff, field.mo_occ)
