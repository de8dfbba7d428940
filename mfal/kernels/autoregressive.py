"""Covariance between levels: f_0 = eps_0, f_l = rho_l f_(l-1) + delta_l."""

from collections.abc import Sequence

import torch
from gpytorch.constraints import Interval
from gpytorch.kernels import Kernel
from gpytorch.priors import Prior
from jaxtyping import Float
from torch import Tensor
from torch.nn import ModuleList, Parameter


def path_weights(rho: Float[Tensor, " steps"]) -> Float[Tensor, "levels levels"]:
    """c_lm = rho_(m+1) ... rho_l: the weight of the m-th independent part in level l.

    One on the diagonal, zero above it. Differentiable in rho.

    >>> path_weights(torch.tensor([2.0, 3.0]))
    tensor([[1., 0., 0.],
            [2., 1., 0.],
            [6., 3., 1.]])
    """
    rows = [torch.cat([rho.new_ones(1), rho.new_zeros(len(rho))])]
    for level, step in enumerate(rho, start=1):
        unit = torch.zeros_like(rows[0])
        unit[level] = 1.0
        rows.append(step * rows[-1] + unit)
    return torch.stack(rows)


class AutoregressiveKernel(Kernel):
    r"""Covariance of any number of levels that build on each other.

    With independent parts of covariance k_m and c_lm from `path_weights`,

    .. math:: \mathrm{cov}(f_l(x), f_{l'}(x'))
              = \sum_{m \le \min(l, l')} c_{lm} c_{l'm} k_m(x, x').

    rho is a constant, so the formula holds for any linear functional of f: rows of
    energies, forces and stresses alike. Inputs are x with the level 0, ..., L - 1 in
    `level_column`; the kernels see x without that column.

    Source: Kennedy & O'Hagan (2000), Biometrika 87, 1; section 2.3.

    Raises:
        ValueError: no kernel, or a level that is not an integer in 0 ... L - 1.
    """

    def __init__(
        self,
        kernels: Sequence[Kernel],
        *,
        level_column: int = -1,
        rho_prior: Prior | None = None,
        rho_constraint: Interval | None = None,
    ) -> None:
        super().__init__()
        if not kernels:
            raise ValueError("an autoregressive kernel needs one kernel per level")
        self.kernels = ModuleList(kernels)
        self.level_column = level_column
        self.register_parameter("raw_rho", Parameter(torch.ones(len(kernels) - 1)))
        if rho_constraint is not None:
            self.register_constraint("raw_rho", rho_constraint)
            self.initialize(raw_rho=rho_constraint.inverse_transform(self.raw_rho))
        if rho_prior is not None:
            self.register_prior(
                "rho_prior", rho_prior, lambda m: m.rho, lambda m, v: m._set_rho(v)
            )

    @property
    def rho(self) -> Float[Tensor, " steps"]:
        """The scale of each step between levels."""
        constraint = getattr(self, "raw_rho_constraint", None)
        return (
            self.raw_rho if constraint is None else constraint.transform(self.raw_rho)
        )

    @rho.setter
    def rho(self, value: Float[Tensor, " steps"]) -> None:
        self._set_rho(value)

    def _set_rho(self, value: Tensor) -> None:
        value = torch.as_tensor(value).to(self.raw_rho).expand_as(self.raw_rho)
        constraint = getattr(self, "raw_rho_constraint", None)
        raw = value if constraint is None else constraint.inverse_transform(value)
        self.initialize(raw_rho=raw)

    def forward(
        self,
        x1: Float[Tensor, "*#b n m"],
        x2: Float[Tensor, "*#b k m"],
        diag: bool = False,
        **params: object,
    ) -> Float[Tensor, "*b n k"] | Float[Tensor, "*b n"]:
        """Covariance of inputs that carry their level."""
        x1, level1 = self._split(x1)
        x2, level2 = self._split(x2)
        weights = path_weights(self.rho).to(x1)
        total = None
        for m, kernel in enumerate(self.kernels):
            left, right = weights[level1, m], weights[level2, m]
            scale = left * right if diag else left.unsqueeze(-1) * right.unsqueeze(-2)
            k = kernel(x1, x2, diag=diag, **params)
            part = scale * (k if diag else k.to_dense())
            total = part if total is None else total + part
        assert total is not None  # there is at least one kernel
        return total

    def _split(self, x: Tensor) -> tuple[Tensor, Tensor]:
        column = self.level_column % x.shape[-1]
        level = x[..., column]
        index = level.round().long()
        if (
            (index != level).any()
            or (index < 0).any()
            or (index >= len(self.kernels)).any()
        ):
            wrong = sorted(set(level.detach().reshape(-1).tolist()))
            raise ValueError(
                f"levels are integers from 0 to {len(self.kernels) - 1} in column "
                f"{self.level_column}, got {wrong[:10]}"
            )
        return torch.cat([x[..., :column], x[..., column + 1 :]], dim=-1), index
