r"""Hyperparameters of a linear multi-level potential from its sufficient statistics.

Scales, rho and the noise of forces and stresses by evidence with weak priors:
log s ~ N(log 10 eV, 3), rho ~ N(1, 0.3), log σ_F ~ N(log 0.05 eV/A, 2),
log σ_S ~ N(log 0.005 eV/A^3, 2). The misfit of a sparse model is not white, and the
evidence then takes energies for noise. So the noise of energies is tied to that of
forces, σ_E = r σ_F (r in A, σ_E per sqrt atom), and r is the one of least leave-one-
configuration-out error. A level without forces has its own log σ_E ~ N(log 0.02, 2).
"""

import logging
import math
import warnings
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from jaxtyping import Float
from scipy.optimize import minimize
from torch import Tensor

from mfal.models.moments import Statistics
from mfal.models.weights import Prior, WeightHyperparameters, log_evidence

_logger = logging.getLogger(__name__)

LeftOutErrors = Callable[[WeightHyperparameters], Float[np.ndarray, "n q"]]
"""Errors of configurations and quantities, each configuration left out."""

BOOTSTRAPS = 200

FLAT = 0.5
"""Slope of the log evidence per unit of log hyperparameter below which it is a maximum."""

PROMISED = 0.05
"""Rise of the log evidence below which what a search could still gain does not matter."""

RATIOS = (0.0125, 0.025, 0.05, 0.1, 0.2, 0.4, 0.8)
"""Candidates (A per sqrt atom) for the noise of energies over that of forces."""

_SCALE, _RHO = (math.log(10.0), 3.0), (1.0, 0.3)
_NOISE = ((math.log(0.02), 2.0), (math.log(0.05), 2.0), (math.log(0.005), 2.0))
_BOUNDS = ((1e-5, 10.0), (1e-5, 10.0), (1e-7, 1.0))


@dataclass(frozen=True)
class WeightFit:
    """Hyperparameters, the evidence, and what the search for them took."""

    hyperparameters: WeightHyperparameters
    rho_error: Float[Tensor, " steps"]
    log_evidence: float
    converged: bool
    ratio: float | None
    evaluations: int

    def to_json(self) -> dict[str, Any]:
        """Plain values that give back the same numbers to the last bit."""
        errors = [None if e != e else e for e in self.rho_error.tolist()]
        return {
            "hyperparameters": self.hyperparameters.to_json(),
            "rho_error": errors,
            "log_evidence": self.log_evidence,
            "converged": self.converged,
            "ratio": self.ratio,
            "evaluations": self.evaluations,
        }

    @staticmethod
    def from_json(values: Mapping[str, Any]) -> "WeightFit":
        """The inverse of `to_json`."""
        errors = [math.nan if e is None else e for e in values["rho_error"]]
        return WeightFit(
            WeightHyperparameters.from_json(values["hyperparameters"]),
            torch.tensor(errors, dtype=torch.float64),
            values["log_evidence"],
            values["converged"],
            values["ratio"],
            values["evaluations"],
        )


@dataclass(frozen=True)
class _Layout:
    """Which hyperparameters are free: [log s, rho, log noise of the free ones]."""

    n_levels: int
    n_blocks: int
    free: tuple[tuple[int, int], ...]
    tied: tuple[int, ...]

    def unpack(self, vector: Tensor, ratio: float) -> WeightHyperparameters:
        n = self.n_levels * self.n_blocks
        scale = vector[:n].exp().reshape(self.n_levels, self.n_blocks)
        rho = vector[n : n + self.n_levels - 1]
        logs = vector[n + self.n_levels - 1 :]
        # what neither a level's labels nor those above it read keeps a typical noise
        typical = [vector.new_tensor(math.exp(mean)) for mean, _ in _NOISE]
        noise = [list(typical) for _ in range(self.n_levels)]
        for (level, quantity), log in zip(self.free, logs, strict=True):
            noise[level][quantity] = log.exp()
        for level in self.tied:
            noise[level][0] = ratio * noise[level][1]
        return WeightHyperparameters(
            scale, rho, torch.stack([torch.stack(row) for row in noise])
        )

    def pack(self, h: WeightHyperparameters) -> Float[np.ndarray, " n"]:
        noise = [h.noise[level, quantity].log() for level, quantity in self.free]
        parts = [h.scale.log().flatten(), h.rho]
        parts += [torch.stack(noise)] if noise else []
        return torch.cat(parts).numpy()

    def prior(self) -> tuple[np.ndarray, np.ndarray]:
        n = self.n_levels * self.n_blocks
        rows = [_SCALE] * n + [_RHO] * (self.n_levels - 1)
        rows += [_NOISE[quantity] for _, quantity in self.free]
        both = np.array(rows)
        return both[:, 0], both[:, 1]

    def bounds(self) -> list[tuple[float, float]]:
        n = self.n_levels * self.n_blocks
        logs = [tuple(np.log(_BOUNDS[quantity])) for _, quantity in self.free]
        return [(-12.0, 14.0)] * n + [(-3.0, 5.0)] * (self.n_levels - 1) + logs


