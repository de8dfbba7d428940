r"""Closed-form leave-one-configuration-out of a model that is linear in its weights.

With the rows X of a configuration, their noise N, H = X C X^T and r = y - X m,

    m_-c = m - C X^T (N - H)^-1 r,   C_-c = C + C X^T (N - H)^-1 X C,

so that rows Z of the configuration are predicted, without it, with the residual
y_Z - Z m + Z C X^T (N - H)^-1 r and the variance of Z C_-c Z^T. Inducing environments and
hyperparameters are kept, which makes it slightly optimistic. Source: Rasmussen &
Williams (2006), section 5.4.2, in weight space for blocks.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from mfal.kernels import path_weights
from mfal.models.calibration import Recalibration, coverage_factor
from mfal.models.cholesky import factorise
from mfal.models.gathering import Configuration
from mfal.models.leave_out import LeftOut
from mfal.models.weights import (
    WeightHyperparameters,
    Weights,
    group_variance,
    level_rows,
)

LEAST_CONFIGURATIONS = 5

CANCELLATION = 1e-7
"""Share of the noise below which N - H has lost too many digits."""

QUANTITY_NAMES = ("energy", "forces", "stress")


@dataclass
class LeftOutWeights:
    """Residuals (label minus prediction) and sigmas of labels, by quantity.

    Energies in eV per sqrt(n_atoms), of each structure one; forces in eV/A, stresses in
    eV/A^3, a flat array per structure. `structure` and `n_atoms` go with each entry.
    """

    residual: dict[str, list[np.ndarray]] = field(default_factory=dict)
    sigma: dict[str, list[np.ndarray]] = field(default_factory=dict)
    structure: dict[str, list[int]] = field(default_factory=dict)
    n_atoms: dict[str, list[int]] = field(default_factory=dict)

    def mae(self, quantity: str) -> float:
        """Mean absolute error: energies in eV per atom."""
        errors = self.residual[quantity]
        if quantity == "energy":
            scales = 1 / np.sqrt(np.array(self.n_atoms[quantity], dtype=float))
            return float(np.mean(np.abs(np.concatenate(errors)) * scales))
        return float(np.mean(np.abs(np.concatenate(errors))))

    def of_structures(self, chosen: set[int]) -> "LeftOutWeights":
        """The part that belongs to some structures."""
        part = LeftOutWeights()
        for quantity, structures in self.structure.items():
            where = [k for k, i in enumerate(structures) if i in chosen]
            if where:
                part.residual[quantity] = [self.residual[quantity][k] for k in where]
                part.sigma[quantity] = [self.sigma[quantity][k] for k in where]
                part.structure[quantity] = [structures[k] for k in where]
                part.n_atoms[quantity] = [self.n_atoms[quantity][k] for k in where]
        return part

    def suspects(self, above: float = 6.0) -> list[dict[str, Any]]:
        """Labels whose left-out error is many times what is usual for their quantity.

        Usual is the median of |error / sigma| over 0.67, the worst of a structure
        counts, and of the many components of forces and stresses four times as much
        is let pass. Wrong units, another zero of energy, a calculation that went astray.
        """
        found = []
        for quantity, errors in self.residual.items():
            worst = np.array(
                [
                    np.max(np.abs(e / s))
                    for e, s in zip(errors, self.sigma[quantity], strict=True)
                ]
            )
            every = np.abs(
                np.concatenate(errors) / np.concatenate(self.sigma[quantity])
            )
            every = every[every > 1e-3]
            usual = float(np.median(every)) / 0.6745 if len(every) else 1.0
            limit = above * max(usual, 1e-12) * (1.0 if quantity == "energy" else 4.0)
            for k in np.flatnonzero(worst > limit):
                found.append(
                    {
                        "structure": self.structure[quantity][k],
                        "quantity": quantity,
                        "error_over_usual": float(worst[k] / usual),
                    }
                )
        return sorted(found, key=lambda s: -float(s["error_over_usual"]))

    def of_one_size(self, n_atoms: int) -> LeftOut:
        """The energies (eV) and forces of structures that all have so many atoms."""
        forces = (-1, n_atoms, 3)
        return LeftOut(
            *(self._joined(k, "energy", (-1,)) * n_atoms**0.5 for k in range(2)),
            *(self._joined(k, "forces", forces) for k in range(2)),
        )

    def _joined(self, which: int, quantity: str, shape: tuple[int, ...]) -> np.ndarray:
        parts = (self.residual, self.sigma)[which].get(quantity, [])
        if not parts:
            return np.zeros((0, *shape[1:]))
        return np.concatenate(parts).reshape(shape)

    def recalibration(self) -> Recalibration:
        """Factors on sigma that bring the coverages of left-out labels nearest to nominal.

        The misfit of a sparse model has heavy tails (a few surfaces among many cells of
        the bulk), which would take the root mean square of the residuals for all. A
        quantity with fewer than five configurations keeps the factor one.
        """
        return Recalibration(
            **{
                q: coverage_factor(np.concatenate(r) / np.concatenate(self.sigma[q]))
                for q, r in self.residual.items()
                if len(r) >= LEAST_CONFIGURATIONS
            }
        )


def leave_out(
    configurations: Sequence[Configuration],
    weights: Weights,
    h: WeightHyperparameters,
    *,
    mode: str = "standalone",
) -> LeftOutWeights:
    """Residuals of the highest level's labels, each without its own configuration.

    "standalone" leaves out the labels of the configuration at all levels; "at_hand"
    keeps that of the lowest level, and takes only the labels that have one.
    """
    path = path_weights(h.rho)
    top = len(path) - 1
    p = len(weights.mean) // len(path)
    found = LeftOutWeights()
    for configuration in configurations:
        blocks = configuration.blocks
        if mode == "at_hand":
            lowest = {b.group.quantity for b in blocks if b.group.level == 0}
            blocks = tuple(b for b in blocks if b.group.level > 0)
            targets = [b for b in blocks if b.group.quantity in lowest]
        else:
            targets = list(blocks)
        targets = [b for b in targets if b.group.level == top]
        if not targets:
            continue
        rows, values, noises = [], [], []
        for group, augmented in blocks:
            c = path[group.level, group.below] if group.below >= 0 else 0.0
            rows.append(level_rows(augmented[:, :p], path, group.level, group.below))
            values.append(augmented[:, p] - c * augmented[:, p + 1])
            noise = group_variance(group, h, path)
            noises.append(noise.expand(len(augmented)))
        z_rows, z_values, z_noises = [], [], []
        for group, augmented in targets:
            below = 0 if mode == "at_hand" else -1
            z_rows.append(level_rows(augmented[:, :p], path, top, below))
            lower = torch.zeros_like(augmented[:, p])
            if mode == "at_hand":
                lower = path[top, 0] * _lowest(configuration, group.quantity, p)
            z_values.append(augmented[:, p] - lower)
            span = slice(below + 1, top + 1)
            squares = h.noise[span, group.quantity].square()
            noise = (path[top, span].square() * squares).sum() + group.sigma**2
            z_noises.append(noise.expand(len(augmented)))
        x = torch.cat(rows)
        # with one level they are the same rows, and whitened once
        z = x if len(path) == 1 else torch.cat(z_rows)
        residual, variance = _without(
            weights,
            (x, torch.cat(values), torch.cat(noises)),
            (z, torch.cat(z_values)),
        )
        sizes = [len(t.augmented) for t in targets]
        sigma = (variance + torch.cat(z_noises)).sqrt()
        for target, r, s in zip(
            targets, residual.split(sizes), sigma.split(sizes), strict=True
        ):
            name = QUANTITY_NAMES[target.group.quantity]
            found.residual.setdefault(name, []).append(r.numpy())
            found.sigma.setdefault(name, []).append(s.numpy())
            found.structure.setdefault(name, []).append(configuration.structure)
            found.n_atoms.setdefault(name, []).append(configuration.n_atoms)
    return found


def left_out_errors(
    configurations: Sequence[Configuration],
    weights: Weights,
    h: WeightHyperparameters,
) -> Float[np.ndarray, "n 2"]:
    """Mean absolute errors of energies (eV per atom) and forces of each configuration.

    NaN where a configuration has no such label. With the low level at hand where the
    highest level has labels below it.
    """
    paired = any(
        b.group.level == len(h.scale) - 1 and b.group.below == 0
        for c in configurations
        for b in c.blocks
    )
    mode = "at_hand" if paired else "standalone"
    found = leave_out(configurations, weights, h, mode=mode)
    rows = {c.structure: k for k, c in enumerate(configurations)}
    errors = np.full((len(configurations), 2), np.nan)
    for column, quantity in enumerate(("energy", "forces")):
        for structure, n_atoms, residual in zip(
            found.structure.get(quantity, []),
            found.n_atoms.get(quantity, []),
            found.residual.get(quantity, []),
            strict=True,
        ):
            scale = n_atoms**-0.5 if quantity == "energy" else 1.0
            errors[rows[structure], column] = scale * np.abs(residual).mean()
    return errors


def _lowest(configuration: Configuration, quantity: int, p: int) -> Float[Tensor, " n"]:
    return next(
        b.augmented[:, p]
        for b in configuration.blocks
        if b.group.level == 0 and b.group.quantity == quantity
    )


def _without(
    weights: Weights,
    left: tuple[Tensor, Tensor, Tensor],
    target: tuple[Tensor, Tensor],
) -> tuple[Float[Tensor, " n"], Float[Tensor, " n"]]:
    """Residuals and epistemic variances of target rows, without the rows left out."""
    x, y, noise = left
    z, wanted = target
    v = weights.whiten(x)
    inner = noise.diag() - v.mT @ v
    factor, info = torch.linalg.cholesky_ex(inner)
    left_over = factor.diagonal().square() / noise
    if int(info) or float(left_over.min()) < CANCELLATION:
        return _without_by_refit(weights, left, target)
    vz = v if z is x else weights.whiten(z)
    cross = torch.linalg.solve_triangular(factor, v.mT @ vz, upper=False)
    residual = torch.linalg.solve_triangular(
        factor, (y - x @ weights.mean).unsqueeze(1), upper=False
    )
    shift = (cross.mT @ residual).squeeze(1)
    variance = vz.square().sum(0) + cross.square().sum(0)
    return wanted - z @ weights.mean + shift, variance


def _without_by_refit(
    weights: Weights,
    left: tuple[Tensor, Tensor, Tensor],
    target: tuple[Tensor, Tensor],
) -> tuple[Float[Tensor, " n"], Float[Tensor, " n"]]:
    """The same from the precision without the rows; cost (L M)^3 / 3.

    For rows that the model reproduces almost exactly, N - H would be a difference of
    nearly equal numbers; the precision, scaled by the prior, is never below one.
    """
    x, y, noise = left
    z, wanted = target
    d = weights.deviations
    scaled = x * d / noise.sqrt().unsqueeze(1)
    precision = weights.factor @ weights.factor.mT
    vector = precision @ (weights.mean / d) - scaled.mT @ (y / noise.sqrt())
    rest = precision - scaled.mT @ scaled
    factor, _ = factorise(
        lambda: rest.clone(), what="precision without a configuration"
    )
    factor = factor.tril()
    mean = d * torch.cholesky_solve(vector.unsqueeze(1), factor).squeeze(1)
    half = torch.linalg.solve_triangular(factor, (z * d).mT, upper=False)
    return wanted - z @ mean, half.square().sum(0)
