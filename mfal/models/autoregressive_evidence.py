r"""Evidence of an autoregressive model with its slope, by one Cholesky factor.

.. math:: \log p(y) = -\tfrac12 r^T K^{-1} r - \tfrac12 \log\det K - \tfrac n2 \log 2\pi,
    \qquad \partial \log p / \partial K = \tfrac12 (\alpha\alpha^T - K^{-1}),
    \quad \alpha = K^{-1} r.

The slope of a stationary kernel with respect to its lengthscales is a matrix product,
so that an evaluation costs one factor, one inverse and one exponential per entry.
"""

import math

import torch
from gpytorch.kernels import Kernel, MaternKernel, RBFKernel, ScaleKernel
from jaxtyping import Float
from torch import Tensor

from mfal.kernels import matern52_profile, rbf_profile
from mfal.kernels.derivative import RadialProfile
from mfal.models.autoregressive_kernel import SmoothMaternKernel


class _GaussianLogDensity(torch.autograd.Function):
    @staticmethod
    def forward(ctx, covariance, residual):
        factor, info = torch.linalg.cholesky_ex(covariance)
        failed = info > 0
        if failed.any():
            one = torch.eye(factor.shape[-1]).to(factor)
            factor = torch.where(failed[..., None, None], one, factor)
        target = residual.unsqueeze(-1).expand(*factor.shape[:-1], 1)
        white = torch.linalg.solve_triangular(factor, target, upper=False)
        alpha = torch.linalg.solve_triangular(factor.mT, white, upper=True)
        log_det = 2 * factor.diagonal(dim1=-2, dim2=-1).log().sum(-1)
        ctx.save_for_backward(factor, alpha, failed)
        constant = factor.shape[-1] * math.log(2 * math.pi)
        value = -0.5 * (white.square().sum((-2, -1)) + log_det + constant)
        return torch.where(failed, -torch.inf, value)

    @staticmethod
    def backward(ctx, upstream):
        factor, alpha, failed = ctx.saved_tensors
        upstream = torch.where(failed, 0.0, upstream)[..., None, None]
        inverse = torch.cholesky_inverse(factor)
        slope = (alpha @ alpha.mT).sub_(inverse).mul_(0.5 * upstream)
        return slope, (-upstream * alpha).squeeze(-1)


def log_density(
    covariance: Float[Tensor, "*b n n"], residual: Float[Tensor, "*#b n"]
) -> Float[Tensor, "*b"]:
    """log N(residual | 0, covariance), differentiable once.

    Minus infinity, with slope zero, where the covariance is not positive definite.
    """
    residual = residual.expand(*covariance.shape[:-1])
    return _GaussianLogDensity.apply(covariance, residual)


class _Stationary(torch.autograd.Function):
    @staticmethod
    def forward(ctx, u, profile):
        centred = u - u.mean(dim=-2, keepdim=True)
        norm = centred.square().sum(-1)
        s = norm.unsqueeze(-1) + norm.unsqueeze(-2) - 2 * centred @ centred.mT
        s.clamp_min_(0.0).diagonal(dim1=-2, dim2=-1).zero_()
        value, first, _ = profile(s)
        ctx.save_for_backward(centred, first)
        return value

    @staticmethod
    def backward(ctx, upstream):
        # ds_ij / du_i = 2 (u_i - u_j)
        u, first = ctx.saved_tensors
        weight = upstream * first
        weight = weight + weight.mT
        return 2 * (weight.sum(dim=-1, keepdim=True) * u - weight @ u), None


def dense_covariance(
    kernel: Kernel, x: Float[Tensor, "n d"]
) -> Float[Tensor, "*b n n"]:
    """k(x, x), differentiable once in the hyperparameters.

    Scaled RBF and Matern-5/2 kernels over all inputs take the short way; any other
    kernel is asked for its matrix.
    """
    base = kernel.base_kernel if isinstance(kernel, ScaleKernel) else kernel
    smooth = type(base) is SmoothMaternKernel
    profile = matern52_profile if smooth else _profile(base)
    if profile is None or kernel.active_dims is not None:
        return kernel(x).to_dense()
    u = x / base.lengthscale
    k = _Stationary.apply(u, profile)
    if smooth:
        w = base.smoothness
        k = (1 - w) * k + w * _Stationary.apply(u, rbf_profile)
    if isinstance(kernel, ScaleKernel):
        return kernel.outputscale[..., None, None] * k
    return k


def _profile(kernel: Kernel) -> RadialProfile | None:
    if kernel.active_dims is not None:
        return None
    if type(kernel) is RBFKernel:
        return rbf_profile
    if type(kernel) is MaternKernel and kernel.nu == 2.5:
        return matern52_profile
    return None
