"""A model with draws that is given more data is an ordinary model with more data."""

import pytest
import torch
from botorch.models.transforms import Normalize
from botorch.optim import optimize_acqf_discrete, optimize_acqf_mixed
from gpytorch.likelihoods import FixedNoiseGaussianLikelihood
from test_autoregressive_gp import fitted, two_levels
from test_autoregressive_gp_botorch import (
    BOUNDS,
    SMALL,
    entropy,
    knowledge_gradient,
    lower_bound,
)
from test_autoregressive_posterior import MODELS, with_draws

from mfal.models import AutoregressiveGP
from mfal.models.autoregressive_noise import NOISE_FLOOR


def given_variances(variance=1e-3):
    X, Y = two_levels()
    model = AutoregressiveGP(X, Y, torch.full_like(Y, variance))
    return fitted(model, n_samples=3)


KINDS = {
    "learned noise": MODELS["draws"],
    "given variances": given_variances,
    "scaled inputs": lambda: with_draws(
        AutoregressiveGP(*two_levels(), input_transform=Normalize(d=3, indices=[0, 1]))
    ),
}


@pytest.fixture(scope="module", params=KINDS)
def model(request):
    return KINDS[request.param]()


@pytest.fixture(scope="module")
def drawn():
    return MODELS["draws"]()


@pytest.fixture
def points(generator):
    x = torch.rand(3, 4, 3, generator=generator, dtype=torch.float64)
    x[..., -1] = x[..., -1].round()
    return x


def options(model, Y):
    fixed = isinstance(model.likelihood, FixedNoiseGaussianLikelihood)
    return {"noise": torch.full_like(Y, 1e-3)} if fixed else {}


def conditioned_on(model, X, Y):
    return model.condition_on_observations(X, Y, **options(model, Y))


def close(found, expected, tolerance=1e-8):
    tolerances = {"rtol": tolerance, "atol": tolerance}
    torch.testing.assert_close(found.mean, expected.mean, **tolerances)
    torch.testing.assert_close(found.variance, expected.variance, **tolerances)
    torch.testing.assert_close(
        found.distribution.covariance_matrix,
        expected.distribution.covariance_matrix,
        **tolerances,
    )


def test_data_without_a_batch_shape_become_rows(model, points):
    X, Y = points[0], points[0][:, :1]
    conditioned = conditioned_on(model, X, Y)
    n = len(model.train_targets)
    assert conditioned.train_inputs[0].shape == (n + 4, 3)
    assert conditioned.train_targets.shape == (n + 4,)
    assert conditioned.batch_shape == ()
    assert conditioned.hyperparameter_batch == model.hyperparameter_batch
    assert model.train_inputs[0].shape == (n, 3)
    torch.testing.assert_close(
        conditioned.train_inputs[0][n:], model.transform_inputs(X)
    )


def test_conditioning_is_that_of_a_batch_of_one(model, points):
    X, Y = points[0], points[0][:, :1]
    alone = conditioned_on(model, X, Y).posterior(points[1])
    batch = conditioned_on(model, X[None], Y[None])
    assert batch.train_inputs[0].shape[:-2] == (1, *model.hyperparameter_batch)
    found = batch.posterior(points[1])
    torch.testing.assert_close(found.mean[0], alone.mean, rtol=1e-8, atol=1e-8)
    torch.testing.assert_close(
        found.distribution.covariance_matrix[0],
        alone.distribution.covariance_matrix,
        rtol=1e-8,
        atol=1e-8,
    )


def test_conditioning_updates_what_all_data_would_give(model, points):
    conditioned = conditioned_on(model, points[0], points[0][:, :1])
    updated = conditioned.posterior(points[1])
    updated.distribution.covariance_matrix  # noqa: B018
    conditioned.train()  # GPyTorch forgets what it predicts with
    close(updated, conditioned.posterior(points[1]), 1e-7)


def test_conditioning_twice_is_conditioning_on_both(model, points):
    Y = points[..., :1]
    once = conditioned_on(model, points[:2].reshape(8, 3), Y[:2].reshape(8, 1))
    twice = conditioned_on(conditioned_on(model, points[0], Y[0]), points[1], Y[1])
    close(twice.posterior(points[2]), once.posterior(points[2]), 1e-7)


def test_a_model_that_has_not_predicted_is_conditioned(points):
    model = MODELS["draws"]()
    model.train()
    conditioned = conditioned_on(model, points[0], points[0][:, :1])
    after = conditioned_on(MODELS["draws"](), points[0], points[0][:, :1])
    close(conditioned.posterior(points[1]), after.posterior(points[1]))


def test_new_data_are_learned(model, points):
    X = points[0]
    wanted = model.posterior(X).mean.detach() + 0.05
    conditioned = conditioned_on(model, X, wanted)
    before = (model.posterior(X).mean - wanted).abs().sum()
    assert (conditioned.posterior(X).mean - wanted).abs().sum() < 0.9 * before
    assert (conditioned.posterior(X).variance < model.posterior(X).variance).all()


def test_variances_of_the_data_stay_as_given(points):
    model = given_variances(1e-8)
    tiny = torch.zeros_like(points[0][:, :1])
    conditioned = model.condition_on_observations(
        points[0], points[0][:, :1], noise=tiny
    )
    before, after = model.likelihood.noise, conditioned.likelihood.noise
    torch.testing.assert_close(after[: len(before)], before, rtol=1e-9, atol=0)
    unit = model.covar_module.level_unit[0][points[0, :, -1].long()]
    floor = NOISE_FLOOR * unit.square()
    torch.testing.assert_close(after[len(before) :], floor, rtol=1e-9, atol=0)


def test_a_conditioned_model_is_fitted_anew(points):
    X = points[0]
    conditioned = conditioned_on(MODELS["draws"](), X, X[:, :1])
    again = fitted(conditioned, n_samples=2)
    assert again.hyperparameter_batch == (2,)
    assert again.posterior(points[1]).mean.shape == (4, 1)


def test_slopes_go_through_the_data_that_were_given(drawn, points):
    Y = points[0][:, :1].clone().requires_grad_()
    conditioned = drawn.condition_on_observations(points[0], Y)
    assert conditioned.train_targets.requires_grad
    assert not drawn.condition_on_observations(
        points[0], points[0][:, :1]
    ).train_targets.requires_grad


@pytest.fixture(scope="module")
def conditioned():
    x = torch.rand(3, 3, generator=torch.Generator().manual_seed(4)).double()
    x[:, -1] = torch.tensor([0.0, 1.0, 1.0])
    model = fitted(AutoregressiveGP(*two_levels()), n_samples=16)
    return model.condition_on_observations(x, model.posterior(x).mean.detach())


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("make", [entropy, lower_bound, knowledge_gradient])
def test_a_conditioned_model_serves_multi_fidelity_acquisition(conditioned, make):
    candidate, value = optimize_acqf_mixed(
        make(conditioned),
        BOUNDS,
        q=1,
        num_restarts=2,
        raw_samples=4,
        fixed_features_list=[{2: 0.0}, {2: 1.0}],
        options=SMALL,
    )
    assert candidate[0, 2] in (0.0, 1.0)
    assert torch.isfinite(value)


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("make", [entropy, lower_bound])
def test_a_conditioned_model_serves_a_choice_among_points(conditioned, make, points):
    choices = points.reshape(-1, 3)
    picked, value = optimize_acqf_discrete(make(conditioned), q=1, choices=choices)
    assert any(torch.equal(picked[0], choice) for choice in choices)
    assert torch.isfinite(value)
