"""Every feature of a structure: blocks of descriptors, and the reference energies."""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial

import numpy as np
import torch
from ase import Atoms
from ase.data import chemical_symbols
from jaxtyping import Float, Int
from torch import Tensor

from mfal.data import LabelledDataset
from mfal.descriptors.environments import (
    Descriptor,
    Environments,
    ProjectingDescriptor,
)
from mfal.models.features import FeatureRows, Features, KernelFeatures
from mfal.models.threads import torch_threads


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

    def leading(self, n_points: int) -> tuple["FeatureMap", Int[Tensor, " p"]]:
        """The map with the first points of kernels only, and which columns it keeps."""
        parts, places, begin = [], [], 0
        for descriptor, features in self.parts:
            few, own = features, torch.arange(features.size)
            if isinstance(features, KernelFeatures):
                few, own = features.leading(n_points)
            parts.append((descriptor, few))
            places.append(begin + own)
            begin += features.size
        places.append(torch.arange(begin, self.size))
        return FeatureMap(self.species, tuple(parts)), torch.cat(places)

    def counts(self, atoms: Atoms) -> Float[Tensor, " s"]:
        """Number of atoms of each species.

        Raises:
            ValueError: a species that is not known.
        """
        check_species(atoms, self.species)
        return torch.tensor(
            [(atoms.numbers == z).sum() for z in self.species], dtype=torch.float64
        )

    @torch_threads()
    def environments(self, atoms: Atoms, *, strain: bool = True) -> list[Environments]:
        """The environments of each block; a descriptor used twice is computed once.

        Without `strain`, derivatives with respect to it may be missing.
        """
        check_species(atoms, self.species)
        known: dict[int, Environments] = {}
        found = []
        for descriptor, features in self.parts:
            if isinstance(features, KernelFeatures) and isinstance(
                descriptor, ProjectingDescriptor
            ):
                found.append(
                    descriptor.projected(atoms, features.projection, strain=strain)
                )
                continue
            if id(descriptor) not in known:
                known[id(descriptor)] = descriptor(atoms)
            found.append(known[id(descriptor)])
        return found

    @torch_threads()
    def energy_and_slopes(
        self,
        atoms: Atoms,
        weights: Float[Tensor, " p"],
        environments: Sequence[Environments] | None = None,
        *,
        strain: bool = True,
    ) -> tuple[float, Float[Tensor, "n 3"], Float[Tensor, " 6"] | None]:
        """The energy (eV), forces (eV/A) and dE/dstrain (eV) of weights, without rows.

        Where the environments are known already, from them.
        """
        counts = self.counts(atoms)
        sizes = [f.size for _, f in self.parts]
        *shares, last = weights.split([*sizes, len(counts)])
        energy = float(last @ counts)
        forces = counts.new_zeros(len(atoms), 3)
        virial: Tensor | None = counts.new_zeros(6)
        for k, ((descriptor, features), share) in enumerate(
            zip(self.parts, shares, strict=True)
        ):
            if (
                environments is None
                and isinstance(features, KernelFeatures)
                and isinstance(descriptor, ProjectingDescriptor)
            ):
                part, pull, stretch = descriptor.pulled_back(
                    atoms,
                    features.projection,
                    partial(features.projected_slopes, weights=share),
                    strain=strain,
                )
            else:
                e = descriptor(atoms) if environments is None else environments[k]
                part, slopes = features.slopes(e, share)
                pulls = torch.einsum(
                    "kcd,kd->kc", e.gradients, slopes[e.pair_environment]
                )
                pull = torch.zeros_like(forces).index_add_(
                    0, e.pair_atom, pulls, alpha=-1.0
                )
                stretch = None
                if strain and e.strain is not None:
                    stretch = torch.einsum("evd,ed->v", e.strain, slopes)
            energy += float(part.sum())
            forces += pull
            virial = None if virial is None or stretch is None else virial + stretch
        return energy, forces, virial

    @torch_threads()
    def rows(
        self,
        atoms: Atoms,
        environments: Sequence[Environments] | None = None,
        *,
        strain: bool = True,
    ) -> FeatureRows:
        """All rows of one structure; without `strain` those of stress may be missing."""
        volume = float(atoms.cell.volume) if atoms.pbc.all() else None
        found = [
            features.rows(e, volume)
            for (_, features), e in zip(
                self.parts,
                environments or self.environments(atoms, strain=strain),
                strict=True,
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

    @torch_threads()
    def unexplained(
        self, environments: Sequence[Environments]
    ) -> Float[Tensor, " blocks"]:
        """Prior variance of the energy of a structure that no feature carries (s = 1)."""
        return torch.stack(
            [
                features.unexplained(e).sum().clamp_min(0.0)
                for (_, features), e in zip(self.parts, environments, strict=True)
            ]
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
