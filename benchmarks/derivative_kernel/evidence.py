"""Log evidence and its gradient of values and gradients, by mfal and by GPyTorch.

One latent function f with an RBF kernel, s^2 exp(-|x - x'|^2 / 2 l^2), is observed at n
points of D entries: f and all its D derivatives, with white noise of one variance. Both
sides get the same numbers and give log p(y) and its slope in (l, s^2, sigma^2).

    python -m benchmarks.derivative_kernel.evidence {mfal,gpytorch} POINTS
"""

import argparse
import json
import math
import time
from dataclasses import dataclass
from importlib.metadata import version

import gpytorch
import torch
from gpytorch.constraints import Interval
from gpytorch.distributions import Distribution
from gpytorch.likelihoods import Likelihood
from scipy.linalg import lapack
from torch import Tensor

from benchmarks.derivative_kernel.measured import cost
from mfal.kernels import GramProducts, Rows
from mfal.models.evidence import log_evidence
from mfal.models.hyperparameters import Hyperparameters, coefficients
from mfal.models.observations import ENERGY, FORCES, Observations

ENTRIES = 27
THETA = torch.tensor([1.5, 2.0, 1e-3], dtype=torch.float64)
"""Lengthscale, variance of f, variance of the noise."""


@dataclass(frozen=True)
class Data:
    """Points (n x D) with values and derivatives (n x 1 + D)."""

    points: Tensor
    observed: Tensor


def draw(n_points: int, seed: int = 0) -> Data:
    """Random points of the unit cube, a sum of 50 waves and its slopes, and noise."""
    generator = torch.Generator().manual_seed(seed)

    def normal(*shape: int) -> Tensor:
        return torch.randn(*shape, generator=generator, dtype=torch.float64)

    points = torch.rand(n_points, ENTRIES, generator=generator, dtype=torch.float64)
    waves, phases, heights = normal(50, ENTRIES), normal(50), normal(50) / 5
    angles = points @ waves.mT + phases
    values = (angles.sin() @ heights).unsqueeze(1)
    slopes = (angles.cos() * heights) @ waves
    noise = THETA[2].sqrt() * normal(n_points, 1 + ENTRIES)
    return Data(points, torch.cat([values, slopes], dim=1) + noise)


def observations(data: Data) -> Observations:
    """The data as mfal's rows: one environment per point, no reference energies."""
    n, d = data.points.shape
    r = 1 + d
    kinds = torch.tensor([ENERGY] + d * [FORCES]).repeat(n)
    unit = torch.eye(r, dtype=torch.float64)[:, 1:]  # no direction for the value
    rows = Rows(
        weight=(kinds == ENERGY).double(),
        direction=unit.repeat(n, 1),
        environment=torch.arange(n).repeat_interleave(r),
        descriptor=data.points,
        level=torch.zeros(n, dtype=torch.long),
        counts=torch.zeros(n, 1, dtype=torch.float64),
    )
    return Observations(
        rows=rows,
        values=data.observed.flatten(),
        quantity=kinds,
        n_atoms=torch.ones(n * r, dtype=torch.long),
        label_variance=torch.zeros(n * r, dtype=torch.float64),
        structure=tuple(range(n)),
        level=(0,) * n,
        reference=torch.zeros(1, 1, dtype=torch.float64),
    )


def hyperparameters(theta: Tensor) -> Hyperparameters:
    """One level with the same noise on values and derivatives."""
    length, variance, noise = theta
    return Hyperparameters(
        kernels=("rbf",),
        lengthscale=length.unsqueeze(0),
        scale=variance.sqrt().unsqueeze(0),
        rho=theta.new_zeros(0),
        noise=noise.sqrt().expand(1, 3),
    )


def with_mfal(data: Data) -> tuple[float, list[float]]:
    """log p(y) and its slope by mfal, from the points on."""
    seen = observations(data)
    theta = THETA.clone().requires_grad_()
    evidence = log_evidence(hyperparameters(theta), seen, GramProducts(seen.rows))
    (slope,) = torch.autograd.grad(evidence, theta)
    return evidence.item(), slope.tolist()


