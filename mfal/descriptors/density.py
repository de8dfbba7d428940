r"""The neighbour density of every atom in radial functions and spherical harmonics.

An atom j of species a at r_ij = r u from atom i adds to the expansion of i

    c_ianlm += R_nl(r) Y_lm(u),   dc_ianlm / dr_j = u R'_nl Y_lm + R_nl dY_lm/dr_j,

and minus that to the derivative with respect to r_i. R_nl holds all that is radial: the
smeared Gaussian projected on the basis, the weight of the distance, the cutoff. featomic
computes it, once, on a grid of distances; here it is a spline (cubic Hermite, energies
and forces of the same spline), so that a structure costs a few elementwise products per
pair, and derivatives can be contracted with what is known of the energy before they are
ever stored. Spherical harmonics are sphericart's.

Source: Bartok, Kondor, Csanyi (2013), eqs. 24-31; Bigi et al. (2023), J. Chem. Phys. 159,
064802, for the harmonics.
"""

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property, lru_cache
from typing import Any, NamedTuple

import numpy as np
import torch
from ase import Atoms
from featomic import SphericalExpansion, SphericalExpansionByPair
from jaxtyping import Float, Int
from sphericart import SphericalHarmonics
from torch import Tensor
from vesin import NeighborList

from mfal.descriptors.environments import VOIGT

GRID = 0.004
"""Distance of the points of the splines (A): less error than featomic's own splines."""

CLOSEST = 0.1
"""Two atoms nearer than that (A) are an error, not a structure."""


@dataclass(frozen=True)
class Pairs:
    """Neighbours within a cutoff, sorted by environment, then by the species of the atom.

    `vector` goes from the environment's centre to the atom (A).
    """

    environment: Int[np.ndarray, " p"]
    atom: Int[np.ndarray, " p"]
    vector: Float[np.ndarray, "p 3"]
    distance: Float[np.ndarray, " p"]

    def within(self, cutoff: float) -> "Pairs":
        """Those that are nearer than a shorter cutoff."""
        near = self.distance < cutoff
        if near.all():
            return self
        return Pairs(
            self.environment[near],
            self.atom[near],
            self.vector[near],
            self.distance[near],
        )


def neighbours(atoms: Atoms, cutoff: float) -> Pairs:
    """All pairs within the cutoff, images of periodic structures included.

    Raises:
        ValueError: two atoms that are nearer than `CLOSEST`.
    """
    centre, atom, distance, vector = NeighborList(
        cutoff=cutoff, full_list=True
    ).compute(
        points=atoms.positions,
        box=atoms.cell.array,
        periodic=bool(atoms.pbc.any()),
        quantities="ijdD",
    )
    if len(distance) and distance.min() < CLOSEST:
        k = int(distance.argmin())
        raise ValueError(
            f"atoms {centre[k]} and {atom[k]} are {distance[k]:.3f} A apart: no "
            f"potential knows atoms nearer than {CLOSEST} A, mend or drop the structure"
        )
    centre, atom = centre.astype(np.int64), atom.astype(np.int64)
    order = np.lexsort((atom, atoms.numbers[atom], centre))
    return Pairs(centre[order], atom[order], vector[order], distance[order])


