r"""Posterior of the weights of a linear multi-level potential, and its evidence.

Weights w_m of level m, prior N(0, S_m), S_m diagonal: s_mb^2 for the features of block
b, fixed for reference energies. With the groups of `mfal.models.moments`, v_g the noise
of a group and c the products of rho,

    A = S^-1 + sum_g (C_g x C_g) Phi_g^T Phi_g / v_g,
    b = sum_g C_g x Phi_g^T r_g / v_g,
    log p(y) = -1/2 [ sum_g (n_g log 2 pi v_g + r_g^T r_g / v_g)
                      + log det(S A) - b^T A^-1 b ],

r_g = y_l - c_lk y_k, C_g the row of c_lm for k < m <= l. Data enter only through the
products, so an evaluation costs (L M)^3 whatever their number.

Source: Bishop (2006), eqs. 3.53-3.54 and 3.86; Kennedy & O'Hagan (2000) for the levels.
"""

import math
from dataclasses import dataclass
from typing import Any

import torch
from jaxtyping import Float, Int
from torch import Tensor

from mfal.kernels import path_weights
from mfal.models.cholesky import factorise, inverse_from, solve_lower
from mfal.models.moments import Group, Statistics


@dataclass(frozen=True)
class WeightHyperparameters:
    """Scales (eV) per level and block, rho, noise (eV per sqrt atom, eV/A, eV/A^3)."""

    scale: Float[Tensor, "levels blocks"]
    rho: Float[Tensor, " steps"]
    noise: Float[Tensor, "levels 3"]

    def to_json(self) -> dict[str, Any]:
        """Plain values that give back the same numbers to the last bit."""
        return {
            name: getattr(self, name).tolist() for name in ("scale", "rho", "noise")
        }

    @staticmethod
    def from_json(values: dict[str, Any]) -> "WeightHyperparameters":
        """The inverse of `to_json`."""
        names = ("scale", "rho", "noise")
        return WeightHyperparameters(
            **{n: torch.tensor(values[n], dtype=torch.float64) for n in names}
        )


@dataclass(frozen=True)
class Prior:
    """Which block each feature belongs to (-1: a reference energy), and their width."""

    block: Int[Tensor, " p"]
    reference_width: float = 1.0

    def deviations(
        self, scale: Float[Tensor, "levels blocks"]
    ) -> Float[Tensor, "levels p"]:
        """Prior standard deviation of each weight of each level."""
        width = scale.new_full((len(scale), 1), self.reference_width)
        return torch.cat([scale, width], dim=1)[:, self.block]


class _LogDetAndFit(torch.autograd.Function):
    """log det B - b^T B^-1 b with the gradients B^-1 + m m^T and -2 m, m = B^-1 b."""

    @staticmethod
    def forward(ctx: Any, matrix: Tensor, vector: Tensor) -> Tensor:
        factor, _ = factorise(lambda: matrix.detach().clone())
        half = solve_lower(factor, vector.detach().unsqueeze(1))
        value = 2 * factor.diagonal().log().sum() - half.square().sum()
        ctx.save_for_backward(factor, half)
        return value

    @staticmethod
    def backward(ctx: Any, *slopes: Tensor) -> tuple[Tensor, Tensor]:
        factor, half = ctx.saved_tensors
        mean = torch.linalg.solve_triangular(factor.mT, half, upper=True)
        inverse = inverse_from(factor.clone())
        inverse = inverse.tril() + inverse.tril(-1).mT
        return (
            slopes[0] * (inverse + mean @ mean.mT),
            slopes[0] * (-2 * mean.squeeze(1)),
        )


