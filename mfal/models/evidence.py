r"""The log evidence of an exact Gaussian process and its maximum.

    log p(y) = -1/2 y^T K^-1 y - 1/2 log det K - n/2 log 2π,
    d log p / dK = 1/2 (α α^T - K^-1),   α = K^-1 y.

K is assembled from Gram products that do not depend on the hyperparameters
(`mfal.kernels.rows`); an evaluation is elementwise work and one Cholesky factor, its
gradient one triangular inverse and product more. Source: Rasmussen & Williams (2006),
eqs. 2.30 and 5.9.
"""

import itertools
import logging
import math
from collections.abc import Callable
from dataclasses import dataclass, field

import numpy as np
import torch
from jaxtyping import Float
from scipy.optimize import minimize
from torch import Tensor

from mfal.kernels import Coefficients, GramProducts
from mfal.models.cholesky import factorise, inverse_from, solve_lower
from mfal.models.hyperparameters import Hyperparameters, HyperPrior, coefficients
from mfal.models.noise import data_noise
from mfal.models.observations import Observations

_logger = logging.getLogger(__name__)


class _LogEvidence(torch.autograd.Function):
    """log N(y | 0, K(C0, C1, C2) + noise), differentiable in C and the noise.

    The noise is a variance per row and a covariance per pair of rows.
    """

    @staticmethod
    def forward(ctx, value, first, second, noise, shared, pairs, products, y, buffer):
        given = Coefficients(value, first, second)

        def build() -> Tensor:
            matrix = products.assemble(given, buffer)
            matrix.diagonal().add_(noise)
            matrix[pairs[0], pairs[1]] += shared
            return matrix

        factor, ctx.jitter = factorise(build, what="covariance of the evidence")
        half = solve_lower(factor, y.unsqueeze(-1))
        ctx.alpha = torch.linalg.solve_triangular(factor.mT, half, upper=True)
        ctx.factor, ctx.products, ctx.pairs = factor, products, pairs
        return (
            -0.5 * half.square().sum()
            - factor.diagonal().log().sum()
            - 0.5 * len(y) * math.log(2 * math.pi)
        )

    @staticmethod
    def backward(ctx, upstream):
        slope = inverse_from(ctx.factor)  # takes the factor's memory
        starts = ctx.products.left.starts
        for start, stop in itertools.pairwise(starts):
            block = slope[start:stop, start:stop]  # the inverse's lower triangle
            block.copy_(block.tril() + block.tril(-1).mT)
        slope.mul_(-0.5).addmm_(ctx.alpha, ctx.alpha.mT, alpha=0.5)
        parts = ctx.products.contract(slope)
        noise = slope.diagonal() * upstream
        shared = 2 * slope[ctx.pairs[0], ctx.pairs[1]] * upstream
        return *(upstream * p for p in parts), noise, shared, None, None, None, None


def log_evidence(
    hyperparameters: Hyperparameters,
    observations: Observations,
    products: GramProducts,
    buffer: Float[Tensor, "n n"] | None = None,
) -> Float[Tensor, ""]:
    """log p(y), differentiable (once) in the hyperparameters.

    `buffer` is memory for the covariance matrix, to be used again at the next call.

    Raises:
        NotPositiveDefiniteError: see `mfal.models.cholesky.factorise`.
    """
    rows = observations.rows
    return _LogEvidence.apply(
        *coefficients(hyperparameters, products.squared, rows, rows),
        *data_noise(hyperparameters, observations),
        observations.pairs,
        products,
        observations.values,
        buffer,
    )


@dataclass(frozen=True)
class Optimum:
    """The most probable hyperparameters, and how they were found."""

    hyperparameters: Hyperparameters
    log_posterior: float
    log_evidence: float
    converged: bool
    evaluations: int
    n_rows: int
    gradient: float = field(default=math.nan)
    """Length of the projected gradient, in units of the prior's deviations."""


