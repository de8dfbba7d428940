"""Potentials as ASE calculators, standalone or with the low level at hand."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from ase import Atoms
from ase.calculators.calculator import (
    BaseCalculator,
    Calculator,
    PropertyNotImplementedError,
    all_changes,
)
from ase.outputs import Properties, all_outputs

from mfal.data import Label
from mfal.models.exact import ExactPotential
from mfal.models.prediction import StructurePrediction, StructurePredictions
from mfal.models.species_factors import SpeciesFactors
from mfal.models.storage import Potential
from mfal.models.threads import torch_threads
from mfal.models.weight_potential import WeightPotential


class MfalCalculator(Calculator):
    """Energy, forces and stress of a potential at one of its levels (the highest).

    In eV, eV/A and eV/A^3. A stress belongs to sparse and linear potentials and to
    structures that are periodic in all directions. Beside the results stand the
    standard deviations `energy_uncertainty`, `forces_uncertainty` (and of stress) in
    the same units: epistemic, times the recalibration of the model; with `noise` those
    of a label, what the model cannot represent of its level included. Without
    `uncertainties` a standalone potential is several times faster. `species_factors`
    multiply the uncertainties of forces by the species of the atom. `threads` is the
    number of threads of torch while a structure is computed (the low level has its
    own); `None` leaves it as it is. Two that sleep while they wait took 1.7 to 2.7 times as
    long as one (`benchmarks/scaling`).

    `low_level` is a calculator of the level `at_hand_level` (the lowest): its energy
    and forces at each structure are what the prediction is conditioned on,
    f_H | f_L(x). Standalone forces are -dE/dr to rounding. With the low level at hand
    energies and forces are each the best given both labels, so forces are -dE/dr only
    as far as the low level's misfit is small (to 1e-4 eV/A for GFN2 below MP2).

    Raises:
        TypeError: a model that is no potential over structures.
        ValueError: an unknown level, a level at hand that is not below the other, or
            a structure that the model does not know how to describe, or with positions
            that are not finite.
    """

    implemented_properties = ["energy", "free_energy", "forces"]  # noqa: RUF012 (of ASE)

    def __init__(
        self,
        model: Potential,
        *,
        level: str | None = None,
        low_level: BaseCalculator | None = None,
        at_hand_level: str | None = None,
        uncertainties: bool = True,
        noise: bool = False,
        species_factors: SpeciesFactors | None = None,
        threads: int | None = 1,
    ) -> None:
        super().__init__()
        if not isinstance(model, ExactPotential | WeightPotential):
            raise TypeError(
                "MfalCalculator takes a potential over structures (ExactPotential, "
                f"SparsePotential, LinearPotential), got {type(model).__name__}, which "
                "has no forces: fit one of these"
            )
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
        quantities = ["energy", "forces"]
        if not isinstance(model, ExactPotential):
            quantities.append("stress")
        self.implemented_properties = ["free_energy", *quantities]
        if uncertainties:
            self.implemented_properties += [f"{q}_uncertainty" for q in quantities]
        self.noise = noise
        self.threads = threads
        self.species_factors = species_factors

    def get_property(
        self, name: str, atoms: Atoms | None = None, allow_calculation: bool = True
    ) -> object:
        """As in ASE; a stress is refused with its reason."""
        if name == "stress" and isinstance(self.model, ExactPotential):
            raise PropertyNotImplementedError(
                "this potential describes an isolated molecule, which has no stress: "
                "use constant volume, or fit a model of periodic cells"
            )
        return super().get_property(name, atoms, allow_calculation)

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
        at_hand = None if self.low_level is None else [self._label(atoms)]
        with torch_threads(self.threads):
            self._predict(atoms, at_hand)

    def _predict(self, atoms: Atoms, at_hand: list[Label] | None) -> None:
        if at_hand is None and not self.uncertainties:
            self._take(self.model.mean([atoms], self.level)[0])
            return
        found = self.model.predict(
            [atoms],
            self.level,
            at_hand=at_hand,
            at_hand_level=None if at_hand is None else self.at_hand_level,
            calibrated=self.level == self.model.levels[-1],  # of no other level known
        )
        if isinstance(found, StructurePredictions):
            self._take(found[0])
        else:
            self._take(StructurePrediction(float(found.energy[0]), found.forces[0]))
        if self.uncertainties:
            for quantity in ("energy", "forces", "stress"):
                if quantity in self.results:
                    sigma = (
                        found.total_sigma(quantity)
                        if self.noise
                        else getattr(found, f"{quantity}_sigma")
                    )[0]
                    if quantity == "forces" and self.species_factors is not None:
                        sigma = self.species_factors.per_atom(atoms.numbers) * sigma
                    self.results[f"{quantity}_uncertainty"] = (
                        float(sigma) if quantity == "energy" else sigma
                    )

    def _label(self, atoms: Atoms) -> Label:
        """What the calculator of the level at hand says of a structure."""
        assert self.low_level is not None  # otherwise nothing is at hand
        stress = None
        if "stress" in self.implemented_properties and atoms.pbc.all():
            given = getattr(self.low_level, "implemented_properties", [])
            if "stress" in given:
                stress = self.low_level.get_property("stress", atoms)
        return Label(
            energy=self.low_level.get_property("energy", atoms),
            forces=self.low_level.get_property("forces", atoms),
            stress=stress,
        )

    def _take(self, found: StructurePrediction) -> None:
        energy = found.energy
        self.results = {"energy": energy, "free_energy": energy, "forces": found.forces}
        if found.stress is not None:
            self.results["stress"] = found.stress


def named_results(results: Mapping[str, Any]) -> dict[str, Any]:
    """Those results of a calculator that ASE has a name for."""
    return {name: value for name, value in results.items() if name in all_outputs}


def given(atoms: Atoms | None) -> Atoms:
    """The structure that a calculator is asked about.

    Raises:
        ValueError: there is none, or it is refused by `check_positions`.
    """
    if atoms is None:
        raise ValueError("give the structure to be calculated")
    check_positions(atoms)
    return atoms


def check_positions(atoms: Atoms) -> None:
    """Refuse positions or a cell that are not finite.

    Raises:
        ValueError: names the first such atom.
    """
    wrong = ~np.isfinite(atoms.positions).all(axis=1)
    if wrong.any() or not np.isfinite(np.asarray(atoms.cell)).all():
        what = (
            f"the position of atom {int(wrong.argmax())}" if wrong.any() else "the cell"
        )
        raise ValueError(
            f"{what} is not finite: the dynamics or the file before went astray"
        )