def system(
    statistics: Statistics, prior: Prior, h: WeightHyperparameters
) -> tuple[
    Float[Tensor, "q q"],
    Float[Tensor, " q"],
    Float[Tensor, ""],
    Float[Tensor, "levels p"],
]:
    """B = 1 + D H D, D b, the part of -2 log p(y) without B, and the deviations D."""
    n_levels, p = statistics.n_levels, statistics.n_features
    deviations = prior.deviations(h.scale)
    path = path_weights(h.rho)
    blocks: list[list[Tensor | None]] = [[None] * n_levels for _ in range(n_levels)]
    vector: list[Tensor] = [deviations.new_zeros(p) for _ in range(n_levels)]
    rest = deviations.new_zeros(())
    for group, moments in statistics.groups.items():
        variance = group_variance(group, h, path)
        products = moments.products
        c = path[group.level, group.below] if group.below >= 0 else path.new_zeros(())
        cross = products[:p, p] - c * products[:p, p + 1]
        square = (
            products[p, p] - 2 * c * products[p, p + 1] + c * c * products[p + 1, p + 1]
        )
        n = moments.n_rows
        rest = rest + n * (2 * math.pi * variance).log() + square / variance
        rest = rest + moments.log_atoms
        for m in range(group.below + 1, group.level + 1):
            vector[m] = vector[m] + path[group.level, m] * cross / variance
            for m2 in range(group.below + 1, m + 1):
                weight = path[group.level, m] * path[group.level, m2] / variance
                term = weight * products[:p, :p]
                known = blocks[m][m2]
                blocks[m][m2] = term if known is None else known + term
    full = []
    for m in range(n_levels):
        row = []
        for m2 in range(n_levels):
            block = blocks[m][m2] if m2 <= m else blocks[m2][m]
            block = deviations.new_zeros(p, p) if block is None else block
            row.append(deviations[m].unsqueeze(1) * block * deviations[m2])
        full.append(torch.cat(row, dim=1))
    matrix = torch.cat(full)
    matrix = matrix + torch.eye(len(matrix), dtype=matrix.dtype)
    return matrix, (deviations * torch.stack(vector)).flatten(), rest, deviations


def group_variance(
    group: Group, h: WeightHyperparameters, path: Float[Tensor, "levels levels"]
) -> Float[Tensor, ""]:
    """v_g = sum_{k < m <= l} c_lm^2 sigma_m^2 + sigma_own^2."""
    span = slice(group.below + 1, group.level + 1)
    noise = h.noise[span, group.quantity].square()
    return (path[group.level, span].square() * noise).sum() + group.sigma**2


def unexplained_variance(
    unexplained: Float[Tensor, " blocks"],
    h: WeightHyperparameters,
    path: Float[Tensor, "levels levels"],
    level: int,
    below: int = -1,
) -> Float[Tensor, ""]:
    """Variance of an energy that no feature carries: sum_m c_lm^2 sum_b s_mb^2 u_b."""
    span = slice(below + 1, level + 1)
    return path[level, span].square() @ (h.scale[span].square() @ unexplained)


def log_evidence(
    statistics: Statistics, prior: Prior, h: WeightHyperparameters
) -> Float[Tensor, ""]:
    """log p(y), differentiable in the hyperparameters."""
    matrix, vector, rest, _ = system(statistics, prior, h)
    return -0.5 * (rest + _LogDetAndFit.apply(matrix, vector))


@dataclass(frozen=True)
class Weights:
    """Posterior of the weights of all levels: N(mean, D (F F^T)^-1 D)."""

    mean: Float[Tensor, " q"]
    factor: Float[Tensor, "q q"]
    deviations: Float[Tensor, " q"]
    jitter: float = 0.0

    def whiten(self, rows: Float[Tensor, "n q"]) -> Float[Tensor, "q n"]:
        """V with the covariance of rows V^T V."""
        return solve_lower(self.factor, (rows * self.deviations).mT)


def posterior(
    statistics: Statistics, prior: Prior, h: WeightHyperparameters
) -> Weights:
    """The posterior of the weights. Cost (L M)^3 / 3."""
    matrix, vector, _, deviations = system(statistics, prior, h)
    factor, jitter = factorise(lambda: matrix.clone(), what="precision of the weights")
    half = solve_lower(factor, vector.unsqueeze(1))
    mean = torch.linalg.solve_triangular(factor.mT, half, upper=True).squeeze(1)
    flat = deviations.flatten()
    return Weights(flat * mean, factor.tril(), flat, jitter)


def level_rows(
    features: Float[Tensor, "n p"],
    path: Float[Tensor, "levels levels"],
    level: int,
    below: int = -1,
) -> Float[Tensor, "n q"]:
    """Rows of a level in the weights of all: [c_lm Phi] for below < m <= level, else 0."""
    blank = torch.zeros_like(features)
    return torch.cat(
        [
            path[level, m] * features if below < m <= level else blank
            for m in range(len(path))
        ],
        dim=1,
    )
