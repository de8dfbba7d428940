r"""Covariance of values and derivatives of a function of a descriptor.

An observation y = b f(q) + v · ∇f(q) has an energy as (b, v) = (1, 0) and a force as
(0, -∂q/∂r). For a stationary kernel φ(s), s = |q - q'|² / ℓ², with d = (q - q') / ℓ,
w = v / ℓ, a = d · w and a' = d · w',

    cov(y, y') = φ b b' + 2 φ' (a b' - b a') - 4 φ'' a a' - 2 φ' w · w'.

For the RBF, φ = exp(-s / 2), this is φ [(b - a)(b' + a') + w · w'].
"""

from collections.abc import Callable
from typing import NamedTuple

import torch
from gpytorch.kernels import Kernel
from jaxtyping import Float
from torch import Tensor


class Profile(NamedTuple):
    """A radial kernel and its first two derivatives with respect to s = |d|²."""

    value: Tensor
    first: Tensor
    second: Tensor


RadialProfile = Callable[[Tensor], Profile]


def rbf_profile(s: Float[Tensor, "*b"]) -> Profile:
    """φ = exp(-s / 2).

    Source: Rasmussen & Williams (2006), eq. 4.9.
    """
    value = (-0.5 * s).exp()
    return Profile(value, -0.5 * value, 0.25 * value)


def matern52_profile(s: Float[Tensor, "*b"]) -> Profile:
    """φ = (1 + √5 r + 5 r² / 3) exp(-√5 r) with r = √s.

    φ' = -(5/6)(1 + √5 r) exp(-√5 r) and φ'' = (25/12) exp(-√5 r) are finite at r = 0;
    s is kept above 1e-30 only so that the slope of √s stays finite there.

    Source: Rasmussen & Williams (2006), eq. 4.17.
    """
    x = (5.0 * s.clamp_min(1e-30)).sqrt()
    decay = (-x).exp()
    return Profile(
        (1 + x + x.square() / 3) * decay,
        -5 / 6 * (1 + x) * decay,
        25 / 12 * decay,
    )


def pack_observations(
    weight: Float[Tensor, "*b n 1"],
    direction: Float[Tensor, "*b n d"],
    descriptor: Float[Tensor, "*b n d"],
) -> Float[Tensor, "*b n 2*d+1"]:
    """Rows [b | v | q] of the observations y = b f(q) + v · ∇f(q)."""
    return torch.cat([weight, direction, descriptor], dim=-1)


def unpack_observations(
    x: Float[Tensor, "*b n m"],
) -> tuple[Float[Tensor, "*b n 1"], Float[Tensor, "*b n d"], Float[Tensor, "*b n d"]]:
    """The parts b, v, q of rows packed by `pack_observations`.

    Raises:
        ValueError: if the rows do not have 2 d + 1 columns.
    """
    d, remainder = divmod(x.shape[-1] - 1, 2)
    if remainder or d < 1:
        raise ValueError(
            f"rows must have 2 d + 1 columns [b | v | q], got {x.shape[-1]}: "
            "build them with pack_observations"
        )
    b, v, q = x.split([1, d, d], dim=-1)
    return b, v, q


def derivative_covariance(
    profile: RadialProfile,
    rows1: tuple[Tensor, Tensor, Tensor],
    rows2: tuple[Tensor, Tensor, Tensor],
) -> Float[Tensor, "*b n k"]:
    """The covariance at the head of this module for rows (b, w, q / ℓ)."""
    b1, w1, u1 = rows1
    b2, w2, u2 = rows2
    centre = u1.mean(dim=-2, keepdim=True)  # differences of small numbers only
    u1, u2 = u1 - centre, u2 - centre
    s = (
        u1.square().sum(-1, keepdim=True)
        + u2.square().sum(-1, keepdim=True).mT
        - 2 * u1 @ u2.mT
    ).clamp_min(0.0)
    phi = profile(s)
    a1 = (w1 * u1).sum(-1, keepdim=True) - w1 @ u2.mT  # d · w
    a2 = u1 @ w2.mT - (w2 * u2).sum(-1, keepdim=True).mT  # d · w'
    return (
        phi.value * b1 * b2.mT
        + 2 * phi.first * (a1 * b2.mT - b1 * a2)
        - 4 * phi.second * a1 * a2
        - 2 * phi.first * (w1 @ w2.mT)
    )


class DerivativeKernel(Kernel):
    """Covariance of observations y = b f(q) + v · ∇f(q), see `pack_observations`.

    Abstract: a final kernel names its `profile`. Units: ℓ as q; with f in eV and q a
    function of positions in A, forces are in eV/A. The variance of f is 1 (wrap in
    `gpytorch.kernels.ScaleKernel`); ℓ is one scalar (no `ard_num_dims`).

    Raises:
        ValueError: if the rows do not have 2 d + 1 columns.
    """

    has_lengthscale = True
    profile: RadialProfile

    def forward(
        self,
        x1: Float[Tensor, "*#b n m"],
        x2: Float[Tensor, "*#b k m"],
        diag: bool = False,
        **params: object,
    ) -> Float[Tensor, "*b n k"] | Float[Tensor, "*b n"]:
        """Covariance of two sets of rows, or of each pair of rows if `diag`."""
        rows1, rows2 = self._scaled(x1), self._scaled(x2)
        if diag:  # GPyTorch's protocol; each pair of rows is its own 1 x 1 block
            rows1, rows2 = one_by_one(rows1), one_by_one(rows2)
        covariance = derivative_covariance(self.profile, rows1, rows2)
        return covariance[..., 0, 0] if diag else covariance

    def _scaled(self, x: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        b, v, q = unpack_observations(x)
        return b, v / self.lengthscale, q / self.lengthscale


def one_by_one(rows: tuple[Tensor, Tensor, Tensor]) -> tuple[Tensor, Tensor, Tensor]:
    """Rows as a batch of sets of one row each."""
    b, v, q = rows
    return b.unsqueeze(-2), v.unsqueeze(-2), q.unsqueeze(-2)


class DerivativeRBFKernel(DerivativeKernel):
    r"""RBF kernel of rows: cov = φ [(b - a)(b' + a') + w · w'], φ = exp(-|d|² / 2).

    Source: Rasmussen & Williams (2006), section 9.4; de Roos, Gessner, Hennig (2021).
    """

    profile = staticmethod(rbf_profile)


class DerivativeMatern52Kernel(DerivativeKernel):
    r"""Matern-5/2 kernel of rows, φ = (1 + √5 r + 5 r²/3) exp(-√5 r), r = |d|.

    The function is twice, its forces once differentiable in the mean square.

    Source: Rasmussen & Williams (2006), eq. 4.17 and section 9.4.
    """

    profile = staticmethod(matern52_profile)
