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
"""

import logging
from collections.abc import Iterator
from contextlib import contextmanager
from copy import deepcopy
from dataclasses import dataclass
from typing import Any

import torch
from gpytorch.kernels import Kernel
from jaxtyping import Float, Int
from torch import Tensor

from mfal.models.autoregressive_density import LevelRows
from mfal.models.autoregressive_inducing import (
    inducing_posterior,
    pivoted_inducing,
)

_logger = logging.getLogger(__name__)

MOST_ROWS = 6000
LARGE_LEVEL = 2000
"""More points at the lowest level than these go through inducing points."""

N_INDUCING = 1000


def number_inducing(level: Int[Tensor, " n"], n_inducing: int | None) -> int:
    """Inducing points of the lowest level; 0 where it stays dense.

    Raises:
        ValueError: more rows than dense algebra takes, no row above a large lowest
            level, a number that is negative or more than there are points.
    """
    low = int((level == 0).sum())
    if n_inducing is None:
        n_inducing = min(N_INDUCING, low) if low > LARGE_LEVEL else 0
    if not 0 <= n_inducing <= low:
        raise ValueError(
            f"n_inducing must be from 0 (dense) to the {low} points of the lowest "
            f"level, got {n_inducing}"
        )
    dense = len(level) - low if n_inducing else len(level)
    if dense > MOST_ROWS:
        advice = (
            "take a space-filling part of the upper levels"
            if n_inducing
            else "take a space-filling part of the lowest level, or n_inducing > 0"
        )
        raise ValueError(
            f"at most {MOST_ROWS} rows fit in memory (dense Cholesky factors), got "
            f"{dense}: {advice}"
        )
    if n_inducing and not dense:
        raise ValueError(
            f"a lowest level through {n_inducing} inducing points needs data at a level "
            f"above it, got {low} rows of level 0 alone: add rows of a higher level, or "
            "take BoTorch's SingleTaskVariationalGP for one level"
        )
    if n_inducing:
        _logger.info(
            "level 0: %d points through %d inducing points (FITC); n_inducing sets "
            "their number, 0 keeps the level dense",
            low,
            n_inducing,
        )
    return n_inducing


@dataclass(frozen=True)
class LargeLevel:
    """The rows of the lowest level, and how many inducing points stand for them."""

    rows: LevelRows
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
    """The lowest level from its inputs, values minus their mean and known noise."""
    inputs = torch.cat([x[:, :column], x[:, column + 1 :]], dim=1)
    level = x[:, column].round().long()
    rows = LevelRows(x, inputs, level, residual, noise, (0, len(x)))
    return LargeLevel(rows, n_inducing)


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
    if kernel.known is not None and torch.equal(now, model.known_at):
        return
    kernel.known = inducing_posterior(
        base,
        kernel.offset_variance,
        rows.x[pivoted_inducing(base, rows.x, level.n_inducing)],
        rows.x,
        rows.residual / unit,
        noise / unit.square(),
    )
    model.known_at = now
    _logger.info(
        "level 0 given its %d points through %d inducing points: log evidence %.6g",
        len(rows.x),
        len(kernel.known.inducing),
        kernel.known.log_evidence - len(rows.x) * float(unit.log()),
    )


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