class DensityBasis:
    """R_nl of one set of featomic's options, tabulated, and the harmonics.

    Args:
        options: cutoff, density and basis as `featomic.SphericalExpansion` takes them.
    """

    def __init__(self, options: Mapping[str, Any], n_max: int, l_max: int) -> None:
        self.cutoff = float(options["cutoff"]["radius"])
        self.n_max, self.l_max = n_max, l_max
        self.size = n_max * (l_max + 1) ** 2
        self._options = dict(options)
        self._grid = _grid(self.cutoff)
        self._harmonics = SphericalHarmonics(l_max)

    @cached_property
    def own(self) -> Float[Tensor, " k"]:
        """What an atom adds to its own expansion."""
        found = SphericalExpansion(**self._options).compute(Atoms("H"))
        own = torch.zeros(self.size, dtype=torch.float64)
        for key, block in found.items():
            if int(key["o3_lambda"]) == 0:
                own[: self.n_max] = torch.from_numpy(block.values[0, 0])
        return own

    def radial(
        self, distance: Float[Tensor, "*p"]
    ) -> tuple[Float[Tensor, "*p n_l n"], Float[Tensor, "*p n_l n"]]:
        """R_ln and dR_ln / dr (per A) at distances from `CLOSEST` on; zero beyond."""
        step = self._grid[1] - self._grid[0]
        place = ((distance.flatten() - CLOSEST) / step).clamp(max=len(self._grid) - 1)
        left = place.long().clamp(max=len(self._grid) - 2)
        t = (place - left).unsqueeze(1)
        c0, c1, c2, c3 = self.cubics.index_select(0, left).unbind(1)
        value = c3.mul(t).add_(c2).mul_(t).add_(c1).mul_(t).add_(c0)
        slope = c3.mul(3 * t).add_(c2, alpha=2).mul_(t).add_(c1).div_(step)
        shape = (*distance.shape, self.l_max + 1, self.n_max)
        return value.view(shape), slope.view(shape)

    def angular(
        self, vector: Float[Tensor, "*p 3"]
    ) -> tuple[Float[Tensor, "*p m"], Float[Tensor, "*p 3 m"]]:
        """Y_lm of directions and dY_lm / dr (per A), m in the order -l ... l."""
        y, dy = self._harmonics.compute_with_gradients(vector.reshape(-1, 3).numpy())
        shape, n = vector.shape[:-1], (self.l_max + 1) ** 2
        return (
            torch.from_numpy(y).view(*shape, n),
            torch.from_numpy(dy).view(*shape, 3, n),
        )

    def orders(self) -> Iterator[tuple[int, slice, slice]]:
        """l, its place among (l, m), and among (l, m, n)."""
        for order in range(self.l_max + 1):
            begin, end = order**2, (order + 1) ** 2
            yield (
                order,
                slice(begin, end),
                slice(self.n_max * begin, self.n_max * end),
            )

    @cached_property
    def cubics(self) -> Float[Tensor, "intervals 4 nl_n"]:
        """R_ln in powers of the place within each of the intervals from `CLOSEST` on."""
        return _tabulated(json.dumps(self._options), self.n_max, self.l_max)


@lru_cache(maxsize=16)
def _tabulated(
    options: str, n_max: int, l_max: int
) -> Float[Tensor, "intervals 4 nl_n"]:
    """Cubic Hermite polynomials of R_ln between the points of the grid."""
    hypers = json.loads(options)
    points = _grid(hypers["cutoff"]["radius"])
    dimers = [Atoms("H2", [[0, 0, 0], [0, 0, r]]) for r in points[:-1]]
    found = SphericalExpansionByPair(**hypers).compute(dimers, gradients=["positions"])
    table = np.zeros((len(points), 2, l_max + 1, n_max))  # zero at the cutoff
    for key, block in found.items():
        order = int(key["o3_lambda"])
        along = np.sqrt((2 * order + 1) / (4 * np.pi))  # Y_l0 on the z axis
        samples = block.samples.values
        upwards = (samples[:, 1] == 0) & (samples[:, 2] == 1)
        table[samples[upwards, 0], 0, order] = block.values[upwards, order] / along
        slope = block.gradient("positions")
        row, _, atom = slope.samples.values.T
        moved = upwards[row] & (atom == 1)
        table[samples[row[moved], 0], 1, order] = slope.values[moved, 2, order] / along
    table[:, 1] *= points[1] - points[0]
    f, g = torch.from_numpy(table.reshape(len(table), 2, -1)).unbind(1)
    rise, begin, end = f[1:] - f[:-1], g[:-1], g[1:]
    cubics = [f[:-1], begin, 3 * rise - 2 * begin - end, begin + end - 2 * rise]
    return torch.stack(cubics, dim=1)


def _grid(cutoff: float) -> Float[np.ndarray, " n"]:
    n = int(np.ceil((cutoff - CLOSEST) / GRID)) + 1
    return np.linspace(CLOSEST, cutoff, n)


class Shell(NamedTuple):
    """The neighbours of one species of some environments, as many places for each.

    Places that are left over lie at the cutoff, where all is zero.
    """

    atom: Int[Tensor, "e p"]
    vector: Float[Tensor, "e p 3"]
    distance: Float[Tensor, "e p"]
    radial: tuple[Float[Tensor, "e p n_l n"], Float[Tensor, "e p n_l n"]]
    angular: tuple[Float[Tensor, "e p m"], Float[Tensor, "e p 3 m"]]


