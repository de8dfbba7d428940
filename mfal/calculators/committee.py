"""A committee as an ASE calculator, its spreads beside its means."""

from collections.abc import Sequence

from ase import Atoms
from ase.calculators.calculator import Calculator, all_changes
from ase.outputs import Properties

from mfal.calculators.potential import given, named_results
from mfal.models.committee import Committee


class CommitteeCalculator(Calculator):
    """Means of energy, forces and stress over the members, with their spreads.

    In eV, eV/A and eV/A^3, the standard deviations as `energy_uncertainty`,
    `forces_uncertainty` (and of stress, where every member has one): what monitors and
    `TrustRegionMD` need. A mean of forces is -dE/dr if each member's is.
    """

    implemented_properties = [  # noqa: RUF012 (of ASE)
        *("energy", "free_energy", "forces", "stress"),
        *("energy_uncertainty", "forces_uncertainty", "stress_uncertainty"),
    ]

    def __init__(self, committee: Committee) -> None:
        super().__init__()
        self.committee = committee

    def export_properties(self) -> Properties:
        """The results that ASE has a name for: all but the uncertainties."""
        return Properties(named_results(self.results))

    def calculate(
        self,
        atoms: Atoms | None = None,
        properties: Sequence[str] = ("energy",),
        system_changes: Sequence[str] = all_changes,
    ) -> None:
        """Fills `results` for one structure."""
        atoms = given(atoms)
        super().calculate(atoms, properties, system_changes)
        found = self.committee.predict([atoms])[0]
        self.results = {"free_energy": found.energy}
        for name in ("energy", "forces", "stress"):
            if getattr(found, name) is not None:
                self.results[name] = getattr(found, name)
                self.results[f"{name}_uncertainty"] = getattr(found, f"{name}_sigma")
