"""Residuals with all that calibration asks of them: structure, species, sigma, level."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from ase import Atoms
from ase.data import atomic_numbers, chemical_symbols
from jaxtyping import Float, Int

from mfal.data import QUANTITIES, Label
from mfal.models.calibration import Recalibration
from mfal.models.calibration_curves import summary
from mfal.models.exact import ExactPotential
from mfal.models.leave_out import leave_one_out
from mfal.models.left_out_weights import leave_out
from mfal.models.observations import ENERGY, FORCES
from mfal.models.prediction import Prediction, StructurePredictions
from mfal.models.storage import Potential

WHOLE = 0
"""The species of what belongs to a structure and to no atom."""


@dataclass(frozen=True)
class Residuals:
    """Residuals of one quantity at one level, label minus prediction.

    Energies in eV per atom, forces in eV/A by component, stresses in eV/A^3. `sigma` is
    that of a label (epistemic and noise), `structure` its number in what was judged,
    `species` the atomic number (`WHOLE` for energies and stresses).

    Raises:
        ValueError: arrays of different lengths.
    """

    quantity: str
    level: str
    residual: Float[np.ndarray, " _"]
    sigma: Float[np.ndarray, " _"]
    structure: Int[np.ndarray, " _"]
    species: Int[np.ndarray, " _"]

    def __post_init__(self) -> None:
        sizes = {len(self.residual), len(self.sigma)}
        sizes |= {len(self.structure), len(self.species)}
        if len(sizes) > 1:
            raise ValueError(
                "each residual has a sigma, a structure and a species: got arrays of "
                f"{sorted(sizes)} entries"
            )

    @property
    def standardised(self) -> Float[np.ndarray, " n"]:
        """Residuals over their sigmas."""
        return self.residual / self.sigma

    def chosen(self, mask: np.ndarray) -> "Residuals":
        """These entries only."""
        parts = (self.residual, self.sigma, self.structure, self.species)
        return Residuals(self.quantity, self.level, *(p[mask] for p in parts))

    def of_species(self) -> dict[str, "Residuals"]:
        """The residuals of forces by the symbol of the atom; nothing for others."""
        found = sorted({int(z) for z in self.species} - {WHOLE})
        return {chemical_symbols[z]: self.chosen(self.species == z) for z in found}

    def summary(
        self, groups: Mapping[str, Sequence[int]] | None = None
    ) -> dict[str, Any]:
        """`mfal.models.calibration_curves.summary` of all, by species, and by group.

        `groups` are numbers of structures under a name; one without residuals is left
        out.
        """
        parts = {
            name: self.chosen(np.isin(self.structure, list(numbers)))
            for name, numbers in (groups or {}).items()
        }
        return {
            "level": self.level,
            "all": summary(self.residual, self.sigma),
            "species": {
                symbol: summary(part.residual, part.sigma)
                for symbol, part in self.of_species().items()
            },
            "groups": {
                name: summary(part.residual, part.sigma)
                for name, part in parts.items()
                if len(part.residual)
            },
        }


def residuals_of(
    prediction: Prediction | StructurePredictions,
    labels: Sequence[Label],
    structures: Sequence[Atoms],
    level: str,
) -> dict[str, Residuals]:
    """The residuals of predictions of structures whose labels are known, by quantity.

    Label minus prediction (energies per atom in eV, forces in eV/A), with the sigma of a
    label, the structure and the species of each number.

    Raises:
        ValueError: not one label per structure.
    """
    if len(labels) != len(structures):
        raise ValueError(
            f"one label per structure: got {len(labels)} labels for {len(structures)}"
        )
    found = {}
    for quantity in QUANTITIES:
        predicted: Any = getattr(prediction, quantity, None)
        parts = []
        for i, (label, atoms) in enumerate(zip(labels, structures, strict=True)):
            known = getattr(label, quantity)
            if known is None or predicted is None or predicted[i] is None:
                continue
            sigma = prediction.total_sigma(quantity)[i]
            scale = 1.0 / len(atoms) if quantity == "energy" else 1.0
            error = scale * np.subtract(known, predicted[i])
            parts.append(
                (i, np.ravel(error), np.ravel(scale * sigma), _species(atoms, quantity))
            )
        if parts:
            found[quantity] = _joined(quantity, level, parts)
    return found


def left_out_residuals(
    model: Potential, *, mode: str = "standalone"
) -> dict[str, Residuals]:
    """The residuals of the labels of the highest level, each without its structure.

    By quantity, as `residuals_of` gives them.

    With the sigmas of labels as the model recalibrates them for this way of deployment
    ("standalone" or "at_hand"). Of a sparse potential those that are kept for it.

    Raises:
        ValueError: an unknown mode, or nothing that could be left out.
    """
    factor = model.recalibrations.get(mode, Recalibration())
    if isinstance(model, ExactPotential):
        found = _of_exact(model, mode, factor)
    else:
        found = _of_weights(model, mode, factor)
    if not found:
        raise ValueError(
            "no label can be left out: fit the potential here (what is kept for it is "
            f"not saved) to labels of its highest level that fit the mode {mode!r}"
        )
    return found


def left_out_structures(
    model: ExactPotential, level: str | None, quantity: int, *, mode: str
) -> list[int]:
    """The structures whose labels `leave_one_out` tells of, in its order."""
    index, data = model.level_index(level), model.observations
    lowest: dict[int, int] = {}
    for structure, own in zip(data.structure, data.level, strict=True):
        lowest[structure] = min(own, lowest.get(structure, own))
    return [
        structure
        for block, (structure, own) in enumerate(
            zip(data.structure, data.level, strict=True)
        )
        if own == index
        and bool((data.block_quantity(block) == quantity).any())
        and (mode == "standalone" or lowest[structure] < index)
    ]


def _of_exact(
    model: ExactPotential, mode: str, factor: Recalibration
) -> dict[str, Residuals]:
    left = leave_one_out(model, mode=mode)
    symbols = model.builder.descriptor.symbols
    numbers = np.array([atomic_numbers[s] for s in symbols])
    found = {}
    for quantity, number in (("energy", ENERGY), ("forces", FORCES)):
        structures = left_out_structures(model, None, number, mode=mode)
        if not structures:
            continue
        scale = 1.0 / len(numbers) if quantity == "energy" else 1.0
        error, sigma = getattr(left, quantity), getattr(left, f"{quantity}_sigma")
        species = np.repeat(numbers, 3) if quantity == "forces" else np.array([WHOLE])
        parts = [
            (
                i,
                np.ravel(scale * error[k]),
                np.ravel(scale * factor.on_sigma(quantity) * sigma[k]),
                species,
            )
            for k, i in enumerate(structures)
        ]
        found[quantity] = _joined(quantity, model.levels[-1], parts)
    return found


def _of_weights(
    model: Potential, mode: str, factor: Recalibration
) -> dict[str, Residuals]:
    assert not isinstance(model, ExactPotential)
    left = leave_out(
        model.kept, model.weights, model.hyperparameters, mode=mode, bars=model.bars
    )
    sigmas = left.calibrated_sigma(factor)
    numbers = {c.structure: c.species for c in model.kept}
    found = {}
    for quantity, errors in left.residual.items():
        parts = []
        for k, error in enumerate(errors):
            structure = left.structure[quantity][k]
            scale = left.n_atoms[quantity][k] ** -0.5 if quantity == "energy" else 1.0
            species = np.full(len(error), WHOLE)
            if quantity == "forces":
                species = np.repeat(numbers[structure], 3)
            parts.append(
                (structure, scale * error, scale * sigmas[quantity][k], species)
            )
        found[quantity] = _joined(quantity, model.levels[-1], parts)
    return found


def _species(atoms: Atoms, quantity: str) -> np.ndarray:
    if quantity == "forces":
        return np.repeat(atoms.numbers, 3)
    return np.full(1 if quantity == "energy" else 6, WHOLE)


def _joined(
    quantity: str,
    level: str,
    parts: Sequence[tuple[int, np.ndarray, np.ndarray, np.ndarray]],
) -> Residuals:
    return Residuals(
        quantity,
        level,
        np.concatenate([p[1] for p in parts]),
        np.concatenate([p[2] for p in parts]),
        np.repeat([p[0] for p in parts], [len(p[1]) for p in parts]),
        np.concatenate([p[3] for p in parts]),
    )
