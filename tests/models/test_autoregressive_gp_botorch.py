"""The Gaussian process of levels is a BoTorch model: whatever takes one takes it."""

import numpy as np
import pytest
import torch
from botorch.acquisition import qLogNoisyExpectedImprovement
from botorch.acquisition.cost_aware import InverseCostWeightedUtility
from botorch.acquisition.fixed_feature import FixedFeatureAcquisitionFunction
from botorch.acquisition.knowledge_gradient import qMultiFidelityKnowledgeGradient
from botorch.acquisition.max_value_entropy_search import (
    qLowerBoundMaxValueEntropy,
    qMultiFidelityMaxValueEntropy,
)
from botorch.acquisition.utils import project_to_target_fidelity
from botorch.fit import fit_gpytorch_mll
from botorch.models import ModelListGP
from botorch.models.cost import AffineFidelityCostModel
from botorch.models.transforms import Normalize
from botorch.optim import optimize_acqf, optimize_acqf_discrete, optimize_acqf_mixed
from botorch.sampling import SobolQMCNormalSampler
from botorch.utils.datasets import SupervisedDataset
from gpytorch.mlls import SumMarginalLogLikelihood
from test_autoregressive_gp import fitted, two_levels

from mfal.models import AutoregressiveGP

BOUNDS = torch.tensor([[0.0, 0.0, 0.0], [1.0, 1.0, 1.0]], dtype=torch.float64)
SMALL = {"batch_limit": 2, "maxiter": 2}


@pytest.fixture(scope="module", params=[1, 3], ids=["maximum", "draws"])
def model(request):
    return fitted(AutoregressiveGP(*two_levels()), n_samples=request.param)


@pytest.fixture
def points(generator):
    x = torch.rand(4, 3, 3, generator=generator, dtype=torch.float64)
    x[..., -1] = x[..., -1].round()
    return x


def test_batches_of_inputs_give_the_posteriors_of_each(model, points):
    together = model.posterior(points.reshape(2, 2, 3, 3))
    assert together.mean.shape == (2, 2, 3, 1)
    single = model.posterior(points[3])
    torch.testing.assert_close(together.mean[1, 1], single.mean)
    torch.testing.assert_close(
        together.distribution.covariance_matrix[1, 1],
        single.distribution.covariance_matrix,
    )
    assert together.rsample(torch.Size([5])).shape == (5, 2, 2, 3, 1)


def test_many_points_at_once_have_the_variances_of_few(model, generator):
    x = torch.rand(900, 3, generator=generator, dtype=torch.float64)
    x[:, -1] = 1.0
    many, few = model.posterior(x), model.posterior(x[:7])
    torch.testing.assert_close(many.variance[:7], few.variance, rtol=1e-6, atol=1e-9)


def test_noise_of_observations_is_that_of_the_level(model, points):
    quiet = model.posterior(points)
    noisy = model.posterior(points, observation_noise=True)
    unit = model.outcome_transform.stdvs[:, 0]
    noise = model.likelihood.noise.reshape(-1, 2).mean(0) * unit.square()
    added = noise[points[..., -1].long()].unsqueeze(-1)
    torch.testing.assert_close(
        noisy.variance - quiet.variance, added.detach(), rtol=1e-3, atol=1e-9
    )
    given = torch.full_like(points[..., :1], 0.25)
    torch.testing.assert_close(
        model.posterior(points[0], observation_noise=given[0]).variance
        - model.posterior(points[0]).variance,
        0.25 * unit[points[0, :, -1].long()].square().unsqueeze(-1),
    )


def test_slopes_with_respect_to_inputs_are_finite_differences(model):
    x = torch.tensor([[0.3, 0.6, 1.0]], dtype=torch.float64, requires_grad=True)
    (slope,) = torch.autograd.grad(model.posterior(x).mean.sum(), x)
    step = torch.tensor([[1e-5, 0.0, 0.0]], dtype=torch.float64)
    ahead, behind = (model.posterior(x + s).mean.sum() for s in (step, -step))
    torch.testing.assert_close(
        slope[0, 0], (ahead - behind).detach() / 2e-5, rtol=1e-4, atol=1e-5
    )


def test_conditioning_is_the_model_of_all_data(model, points):
    train_X, train_Y = two_levels()
    new_X = points[0]
    new_Y = new_X[:, :1] + 0.5
    model.posterior(new_X)
    conditioned = model.condition_on_observations(new_X, new_Y)
    whole = AutoregressiveGP(train_X, train_Y)
    whole.load_state_dict(model.state_dict())
    X, Y = torch.cat([train_X, new_X]), torch.cat([train_Y, new_Y])
    scaled, _ = whole.outcome_transform.eval()(Y, X=X)
    whole.set_train_data(X, scaled.squeeze(-1), strict=False)
    a, b = conditioned.posterior(points[1]), whole.posterior(points[1])
    torch.testing.assert_close(a.mean, b.mean, rtol=1e-3, atol=1e-3)
    torch.testing.assert_close(a.variance, b.variance, rtol=1e-2, atol=1e-4)


