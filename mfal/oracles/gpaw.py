"""Density functionals with plane waves and PAW by GPAW."""

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np
from ase import Atoms

from mfal.data.fidelity import QUANTITIES, Fidelity
from mfal.oracles.oracle import Calculation, OracleError, label_of
from mfal.oracles.specification import (
    check_positive,
    check_quantities,
    import_code,
    nearest,
)

EXTRA = "mfal[gpaw]"
MESH = ("size", "density", "gamma")


@dataclass(frozen=True)
class Gpaw:
    """Kohn-Sham theory in a plane-wave basis with projector augmented waves.

    Everything that changes the energy is named, so that the level's identity changes
    with it: `cutoff` (eV) of the plane waves, the mesh `kpts` (`{size: [4, 4, 4]}` or
    `{density: 3.5}` points per 1/A, either with `gamma: true`), the functional `xc`,
    `smearing` (eV, Fermi-Dirac; 0 for integer occupations), the PAW data sets
    `setups`; and where they matter `box` (A, edge of the cube around a molecule), `spin`
    (collinear, from `moment` Bohr magnetons on each atom, or the level's multiplicity
    for a molecule). The same code at two cutoffs and meshes is a ladder of two levels.
    `energy_tolerance` is in eV per valence electron, `density_tolerance` in electrons
    per valence electron. Versions of GPAW and of its data sets stand in each label.

    The energy is the free energy of the electrons, of which forces and stress are the
    derivatives. A calculation that did not converge is an error.

    Source: Mortensen et al. 2024, J. Chem. Phys. 160, 092503.

    Raises:
        ValueError: an option that is out of its range, a mesh that is none.
    """

    counts_electrons: ClassVar[bool] = True
    fidelity: Fidelity
    cutoff: float
    kpts: dict
    xc: str
    smearing: float
    setups: str
    box: float = 0.0
    spin: bool = False
    moment: float = 0.0
    energy_tolerance: float = 5e-4
    density_tolerance: float = 1e-4
    max_iterations: int = 333

    def __post_init__(self) -> None:
        positive = ("cutoff", "energy_tolerance", "density_tolerance", "max_iterations")
        check_positive(self.fidelity, {name: getattr(self, name) for name in positive})
        for name in ("smearing", "box"):
            if not 0 <= getattr(self, name) < np.inf:
                raise ValueError(
                    f"level {self.fidelity.name!r}: option {name!r} is at least 0, got "
                    f"{getattr(self, name)}"
                )
        check_quantities(self.fidelity, QUANTITIES, "GPAW")
        self._check_mesh()
        if self.fidelity.multiplicity > 1 and not self.spin:
            raise ValueError(
                f"level {self.fidelity.name!r}: a multiplicity of "
                f"{self.fidelity.multiplicity} needs `spin: true`"
            )
        if self.moment and not self.spin:
            raise ValueError(
                f"level {self.fidelity.name!r}: option 'moment' needs `spin: true`"
            )

    def _check_mesh(self) -> None:
        where = f"level {self.fidelity.name!r}: option 'kpts'"
        for name in self.kpts:
            if name not in MESH:
                raise ValueError(f"{where}: unknown key {name!r}{nearest(name, MESH)}")
        if ("size" in self.kpts) == ("density" in self.kpts):
            raise ValueError(f"{where} is either {{size: [n, n, n]}} or {{density: d}}")
        size, density = self.kpts.get("size", [1, 1, 1]), self.kpts.get("density", 1.0)
        whole = isinstance(size, list | tuple) and [type(n) for n in size] == [int] * 3
        if not whole or min(size) < 1:
            raise ValueError(f"{where}: size is three numbers from 1, got {size!r}")
        number = isinstance(density, int | float) and not isinstance(density, bool)
        if not number or not 0 < density < np.inf:
            raise ValueError(f"{where}: density is above 0, got {density!r}")
        if not isinstance(self.kpts.get("gamma", False), bool):
            raise ValueError(f"{where}: gamma is true or false")

    def check(self, species: Collection[str]) -> None:
        where = f"level {self.fidelity.name!r}"
        import_code("gpaw", EXTRA)
        try:
            name = import_code("gpaw.xc", EXTRA).XC(self.xc).get_setup_name()
        except NameError:
            raise ValueError(
                f"{where}: GPAW knows no functional {self.xc!r}: name one of LDA, PBE, "
                "RPBE, revPBE, PBE0, HSE06, or X+C as in libxc"
            ) from None
        if self.setups != "paw":
            return  # pseudopotentials of another kind: GPAW looks for them itself
        find = import_code("gpaw.setup_data", EXTRA).search_for_file
        for symbol in species:
            try:
                find(f"{symbol}.{name}")
            except (FileNotFoundError, RuntimeError):
                raise ValueError(
                    f"{where}: there is no PAW data set {symbol}.{name}, which GPAW "
                    f"needs for {symbol} with {self.xc}: choose another functional, or "
                    "install the data sets (gpaw install-data)"
                ) from None

    def __call__(self, atoms: Atoms, attempt: int = 1) -> Calculation:
        gpaw = import_code("gpaw", EXTRA)
        atoms = self._in_box(atoms)
        calculator = gpaw.GPAW(**self.parameters(atoms, attempt))
        wanted = self.fidelity.quantities
        try:
            energy = calculator.get_property("free_energy", atoms)
            values: dict[str, Any] = {
                q: calculator.get_property(q, atoms) for q in wanted if q != "energy"
            }
        except gpaw.ConvergenceError as error:
            raise OracleError(
                "not_converged",
                f"GPAW: {type(error).__name__}, attempt {attempt}: {error}",
            ) from None
        if "energy" in wanted:
            values["energy"] = energy
        return Calculation(
            label_of(**values),
            converged=True,  # otherwise an error was raised on the way
            versions=_versions(gpaw),
        )

    def parameters(self, atoms: Atoms, attempt: int = 1) -> dict[str, Any]:
        """The arguments of `gpaw.GPAW`; a later attempt mixes less and goes on longer."""
        level = self.fidelity
        parameters: dict[str, Any] = {
            "mode": {"name": "pw", "ecut": self.cutoff},
            "kpts": _mesh(self.kpts),
            "xc": self.xc,
            "setups": self.setups,
            "charge": level.charge,
            "spinpol": self.spin,
            "occupations": {"name": "fermi-dirac", "width": self.smearing},
            "convergence": {
                "energy": self.energy_tolerance,
                "density": self.density_tolerance,
            },
            "maxiter": self.max_iterations * (1 if attempt == 1 else 4),
            "txt": None,
        }
        if not atoms.pbc.any() and self.spin:
            parameters["occupations"]["fixmagmom"] = True
        if attempt > 1:
            parameters["mixer"] = {"beta": 0.02, "nmaxold": 5, "weight": 50.0}
        return parameters

    def _in_box(self, atoms: Atoms) -> Atoms:
        """A copy with its magnetic moments; a molecule stands in the middle of the box.

        The box is the same for every geometry: one that followed the atoms would put
        its own change into the energy, but not into the forces.
        """
        level, copy = self.fidelity, atoms.copy()
        if not atoms.cell.rank:
            copy.set_cell([self.box] * 3)
            copy.positions += self.box / 2 - atoms.positions.mean(axis=0)
            outside = (copy.positions <= 0) | (copy.positions >= self.box)
            if outside.any():
                raise OracleError(
                    "bad_specification",
                    f"level {level.name!r}: {atoms.get_chemical_formula()} does not "
                    f"fit into a box of {self.box:g} A: raise `box`",
                )
        elif atoms.cell.rank < 3:
            raise OracleError(
                "bad_specification",
                f"level {level.name!r}: {atoms.cell.rank} cell vectors are given: give "
                "all three, with vacuum where the structure is not periodic",
            )
        if self.spin:
            each = self.moment
            if not atoms.pbc.any():
                each = (level.multiplicity - 1) / len(atoms)
            copy.set_initial_magnetic_moments([each] * len(atoms))
        return copy


def _mesh(kpts: Mapping[str, Any]) -> dict[str, Any]:
    mesh = {**kpts, "gamma": kpts.get("gamma", False)}
    return {**mesh, "size": tuple(mesh["size"])} if "size" in mesh else mesh


def _versions(gpaw: Any) -> dict[str, str]:
    versions = {"gpaw": gpaw.__version__}
    try:
        data = import_code("gpaw_data", EXTRA)
        versions["gpaw_data"] = str(getattr(data, "__version__", "unknown"))
    except OracleError:
        versions["gpaw_data"] = "unknown"  # data sets from GPAW_SETUP_PATH
    return versions