class _GradientGP(gpytorch.models.ExactGP):
    def __init__(self, x: Tensor, y: Tensor, likelihood: Likelihood) -> None:
        super().__init__(x, y, likelihood)
        self.covar_module = gpytorch.kernels.ScaleKernel(
            gpytorch.kernels.RBFKernelGrad()
        )

    def forward(self, x: Tensor) -> Distribution:
        return gpytorch.distributions.MultitaskMultivariateNormal(
            x.new_zeros(len(x), 1 + ENTRIES), self.covar_module(x)
        )


def with_gpytorch(data: Data) -> tuple[float, list[float]]:
    """log p(y) and its slope by an ExactGP on RBFKernelGrad, by Cholesky."""
    likelihood = gpytorch.likelihoods.MultitaskGaussianLikelihood(
        num_tasks=1 + ENTRIES, has_task_noise=False
    )
    model = _GradientGP(data.points, data.observed, likelihood).double()
    kernel = model.covar_module
    kernel.base_kernel.lengthscale = THETA[0]
    kernel.outputscale, likelihood.noise = THETA[1], THETA[2]
    model.train()
    likelihood.train()
    mll = gpytorch.mlls.ExactMarginalLogLikelihood(likelihood, model)
    with gpytorch.settings.max_cholesky_size(data.observed.numel() + 1):
        evidence = mll(model(data.points), data.observed) * data.observed.numel()
        evidence.backward()
    slope = [
        _natural_slope(raw, constraint)
        for raw, constraint in (
            (
                kernel.base_kernel.raw_lengthscale,
                kernel.base_kernel.raw_lengthscale_constraint,
            ),
            (kernel.raw_outputscale, kernel.raw_outputscale_constraint),
            (likelihood.raw_noise, likelihood.raw_noise_constraint),
        )
    ]
    return evidence.item(), slope


def _natural_slope(raw: Tensor, constraint: Interval) -> float:
    """The slope in the parameter itself instead of the raw one."""
    free = raw.detach().clone().requires_grad_()
    (inner,) = torch.autograd.grad(constraint.transform(free).sum(), free)
    assert raw.grad is not None
    return (raw.grad / inner).item()


def lapack_seconds(data: Data) -> dict[str, float]:
    """CPU seconds of the three steps of LAPACK on mfal's matrix, in place as in mfal.

    The Cholesky factor L, its inverse L^-1 and the product L^-T L^-1: n^3 / 3 flops each.
    """
    seen = observations(data)
    products = GramProducts(seen.rows)
    given = hyperparameters(THETA)
    seconds = {}
    started = time.process_time()
    matrix = products.assemble(
        coefficients(given, products.squared, seen.rows, seen.rows)
    )
    seconds["assembly"] = time.process_time() - started
    matrix.diagonal().add_(THETA[2])
    array = matrix.numpy().T
    for name, step in (
        ("cholesky", lambda a: lapack.dpotrf(a, lower=0, clean=0, overwrite_a=1)),
        ("inverse", lambda a: lapack.dtrtri(a, lower=0, overwrite_c=1)),
        ("product", lambda a: lapack.dlauum(a, lower=0, overwrite_c=1)),
    ):
        started = time.process_time()
        array, info = step(array)
        seconds[name] = time.process_time() - started
        if info:
            raise ArithmeticError(f"LAPACK gave {info} in the step {name!r}")
    return seconds


SIDES = {"mfal": with_mfal, "gpytorch": with_gpytorch}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("side", choices=SIDES)
    parser.add_argument("points", type=int)
    options = parser.parse_args()
    evaluate = SIDES[options.side]
    evaluate(draw(4))  # loads what is loaded at the first use
    data = draw(options.points)
    found: dict = {"side": options.side, "rows": data.observed.numel()}
    with cost(found):
        found["evidence"], found["gradient"] = evaluate(data)
    if options.side == "mfal":
        found["lapack_seconds"] = lapack_seconds(data)
    found["versions"] = {n: version(n) for n in ("torch", "scipy", "gpytorch")}
    assert math.isfinite(found["evidence"])
    print(json.dumps(found))


if __name__ == "__main__":
    main()