def test_fantasies_have_the_batch_shape_of_their_samples(model, points):
    fantasies = model.fantasize(points, SobolQMCNormalSampler(torch.Size([2]), seed=0))
    assert fantasies.batch_shape == (2, 4)
    posterior = fantasies.posterior(points[:, :2])
    assert posterior.mean.shape == (2, 4, 2, 1)
    before = model.posterior(points[:, :2]).variance
    assert (posterior.variance < before + 1e-6).all() or len(model.hyperparameter_batch)


def test_fantasies_of_given_variances_take_those_of_their_level(points):
    train_X, train_Y = two_levels()
    yvar = torch.where(train_X[:, -1:] == 1, 0.5, 0.01).double()
    model = fitted(AutoregressiveGP(train_X, train_Y, yvar), n_samples=3)
    sampler = SobolQMCNormalSampler(torch.Size([2]), seed=0)
    fantasies = model.fantasize(points, sampler)
    unit = model.outcome_transform.stdvs[:, 0].square()
    expected = (torch.tensor([0.01, 0.5]).double() / unit)[points[..., -1].long()]
    added = fantasies.likelihood.noise[..., -3:]
    torch.testing.assert_close(
        added[0, :, 0] if added.dim() == 4 else added[:, 0], expected
    )


def test_state_goes_round(model, points):
    other = AutoregressiveGP(*two_levels())
    other.load_state_dict(model.state_dict())
    torch.testing.assert_close(
        other.posterior(points).mean, model.posterior(points).mean, rtol=1e-6, atol=1e-8
    )


def test_subset_of_its_one_output_is_itself(model, points):
    subset = model.subset_output([0])
    torch.testing.assert_close(
        subset.posterior(points).mean, model.posterior(points).mean
    )
    with pytest.raises(ValueError, match="one output"):
        model.subset_output([1])


def test_model_lists_fit_and_predict(points):
    models = [AutoregressiveGP(*two_levels(seed=s)) for s in (0, 1)]
    both = ModelListGP(*models)
    fit_gpytorch_mll(SumMarginalLogLikelihood(both.likelihood, both), n_samples=2)
    assert both.posterior(points[0]).mean.shape == (3, 2)


def test_datasets_of_botorch_make_one():
    X, Y = two_levels()
    dataset = SupervisedDataset(
        X, Y, feature_names=["a", "b", "level"], outcome_names=["y"]
    )
    inputs = AutoregressiveGP.construct_inputs(dataset, fidelity_features=[2])
    assert AutoregressiveGP(**inputs).fidelity_column == 2


def cost_utility():
    cost = AffineFidelityCostModel(fidelity_weights={2: 1.0}, fixed_cost=0.1)
    return InverseCostWeightedUtility(cost_model=cost)


def project(X):
    return project_to_target_fidelity(X, target_fidelities={2: 1.0}, d=3)


def entropy(model):
    candidates = torch.rand(50, 3, generator=torch.Generator().manual_seed(0)).double()
    return qMultiFidelityMaxValueEntropy(
        model,
        project(candidates),
        num_fantasies=2,
        num_mv_samples=2,
        num_y_samples=4,
        cost_aware_utility=cost_utility(),
        project=project,
    )


def lower_bound(model):
    candidates = torch.rand(50, 3, generator=torch.Generator().manual_seed(0)).double()
    return qLowerBoundMaxValueEntropy(model, project(candidates), num_mv_samples=2)


def knowledge_gradient(model):
    return qMultiFidelityKnowledgeGradient(
        model,
        num_fantasies=2,
        current_value=torch.zeros(1).double(),
        cost_aware_utility=cost_utility(),
        project=project,
    )


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("make", [entropy, lower_bound, knowledge_gradient])
def test_multi_fidelity_acquisition_is_optimised_over_points_and_levels(model, make):
    candidate, value = optimize_acqf_mixed(
        make(model),
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
def test_improvement_at_the_highest_level_is_optimised(model):
    X, _ = two_levels()
    improvement = qLogNoisyExpectedImprovement(
        model,
        X_baseline=X[X[:, -1] == 1],
        sampler=SobolQMCNormalSampler(torch.Size([4]), seed=0),
    )
    at_top = FixedFeatureAcquisitionFunction(
        improvement, d=3, columns=[2], values=[1.0]
    )
    candidate, _ = optimize_acqf(
        at_top, BOUNDS[:, :2], q=1, num_restarts=2, raw_samples=4, options=SMALL
    )
    assert candidate.shape == (1, 2)
    choices = torch.tensor(np.linspace(0, 1, 8).reshape(4, 2))
    picked, _ = optimize_acqf_discrete(at_top, q=2, choices=choices)
    assert all(any(torch.equal(p, c) for c in choices) for p in picked)


def test_conditioning_goes_through_transforms_of_inputs(points):
    X, Y = two_levels()
    transform = Normalize(d=3, indices=[0, 1])
    model = fitted(AutoregressiveGP(X, Y, input_transform=transform), n_samples=3)
    model.posterior(points[0])  # BoTorch conditions a model that has predicted
    conditioned = model.condition_on_observations(points[0], points[0][:, :1])
    assert conditioned.posterior(points[1]).mean.shape == (3, 1)