def fit_weight_hyperparameters(
    statistics: Statistics,
    prior: Prior,
    left_out_errors: LeftOutErrors | None,
    *,
    ratios: Sequence[float] = RATIOS,
    start: WeightHyperparameters | None = None,
) -> WeightFit:
    """The hyperparameters of largest evidence, energies' noise by leave-one-out.

    `left_out_errors` judges hyperparameters: errors of configurations (rows) and
    quantities (columns), NaN where there is none. The measure is the product of the
    quantities' means, which no change of units moves. It is searched downhill from
    0.1 A on the grid of `ratios`; of those that are as good within one standard error
    the largest is taken, towards which the evidence leans. Without a judge, or where no
    level has both energies and forces, the evidence decides on all.
    """
    layout = _layout(statistics, prior, tied=left_out_errors is not None)
    known: dict[float, tuple[WeightFit, np.ndarray]] = {}
    begin = start

    def trial(ratio: float) -> float:
        nonlocal begin
        if ratio not in known:
            fit = _maximise(statistics, prior, layout, ratio, begin)
            begin = fit.hyperparameters
            errors = np.ones((1, 1))
            if layout.tied and left_out_errors is not None:
                errors = left_out_errors(fit.hyperparameters)
            known[ratio] = (fit, errors)
        return _log_product(known[ratio][1])

    grid = sorted(ratios)
    at = min(range(len(grid)), key=lambda k: abs(math.log(grid[k] / 0.1)))
    trial(grid[at])
    if layout.tied:
        while True:
            near = [k for k in (at - 1, at + 1) if 0 <= k < len(grid)]
            best = min([at, *near], key=lambda k: trial(grid[k]))
            if best == at:
                break
            at = best
        at = grid.index(_largest_as_good({r: e for r, (_, e) in known.items()}))
    fit = known[grid[at]][0]
    total = sum(f.evaluations for f, _ in known.values())
    if not fit.converged:
        _logger.warning("the search for the largest evidence did not converge")
    return WeightFit(
        fit.hyperparameters,
        _rho_error(statistics, prior, layout, fit),
        fit.log_evidence,
        fit.converged,
        grid[at] if layout.tied else None,
        total,
    )


def _log_product(errors: Float[np.ndarray, "n q"]) -> float:
    """Sum over quantities of the logarithm of the mean error of configurations."""
    have = ~np.isnan(errors).all(axis=0)
    return float(np.log(np.nanmean(errors[:, have], axis=0).clip(1e-300)).sum())


def _largest_as_good(errors: Mapping[float, Float[np.ndarray, "n q"]]) -> float:
    """The largest ratio within one standard error of the best.

    The standard error of a difference is that of the same configurations drawn anew,
    with replacement, for both.
    """
    total = {ratio: _log_product(e) for ratio, e in errors.items()}
    best = min(total, key=total.__getitem__)
    n = len(errors[best])
    draws = np.random.default_rng(0).integers(n, size=(BOOTSTRAPS, n))
    as_good = [best]
    for ratio in errors:
        if ratio > best:
            with warnings.catch_warnings():  # a draw may hold no energy at all
                warnings.simplefilter("ignore", RuntimeWarning)
                apart = [
                    _log_product(errors[ratio][d]) - _log_product(errors[best][d])
                    for d in draws
                ]
            if total[ratio] - total[best] <= np.nanstd(apart):
                as_good.append(ratio)
    return max(as_good)


