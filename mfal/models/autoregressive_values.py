"""Kernels as they are now, and their values without slopes at little cost.

The elementwise steps of a kernel, not the algebra, are what a prediction costs: here they
are done in place on blocks that stay in the cache, and only where they count.
"""

from collections.abc import Sequence
from typing import Any

import torch
from gpytorch.kernels import Kernel, ScaleKernel
from jaxtyping import Float, Int
from linear_operator.operators import LinearOperator, to_linear_operator
from torch import Tensor
from torch.nn import Module, ModuleList

from mfal.models.autoregressive_kernel import SmoothMaternKernel


def as_it_is(module: Any) -> Any:
    """A copy with the parameters of now as constants; nothing else is copied.

    What is computed from it later does not see that the module was fitted meanwhile.
    """
    copy = object.__new__(type(module))
    copy.__dict__.update(module.__dict__)
    for kind in ("_parameters", "_buffers"):
        now = {
            name: None if t is None else t.detach().clone()
            for name, t in module.__dict__[kind].items()
        }
        copy.__dict__[kind] = now
    parts = module._modules.items()
    copy.__dict__["_modules"] = {k: m and as_it_is(m) for k, m in parts}
    return copy


def with_values(covariance: Any, columns: Sequence[Tensor | None]) -> Any:
    """The covariance of levels with `PartValues` in place of its kernels."""
    copy = object.__new__(type(covariance))
    copy.__dict__.update(covariance.__dict__)
    parts = [
        PartValues(kernel, where)
        for kernel, where in zip(covariance.kernels, columns, strict=True)
    ]
    modules = {**covariance._modules, "kernels": ModuleList(parts)}
    copy.__dict__["_modules"] = modules
    return copy


def columns_that_count(
    covariance: Any, rows: Float[Tensor, "*b n m"]
) -> list[Tensor | None]:
    """For each kernel the rows it has a part in: those of its level or a higher one.

    None where it has a part in all.
    """
    _, level = covariance.split(rows)
    highest = level.reshape(-1, level.shape[-1]).amax(dim=0)
    found: list[Tensor | None] = []
    for m in range(len(covariance.kernels)):
        counts = highest >= m
        found.append(None if bool(counts.all()) else counts.nonzero().squeeze(-1))
    return found


class PartValues(Module):
    """A kernel that is evaluated at some columns only, and is zero at the others."""

    def __init__(self, kernel: Kernel, columns: Int[Tensor, " k"] | None) -> None:
        super().__init__()
        self.kernel = kernel
        self.columns = columns

    def forward(
        self,
        x1: Float[Tensor, "*#b n d"],
        x2: Float[Tensor, "*#b k d"],
        diag: bool = False,
        **params: object,
    ) -> LinearOperator | Tensor:
        """As a kernel of GPyTorch; pairs are evaluated wherever they stand."""
        if diag:
            return self.kernel(x1, x2, diag=True, **params)
        if self.columns is None:
            return to_linear_operator(kernel_values(self.kernel, x1, x2))
        some = kernel_values(self.kernel, x1, x2[..., self.columns, :])
        every = some.new_zeros(*some.shape[:-1], x2.shape[-2])
        return to_linear_operator(every.index_copy_(-1, self.columns, some))


def kernel_values(
    kernel: Kernel, x1: Float[Tensor, "*#b n d"], x2: Float[Tensor, "*#b k d"]
) -> Float[Tensor, "*c n k"]:
    """k(x1, x2); the default kernel in place where no slopes are recorded."""
    base = kernel.base_kernel if isinstance(kernel, ScaleKernel) else kernel
    active = (kernel.active_dims, base.active_dims)
    if (
        torch.is_grad_enabled()
        or type(base) is not SmoothMaternKernel
        or active != (None, None)
    ):
        return kernel(x1, x2).to_dense()
    k = smooth_matern_values(x1 / base.lengthscale, x2 / base.lengthscale, base)
    if isinstance(kernel, ScaleKernel):
        k.mul_(kernel.outputscale[..., None, None])
    return k


def smooth_matern_values(
    u1: Float[Tensor, "*#b n d"], u2: Float[Tensor, "*#b k d"], base: SmoothMaternKernel
) -> Float[Tensor, "*c n k"]:
    r"""(1 - w) (1 + a + a^2 / 3) e^{-a} + w e^{t}, t = -|u - u'|^2 / 2, a^2 = -10 t.

    `SmoothMaternKernel` for inputs over their lengthscales.
    """
    centre = u2.mean(dim=-2, keepdim=True)  # differences of small numbers only
    u1, u2 = u1 - centre, u2 - centre
    half1 = -0.5 * u1.square().sum(-1, keepdim=True)
    half2 = -0.5 * u2.square().sum(-1, keepdim=True)
    left = torch.cat([u1, half1, torch.ones_like(half1)], dim=-1)
    right = torch.cat([u2, torch.ones_like(half2), half2], dim=-1)
    t = (left @ right.mT).clamp_max_(0.0)
    a = t.mul(-10.0).sqrt_()
    matern = a.mul(1 / 3).add_(1.0).mul_(a).add_(1.0)
    matern.mul_(a.neg_().exp_())
    return matern.lerp_(t.exp_(), base.smoothness)
