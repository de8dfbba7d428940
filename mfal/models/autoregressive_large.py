r"""A lowest level of many points, through inducing points.

The rows of level 0 see f_0 alone, f_l = w_{l0} f_0 + (what is independent of f_0), so
that they change the prior of the rows above them in one part only. With FITC's posterior
of f_0 (`autoregressive_inducing`; \varphi, B and b there)

.. math:: \mathrm{E} f_l = \mu_l + w_{l0} \varphi^T b, \qquad
    \mathrm{cov}(f_l, f_{l'}) = \sum_m w_{lm} w_{l'm} k_m
        - w_{l0} w_{l'0}\, \varphi^T (I - B^{-1}) \varphi',

and the rows of the upper levels are an ordinary Gaussian process under that prior. The
covariance of all rows is W \Phi^T \Phi W plus a diagonal for level 0 and a dense rest for
the levels above; the cost is n_0 M^2 + n_H^3.

The hyperparameters of level 0 are found from part of its rows by dense algebra (as for
any level of more than 1500), the inducing points chosen at these, and all rows enter
the posterior of f_0. The inputs of the upper levels are inducing points themselves:
there FITC's residual is zero, so that the difference of two values at one input is not
blurred by it.
"""

import logging
from collections.abc import Iterator
from contextlib import contextmanager
from copy import deepcopy
from dataclasses import dataclass
from typing import Any

import torch
from botorch.models.transforms.input import InputTransform
from gpytorch.kernels import Kernel
from jaxtyping import Float, Int
from torch import Tensor

from mfal.models.autoregressive_checks import check_dense_rows
from mfal.models.autoregressive_density import LevelRows
from mfal.models.autoregressive_inducing import (
    inducing_posterior,
    pivoted_inducing,
)

_logger = logging.getLogger(__name__)

LARGE_LEVEL = 2000
"""More points at the lowest level than these go through inducing points."""

N_INDUCING = 1500


def number_inducing(level: Int[Tensor, " n"], n_inducing: int | None) -> int:
    """Inducing points of the lowest level; 0 where it stays dense.

    Raises:
        ValueError: more rows than dense algebra takes, no row above a large lowest
            level, a number that is negative or more than there are points.
    """
    low = int((level == 0).sum())
    upper = len(level) - low
    if n_inducing is None:
        n_inducing = N_INDUCING if low > LARGE_LEVEL and upper else 0
    if not 0 <= n_inducing <= low:
        raise ValueError(
            f"n_inducing must be from 0 (dense) to the {low} points of the lowest "
            f"level, got {n_inducing}"
        )
    if not n_inducing:
        check_dense_rows(len(level))
        return 0
    check_dense_rows(upper, "take a space-filling part of the upper levels")
    if not upper:
        raise ValueError(
            f"a lowest level through {n_inducing} inducing points needs data at a level "
            f"above it, got {low} rows of level 0 alone: add rows of a higher level, or "
            "take BoTorch's SingleTaskVariationalGP for one level"
        )
    _logger.info(
        "level 0: %d points through at most %d inducing points (FITC); n_inducing sets "
        "their number, 0 keeps the level dense",
        low,
        n_inducing,
    )
    return n_inducing


def keep_as_it_is(transform: InputTransform) -> None:
    """Fixes a transform to what all rows, the lowest level's too, have taught it.

    Raises:
        ValueError: the transform has parameters that the fit would change.
    """
    if any(True for _ in transform.parameters()):
        raise ValueError(
            "an input transform with parameters of its own cannot be learned with "
            "inducing points at the lowest level: transform the inputs beforehand, or "
            "pass n_inducing=0"
        )
    for module in transform.modules():
        if getattr(module, "learn_coefficients", False):
            module.learn_coefficients = False  # type: ignore[assignment]


@dataclass(frozen=True)
class LargeLevel:
    """The rows of the lowest level, and how many inducing points stand for them."""

    rows: LevelRows
    upper: Float[Tensor, "k d"]
    """Inputs of the rows above: inducing points, so that pairs of values stay pairs."""
    n_inducing: int

    def __deepcopy__(self, memo: Any) -> "LargeLevel":
        return self  # nothing in it changes


def large_level(
    x: Float[Tensor, "n m"],
    residual: Float[Tensor, " n"],
    noise: Float[Tensor, " n"] | None,
    column: int,
    n_inducing: int,
) -> LargeLevel:
    """From the inputs of all rows, their values minus the mean and the known noise."""
    inputs = torch.cat([x[:, :column], x[:, column + 1 :]], dim=1)
    level = x[:, column].round().long()
    low = level == 0
    parts = (x[low], inputs[low], level[low], residual[low])
    known = None if noise is None else noise[low]
    rows = LevelRows(*parts, known, (0, int(low.sum())))
    return LargeLevel(rows, inputs[~low], n_inducing)


def know_lowest(model: Any) -> None:
    """Gives the covariance of the model the posterior of f_0 / u_0.

    It is computed anew where the hyperparameters of level 0 are not those it is of.
    """
    level: LargeLevel = model.lowest
    rows, kernel = level.rows, model.covar_module
    unit = kernel.level_unit.detach().reshape(-1, model.n_levels)[0, 0]
    if rows.known_noise is None:
        every = model.likelihood.noise.detach().reshape(-1, model.n_levels)
        noise = every[0, 0].expand(len(rows.x))
    else:
        noise = rows.known_noise
    base = _first_draw(kernel.kernels[0], bool(model.hyperparameter_batch))
    parts = [p.detach().flatten() for p in base.parameters()]
    now = torch.cat([*parts, noise[:1], unit[None]])
    if kernel.known is not None and _equal(now, model.known_at):
        return
    x, y, noise = (t.to(unit) for t in (rows.x, rows.residual, noise))
    kernel.known = inducing_posterior(
        base,
        kernel.offset_variance,
        pivoted_inducing(base, x, level.n_inducing, level.upper.to(unit)),
        x,
        y / unit,
        noise / unit.square(),
    )
    model.known_at = now
    _logger.info(
        "level 0 given its %d points through %d inducing points: log evidence %.6g",
        len(rows.x),
        len(kernel.known.inducing),
        kernel.known.log_evidence - len(rows.x) * float(unit.log()),
    )


def _equal(a: Tensor, b: Tensor) -> bool:
    same = a.dtype == b.dtype and a.device == b.device
    return same and torch.equal(a, b)


@contextmanager
def known_lowest_held(model: Any) -> Iterator[None]:
    """Keeps the kernel of a large lowest level from being learned.

    The objective of GPyTorch is the density of the rows above given the lowest level: it
    does not hold the evidence of that level.
    """
    held = [] if model.lowest is None else [*model.covar_module.kernels[0].parameters()]
    held = [p for p in held if p.requires_grad]
    for parameter in held:
        parameter.requires_grad_(False)
    try:
        yield
    finally:
        for parameter in held:
            parameter.requires_grad_(True)


def _first_draw(kernel: Kernel, draws: bool) -> Kernel:
    """A copy for the first draw: the lowest level has the same in all of them."""
    copy = deepcopy(kernel)
    for parameter in copy.parameters():
        parameter.requires_grad_(False)
        if draws:
            parameter.data = parameter.data[0]
    for module in copy.modules():
        if isinstance(module, Kernel):
            module.batch_shape = torch.Size()
    return copy