@dataclass(frozen=True)
class Density:
    """The expansion of some environments, with derivatives that are not yet formed.

    Coefficients are [environment, neighbour species, (l, m, n)]; one shell per species.
    """

    basis: DensityBasis
    coefficients: Float[Tensor, "e s k"]
    shells: tuple[Shell, ...]

    def slopes(self, species: int) -> Float[Tensor, "e p 3 k"]:
        """dc / dr_j of every place of a shell: with respect to the neighbour."""
        _, vector, distance, (value, slope), (y, dy) = self.shells[species]
        along = (vector / distance.unsqueeze(2)).unsqueeze(3) * y.unsqueeze(2)
        n_env, n_places, _ = vector.shape
        n_max = self.basis.n_max
        found = y.new_empty(n_env, n_places, 3, self.basis.size)
        for order, of_m, columns in self.basis.orders():
            m = 2 * order + 1
            block = found[..., columns].view(n_env, n_places, 3, m, n_max)
            shape = (n_env, n_places, 1, 1, n_max)
            torch.mul(
                along[..., of_m].unsqueeze(4), slope[:, :, order].view(shape), out=block
            )
            block.addcmul_(dy[..., of_m].unsqueeze(4), value[:, :, order].view(shape))
        return found

    def pulled(
        self, species: int, back: Float[Tensor, "e s k"]
    ) -> Float[Tensor, "e p 3"]:
        """sum_k back_k dc_k / dr_j of every place of a shell, back = dE/dc."""
        _, vector, distance, (value, slope), (y, dy) = self.shells[species]
        n_max = self.basis.n_max
        fixed, moved = torch.empty_like(y), torch.empty_like(y)
        for order, of_m, columns in self.basis.orders():
            block = back[:, species, columns].reshape(len(y), 2 * order + 1, n_max).mT
            fixed[..., of_m] = value[:, :, order] @ block
            moved[..., of_m] = slope[:, :, order] @ block
        along = moved.mul_(y).sum(2) / distance
        across = (dy @ fixed.unsqueeze(3)).squeeze(3)
        return across.add_(along.unsqueeze(2) * vector)


def stretch(vector: Float[Tensor, "*b p 3"]) -> Float[Tensor, "*b 6 c"]:
    """dr / dstrain of vectors, the shear strains symmetric; vector before xyz."""
    found = vector.new_zeros(*vector.shape[:-2], 6, *vector.shape[-2:])
    for v, (i, j) in enumerate(VOIGT):
        found[..., v, :, i] += 0.5 * vector[..., j]
        found[..., v, :, j] += 0.5 * vector[..., i]
    return found.flatten(-2)


def densities(
    basis: DensityBasis,
    pairs: Pairs,
    species_numbers: Sequence[int],
    numbers: Int[np.ndarray, " n"],
    at_once: int,
) -> Iterator[Density]:
    """The expansions of all environments, so many at once.

    `species_numbers` are the atomic numbers of the species in the order of the
    coefficients (rising), `numbers` those of the atoms.
    """
    n, n_species = len(numbers), len(species_numbers)
    place = np.zeros(max(species_numbers) + 1, dtype=np.int64)
    place[list(species_numbers)] = np.arange(n_species)
    own = place[numbers]
    key = pairs.environment * n_species + own[pairs.atom]
    edges = np.searchsorted(key, np.arange(n * n_species + 1))
    # one more pair, at the cutoff, for the places that are left over
    atom = torch.from_numpy(np.append(pairs.atom, 0))
    away = [[0.0, 0.0, basis.cutoff]]
    vector = torch.from_numpy(np.concatenate([pairs.vector, away]))
    distance = torch.from_numpy(np.append(pairs.distance, basis.cutoff))
    for first in range(0, n, at_once):
        chunk = np.arange(first, min(first + at_once, n))
        coefficients = vector.new_zeros(len(chunk), n_species, basis.size)
        coefficients[torch.arange(len(chunk)), own[chunk]] += basis.own
        shells = []
        for s in range(n_species):
            begin, end = (edges[chunk * n_species + s + k][:, None] for k in range(2))
            places = begin + np.arange(int((end - begin).max()))
            places = np.where(places < end, places, len(pairs.atom))
            where = torch.from_numpy(places)
            radial = basis.radial(distance[where])
            angular = basis.angular(vector[where])
            for order, of_m, columns in basis.orders():
                coefficients[:, s, columns] += (
                    angular[0][..., of_m].mT @ radial[0][:, :, order]
                ).flatten(1)
            shells.append(
                Shell(atom[where], vector[where], distance[where], radial, angular)
            )
        yield Density(basis, coefficients, tuple(shells))
