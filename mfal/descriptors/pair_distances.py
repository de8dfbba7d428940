"""Two-body descriptors: how many neighbours of a species stand at which distance."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import torch
from ase import Atoms
from ase.data import atomic_numbers
from jaxtyping import Float
from vesin import ase_neighbor_list

from mfal.descriptors.environments import VOIGT, Environments


class PairDistances:
    r"""q_bn = sum_j exp(-(r_ij - c_n)^2 / (2 w^2)) f(r_ij), neighbours j of species b.

    Centres c_n stand at equal distances w from w to the cutoff; f is one until
    `smoothing` before the cutoff and falls to zero as a cosine. A linear function of q is
    a sum of pair potentials of the two species (`mfal.models.LinearFeatures`).

    Units: q has none; gradients are per A. An atom without neighbours has q = 0.

    Source: Behler & Parrinello (2007), eqs. 3 and 4 (cutoff and radial functions).

    Raises:
        ValueError: unknown species, a length that is not positive, a structure that
            holds other species.
    """

    def __init__(
        self,
        species: Sequence[str],
        *,
        cutoff: float = 6.0,
        n_centres: int = 24,
        smoothing: float = 1.0,
    ) -> None:
        unknown = [s for s in species if s not in atomic_numbers]
        if not species or unknown:
            raise ValueError(f"give chemical symbols as species, got {list(species)}")
        if not (cutoff > 0 and 0 < smoothing <= cutoff and n_centres >= 1):
            raise ValueError(
                "give a cutoff above zero, a smoothing between zero and the cutoff, and "
                f"at least one centre, got {cutoff}, {smoothing}, {n_centres}"
            )
        self.species = tuple(sorted(set(species), key=lambda s: atomic_numbers[s]))
        self.cutoff, self.smoothing, self.n_centres = cutoff, smoothing, n_centres
        self._numbers = [atomic_numbers[s] for s in self.species]
        self._width = cutoff / n_centres
        self._centres = self._width * np.arange(1, n_centres + 1)

    @property
    def size(self) -> int:
        """Number of entries of the descriptor of one environment."""
        return self.n_centres * len(self.species)

    def specification(self) -> dict[str, object]:
        """The name of the descriptor, its species and lengths."""
        return {
            "name": "pair_distances",
            "species": list(self.species),
            "cutoff": self.cutoff,
            "n_centres": self.n_centres,
            "smoothing": self.smoothing,
        }

    def __call__(self, atoms: Atoms) -> Environments:
        """One environment per atom, with gradients and strain derivatives."""
        unknown = sorted(set(atoms.get_chemical_symbols()) - set(self.species))
        if unknown:
            raise ValueError(
                f"this descriptor knows the species {', '.join(self.species)}, not "
                f"{', '.join(unknown)}: fit the model to data that hold them"
            )
        n = len(atoms)
        i, j, r, across = ase_neighbor_list("ijdD", atoms, self.cutoff)
        value, slope = self._functions(r)
        column = np.array([self._numbers.index(z) for z in atoms.numbers[j]], dtype=int)
        columns = column[:, None] * self.n_centres + np.arange(self.n_centres)
        values = np.zeros((n, self.size))
        np.add.at(values, (i[:, None], columns), value)
        pull = slope[:, None, :] * (across / r[:, None])[:, :, None]  # dq_i / dr_j
        both = np.zeros((n, n), dtype=bool)  # [atom, environment]
        both[j, i] = True
        both[np.arange(n), np.arange(n)] = True
        atom, centre = np.nonzero(both)
        place = np.zeros((n, n), dtype=int)
        place[atom, centre] = np.arange(len(atom))
        gradients = np.zeros((len(atom), 3, self.size))
        axes = np.arange(3)[None, :, None]
        where = place[j, i][:, None, None]
        np.add.at(gradients, (where, axes, columns[:, None, :]), pull)
        where = place[i, i][:, None, None]
        np.add.at(gradients, (where, axes, columns[:, None, :]), -pull)
        strain = None
        if atoms.pbc.any():
            strain = np.zeros((n, 6, self.size))
            for v, (a, b) in enumerate(VOIGT):
                stretch = slope * (across[:, a] * across[:, b] / r)[:, None]
                np.add.at(strain[:, v], (i[:, None], columns), stretch)
        return Environments(
            values=torch.from_numpy(values),
            species=torch.from_numpy(atoms.numbers).long(),
            pair_environment=torch.from_numpy(centre),
            pair_atom=torch.from_numpy(atom),
            gradients=torch.from_numpy(gradients),
            n_atoms=n,
            strain=None if strain is None else torch.from_numpy(strain),
        )

    def _functions(
        self, r: Float[np.ndarray, " k"]
    ) -> tuple[Float[np.ndarray, "k n"], Float[np.ndarray, "k n"]]:
        """The radial functions at some distances, and their slopes (per A)."""
        apart = (r[:, None] - self._centres) / self._width
        bump = np.exp(-0.5 * apart**2)
        into = np.clip((r - self.cutoff + self.smoothing) / self.smoothing, 0.0, 1.0)
        fade = 0.5 * (1 + np.cos(np.pi * into))[:, None]
        falling = -0.5 * np.pi / self.smoothing * np.sin(np.pi * into)[:, None]
        slope = bump * (falling - fade * apart / self._width)
        return bump * fade, slope


def pair_distances_from_specification(
    specification: Mapping[str, Any],
) -> PairDistances:
    """The descriptor that `PairDistances.specification` describes.

    Raises:
        ValueError: as `PairDistances`.
    """
    options = {k: v for k, v in specification.items() if k not in ("name", "species")}
    return PairDistances(specification["species"], **options)