def _layout(statistics: Statistics, prior: Prior, *, tied: bool) -> _Layout:
    have = {
        (group.level, group.quantity)
        for group, moments in statistics.groups.items()
        if moments.n_rows
    }
    bound = tuple(
        level
        for level in range(statistics.n_levels)
        if tied and {(level, 0), (level, 1)} <= have
    )
    # the misfit of a level enters through the labels above it as well
    read = {
        (level, group.quantity)
        for group, moments in statistics.groups.items()
        if moments.n_rows
        for level in range(group.below + 1, group.level + 1)
    }
    free = tuple(sorted(key for key in read if not (key[1] == 0 and key[0] in bound)))
    n_blocks = int(prior.block.max()) + 1
    return _Layout(statistics.n_levels, n_blocks, free, bound)


def _maximise(
    statistics: Statistics,
    prior: Prior,
    layout: _Layout,
    ratio: float,
    start: WeightHyperparameters | None,
) -> WeightFit:
    mean, deviation = layout.prior()

    def negative(vector: np.ndarray) -> tuple[float, np.ndarray]:
        x = torch.tensor(vector, dtype=torch.float64, requires_grad=True)
        value = -log_evidence(statistics, prior, layout.unpack(x, ratio))
        z = (x - torch.from_numpy(mean)) / torch.from_numpy(deviation)
        value = value + 0.5 * z.square().sum()
        (slope,) = torch.autograd.grad(value, x)
        return float(value.detach()), slope.numpy()

    begin = mean if start is None else layout.pack(start)
    found = minimize(
        negative,
        begin,
        jac=True,
        method="L-BFGS-B",
        bounds=layout.bounds(),
        options={"maxiter": 100, "ftol": 1e-8, "gtol": 1e-2},
    )
    converged = bool(found.success) or _is_flat(
        found.x, found.jac, lambda x: negative(x)[1]
    )
    h = layout.unpack(torch.from_numpy(found.x), ratio)
    with torch.no_grad():
        evidence = float(log_evidence(statistics, prior, h))
    errors = torch.full((statistics.n_levels - 1,), math.nan, dtype=torch.float64)
    return WeightFit(h, errors, evidence, converged, ratio, found.nfev)


def _is_flat(
    x: Float[np.ndarray, " n"],
    slope: Float[np.ndarray, " n"],
    slope_at: Callable[[Float[np.ndarray, " n"]], Float[np.ndarray, " n"]],
) -> bool:
    """Whether a line search ended in the rounding of the evidence: it has not failed.

    Of 10^5 rows the evidence is known to 10^-3, and a slope of one is nothing where the
    curvature is 10^5. What is left to gain is g^T H^-1 g / 2, H by differences of g.
    """
    if np.abs(slope).max() < FLAT:
        return True
    step = 1e-2
    units = step * np.eye(len(x))
    hessian = np.stack([slope_at(x + u) - slope_at(x - u) for u in units]) / (2 * step)
    curvatures, axes = np.linalg.eigh(0.5 * (hessian + hessian.T))
    if curvatures.min() <= 0:
        return False
    return bool(0.5 * np.square(axes.T @ slope) @ (1 / curvatures) < PROMISED)


def _rho_error(
    statistics: Statistics, prior: Prior, layout: _Layout, fit: WeightFit
) -> Float[Tensor, " steps"]:
    """Standard errors of rho from the curvature of the log evidence, others held."""
    n = layout.n_levels - 1
    if not n:
        return fit.rho_error
    h = fit.hyperparameters
    step = 1e-3
    slopes = []
    for k in range(n):
        pair = []
        for sign in (1.0, -1.0):
            rho = h.rho.clone()
            rho[k] += sign * step
            rho.requires_grad_(True)
            moved = WeightHyperparameters(h.scale, rho, h.noise)
            value = log_evidence(statistics, prior, moved)
            (slope,) = torch.autograd.grad(value, rho)
            pair.append(slope)
        slopes.append((pair[0] - pair[1]) / (2 * step))
    curvature = -torch.stack(slopes) + torch.eye(n).double() / _RHO[1] ** 2
    variance = torch.linalg.inv(0.5 * (curvature + curvature.mT)).diagonal()
    return torch.where(variance > 0, variance.clamp_min(0).sqrt(), math.nan)
