"""With gradients the model is a BoTorch model still; and what it refuses."""

import pytest
import torch
from botorch.acquisition import LogExpectedImprovement, UpperConfidenceBound
from botorch.acquisition.fixed_feature import FixedFeatureAcquisitionFunction
from botorch.models.transforms import Normalize, Standardize
from botorch.optim import optimize_acqf
from botorch.sampling import SobolQMCNormalSampler
from gpytorch.kernels import RBFKernel
from test_autoregressive_gradients import gradient_model, moved, two_levels

from mfal.models import AutoregressiveGP, with_gradients
from mfal.models.autoregressive_gradients import checked_gradients


@pytest.fixture(scope="module")
def data():
    return two_levels()


@pytest.fixture(scope="module", params=[(), (3,)], ids=["one", "draws"])
def model(request, data):
    return moved(gradient_model(*data), request.param)


@pytest.fixture
def asked(generator):
    x = torch.rand(5, 2, generator=generator, dtype=torch.float64)
    return torch.cat([x, torch.tensor([[1.0], [0.0], [1.0], [1.0], [0.0]]).double()], 1)


def test_batches_of_inputs_give_the_posteriors_of_each(model, generator):
    points = torch.rand(2, 2, 3, 3, generator=generator, dtype=torch.float64)
    points[..., -1] = points[..., -1].round()
    together, single = model.posterior(points), model.posterior(points[1, 0])
    torch.testing.assert_close(together.mean[1, 0], single.mean)
    torch.testing.assert_close(
        together.distribution.covariance_matrix[1, 0],
        single.distribution.covariance_matrix,
    )
    assert together.rsample(torch.Size([5])).shape == (5, 2, 2, 3, 1)
    noisy = model.posterior(points, observation_noise=True)
    assert (noisy.variance > together.variance).all()


@pytest.mark.parametrize("make", [LogExpectedImprovement, UpperConfidenceBound])
def test_analytic_acquisition_at_the_highest_level_is_optimised(model, make):
    acquisition = make(model, 0.5)
    at_top = FixedFeatureAcquisitionFunction(
        acquisition, d=3, columns=[2], values=[1.0]
    )
    bounds = torch.tensor([[0.0, 0.0], [1.0, 1.0]]).double()
    options = {"maxiter": 3}
    candidate, value = optimize_acqf(
        at_top, bounds, q=1, num_restarts=2, raw_samples=8, options=options
    )
    assert candidate.shape == (1, 2)
    assert torch.isfinite(value)


def test_conditioning_on_a_derivative_is_having_it_as_data(data, asked):
    X, Y, gradient_X, gradient_Y = data
    model = moved(gradient_model(X, Y, gradient_X[:-1], gradient_Y[:-1]))
    model.posterior(asked)
    new_X = gradient_X[-1:].repeat(2, 1)
    new_X[:, -1] += torch.tensor([1000.0, 2000.0]).double()
    new = model.condition_on_observations(new_X, gradient_Y[-1][:, None])
    whole = gradient_model(*data)
    whole.load_state_dict(model.state_dict())
    a, b = new.posterior(asked), whole.posterior(asked)
    torch.testing.assert_close(a.mean, b.mean, rtol=1e-3, atol=1e-3)
    torch.testing.assert_close(a.variance, b.variance, rtol=1e-2, atol=1e-4)
    sampler = SobolQMCNormalSampler(torch.Size([2]), seed=0)
    assert model.fantasize(asked[:2], sampler).posterior(asked).mean.shape == (2, 5, 1)


# --- what is refused


def test_wrong_shapes_and_levels_are_refused(data):
    X, Y, gradient_X, gradient_Y = data
    high_level = gradient_X + torch.tensor([0, 0, 1.0]).double()
    for bad_X, bad_Y, message in (
        (gradient_X[:, :2], gradient_Y, "gradient_X must be m x 3"),
        (gradient_X[:0], gradient_Y[:0], "gradient_X must be m x 3"),
        (gradient_X, gradient_Y[:, :1], "gradient_Y must be 6 x 2"),
        (gradient_X, torch.full_like(gradient_Y, torch.nan), "one derivative"),
        (gradient_X, torch.full_like(gradient_Y, torch.inf), "must be finite"),
        (gradient_X + torch.nan, gradient_Y, "gradient_X must be finite"),
        (gradient_X + 0.5, gradient_Y, "levels must be integers from 0 to 1"),
        (high_level, gradient_Y, "pass n_levels"),
    ):
        with pytest.raises(ValueError, match=message):
            gradient_model(X, Y, bad_X, bad_Y)
    variance = torch.ones_like(gradient_Y)
    for bad_Y, bad_Yvar, message in (
        (gradient_Y[:-1], None, "gradient_Y must be 6 x 2"),
        (gradient_Y, variance[:-1], "gradient_Yvar must be 6 x 2"),
        (gradient_Y, -variance, "gradient_Yvar must be variances"),
    ):
        with pytest.raises(ValueError, match=message):
            checked_gradients(AutoregressiveGP(X, Y), gradient_X, bad_Y, bad_Yvar)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"linear_rho": True}, "constant rho"),
        ({"n_inducing": 5}, "inducing points"),
        ({"kernels": [RBFKernel(), RBFKernel()]}, "default kernels"),
        ({"input_transform": Normalize(d=3, indices=[0, 1])}, "input_transform"),
        ({"outcome_transform": Standardize(m=1)}, "outcome_transform"),
        ({"train_Yvar": torch.ones(13, 1).double()}, "gradient_Yvar without"),
    ],
)
def test_models_whose_derivatives_are_not_known_are_refused(data, options, message):
    X, Y, gradient_X, gradient_Y = data
    with pytest.raises(ValueError, match=message):
        with_gradients(AutoregressiveGP(X, Y, **options), gradient_X, gradient_Y)


def test_gradients_are_given_once_and_before_the_fit(data, model):
    X, Y, gradient_X, gradient_Y = data
    with pytest.raises(ValueError, match="in one call"):
        with_gradients(model, gradient_X, gradient_Y)
    drawn = moved(AutoregressiveGP(X, Y), (2,))
    with pytest.raises(ValueError, match="before it is fitted"):
        with_gradients(drawn, gradient_X, gradient_Y)


def test_a_derivative_along_no_input_is_refused(model, asked):
    with pytest.raises(ValueError, match="along input 1 to 2"):
        model.posterior(asked + torch.tensor([0, 0, 3000.0]).double())
