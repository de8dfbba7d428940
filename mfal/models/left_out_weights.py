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
from mfal.models.calibration import (
    Recalibration,
    component_factors,
    coverage_factor,
    t_loss,
)
from mfal.models.cholesky import factorise
from mfal.models.error_bars import ErrorBars
from mfal.models.gathering import Configuration
from mfal.models.leave_out import LeftOut
from mfal.models.weights import (
    WeightHyperparameters,
    Weights,
    group_variance,
    level_rows,
    unexplained_variance,
)

LEAST_CONFIGURATIONS = 5
"""Fewer say nothing of error bars."""

ENOUGH_CONFIGURATIONS = 20
"""From so many on the epistemic sigma and the noise get factors of their own."""

UNEXPLAINED = (1.0, 0.3, 0.1, 0.03, 0.0)
"""Candidates for the share of what no feature carries in the sigma of energies."""

CANCELLATION = 1e-7
"""Share of the noise below which N - H has lost too many digits."""

QUANTITY_NAMES = ("energy", "forces", "stress")

_Arrays = dict[str, list[np.ndarray]]


@dataclass
class LeftOutWeights:
    """Residuals (label minus prediction) and sigmas of labels, by quantity.

    Energies in eV per sqrt(n_atoms), of each structure one; forces in eV/A, stresses in
    eV/A^3, a flat array per structure. The sigma of a residual has three parts: that of
    the weights (`epistemic`), that of energies which no feature carries (`unexplained`,
    else zero), and `noise`. `structure` and `n_atoms` go with each entry.
    """

    residual: _Arrays = field(default_factory=dict)
    epistemic: _Arrays = field(default_factory=dict)
    unexplained: _Arrays = field(default_factory=dict)
    noise: _Arrays = field(default_factory=dict)
    structure: dict[str, list[int]] = field(default_factory=dict)
    n_atoms: dict[str, list[int]] = field(default_factory=dict)

    @property
    def sigma(self) -> _Arrays:
        """Standard deviations as the model says, without recalibration."""
        return self.calibrated_sigma(Recalibration())

    def calibrated_sigma(self, factor: Recalibration) -> _Arrays:
        """Standard deviations of the residuals with these factors on their parts."""
        found: _Arrays = {}
        for q in self.residual:
            known, noise = factor.on_sigma(q), factor.on_noise(q)
            found[q] = [
                np.sqrt(
                    known**2 * (e**2 + (factor.unexplained * u) ** 2) + (noise * n) ** 2
                )
                for e, u, n in zip(
                    self.epistemic[q], self.unexplained[q], self.noise[q], strict=True
                )
            ]
        return found

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
            if not where:
                continue
            for name in vars(self):
                entries = getattr(self, name)[quantity]
                getattr(part, name)[quantity] = [entries[k] for k in where]
        return part

    def suspects(self, above: float = 6.0) -> list[dict[str, Any]]:
        """Labels whose left-out error is many times what is usual for their quantity.

        Usual is the median of |error / sigma| over 0.67, the worst of a structure
        counts, and of the many components of forces and stresses four times as much
        is let pass. Wrong units, another zero of energy, a calculation that went astray.
        """
        found, sigmas = [], self.sigma
        for quantity, errors in self.residual.items():
            sigma = sigmas[quantity]
            worst = np.array(
                [np.max(np.abs(e / s)) for e, s in zip(errors, sigma, strict=True)]
            )
            every = np.abs(np.concatenate(errors) / np.concatenate(sigma))
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

    def of_one_size(self, n_atoms: int, factor: Recalibration) -> LeftOut:
        """The energies (eV) and forces of structures that all have so many atoms."""
        forces = (-1, n_atoms, 3)
        parts = (self.residual, self.calibrated_sigma(factor))
        return LeftOut(
            *(_joined(part, "energy", (-1,)) * n_atoms**0.5 for part in parts),
            *(_joined(part, "forces", forces) for part in parts),
        )

    def recalibration(self) -> Recalibration:
        """Factors on the parts of sigma that make the left-out residuals usual ones.

        The misfit of a sparse model is not white: it grows with the epistemic sigma,
        and has heavy tails (a few surfaces among many cells of the bulk). From
        `ENOUGH_CONFIGURATIONS` on sigma and noise get factors of their own
        (`component_factors`), else one for both (`coverage_factor`); a quantity with
        fewer than five configurations keeps the factor one. Of what no feature carries
        the largest share is kept that explains the residuals as well as the best one,
        within a standard error.
        """
        factors: dict[str, float] = {}
        for q, residuals in self.residual.items():
            if len(residuals) < LEAST_CONFIGURATIONS:
                continue
            r = np.concatenate(residuals)
            known, left, noise = (
                np.concatenate(part[q])
                for part in (self.epistemic, self.unexplained, self.noise)
            )
            if len(residuals) < ENOUGH_CONFIGURATIONS:
                total = np.sqrt(known**2 + left**2 + noise**2)
                factors[q] = coverage_factor(r / total)
                continue
            shares = UNEXPLAINED if left.any() else (1.0,)
            share, (a, b) = _largest_share(r, known, left, noise, shares)
            factors |= {q: float(a), f"{q}_noise": float(b)}
            if left.any():
                factors["unexplained"] = share
        return Recalibration(**factors)


