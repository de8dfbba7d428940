"""What acquisition, calibration and stopping see of a model: a joint Gaussian.

A pool is a list of blocks of rows, one block for each label that could be asked for (a
configuration at a level). Its posterior knows the covariance of the latent values of
all rows and the noise that a label would carry; the variance of a Gaussian does not
need the values of what is conditioned on, so picks and pending labels are exact.
"""

from collections.abc import Sequence
from typing import Protocol, runtime_checkable

import torch
from jaxtyping import Float, Int
from torch import Tensor


@runtime_checkable
class PoolPosterior(Protocol):
    """The joint posterior of the blocks of a pool; every engine gives one."""

    @property
    def slices(self) -> Sequence[slice]:
        """Where the rows of each block stand among all rows."""
        ...

    def noise(self, block: int) -> Float[Tensor, " r"]:
        """Variance of the noise of each row of a block's label."""
        ...

    def covariance(self, block: int) -> Float[Tensor, "r r"]:
        """Posterior covariance of the latent values within a block."""
        ...

    def cross(self, blocks: Sequence[int]) -> Float[Tensor, "r n"]:
        """Posterior covariance of the rows of some blocks with those of all blocks."""
        ...


@runtime_checkable
class LabelPool(PoolPosterior, Protocol):
    """A pool whose rows have names: which quantity of which structure each one is."""

    def quantity(self, block: int) -> Int[Tensor, " r"]:
        """The quantity of each row of a block: 0 energy, 1 forces, 2 stress."""
        ...

    def n_atoms(self, block: int) -> int:
        """Number of atoms of a block's structure."""
        ...

    def force_basis(self, block: int) -> Float[Tensor, "c k"]:
        """U of the Cartesian forces F = U f, f the rows of forces of a block."""
        ...


def log_det(matrix: Float[Tensor, "*b r r"]) -> Float[Tensor, "*b"]:
    """log det of positive definite matrices, by Cholesky.

    Raises:
        torch.linalg.LinAlgError: a matrix that is not positive definite.
    """
    factor = torch.linalg.cholesky(matrix)
    return 2 * factor.diagonal(dim1=-2, dim2=-1).log().sum(-1)


def condition(
    mean: Float[Tensor, " a"],
    covariance: Float[Tensor, "a a"],
    cross: Float[Tensor, "b a"],
    observed: Float[Tensor, "b b"],
    residual: Float[Tensor, " b"],
) -> tuple[Float[Tensor, " a"], Float[Tensor, "a a"]]:
    """Mean and covariance of a Gaussian given another part of it.

    mean + C^T S^-1 r and covariance - C^T S^-1 C, with the covariance S of what was
    observed (noise included), its residual r and the cross-covariance C.

    Source: Rasmussen & Williams (2006), eq. A.6.
    """
    factor = torch.linalg.cholesky(observed)
    half = torch.linalg.solve_triangular(factor, cross, upper=False)
    white = torch.linalg.solve_triangular(factor, residual.unsqueeze(-1), upper=False)
    return mean + (half.mT @ white).squeeze(-1), covariance - half.mT @ half
