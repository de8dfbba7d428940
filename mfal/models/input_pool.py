"""A pool of inputs of a vector model: the joint posterior of labels at any of them."""

from collections.abc import Sequence
from typing import Any

import gpytorch
import torch
from botorch.models.model import Model
from jaxtyping import Float
from torch import Tensor

from mfal.models.memory import check_memory


class InputPool:
    """`mfal.models.posterior.PoolPosterior` of a BoTorch model at a list of inputs.

    Every block is one row: a label at one input (with its level in its column). The
    covariance of all of them is made once, so memory is the square of their number; a
    batch is then chosen without asking the model again.

    Raises:
        TooLargeError: if the covariance would not fit into memory.
        ValueError: a posterior that is not Gaussian with one output, or labels that
            carry no noise.
    """

    def __init__(self, model: Model, X: Float[Tensor, "n d"]) -> None:
        check_memory(len(X), what="the posterior of the inputs", matrices=4.0)
        self.X = X
        self.slices = [slice(i, i + 1) for i in range(len(X))]
        with torch.no_grad(), gpytorch.settings.max_cholesky_size(10**9):
            latent = _gaussian(model.posterior(X))
            self._covariance = latent.covariance_matrix.to(torch.float64)
            observed = _gaussian(model.posterior(X, observation_noise=True))
            variance = observed.lazy_covariance_matrix.diagonal(dim1=-1, dim2=-2)
        self.mean = latent.mean
        self._noise = variance - self._covariance.diagonal()
        if not (self._noise > 0).all():
            raise ValueError(
                "a label of the model carries no noise, so that it would tell without "
                "limit: fit a likelihood with noise, or give variances"
            )

    def noise(self, block: int) -> Float[Tensor, " 1"]:
        """Variance of the noise of a label."""
        return self._noise[block : block + 1]

    def covariance(self, block: int) -> Float[Tensor, "1 1"]:
        """Posterior variance of the latent value."""
        return self._covariance[block : block + 1, block : block + 1]

    def cross(self, blocks: Sequence[int]) -> Float[Tensor, "r n"]:
        """Posterior covariance of some latent values with all."""
        return self._covariance[list(blocks)]


def _gaussian(posterior: Any) -> Any:
    distribution = getattr(posterior, "distribution", None)
    if distribution is None or len(distribution.event_shape) != 1:
        raise ValueError(
            f"the posterior must be a Gaussian with one output, got "
            f"{type(posterior).__name__}: give inputs with their level or task, and no "
            "outcome transform that bends"
        )
    return distribution
