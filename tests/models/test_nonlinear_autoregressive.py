"""The nonlinear autoregressive process: its moments, and what it is for."""

import math

import pytest
import torch
from botorch.acquisition import UpperConfidenceBound
from botorch.optim import optimize_acqf_discrete

from mfal.models.nonlinear_autoregressive import NonlinearAutoregressiveGP


def low(x):
    return torch.sin(8 * math.pi * x)


def high(x):
    return (x - math.sqrt(2)) * low(x).square()


def at_level(x, level):
    return torch.cat([x, torch.full_like(x, level)], dim=-1)


def two_levels(n_low=50, n_high=14, seed=0):
    generator = torch.Generator().manual_seed(seed)
    x0 = torch.linspace(0, 1, n_low, dtype=torch.float64).unsqueeze(1)
    x1 = x0[torch.randperm(n_low, generator=generator)[:n_high]]
    x = torch.cat([at_level(x0, 0.0), at_level(x1, 1.0)])
    return x, torch.cat([low(x0), high(x1)])


@pytest.fixture(scope="module")
def model():
    return NonlinearAutoregressiveGP(*two_levels()).fit()


def test_a_bent_relation_of_levels_is_learned(model):
    """Perdikaris et al. (2017), section 3(a); no constant rho gives sin^2 from sin."""
    x = torch.linspace(0, 1, 150, dtype=torch.float64).unsqueeze(1)
    found = model.posterior(at_level(x, 1.0).unsqueeze(1))
    error = found.mean.reshape(-1) - high(x).squeeze(1)
    f, y = low(x).squeeze(1), high(x).squeeze(1)
    best_constant = (y - y.mean()) - (f @ (y - y.mean())) / (f @ f) * f
    assert error.square().mean().sqrt() < 0.15 * best_constant.square().mean().sqrt()
    inside = error.abs() < 1.96 * found.variance.reshape(-1).sqrt()
    assert inside.double().mean() > 0.6


def test_moments_are_those_of_plain_monte_carlo():
    """The chain drawn by hand: f_0, then f_1 at (x, f_0)."""
    x = torch.tensor([[0.031], [0.083], [0.972]], dtype=torch.float64)
    many = NonlinearAutoregressiveGP(*two_levels(12, 5), n_samples=1024).fit()
    found = many.posterior(at_level(x, 1.0)).distribution
    lower, upper = many.steps
    torch.manual_seed(0)
    below = lower.posterior(x).distribution.rsample(torch.Size([20000])).unsqueeze(-1)
    below = (below - many._data[0][1].mean()) / many._data[0][1].std()
    inputs = torch.cat([x.expand(20000, 3, 1), below], dim=-1)
    with torch.no_grad():
        draws = torch.cat(
            [
                upper.posterior(part).distribution.rsample()
                for part in inputs.split(2000)
            ]
        )
    sigma = draws.std(0)
    torch.testing.assert_close(
        found.mean, draws.mean(0), atol=0.06 * float(sigma.max()), rtol=0
    )
    torch.testing.assert_close(found.variance.sqrt(), sigma, rtol=0.1, atol=1e-4)
    correlation = torch.cov(draws.T) / sigma.outer(sigma)
    own = found.covariance_matrix / found.variance.sqrt().outer(found.variance.sqrt())
    torch.testing.assert_close(own, correlation, atol=0.1, rtol=0)
    assert sigma.max() > 0.05


def test_the_lowest_level_is_an_ordinary_process(model):
    x = torch.rand(4, 1, dtype=torch.float64)
    found = model.posterior(at_level(x, 0.0)).distribution
    plain = model.steps[0].posterior(x).distribution
    torch.testing.assert_close(found.mean, plain.mean)
    torch.testing.assert_close(
        found.covariance_matrix, plain.covariance_matrix, atol=1e-12, rtol=1e-6
    )


def test_batches_and_mixed_levels_are_what_each_row_says(model):
    x = torch.rand(3, 2, 1, dtype=torch.float64)
    mixed = torch.stack([at_level(x[:, 0], 0.0), at_level(x[:, 1], 1.0)], dim=1)
    found = model.posterior(mixed)
    assert found.mean.shape == (3, 2, 1)
    for k in range(3):
        one = model.posterior(mixed[k])
        torch.testing.assert_close(found.mean[k], one.mean)
        torch.testing.assert_close(found.variance[k], one.variance)
    eigenvalues = torch.linalg.eigvalsh(found.distribution.covariance_matrix)
    assert eigenvalues.min() > -1e-9


def test_noise_is_that_of_the_level():
    x, y = two_levels(20, 8)
    given = torch.where(x[:, 1:] == 0, 0.01, 0.25).double()
    model = NonlinearAutoregressiveGP(x, y, given).fit()
    query = torch.stack([x[0], x[-1]])
    latent = model.posterior(query).variance
    noisy = model.posterior(query, observation_noise=True).variance
    expected = torch.tensor([[0.01], [0.25]], dtype=torch.float64)
    torch.testing.assert_close(noisy - latent, expected)


def test_the_mean_has_a_slope_that_an_optimiser_can_follow(model):
    x = torch.tensor([[0.37]], dtype=torch.float64, requires_grad=True)
    mean = model.posterior(at_level(x, 1.0)).mean.sum()
    (slope,) = torch.autograd.grad(mean, x)
    step = 1e-5
    pair = [
        model.posterior(at_level(x.detach() + s, 1.0)).mean.sum() for s in (step, -step)
    ]
    numeric = (pair[0] - pair[1]) / (2 * step)
    torch.testing.assert_close(slope.sum(), numeric, rtol=1e-3, atol=1e-4)


def test_acquisition_functions_of_botorch_choose_with_it(model):
    choices = at_level(torch.linspace(0, 1, 40, dtype=torch.float64).unsqueeze(1), 1.0)
    bound = UpperConfidenceBound(model, beta=4.0)
    best, value = optimize_acqf_discrete(bound, q=1, choices=choices)
    with torch.no_grad():
        found = model.posterior(choices.unsqueeze(1))
    expected = found.mean.flatten() + 2.0 * found.variance.flatten().sqrt()
    assert value.item() == pytest.approx(expected.max().item(), rel=1e-6)
    torch.testing.assert_close(best[0], choices[expected.argmax()])


@pytest.mark.parametrize(
    ("change", "rule"),
    [
        (
            lambda x, y: (torch.cat([x[:, :1], 1.5 * x[:, 1:]], 1), y),
            "must be integers",
        ),
        (
            lambda x, y: (torch.cat([x[:, :1], 2 * x[:, 1:]], 1), y),
            "level 1 has no data",
        ),
        (lambda x, y: (x, y * torch.nan), "must be finite"),
    ],
)
def test_data_that_make_no_chain_are_refused(change, rule):
    with pytest.raises(ValueError, match=rule):
        NonlinearAutoregressiveGP(*change(*two_levels(6, 3)))


def test_nothing_is_predicted_before_the_fit():
    model = NonlinearAutoregressiveGP(*two_levels(6, 3))
    with pytest.raises(RuntimeError, match="call fit"):
        model.posterior(two_levels(6, 3)[0])


def test_one_label_of_the_highest_level_gives_a_sane_answer():
    model = NonlinearAutoregressiveGP(*two_levels(12, 1)).fit()
    x = torch.linspace(0, 1, 5, dtype=torch.float64).unsqueeze(1)
    found = model.posterior(at_level(x, 1.0))
    assert found.mean.isfinite().all()
    assert (found.variance > 0).all()
