r"""Kernels on descriptors of structures, and a pool that is nothing but a kernel."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor

Similarity = Callable[
    [Float[Tensor, "n d"], Float[Tensor, "m d"]], Float[Tensor, "n m"]
]
"""A kernel: from two sets of descriptors to the matrix of their similarities."""


@dataclass(frozen=True)
class SquaredExponential:
    r"""k(x, x') = exp(-|x - x'|^2 / 2 l^2), one for equal descriptors.

    Raises:
        ValueError: a lengthscale that is not positive.
    """

    lengthscale: float

    def __post_init__(self) -> None:
        if not self.lengthscale > 0:
            raise ValueError(
                f"a lengthscale must be positive, got {self.lengthscale}: take the "
                "median distance of the descriptors"
            )

    def __call__(
        self, left: Float[Tensor, "n d"], right: Float[Tensor, "m d"]
    ) -> Float[Tensor, "n m"]:
        """The matrix of similarities."""
        return (-0.5 * (torch.cdist(left, right) / self.lengthscale).square()).exp()


@dataclass(frozen=True)
class NormalisedPower:
    """k(x, x') = (x . x' / |x| |x'|)^zeta, as between environments of SOAP.

    Source: Bartok, Kondor, Csanyi (2013), Phys. Rev. B 87, 184115, eq. 36.
    """

    zeta: int = 2

    def __call__(
        self, left: Float[Tensor, "n d"], right: Float[Tensor, "m d"]
    ) -> Float[Tensor, "n m"]:
        """The matrix of similarities."""
        left = left / left.norm(dim=1, keepdim=True)
        right = right / right.norm(dim=1, keepdim=True)
        return (left @ right.mT) ** self.zeta


class KernelPool:
    """`mfal.models.posterior.PoolPosterior` of a kernel: each block is one row.

    `known` descriptors are conditioned on, with the same noise as all.

    Raises:
        ValueError: known descriptors of another length, or no positive noise.
    """

    def __init__(
        self,
        descriptors: Float[Tensor, "n d"],
        kernel: Similarity,
        known: Float[Tensor, "m _"] | None = None,
        *,
        noise: float,
    ) -> None:
        known = descriptors[:0] if known is None else known
        if not noise > 0 or known.shape[1] != descriptors.shape[1]:
            raise ValueError(
                "a volume needs a positive noise and known descriptors as long as those "
                f"of the pool, got {noise} and {known.shape[1]} entries for "
                f"{descriptors.shape[1]}"
            )
        self.slices = [slice(i, i + 1) for i in range(len(descriptors))]
        self._descriptors, self._kernel = descriptors, kernel
        self._noise = descriptors.new_tensor([noise])
        gram = kernel(known, known) + noise * torch.eye(len(known)).to(known)
        factor = torch.linalg.cholesky(gram)
        cross = kernel(known, descriptors)
        self._v = torch.linalg.solve_triangular(factor, cross, upper=False)
        own = [kernel(d, d) for d in descriptors.split(1)]
        self._variance = torch.cat(own).squeeze(1) - self._v.square().sum(0)

    def noise(self, block: int) -> Float[Tensor, " r"]:
        """The same for all."""
        del block
        return self._noise

    def covariance(self, block: int) -> Float[Tensor, "r r"]:
        """The kernel of a descriptor with itself, given those known."""
        return self._variance[block].reshape(1, 1)

    def cross(self, blocks: Sequence[int]) -> Float[Tensor, "r n"]:
        """The kernel of some descriptors with all, given those known."""
        some = list(blocks)
        found = self._kernel(self._descriptors[some], self._descriptors)
        return found - self._v[:, some].mT @ self._v
