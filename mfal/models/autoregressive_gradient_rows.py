r"""Rows of values and partial derivatives of the levels: their code, covariance, noise.

An observation is y = b f_l(x) + v . grad f_l(x): a value has (b, v) = (1, 0), the partial
derivative along input j has (0, w_j e_j). It is a derivative with respect to x_j / w_j,
w_j the range of input j in the data, so that it has the unit of the values.

What a row observes stands in its level column, as the code l + 1000 j:

| code | observable |
|---|---|
| l | f_l |
| l + 1000 j | derivative of f_l with respect to the j-th input, j = 1, ..., d |

Rows of both kinds have the same columns, and a value is written as without derivatives.
"""

from typing import Any

import torch
from gpytorch.kernels import Kernel, ScaleKernel
from gpytorch.likelihoods.gaussian_likelihood import _GaussianLikelihoodBase
from gpytorch.likelihoods.noise_models import Noise
from gpytorch.means import Mean
from jaxtyping import Float, Int
from linear_operator.operators import DiagLinearOperator
from torch import Tensor

from mfal.kernels import AutoregressiveKernel, matern52_profile, rbf_profile
from mfal.kernels.derivative import Profile, derivative_covariance, one_by_one
from mfal.models.autoregressive_noise import LevelNoise, by_level, noise_of_rows

DERIVATIVE = 1000
"""The code of a derivative is its level plus this times the number of its input."""

Observation = tuple[Tensor, Tensor, Tensor]


def observable_code(
    level: Int[Tensor, "*#b"], quantity: Int[Tensor, "*#b"]
) -> Int[Tensor, "*b"]:
    """l + 1000 j: quantity 0 is the value, j the derivative along input j = 1, ..., d.

    >>> observable_code(torch.tensor([0, 1, 1]), torch.tensor([0, 0, 2]))
    tensor([   0,    1, 2001])
    """
    return level + DERIVATIVE * quantity


def observable_of(
    code: Float[Tensor, "*b"],
) -> tuple[Float[Tensor, "*b"], Float[Tensor, "*b"]]:
    """Level and quantity of a code, see `observable_code`.

    A number that is no code gives a level that is none, which the kernel refuses.
    """
    quantity = torch.div(code, DERIVATIVE, rounding_mode="floor").clamp_min(0.0)
    return code - DERIVATIVE * quantity, quantity


class GradientKernel(Kernel):
    r"""Covariance of a process and its derivatives, for one scaled `SmoothMaternKernel`.

    With \phi = (1 - w) \phi_{5/2} + w \phi_{RBF}, inputs over their lengthscales,
    d = (x - x') / l, and directions likewise, a = d . v / l, a' = d . v' / l,

    .. math:: \mathrm{cov}(y, y') = \tau^2 \big[ \phi\, b b' + 2 \phi' (a b' - b a')
        - 4 \phi'' a a' - 2 \phi'\, (v / l) \cdot (v' / l) \big] + \omega^2 b b',

    \omega^2 the `offset_variance`: a constant has no derivative. Inputs are x and, in the
    last column, the quantity.

    Source: Rasmussen & Williams (2006), section 9.4; `mfal.kernels.derivative`.
    """

    def __init__(
        self, kernel: ScaleKernel, spread: Float[Tensor, " d"], offset_variance: float
    ) -> None:
        super().__init__()
        self.kernel = kernel
        self.register_buffer("spread", spread)
        self.offset_variance = offset_variance

    def forward(
        self,
        x1: Float[Tensor, "*#b n m"],
        x2: Float[Tensor, "*#b k m"],
        diag: bool = False,
        **params: object,
    ) -> Float[Tensor, "*b n k"] | Float[Tensor, "*b n"]:
        """Covariance of two sets of rows, or of each pair of rows if `diag`."""
        rows1, rows2 = self._observations(x1), self._observations(x2)
        smoothness = self.kernel.base_kernel.smoothness
        variance = self.kernel.outputscale[..., None, None]
        if diag:  # each pair of rows is its own 1 x 1 block
            rows1, rows2 = one_by_one(rows1), one_by_one(rows2)
            smoothness, variance = smoothness.unsqueeze(-1), variance.unsqueeze(-1)

        def mixed(s: Tensor) -> Profile:
            ends = zip(matern52_profile(s), rbf_profile(s), strict=True)
            return Profile(*((1 - smoothness) * m + smoothness * r for m, r in ends))

        k = variance * derivative_covariance(mixed, rows1, rows2)
        k = k + self.offset_variance * rows1[0] * rows2[0].mT
        return k[..., 0, 0] if diag else k

    def _observations(self, x: Tensor) -> Observation:
        """(b, v / l, x / l) of each row."""
        x, quantity = x[..., :-1], x[..., -1].long()
        at = torch.nn.functional.one_hot(quantity, x.shape[-1] + 1).to(x)
        length = self.kernel.base_kernel.lengthscale
        return at[..., :1], at[..., 1:] * self.spread / length, x / length


