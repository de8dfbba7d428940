"""A pool of inputs is the posterior of its model, and a pick is a label more."""

import pytest
import torch
from botorch.models import SingleTaskGP
from botorch.models.deterministic import GenericDeterministicModel

from mfal.acquisition import Candidate, IntegratedVariance, select_batch
from mfal.models import InputPool
from mfal.models.posterior import PoolPosterior


@pytest.fixture
def model():
    X = torch.linspace(0, 1, 6, dtype=torch.float64).unsqueeze(-1)
    return SingleTaskGP(X, (5 * X).sin())


@pytest.fixture
def X():
    return torch.linspace(-0.3, 1.4, 9, dtype=torch.float64).unsqueeze(-1)


def test_covariance_and_noise_are_those_of_the_model(model, X):
    pool = InputPool(model, X)
    assert isinstance(pool, PoolPosterior)
    latent = model.posterior(X).distribution.covariance_matrix.detach()
    observed = model.posterior(X, observation_noise=True).variance.detach().squeeze(-1)
    torch.testing.assert_close(pool.cross([2, 5]), latent[[2, 5]])
    torch.testing.assert_close(pool.covariance(3), latent[3:4, 3:4])
    noise = torch.cat([pool.noise(i) for i in range(len(X))])
    torch.testing.assert_close(latent.diagonal() + noise, observed)


def test_a_pick_takes_off_what_conditioning_the_model_does(model, X):
    pool = InputPool(model, X)
    targets = [6, 7, 8]
    acquisition = IntegratedVariance(pool, targets)
    (pick,) = select_batch(
        acquisition, [Candidate(i, "high", 1.0) for i in range(6)], 1
    )
    before = model.posterior(X[targets]).variance.detach().sum()
    gains = []
    for i in range(6):
        x = X[i : i + 1]
        more = model.condition_on_observations(x, model.posterior(x).mean.detach())
        gains.append(float(before - more.posterior(X[targets]).variance.detach().sum()))
    assert pick.position == max(range(6), key=gains.__getitem__)
    assert pick.gain == pytest.approx(max(gains), rel=1e-4)


def test_a_model_without_a_gaussian_posterior_is_refused(X):
    model = GenericDeterministicModel(lambda x: x, num_outputs=1)
    with pytest.raises(ValueError, match="must be a Gaussian with one output"):
        InputPool(model, X)
