"""A covariance whose diagonal is known and whose rest is computed when asked for."""

from collections.abc import Callable
from functools import partial
from typing import Any

from jaxtyping import Float
from linear_operator.operators import DenseLinearOperator, LinearOperator
from linear_operator.utils.memoize import cached
from torch import Tensor


class LazyCovariance(LinearOperator):
    """C, given its diagonal and a function that computes all of it.

    Diagonals of it, of its multiples and of sums with it cost nothing more. Anything
    else is done with the dense matrix, which is computed once.
    """

    def __init__(
        self, variance: Float[Tensor, "*b q"], matrix: Callable[[], Tensor]
    ) -> None:
        super().__init__(variance, matrix=matrix)
        self._variance = variance
        self._matrix = matrix

    @cached(name="dense")
    def to_dense(self) -> Float[Tensor, "*b q q"]:
        """All of it, in the type and on the device of the diagonal."""
        return self._matrix().to(self._variance)

    def evaluate_kernel(self) -> DenseLinearOperator:
        """The operator of the dense matrix."""
        return DenseLinearOperator(self.to_dense())

    def representation(self) -> Any:
        """That of the dense matrix: what GPyTorch differentiates through."""
        return self.evaluate_kernel().representation()

    def representation_tree(self) -> Any:
        """That of the dense matrix."""
        return self.evaluate_kernel().representation_tree()

    def detach(self) -> "LazyCovariance":
        """Without slopes."""
        return LazyCovariance(self._variance.detach(), partial(_detached, self))

    def _diagonal(self) -> Tensor:
        return self._variance

    def _size(self) -> Any:
        return self._variance.shape + self._variance.shape[-1:]

    def _transpose_nonbatch(self) -> "LazyCovariance":
        return self

    def _matmul(self, rhs: Tensor) -> Tensor:
        return self.to_dense() @ rhs

    def _getitem(self, row_index: Any, col_index: Any, *batch_indices: Any) -> Any:
        return self.evaluate_kernel()._getitem(row_index, col_index, *batch_indices)

    def _get_indices(self, row_index: Any, col_index: Any, *batch_indices: Any) -> Any:
        return self.evaluate_kernel()._get_indices(row_index, col_index, *batch_indices)

    def _permute_batch(self, *dims: int) -> Any:
        return self.evaluate_kernel()._permute_batch(*dims)

    def _unsqueeze_batch(self, dim: int) -> "LazyCovariance":
        return LazyCovariance(
            self._variance.unsqueeze(dim), partial(_unsqueezed, self, dim)
        )

    def _expand_batch(self, batch_shape: Any) -> "LazyCovariance":
        q = self._variance.shape[-1]
        return LazyCovariance(
            self._variance.expand(*batch_shape, q),
            partial(_expanded, self, batch_shape),
        )


def _detached(covariance: LazyCovariance) -> Tensor:
    return covariance.to_dense().detach()


def _unsqueezed(covariance: LazyCovariance, dim: int) -> Tensor:
    return covariance.to_dense().unsqueeze(dim)


def _expanded(covariance: LazyCovariance, batch_shape: Any) -> Tensor:
    dense = covariance.to_dense()
    return dense.expand(*batch_shape, *dense.shape[-2:])
