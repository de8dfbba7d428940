"""Gaussians conditioned on a part of themselves."""

import pytest
import torch

from mfal.models.posterior import condition, log_det


@pytest.fixture
def covariance(generator):
    factor = torch.randn(7, 9, generator=generator, dtype=torch.float64)
    return factor @ factor.T


def test_log_det_is_that_of_torch(covariance):
    batch = torch.stack([covariance, 2 * covariance])
    torch.testing.assert_close(log_det(batch), torch.logdet(batch))


def test_a_matrix_that_is_not_positive_definite_has_no_log_det():
    with pytest.raises(torch.linalg.LinAlgError):
        log_det(-torch.eye(2))


def test_conditioning_is_the_block_of_the_inverse(covariance, generator):
    """The precision of what is left is its block of the joint precision."""
    mean = torch.randn(7, generator=generator, dtype=torch.float64)
    observed = torch.randn(3, generator=generator, dtype=torch.float64)
    mu, sigma = condition(
        mean[3:],
        covariance[3:, 3:],
        covariance[:3, 3:],
        covariance[:3, :3],
        observed - mean[:3],
    )
    precision = torch.linalg.inv(covariance)
    torch.testing.assert_close(sigma, torch.linalg.inv(precision[3:, 3:]))
    shift = -sigma @ precision[3:, :3] @ (observed - mean[:3])
    torch.testing.assert_close(mu, mean[3:] + shift)
