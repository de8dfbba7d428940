r"""Energies of environments as TorchScript, at every level, and what sigmas are made of.

With f_l = sum_m c_lm w_m the weights of level l, the energy of an atom is phi(q) . f_l,
for kernels k(Z, q) . L^-T f_l (`mfal.models.features`): one product gives all levels. The
variance of a sum of energies z is z^T C_l z = |R_l z|^2, plus the part of the prior that
no feature carries (`mfal.models.weight_potential`).

Shapes: e environments, l levels, d entries of a descriptor, m features.
"""

from typing import no_type_check

import torch
from jaxtyping import Float
from torch import Tensor, nn

from mfal.calculators.metatomic_descriptors import places
from mfal.models.features import Features, KernelFeatures, LinearFeatures
from mfal.models.weight_potential import WeightPotential
from mfal.models.weights import level_rows


def scripted_features(
    features: Features, weights: Float[Tensor, "levels m"], few: Features
) -> nn.Module:
    """The module of features with the weights of each level.

    `few` are the features that sigmas are made of: the same, or the first of them.

    Raises:
        TypeError: features that have none.
    """
    if isinstance(features, KernelFeatures) and isinstance(few, KernelFeatures):
        return KernelEnergies(features, weights, few)
    if isinstance(features, LinearFeatures):
        return LinearEnergies(features, weights)
    raise TypeError(
        f"features of type {type(features).__name__} cannot be exported: use "
        "KernelFeatures or LinearFeatures"
    )


def variance_roots(model: WeightPotential) -> Float[Tensor, "levels p p"]:
    """R_l: the variance of z^T f_l is |R_l z|^2, z a row of the features of sigmas."""
    bars = model.bars
    weights = model.weights if bars is None else bars.weights
    size = (model.feature_map if bars is None else bars.feature_map).size
    one = torch.eye(size, dtype=torch.float64)
    roots = [
        torch.linalg.qr(weights.whiten(level_rows(one, model.path, level)), mode="r").R
        for level in range(len(model.levels))
    ]
    return torch.stack(roots)


@no_type_check
class SpeciesKernel(nn.Module):
    """Inducing environments of one species, and the energies that they give."""

    points: Tensor
    backs: Tensor
    factor: Tensor

    def __init__(
        self,
        points: Tensor,
        backs: Tensor,
        factor: Tensor,
        zeta: int,
    ) -> None:
        super().__init__()
        self.zeta, self.n_few = zeta, len(factor)
        self.register_buffer("points", points)
        self.register_buffer("backs", backs)
        self.register_buffer("factor", factor)

    def forward(self, u: Tensor, wanted: bool) -> tuple[Tensor, Tensor]:
        """Energies, "e l", and, if they are wanted, the first features, "e m"."""
        similar = power(u @ self.points.T, self.zeta)
        energies = similar @ self.backs
        few = similar.detach()[:, : self.n_few]
        if not wanted:
            return energies, few[:, :0]
        return energies, torch.linalg.solve_triangular(
            self.factor, few.T, upper=False
        ).T


@no_type_check
class KernelEnergies(nn.Module):
    """Energies of `KernelFeatures`."""

    projection: Tensor
    places: Tensor

    def __init__(
        self, features: KernelFeatures, weights: Tensor, few: KernelFeatures
    ) -> None:
        super().__init__()
        self.zeta, self.softening = features.zeta, features.softening
        self.size = few.size
        self.register_buffer("projection", features.projection)
        self.register_buffer("places", places(list(features.inducing)))
        species, begin = [], 0
        for number, points in features.inducing.items():
            own = weights[:, begin : begin + len(points)].mT
            begin += len(points)
            backs = torch.linalg.solve_triangular(
                features.factors[number].mT, own, upper=True
            )
            species.append(
                SpeciesKernel(points, backs, few.factors[number], features.zeta)
            )
        self.species = nn.ModuleList(species)
        self.n_levels = len(weights)

    def forward(
        self, q: Tensor, centres: Tensor, wanted: bool, total: bool
    ) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """Energies "e l", features "e m", prior variance that they do not carry.

        The last is that of each environment, "e", and of their sum, "1": zero unless
        they are `wanted`, the sum only with `total`.
        """
        projected = q @ self.projection
        norm = (projected.square().sum(1) + self.softening**2).sqrt().clamp_min(1e-300)
        u = projected / norm.unsqueeze(1)
        species = self.places.index_select(0, centres)
        energies = u.new_zeros(u.shape[0], self.n_levels)
        features = u.new_zeros(u.shape[0], self.size if wanted else 0)
        left = u.new_zeros(u.shape[0] if wanted else 0)
        left_of_sum = u.new_zeros(1)
        begin = 0
        for number, kernel in enumerate(self.species):
            mine = (species == number).nonzero().squeeze(1)
            own = u.index_select(0, mine)
            values, few = kernel(own, wanted)
            energies = energies.index_copy(0, mine, values)
            if wanted:
                features[mine, begin : begin + few.shape[1]] = few
                own = own.detach()
                prior = power(own.square().sum(1), self.zeta)
                left[mine] = prior - few.square().sum(1)
                if total:
                    left_of_sum += (
                        similarity(own, self.zeta) - few.sum(0).square().sum()
                    )
            begin += few.shape[1]
        return energies, features, left, left_of_sum


@no_type_check
class LinearEnergies(nn.Module):
    """Energies of `LinearFeatures`."""

    places: Tensor
    weights: Tensor

    def __init__(self, features: LinearFeatures, weights: Tensor) -> None:
        super().__init__()
        self.n_species, self.size = len(features.species), features.size
        self.register_buffer("places", places([int(z) for z in features.species]))
        weights = weights.reshape(len(weights), self.n_species, -1)
        self.register_buffer("weights", weights.permute(1, 2, 0).contiguous())

    def forward(
        self, q: Tensor, centres: Tensor, wanted: bool, total: bool
    ) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """As `KernelEnergies.forward`; the features carry the whole prior."""
        species = self.places.index_select(0, centres)
        energies = q.new_zeros(q.shape[0], self.weights.shape[2])
        for number in range(self.n_species):
            mine = (species == number).nonzero().squeeze(1)
            values = q.index_select(0, mine) @ self.weights[number]
            energies = energies.index_copy(0, mine, values)
        nothing = q.new_zeros(q.shape[0] if wanted else 0)
        features = q.new_zeros(q.shape[0], self.n_species, q.shape[1] if wanted else 0)
        if wanted:
            features[torch.arange(q.shape[0], device=q.device), species] = q.detach()
        return energies, features.flatten(1), nothing, q.new_zeros(1)


@no_type_check
def power(base: Tensor, exponent: int) -> Tensor:
    """base^exponent by products, exponent >= 1."""
    while exponent % 2 == 0:
        base, exponent = base * base, exponent // 2
    found = base
    for _ in range(exponent - 1):
        found = found * base
    return found


@no_type_check
def similarity(u: Tensor, zeta: int) -> Tensor:
    """sum_ij (u_i . u_j)^zeta, some rows at once."""
    total = u.new_zeros(1)
    for begin in range(0, u.shape[0], 512):
        total += power(u[begin : begin + 512] @ u.T, zeta).sum()
    return total
