"""Every feature of a structure: blocks of descriptors, and the reference energies."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from ase import Atoms
from ase.data import chemical_symbols
from jaxtyping import Float, Int
from torch import Tensor

from mfal.data import LabelledDataset
from mfal.descriptors.environments import Descriptor, Environments
from mfal.models.features import FeatureRows, Features


@dataclass(frozen=True)
class FeatureMap:
    """Blocks of features side by side, then one column per species: its number of atoms.

    The last columns carry the reference energies; forces and stresses have zeros there.
    Blocks of one descriptor share its environments. Each block has its own prior scale.

    Raises:
        ValueError: no block, or a structure with a species that is not known.
    """

    species: tuple[int, ...]
    parts: tuple[tuple[Descriptor, Features], ...]

    def __post_init__(self) -> None:
        if not self.parts or not self.species:
            raise ValueError("a feature map needs species and at least one block")

    @property
    def size(self) -> int:
        """Number of columns."""
        return sum(f.size for _, f in self.parts) + len(self.species)

    @property
    def block(self) -> Int[Tensor, " p"]:
        """The block of each column, -1 for reference energies."""
        parts = [torch.full((f.size,), k) for k, (_, f) in enumerate(self.parts)]
        return torch.cat([*parts, torch.full((len(self.species),), -1)])

    def counts(self, atoms: Atoms) -> Float[Tensor, " s"]:
        """Number of atoms of each species.

        Raises:
            ValueError: a species that is not known.
        """
        check_species(atoms, self.species)
        return torch.tensor(
            [(atoms.numbers == z).sum() for z in self.species], dtype=torch.float64
        )

    def environments(self, atoms: Atoms) -> list[Environments]:
        """The environments of each block; a descriptor used twice is computed once."""
        check_species(atoms, self.species)
        found = {id(d): d for d, _ in self.parts}
        known = {key: descriptor(atoms) for key, descriptor in found.items()}
        return [known[id(d)] for d, _ in self.parts]

    def rows(
        self, atoms: Atoms, environments: Sequence[Environments] | None = None
    ) -> FeatureRows:
        """All rows of one structure."""
        volume = float(atoms.cell.volume) if atoms.pbc.all() else None
        found = [
            features.rows(e, volume)
            for (_, features), e in zip(
                self.parts, environments or self.environments(atoms), strict=True
            )
        ]
        counts = self.counts(atoms)
        blank = counts.new_zeros(3 * len(atoms), len(counts))
        stresses = [r.stress for r in found if r.stress is not None]
        stress = None
        if len(stresses) == len(found):
            stress = torch.cat([*stresses, blank.new_zeros(6, len(counts))], dim=1)
        return FeatureRows(
            torch.cat([*(r.energy for r in found), counts]),
            torch.cat([*(r.forces for r in found), blank], dim=1),
            stress,
        )

    def unexplained(
        self, environments: Sequence[Environments], scale: Float[Tensor, " blocks"]
    ) -> float:
        """Prior variance of the energy of a structure that no feature carries (eV^2)."""
        return sum(
            float(s.square() * features.unexplained(e).sum().clamp_min(0.0))
            for s, (_, features), e in zip(scale, self.parts, environments, strict=True)
        )


def check_species(atoms: Atoms, species: Sequence[int]) -> None:
    """Refuse a structure with a species that is not among these atomic numbers.

    Raises:
        ValueError: names the species.
    """
    unknown = sorted(set(atoms.get_chemical_symbols()) - set(_symbols(species)))
    if unknown:
        raise ValueError(
            f"the model was fitted to {', '.join(_symbols(species))} and knows nothing "
            f"of {', '.join(unknown)}: add labelled structures that hold it"
        )


def reference_energies(
    dataset: LabelledDataset, species: Sequence[int]
) -> Float[Tensor, "levels s"]:
    """Least-squares energies per species at each level (the shortest solution), eV.

    Zero at a level without energies. They are the mean of the prior of the reference
    energies, not the last word.
    """
    reference = torch.zeros(len(dataset.levels), len(species), dtype=torch.float64)
    for number, level in enumerate(dataset.levels):
        chosen = [
            (dataset.structures[i].numbers, label.energy)
            for i, name, label in dataset
            if name == level and label.energy is not None
        ]
        if chosen:
            counts = np.array(
                [[(numbers == z).sum() for z in species] for numbers, _ in chosen]
            )
            weight = 1.0 / np.sqrt(counts.sum(1))
            energies = np.array([energy for _, energy in chosen])
            solution = np.linalg.lstsq(
                counts * weight[:, None], energies * weight, rcond=None
            )
            reference[number] = torch.from_numpy(solution[0])
    return reference


def _symbols(species: Sequence[int]) -> list[str]:
    return [chemical_symbols[z] for z in species]
