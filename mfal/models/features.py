r"""Features: the prior of a sparse potential as a linear model, row by row.

The energy of an atom is eps(q) = sum_k w_k phi_k(q) with w ~ N(0, s^2 I). Energies,
forces and stresses are sums over environments of phi or of its derivative,

    Phi_E = sum_e phi(q_e),   Phi_F = -sum_e dphi/dr,   Phi_S = (1/V) sum_e dphi/dstrain,

from one code path: each is a list of terms b phi(q) + v . grad phi(q).
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Protocol, runtime_checkable

import torch
from jaxtyping import Float, Int
from torch import Tensor

from mfal.descriptors.environments import Environments
from mfal.models.cholesky import factorise


@dataclass(frozen=True)
class FeatureRows:
    """Features of the energy, the forces (3 n_atoms rows) and the stress of a structure.

    Units of the prior's eV: forces per A, stress per A^3; `stress` is `None` where
    there is no cell.
    """

    energy: Float[Tensor, " m"]
    forces: Float[Tensor, "c m"]
    stress: Float[Tensor, "6 m"] | None


@runtime_checkable
class Features(Protocol):
    """What turns the environments of a structure into rows of features."""

    @property
    def size(self) -> int:
        """Number of features."""
        ...

    def rows(self, environments: Environments, volume: float | None) -> FeatureRows:
        """The rows of one structure; no stress without a volume (A^3)."""
        ...

    def energies(self, environments: Environments) -> Float[Tensor, "n_env m"]:
        """phi of each environment."""
        ...

    def slopes(
        self, environments: Environments, weights: Float[Tensor, " m"]
    ) -> tuple[Float[Tensor, " n_env"], Float[Tensor, "n_env d"]]:
        """phi . w of each environment and its slope in the descriptor."""
        ...

    def unexplained(self, environments: Environments) -> Float[Tensor, "n_env n_env"]:
        """Prior covariance of eps between environments that phi does not carry (s = 1)."""
        ...


class KernelFeatures:
    r"""phi(q) = L^-1 k(Z, q): what inducing environments Z know of the kernel.

    k(q, z) = (u . v)^zeta with u = P^T q / (|P^T q|^2 + eps^2)^1/2 and v = z likewise,
    between environments of the same species, zero else; L L^T = k(Z, Z). P reduces the
    descriptor to its leading directions; eps lets the energy of an atom go smoothly to
    the reference energy as its last neighbour leaves.

    Source: Bartok, Csanyi (2015), eqs. 13-18 (sparse kernel); Quinonero-Candela &
    Rasmussen (2005), section 5 (subset of regressors).

    Args:
        projection: P, "d_descriptor d".
        inducing: normalised v of each species.
    """

    def __init__(
        self,
        projection: Float[Tensor, "d p"],
        inducing: Mapping[int, Float[Tensor, "m p"]],
        zeta: int,
        *,
        softening: float = 0.0,
    ) -> None:
        if zeta < 1:
            raise ValueError(f"the exponent zeta is a positive integer, got {zeta}")
        if not inducing:
            raise ValueError("give inducing environments of at least one species")
        self.projection = projection
        self.inducing = dict(sorted(inducing.items()))
        self.zeta = zeta
        self.softening = softening
        self.factors: dict[int, Tensor] = {}
        """L of each species."""
        self.jitter = 0.0
        self._begin, begin = {}, 0
        for species, points in self.inducing.items():
            factor, jitter = factorise(partial(_power_gram, points, zeta))
            self.factors[species] = factor
            self.jitter = max(self.jitter, jitter)
            self._begin[species] = begin
            begin += len(points)
        self.size = begin

    def leading(self, n_points: int) -> tuple["KernelFeatures", Int[Tensor, " m"]]:
        """The features of the first points alone, and which ones of all they are.

        Points chosen by pivoted Cholesky come in the order of what they add, and L is
        triangular: the first features are those of the first points. Each species gives
        points in proportion to what it has.
        """
        if n_points >= self.size:
            return self, torch.arange(self.size)
        taken, places = {}, []
        for species, points in self.inducing.items():
            n = max(1, round(n_points * len(points) / self.size))
            taken[species] = points[:n]
            places.append(self._begin[species] + torch.arange(n))
        few = KernelFeatures(
            self.projection, taken, self.zeta, softening=self.softening
        )
        return few, torch.cat(places)

    def normalised(
        self, values: Float[Tensor, "n d"]
    ) -> tuple[Float[Tensor, "n p"], Float[Tensor, " n"]]:
        """u of descriptors, and the norms that they were divided by."""
        return normalised(values, self.projection, self.softening)

    def rows(self, environments: Environments, volume: float | None) -> FeatureRows:
        """The rows of one structure; no stress without a volume (A^3)."""
        environments = self._projected(environments).sorted_by_environment()
        u, norm = _divided(environments.values, self.softening)
        n = environments.n_atoms
        home = environments.pair_environment
        slopes = _tangential(environments.gradients, u[home])
        strain = None
        if environments.strain is not None and volume is not None:
            strain = _tangential(environments.strain, u) / volume
        found = u.new_zeros(1 + 3 * n + 6, self.size)
        energy, forces, stress = found.split([1, 3 * n, 6])
        edges = torch.searchsorted(home, torch.arange(len(u) + 1)).tolist()
        for species, points in self.inducing.items():
            mine = (environments.species == species).nonzero().squeeze(1)
            if not len(mine):
                continue
            columns = slice(self._begin[species], self._begin[species] + len(points))
            similar = u[mine] @ points.mT
            powers = similar ** (self.zeta - 1)
            energy[0, columns] = (powers * similar).sum(0)
            weight = powers * (self.zeta / norm[mine]).unsqueeze(1)
            pull = u.new_zeros(n, 3 * len(points))
            for e, scales in zip(mine.tolist(), weight, strict=True):
                pairs = slice(edges[e], edges[e + 1])
                known = points.mT * scales
                each = slopes[pairs].flatten(0, 1) @ known
                pull.index_add_(
                    0, environments.pair_atom[pairs], each.view(-1, pull.shape[1])
                )
                if strain is not None:
                    stress[:, columns] += strain[e] @ known
            forces[:, columns] = -pull.view(3 * n, -1)
        energy, forces, stress = self._whiten(found).split([1, 3 * n, 6])
        return FeatureRows(
            energy.squeeze(0), forces, None if strain is None else stress
        )

    def energies(self, environments: Environments) -> Float[Tensor, "n_env m"]:
        """phi of each environment."""
        u, _ = _divided(self._projected(environments).values, self.softening)
        result = u.new_zeros(len(u), self.size)
        for species, points in self.inducing.items():
            mine = environments.species == species
            columns = slice(self._begin[species], self._begin[species] + len(points))
            result[mine, columns] = (u[mine] @ points.mT) ** self.zeta
        return self._whiten(result)

    def slopes(
        self, environments: Environments, weights: Float[Tensor, " m"]
    ) -> tuple[Float[Tensor, " n_env"], Float[Tensor, "n_env d"]]:
        """phi . w of each environment and its slope in the descriptor."""
        projected = self._projected(environments)
        values, slope = self.projected_slopes(
            projected.values, environments.species, weights
        )
        return (
            values,
            slope if projected is environments else slope @ self.projection.mT,
        )

    def projected_slopes(
        self,
        projected: Float[Tensor, "n p"],
        species_of: Int[Tensor, " n"],
        weights: Float[Tensor, " m"],
    ) -> tuple[Float[Tensor, " n"], Float[Tensor, "n p"]]:
        """phi . w and its slope in P^T q, from P^T q of environments and their species."""
        u, norm = _divided(projected, self.softening)
        values = u.new_zeros(len(u))
        slope = torch.zeros_like(u)
        for species, points in self.inducing.items():
            mine = species_of == species
            begin = self._begin[species]
            back = torch.linalg.solve_triangular(
                self.factors[species].mT,
                weights[begin : begin + len(points)].unsqueeze(1),
                upper=True,
            ).squeeze(1)
            similar = u[mine] @ points.mT
            powers = similar ** (self.zeta - 1)
            values[mine] = (powers * similar) @ back
            slope[mine] = self.zeta * (powers * back) @ points
        slope = slope - (slope * u).sum(1, keepdim=True) * u
        return values, slope / norm.unsqueeze(1)

    def unexplained(self, environments: Environments) -> Float[Tensor, "n_env n_env"]:
        """Prior covariance of eps between environments that phi does not carry (s = 1)."""
        u, _ = _divided(self._projected(environments).values, self.softening)
        alike = environments.species.unsqueeze(1) == environments.species
        phi = self.energies(environments)
        return torch.where(alike, (u @ u.mT) ** self.zeta, 0.0) - phi @ phi.mT

    def _projected(self, environments: Environments) -> Environments:
        if environments.projection is None:
            return environments.projected(self.projection)
        if environments.projection is not self.projection:
            raise ValueError("these environments were projected for other features")
        return environments

    def _whiten(self, rows: Float[Tensor, "n m"]) -> Float[Tensor, "n m"]:
        """Rows times L^-T, species by species."""
        parts = []
        for species, points in self.inducing.items():
            begin = self._begin[species]
            parts.append(
                torch.linalg.solve_triangular(
                    self.factors[species],
                    rows[:, begin : begin + len(points)].mT,
                    upper=False,
                ).mT
            )
        return torch.cat(parts, dim=1)


class LinearFeatures:
    """phi(q) = q, of each species its own: the plain linear potential.

    Source: Thompson et al. (2015), eq. 9 (spectral neighbour analysis potential); with
    a Gaussian prior on the weights, Bishop (2006), section 3.3.
    """

    def __init__(self, species: Sequence[int], size: int) -> None:
        self.species = tuple(species)
        self._width = size
        self.size = size * len(self.species)

    def rows(self, environments: Environments, volume: float | None) -> FeatureRows:
        """The rows of one structure; no stress without a volume (A^3)."""
        n = environments.n_atoms
        energy = self.energies(environments).sum(0)
        forces = energy.new_zeros(3 * n, self.size)
        stress = energy.new_zeros(6, self.size)
        home = environments.species[environments.pair_environment]
        for k, species in enumerate(self.species):
            columns = slice(k * self._width, (k + 1) * self._width)
            pairs = home == species
            part = energy.new_zeros(n, 3, self._width)
            part.index_add_(
                0, environments.pair_atom[pairs], environments.gradients[pairs]
            )
            forces[:, columns] = -part.flatten(0, 1)
            if environments.strain is not None and volume is not None:
                mine = environments.species == species
                stress[:, columns] = environments.strain[mine].sum(0) / volume
        have = environments.strain is not None and volume is not None
        return FeatureRows(energy, forces, stress if have else None)

    def energies(self, environments: Environments) -> Float[Tensor, "n_env m"]:
        """phi of each environment."""
        values = environments.values
        result = values.new_zeros(len(values), self.size)
        for k, species in enumerate(self.species):
            mine = environments.species == species
            result[mine, k * self._width : (k + 1) * self._width] = values[mine]
        return result

    def slopes(
        self, environments: Environments, weights: Float[Tensor, " m"]
    ) -> tuple[Float[Tensor, " n_env"], Float[Tensor, "n_env d"]]:
        """phi . w of each environment and its slope in the descriptor."""
        own = weights.reshape(len(self.species), -1)
        place = torch.tensor([self.species.index(int(z)) for z in environments.species])
        slope = own[place]
        return (environments.values * slope).sum(1), slope

    def unexplained(self, environments: Environments) -> Float[Tensor, "n_env n_env"]:
        """Nothing: the features are the whole prior."""
        n = len(environments.values)
        return environments.values.new_zeros(n, n)


def normalised(
    values: Float[Tensor, "n d"],
    projection: Float[Tensor, "d p"],
    softening: float = 0.0,
) -> tuple[Float[Tensor, "n p"], Float[Tensor, " n"]]:
    """Projected descriptors u = P^T q / (|P^T q|^2 + eps^2)^1/2, and the divisors."""
    return _divided(values @ projection, softening)


def _divided(
    projected: Float[Tensor, "n p"], softening: float
) -> tuple[Float[Tensor, "n p"], Float[Tensor, " n"]]:
    norm = (projected.square().sum(1) + softening**2).sqrt().clamp_min(1e-300)
    return projected / norm.unsqueeze(1), norm


def _power_gram(points: Float[Tensor, "m p"], zeta: int) -> Float[Tensor, "m m"]:
    return (points @ points.mT) ** zeta


def _tangential(
    slopes: Float[Tensor, "k c p"], u: Float[Tensor, "k p"]
) -> Float[Tensor, "k c p"]:
    """The part of the slopes of q that turns u = q / |q|."""
    return slopes - (slopes @ u.unsqueeze(-1)) * u.unsqueeze(1)
