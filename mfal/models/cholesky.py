"""Cholesky factors of covariance matrices, in place, with every repair on record."""

import logging
from collections.abc import Callable

import torch
from jaxtyping import Float
from scipy.linalg import lapack
from torch import Tensor

_logger = logging.getLogger(__name__)

JITTER_LADDER = (0.0, 1e-12, 1e-11, 1e-10, 1e-9, 1e-8)
"""Shares of the mean diagonal that are added, one after the other, until it factors."""


class NotPositiveDefiniteError(ArithmeticError):
    """A covariance matrix could not be factored even with the largest jitter."""


def factorise(
    build: Callable[[], Float[Tensor, "n n"]], *, what: str = "covariance matrix"
) -> tuple[Float[Tensor, "n n"], float]:
    """The lower Cholesky factor of the matrix that `build` makes, and the jitter taken.

    Only the lower triangle of the matrix is read and only that of the factor is
    defined; on the CPU the factor takes the matrix's memory. Cost n^3 / 3. After a
    failure the matrix is built anew with the next jitter, and a warning is logged.

    Raises:
        NotPositiveDefiniteError: names the size, the diagonal and the jitter tried.
    """
    for share in JITTER_LADDER:
        matrix = build()
        scale = float(matrix.diagonal().mean()) if len(matrix) else 1.0
        jitter = share * scale
        matrix.diagonal().add_(jitter)
        factor = _factor(matrix)
        if factor is not None:
            if jitter > 0:
                _logger.warning(
                    "the %s of %d rows took a jitter of %.1e (%.0e of its mean diagonal)",
                    what,
                    len(factor),
                    jitter,
                    share,
                )
            return factor, jitter
    raise NotPositiveDefiniteError(
        f"the {what} of {len(matrix)} rows is not positive definite: jitter up to "
        f"{JITTER_LADDER[-1]:.0e} of its mean diagonal {scale:.3e} was tried; "
        "remove duplicates or raise the bounds of the noise"
    )


def inverse_from(factor: Float[Tensor, "n n"]) -> Float[Tensor, "n n"]:
    """The lower triangle of (L L^T)^-1, written over the factor on the CPU.

    Cost 2 n^3 / 3: a triangular inverse and a triangular product. LAPACK through SciPy
    is taken on the CPU because it works in place.
    """
    if factor.device.type != "cpu" or factor.dtype != torch.float64:
        return torch.cholesky_inverse(factor)
    if not factor.is_contiguous():
        raise ValueError("the factor to invert must be contiguous")
    _, info = lapack.dpotri(factor.numpy().T, lower=0, overwrite_c=1)
    if info != 0:
        raise NotPositiveDefiniteError(
            f"the Cholesky factor of {len(factor)} rows is singular at row {info}"
        )
    return factor


def solve_lower(
    factor: Float[Tensor, "n n"], right: Float[Tensor, "n m"]
) -> Float[Tensor, "n m"]:
    """L^-1 right."""
    return torch.linalg.solve_triangular(factor, right, upper=False)


def _factor(matrix: Tensor) -> Tensor | None:
    if matrix.device.type != "cpu" or matrix.dtype != torch.float64:
        factor, info = torch.linalg.cholesky_ex(matrix)
        return None if int(info) else factor
    if not matrix.is_contiguous():
        raise ValueError("the matrix to factor must be contiguous")
    # row-major lower is column-major upper: the same memory, no copy
    _, info = lapack.dpotrf(matrix.numpy().T, lower=0, clean=0, overwrite_a=1)
    return None if info else matrix