class GradientAutoregressiveKernel(AutoregressiveKernel):
    r"""The covariance of levels, for rows whose level column holds a code.

    .. math:: \mathrm{cov}(y, y') = \sum_{m \le \min(l, l')} u_l c_{lm} u_{l'} c_{l'm}
              \mathrm{cov}_m(y, y'),

    with a constant rho, so that the recursion of the levels is that of the derivatives.
    Its kernels are `GradientKernel`s.

    Source: Kennedy & O'Hagan (2000), Biometrika 87, 1; section 2.3.
    """

    def split(
        self, x: Float[Tensor, "*b n m"]
    ) -> tuple[Float[Tensor, "*b n m"], Int[Tensor, "*b n"]]:
        """Inputs with the quantity in the last column, and the level of each row."""
        column = self.level_column % x.shape[-1]
        level, quantity = observable_of(x[..., column])
        if (quantity >= x.shape[-1]).any():
            raise ValueError(
                f"derivatives are along input 1 to {x.shape[-1] - 1} (level + "
                f"{DERIVATIVE} times that in column {column}), got {int(quantity.max())}"
            )
        plain = torch.cat(
            [x[..., :column], level.unsqueeze(-1), x[..., column + 1 :]], dim=-1
        )
        x, index = super().split(plain)
        return torch.cat([x, quantity.unsqueeze(-1)], dim=-1), index


class GradientMean(Mean):
    """The mean of the level for a value, zero for a derivative."""

    def __init__(self, values: Float[Tensor, " levels"], column: int) -> None:
        super().__init__()
        self.column = column
        self.register_buffer("values", values)

    def forward(self, x: Float[Tensor, "*b n d"]) -> Float[Tensor, "*b n"]:
        """The mean of each row."""
        level, quantity = observable_of(x[..., self.column])
        return by_level(self.values, level) * (quantity == 0)


class GradientNoise(Noise):
    """A variance per level for values, and one for derivatives, both learned."""

    def __init__(self, unit: Float[Tensor, " levels"], column: int) -> None:
        super().__init__()
        self.column = column
        self.values = LevelNoise(unit, column)
        self.derivatives = LevelNoise(unit, column)

    @property
    def excess(self) -> Float[Tensor, "*b levels 2"]:
        """Variance above the floor, over the square of the unit of the level."""
        return torch.stack([self.values.excess, self.derivatives.excess], dim=-1)

    @excess.setter
    def excess(self, value: Float[Tensor, "*b levels 2"]) -> None:
        self.values.excess, self.derivatives.excess = value.unbind(dim=-1)

    @property
    def noise(self) -> Float[Tensor, "*b levels 2"]:
        """The variance of values and of derivatives of each level."""
        return torch.stack([self.values.noise, self.derivatives.noise], dim=-1)

    def forward(
        self, *params: Any, shape: torch.Size | None = None, **kwargs: Any
    ) -> DiagLinearOperator:
        """The variance of each row by its code, or what `noise` says."""
        return noise_of_rows(self.variance, params, shape, kwargs.get("noise"))

    def variance(self, x: Float[Tensor, "*b n d"]) -> Float[Tensor, "*c n"]:
        """The variance of each row by its code."""
        level, quantity = observable_of(x[..., self.column])
        value, derivative = (by_level(n, level) for n in self.noise.unbind(dim=-1))
        return torch.where(quantity == 0, value, derivative)


class GradientGaussianLikelihood(_GaussianLikelihoodBase):
    """Gaussian noise of values and derivatives of its own, learned, at each level."""

    noise_covar: GradientNoise

    def __init__(self, unit: Float[Tensor, " levels"], column: int) -> None:
        super().__init__(noise_covar=GradientNoise(unit, column))

    @property
    def noise(self) -> Float[Tensor, "*b levels 2"]:
        """The variance of values and of derivatives of each level."""
        return self.noise_covar.noise