def maximise_evidence(
    observations: Observations,
    products: GramProducts,
    prior: HyperPrior,
    starts: list[Hyperparameters],
    *,
    max_evaluations: int = 60,
    tolerance: float = 0.1,
) -> Optimum:
    """The maximum of evidence times prior, the best over all starts.

    L-BFGS-B within the prior's bounds, in units of the prior's deviations. The prior
    alone has unit curvature there, so what is left to gain is about |g|^2 / 2 with the
    projected gradient g. An optimum is called converged if that is below `tolerance`
    (in nats); else a warning says what is left.
    """
    buffer = torch.empty(len(observations), len(observations), dtype=torch.float64)
    objective = _Objective(observations, products, prior, buffer)
    best: Optimum | None = None
    for start in starts:
        x = ((start.to_vector() - prior.mean) / prior.deviation).detach().numpy()
        bounds = [
            ((lo - m) / d, (hi - m) / d)
            for lo, hi, m, d in zip(
                prior.low, prior.high, prior.mean, prior.deviation, strict=True
            )
        ]
        bounds = [(float(lo), float(hi)) for lo, hi in bounds]
        x = np.clip(x, [b[0] for b in bounds], [b[1] for b in bounds])
        result = minimize(
            objective.at(start),
            x,
            jac=True,
            method="L-BFGS-B",
            bounds=bounds,
            options={"maxfun": max_evaluations, "gtol": 0.1, "ftol": 1e-8},
        )
        vector = prior.mean + prior.deviation * torch.from_numpy(result.x)
        found = start.from_vector(vector)
        projected = _projected(result.x, np.asarray(result.jac), bounds)
        optimum = Optimum(
            found,
            -float(result.fun),
            -float(result.fun) - float(prior.log_density(vector)),
            0.5 * projected**2 <= tolerance,
            int(result.nfev),
            len(observations),
            projected,
        )
        if best is None or optimum.log_posterior > best.log_posterior:
            best = optimum
    assert best is not None  # there is at least one start
    if not best.converged:
        _logger.warning(
            "the evidence of %d rows was not maximised in %d evaluations: about %.2g "
            "nats are left",
            best.n_rows,
            best.evaluations,
            0.5 * best.gradient**2,
        )
    return best


def rho_standard_error(
    optimum: Hyperparameters,
    observations: Observations,
    products: GramProducts,
    prior: HyperPrior,
    step: float = 1e-2,
) -> Float[Tensor, " steps"]:
    """Standard errors of rho from the curvature of the log posterior at its maximum.

    Laplace's approximation over all hyperparameters that are not at a bound; the
    Hessian is made from differences of gradients, one per free hyperparameter.

    Source: MacKay (2003), Information Theory, Inference, and Learning Algorithms, ch. 27.
    """
    buffer = torch.empty(len(observations), len(observations), dtype=torch.float64)
    negative = _Objective(observations, products, prior, buffer).at(optimum)
    x = ((optimum.to_vector() - prior.mean) / prior.deviation).detach().numpy()
    low = ((prior.low - prior.mean) / prior.deviation).numpy()
    high = ((prior.high - prior.mean) / prior.deviation).numpy()
    free = np.flatnonzero((x > low + 1e-6) & (x < high - 1e-6))
    _, centre = negative(x)
    hessian = np.empty((len(free), len(free)))
    for row, i in enumerate(free):
        moved = x.copy()
        moved[i] += step
        hessian[row] = (negative(moved)[1] - centre)[free] / step
    values, vectors = np.linalg.eigh(0.5 * (hessian + hessian.T))
    values = np.maximum(values, 1.0)  # the prior alone has curvature one
    covariance = np.zeros((len(x), len(x)))
    covariance[np.ix_(free, free)] = vectors / values @ vectors.T
    n = optimum.n_levels
    variance = np.diag(covariance)[2 * n : 3 * n - 1]
    return torch.from_numpy(np.sqrt(variance)) * prior.deviation[2 * n : 3 * n - 1]


class _Objective:
    """The negative log posterior and its gradient, in units of the prior's deviations."""

    def __init__(
        self,
        observations: Observations,
        products: GramProducts,
        prior: HyperPrior,
        buffer: Tensor,
    ) -> None:
        self.observations, self.products = observations, products
        self.prior, self.buffer = prior, buffer

    def at(
        self, start: Hyperparameters
    ) -> Callable[[np.ndarray], tuple[float, np.ndarray]]:
        def negative(x: np.ndarray) -> tuple[float, np.ndarray]:
            unit = torch.tensor(x, requires_grad=True)
            vector = self.prior.mean + self.prior.deviation * unit
            evidence = log_evidence(
                start.from_vector(vector), self.observations, self.products, self.buffer
            )
            loss = -(evidence + self.prior.log_density(vector))
            (slope,) = torch.autograd.grad(loss, unit)
            return float(loss.detach()), slope.numpy()

        return negative


def _projected(
    x: np.ndarray, slope: np.ndarray, bounds: list[tuple[float, float]]
) -> float:
    low, high = np.array(bounds).T
    moved = np.clip(x - slope, low, high)
    return float(np.linalg.norm(moved - x))
