"""A kernel between Matern-5/2 and RBF."""

import torch
from gpytorch.kernels import Kernel
from gpytorch.priors import NormalPrior
from jaxtyping import Float
from torch import Tensor
from torch.nn import Parameter

from mfal.kernels import matern52_profile, rbf_profile

SMOOTHNESS = (6.0, 6.0)
"""Mean and standard deviation of the logit of the share of RBF."""


class SmoothMaternKernel(Kernel):
    r"""(1 - w) Matern-5/2 + w RBF with the same lengthscales, w in (0, 1) learned.

    .. math:: k = (1 - w) \phi_{5/2}(s) + w\, e^{-s/2}, \quad
        s = \sum_k (x_k - x'_k)^2 / \ell_k^2, \quad w = 1 / (1 + e^{-a}).

    The logit a has the prior N(6, 6^2): nearly RBF where the data say nothing, as levels
    of one smooth function and their differences are, and more data soon say how rough
    the function is.
    """

    has_lengthscale = True

    def __init__(self, **options: object) -> None:
        super().__init__(**options)
        self.register_parameter("raw_smoothness", Parameter(torch.zeros(1)))
        self.register_prior(
            "smoothness_prior", NormalPrior(*SMOOTHNESS), "raw_smoothness"
        )

    @property
    def smoothness(self) -> Float[Tensor, "*b 1 1"]:
        """w: 0 is Matern-5/2, 1 is RBF."""
        return torch.sigmoid(self.raw_smoothness).unsqueeze(-1)

    def forward(
        self,
        x1: Float[Tensor, "*#b n d"],
        x2: Float[Tensor, "*#b k d"],
        diag: bool = False,
        **params: object,
    ) -> Float[Tensor, "*b n k"] | Float[Tensor, "*b n"]:
        """Covariance of two sets of points, or of each pair if `diag`."""
        u1, u2 = x1 / self.lengthscale, x2 / self.lengthscale
        s = self.covar_dist(u1, u2, square_dist=True, diag=diag)
        w = self.smoothness.squeeze(-1) if diag else self.smoothness
        return (1 - w) * matern52_profile(s).value + w * rbf_profile(s).value
