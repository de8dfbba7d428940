"""Cholesky factors are those of torch, and every repair is on record."""

import logging

import pytest
import torch

from mfal.models.cholesky import (
    JITTER_LADDER,
    NotPositiveDefiniteError,
    factorise,
    inverse_from,
    solve_lower,
)


@pytest.fixture(params=[1, 5, 40])
def matrix(request, generator):
    n = request.param
    factor = torch.randn(n, n + 2, generator=generator, dtype=torch.float64)
    return factor @ factor.T


def test_the_factor_is_that_of_torch_and_takes_the_memory_of_the_matrix(matrix):
    memory = matrix.tril().clone()  # what stands above the diagonal is not read
    factor, jitter = factorise(lambda: memory)
    torch.testing.assert_close(factor.tril(), torch.linalg.cholesky(matrix))
    assert jitter == 0
    assert factor.data_ptr() == memory.data_ptr()


def test_single_precision_is_factored_as_well(matrix):
    factor, _ = factorise(lambda: matrix.float())
    torch.testing.assert_close(
        factor.tril(), torch.linalg.cholesky(matrix).float(), rtol=1e-3, atol=1e-3
    )


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32])
def test_the_inverse_from_the_factor_is_the_inverse(matrix, dtype):
    if dtype == torch.float32:  # well-conditioned enough for single precision
        matrix = matrix + torch.eye(len(matrix)) * matrix.diagonal().mean()
    factor = torch.linalg.cholesky(matrix).to(dtype).contiguous()
    expected = torch.linalg.inv(matrix).to(dtype)
    computed = inverse_from(factor)
    torch.testing.assert_close(computed.tril(), expected.tril())


def test_a_singular_factor_has_no_inverse():
    factor = torch.eye(3).double()
    factor[1, 1] = 0.0
    with pytest.raises(NotPositiveDefiniteError, match="3 rows is singular at row 2"):
        inverse_from(factor)


def test_a_factor_that_cannot_be_inverted_in_place_is_refused():
    columns = torch.eye(3).double() + torch.ones(3, 3).double().tril()
    columns = columns.T.contiguous().T
    with pytest.raises(ValueError, match="must be contiguous"):
        inverse_from(columns)


def test_a_lower_triangle_is_solved(matrix, generator):
    right = torch.randn(len(matrix), 3, generator=generator, dtype=torch.float64)
    factor = torch.linalg.cholesky(matrix)
    solved = solve_lower(factor + torch.ones_like(factor).triu(1), right)
    torch.testing.assert_close(factor @ solved, right)


def test_jitter_climbs_the_ladder_and_is_logged(caplog):
    """Smallest eigenvalue -3e-11 of a mean diagonal of about 1: 1e-10 mends it."""
    calls = []

    def build():
        calls.append(1)
        return torch.diag(torch.tensor([2.0, 2.0, 2.0, -3e-11]).double()) / 1.5

    with caplog.at_level(logging.WARNING, logger="mfal"):
        factor, jitter = factorise(build, what="covariance of twins")
    assert jitter == pytest.approx(1e-10, rel=1e-9)
    assert len(calls) == 1 + JITTER_LADDER.index(1e-10)
    assert float(factor[3, 3]) == pytest.approx((1e-10 - 2e-11) ** 0.5)
    assert "covariance of twins of 4 rows took a jitter of 1.0e-10" in caplog.text


def test_a_matrix_that_needs_none_takes_no_jitter_and_logs_nothing(caplog):
    with caplog.at_level(logging.DEBUG, logger="mfal"):
        _, jitter = factorise(lambda: torch.eye(3).double())
    assert jitter == 0
    assert not caplog.records


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32])
def test_what_no_jitter_mends_is_an_error_that_says_what_was_tried(dtype):
    with pytest.raises(
        NotPositiveDefiniteError,
        match=r"prior of 2 rows is not .*up to 1e-08 of its mean diagonal 1.000e\+00 "
        r"was tried; remove duplicates or raise",
    ):
        factorise(lambda: torch.tensor([[1, 2], [2, 1]], dtype=dtype), what="prior")


def test_no_rows_have_an_empty_factor():
    factor, jitter = factorise(lambda: torch.zeros(0, 0).double())
    assert (factor.shape, jitter) == ((0, 0), 0)


def test_memory_that_is_not_contiguous_is_refused():
    with pytest.raises(ValueError, match="must be contiguous"):
        factorise(lambda: torch.eye(4).double()[:, ::2][::2])
