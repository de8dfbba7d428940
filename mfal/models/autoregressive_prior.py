r"""The prior of an autoregressive model of vectors, in units of the data.

With u_l the unit of level l (`level_moments`: its standard deviation, larger where few
data tell it) and w_k the range of input k in the data,

| quantity | prior |
|---|---|
| log lengthscale \ell_k / w_k | normal, mean 1 + log(d) / 2, standard deviation 1.5 |
| log variance within the data, lowest level, / u_0^2 | normal, mean 0, s.d. 1.5 |
| log variance within the data, discrepancy, / u_l^2 | normal, mean log 0.15, s.d. 1.8 |
| the same with at most 3 values of the level | normal, mean log 0.5, s.d. 1.2 |
| logit of the share of RBF in a kernel | normal, mean 6, s.d. 6 |
| rho_l u_(l-1) / u_l | normal, mean 0.8, s.d. 1 |
| mean of each step / u_l | normal, mean 0, s.d. 1, integrated out |
| log (variance of the noise - floor) / u_l^2 | normal, mean -14, s.d. 4 |

A smooth function is a kernel of long lengthscale and large variance, of which little
shows in the box of the data; the prior is on what shows (`share_within`), so that smooth
discrepancies are not held improbable. Lengthscales grow with the dimension as proposed by
Hvarfner, Hellsten, Nardi (2024), ICML, section 4.
"""

import math

import torch
from gpytorch.constraints import Positive
from gpytorch.kernels import Kernel, ScaleKernel
from gpytorch.priors import NormalPrior
from jaxtyping import Float, Int
from torch import Tensor

from mfal.kernels import AutoregressiveKernel
from mfal.models.autoregressive_kernel import SmoothMaternKernel

OFFSET_VARIANCE = 1.0
LOWEST_VARIANCE = (1.0, 1.5)
"""Median, and standard deviation of the logarithm."""
DISCREPANCY_VARIANCE = (0.15, 1.8)

FEW_VALUES = 3
"""So few values of a level cannot show that it differs little from the one below."""
UNKNOWN_DISCREPANCY = (0.5, 1.2)


def default_kernel(
    spread: Float[Tensor, " d"], variance_median: float, variance_scale: float
) -> Kernel:
    """Between Matern-5/2 and RBF, a lengthscale per input, the priors above."""
    d = len(spread)
    loc = 1.0 + 0.5 * math.log(d) + spread.log()
    base = SmoothMaternKernel(
        ard_num_dims=d, lengthscale_constraint=_log_positive()
    ).to(spread)
    base.register_prior(
        "lengthscale_prior",
        NormalPrior(loc, torch.full_like(loc, 1.5)),
        lambda k: k.lengthscale.log(),
    )
    base.lengthscale = 0.5 * math.sqrt(d) * spread
    kernel = ScaleKernel(base, outputscale_constraint=_log_positive()).to(spread)
    kernel.outputscale = variance_median
    kernel.register_prior(
        "variance_prior",
        NormalPrior(math.log(variance_median), variance_scale),
        lambda k: (
            k.outputscale * share_within(k.base_kernel.lengthscale.squeeze(-2) / spread)
        ).log(),
    )
    return kernel


def share_within(relative: Float[Tensor, "*b d"]) -> Float[Tensor, "*b"]:
    """1 - phi(r): share of a Matern-5/2 kernel's variance that shows within a unit box.

    r^2 = sum_k 1 / (6 l_k^2) is the mean squared distance of two points of the box.
    """
    r = (5.0 / 6.0 * relative.pow(-2).sum(-1)).sqrt()
    exact = 1 - (1 + r + r.square() / 3) * torch.exp(-r)
    return torch.where(r < 1e-3, r.square() / 6, exact)


def default_covariance(
    spread: Float[Tensor, " d"],
    unit: Float[Tensor, " levels"],
    n_values: Int[Tensor, " levels"],
    column: int,
    kernels: list[Kernel] | None,
    n_slopes: int,
    kind: type[AutoregressiveKernel] = AutoregressiveKernel,
) -> AutoregressiveKernel:
    """The covariance of all levels with the priors above."""
    if kernels is None:
        kernels = [default_kernel(spread, *LOWEST_VARIANCE)]
        kernels += [
            default_kernel(
                spread, *(UNKNOWN_DISCREPANCY if few else DISCREPANCY_VARIANCE)
            )
            for few in (n_values[1:] <= FEW_VALUES).tolist()
        ]
    covariance = kind(
        kernels,
        level_column=column,
        rho_prior=NormalPrior(0.8, 1.0) if len(unit) > 1 else None,
        n_slopes=n_slopes,
        slope_prior=NormalPrior(0.0, 0.5) if n_slopes else None,
        level_unit=unit,
        offset_variance=OFFSET_VARIANCE,
    ).to(spread)
    if len(unit) > 1:
        covariance.rho = torch.full((len(unit) - 1,), 0.8).to(spread)
    return covariance


def input_spread(x: Float[Tensor, "n d"]) -> Float[Tensor, " d"]:
    """Range of each input in the data; 1 where it does not vary."""
    spread = x.amax(dim=0) - x.amin(dim=0)
    return torch.where(spread > 0, spread, torch.ones_like(spread))


def _log_positive() -> Positive:
    return Positive(transform=torch.exp, inv_transform=torch.log)