def _largest_share(
    residual: np.ndarray,
    known: np.ndarray,
    left: np.ndarray,
    noise: np.ndarray,
    shares: Sequence[float],
) -> tuple[float, Float[np.ndarray, " 2"]]:
    """The largest share of `left` that is as good as the best within a standard error."""
    found, losses = {}, {}
    for share in shares:
        both = np.hypot(known, share * left)
        a, b = found[share] = component_factors(residual, (both, noise))
        losses[share] = t_loss(residual, np.hypot(a * both, b * noise))
    best = min(shares, key=lambda s: losses[s].mean())
    for share in sorted(shares, reverse=True):
        apart = losses[share] - losses[best]
        if apart.mean() <= apart.std() / np.sqrt(len(apart)):
            return share, found[share]
    return best, found[best]


def _joined(part: _Arrays, quantity: str, shape: tuple[int, ...]) -> np.ndarray:
    if not part.get(quantity):
        return np.zeros((0, *shape[1:]))
    return np.concatenate(part[quantity]).reshape(shape)


def leave_out(
    configurations: Sequence[Configuration],
    weights: Weights,
    h: WeightHyperparameters,
    *,
    mode: str = "standalone",
    bars: ErrorBars | None = None,
) -> LeftOutWeights:
    """Residuals of the highest level's labels, each without its own configuration.

    With `bars`, sigmas are those of their features and posterior.

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
        told = (torch.cat(values), torch.cat(noises))
        wanted = torch.cat(z_values)
        residual, variance = _without(weights, (x, *told), (z, wanted))
        if bars is not None:
            few = bars.columns.repeat(len(path))
            few = few + p * torch.arange(len(path)).repeat_interleave(len(bars.columns))
            small = x[:, few]
            own = small if z is x else z[:, few]
            _, variance = _without(bars.weights, (small, *told), (own, wanted))
        sizes = [len(t.augmented) for t in targets]
        unexplained = unexplained_variance(
            torch.from_numpy(configuration.unexplained[0 if bars is None else -1]),
            h,
            path,
            top,
            0 if mode == "at_hand" else -1,
        )
        for target, r, v, noise in zip(
            targets,
            residual.split(sizes),
            variance.split(sizes),
            z_noises,
            strict=True,
        ):
            name = QUANTITY_NAMES[target.group.quantity]
            left = unexplained.expand(len(r)) / configuration.n_atoms
            left = left if name == "energy" else torch.zeros_like(r)
            found.residual.setdefault(name, []).append(r.numpy())
            found.epistemic.setdefault(name, []).append(v.clamp_min(0).sqrt().numpy())
            found.unexplained.setdefault(name, []).append(left.sqrt().numpy())
            found.noise.setdefault(name, []).append(noise.sqrt().numpy())
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
