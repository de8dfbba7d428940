"""Potentials as ASE calculators, standalone or with the low level at hand."""

from collections.abc import Sequence

import numpy as np
from ase import Atoms
from ase.calculators.calculator import (
    BaseCalculator,
    Calculator,
    PropertyNotImplementedError,
    all_changes,
)
from jaxtyping import Float

from mfal.data import Label
from mfal.models.exact import ExactPotential


class MfalCalculator(Calculator):
    """Energy (eV) and forces (eV/A) of a potential at one of its levels (the highest).

    Beside `energy`, `free_energy` and `forces` stand the standard deviations
    `energy_uncertainty` and `forces_uncertainty` in the same units: epistemic, times
    the recalibration of the model; with `noise` those of a label, what the model cannot
    represent of its level included. Without `uncertainties` a standalone potential is
    several times faster.

    `low_level` is a calculator of the level `at_hand_level` (the lowest): its energy
    and forces at each structure are what the prediction is conditioned on,
    f_H | f_L(x). Standalone forces are -dE/dr to rounding. With the low level at hand
    energies and forces are each the best given both labels, so forces are -dE/dr only
    as far as the low level's misfit is small (to 1e-4 eV/A for GFN2 below MP2).

    Raises:
        ValueError: an unknown level, a level at hand that is not below the other, or
            a structure that is not the molecule of the model.
    """

    implemented_properties = ["energy", "free_energy", "forces"]  # noqa: RUF012 (of ASE)

    def __init__(
        self,
        model: ExactPotential,
        *,
        level: str | None = None,
        low_level: BaseCalculator | None = None,
        at_hand_level: str | None = None,
        uncertainties: bool = True,
        noise: bool = False,
    ) -> None:
        super().__init__()
        if noise and not uncertainties:
            raise ValueError("noise belongs to uncertainties: switch both on, or none")
        if at_hand_level is not None and low_level is None:
            raise ValueError(
                f"the level {at_hand_level!r} at hand needs a calculator: give low_level"
            )
        self.model = model
        self.level = model.levels[model.level_index(level)]
        self.low_level = low_level
        self.at_hand_level = model.levels[0] if at_hand_level is None else at_hand_level
        if low_level is not None and (
            model.level_index(self.at_hand_level) >= model.level_index(self.level)
        ):
            raise ValueError(
                f"the level at hand must be below {self.level!r}, got "
                f"{self.at_hand_level!r}; the levels are {', '.join(model.levels)}"
            )
        self.uncertainties = uncertainties
        if uncertainties:
            self.implemented_properties = [
                *self.implemented_properties,
                "energy_uncertainty",
                "forces_uncertainty",
            ]
        self.noise = noise

    def get_property(
        self, name: str, atoms: Atoms | None = None, allow_calculation: bool = True
    ) -> object:
        """As in ASE; a stress is refused with its reason."""
        if name == "stress":
            raise PropertyNotImplementedError(
                "this potential describes an isolated molecule, which has no stress: "
                "use constant volume, or fit a model of periodic cells"
            )
        return super().get_property(name, atoms, allow_calculation)

    def calculate(
        self,
        atoms: Atoms | None = None,
        properties: Sequence[str] = ("energy",),
        system_changes: Sequence[str] = all_changes,
    ) -> None:
        """Fills `results` for one structure."""
        if atoms is None:
            raise ValueError("give the structure to be calculated")
        super().calculate(atoms, properties, system_changes)
        at_hand = None if self.low_level is None else [self._label(atoms)]
        if at_hand is None and not self.uncertainties:
            energies, all_forces = self.model.mean([atoms], self.level)
            self._take(float(energies[0]), all_forces[0])
            return
        found = self.model.predict(
            [atoms],
            self.level,
            at_hand=at_hand,
            at_hand_level=None if at_hand is None else self.at_hand_level,
            calibrated=self.level == self.model.levels[-1],  # of no other level known
        )
        self._take(float(found.energy[0]), found.forces[0])
        if self.uncertainties:
            energy, forces = (
                found.total_sigma(q) if self.noise else getattr(found, f"{q}_sigma")
                for q in ("energy", "forces")
            )
            self.results["energy_uncertainty"] = float(energy[0])
            self.results["forces_uncertainty"] = forces[0]

    def _label(self, atoms: Atoms) -> Label:
        """What the calculator of the level at hand says of a structure."""
        assert self.low_level is not None  # otherwise nothing is at hand
        return Label(
            energy=self.low_level.get_property("energy", atoms),
            forces=self.low_level.get_property("forces", atoms),
        )

    def _take(self, energy: float, forces: Float[np.ndarray, "n_atoms 3"]) -> None:
        self.results = {"energy": energy, "free_energy": energy, "forces": forces}
