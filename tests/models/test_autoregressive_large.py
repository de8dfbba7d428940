"""A lowest level of many points goes through inducing points, and nothing else changes."""

import logging

import pytest
import torch
from botorch.models.transforms import Normalize, Warp
from botorch.sampling import SobolQMCNormalSampler
from gpytorch.kernels import MaternKernel
from test_autoregressive_gp import fitted, two_levels
from torch.distributions import MultivariateNormal

from mfal.models import AutoregressiveGP, fidelity_diagnosis
from mfal.models.autoregressive_density import (
    joint_density,
    log_prior,
    lower_posterior,
    sorted_rows,
)
from mfal.models.autoregressive_inducing import inducing_posterior, pivoted_inducing
from mfal.models.autoregressive_large import know_lowest, known_lowest_held

N_LOW = 60


@pytest.fixture(scope="module")
def data():
    X, Y = two_levels(n_low=N_LOW, n_high=12)
    top = X[-4:].clone()
    top[:, -1] = 2.0
    return torch.cat([X, top]), torch.cat([Y, 0.5 * Y[-4:] + top[:, :1]])


@pytest.fixture
def asked(generator):
    x = torch.rand(7, 3, generator=generator, dtype=torch.float64)
    x[:, -1] = torch.tensor([0.0, 1.0, 2.0, 2.0, 1.0, 0.0, 2.0])
    return x


def with_noise(model, excess=1e-4):
    """Off the starting values, and with noise that keeps dense algebra well-conditioned."""
    model.likelihood.noise_covar.excess = torch.full((model.n_levels,), excess)
    model.covar_module.rho = torch.tensor([0.9, 0.6][: model.n_levels - 1])
    return model


def pair(data, n_inducing, **options):
    models = [
        with_noise(AutoregressiveGP(*data, n_inducing=m, **options))
        for m in (n_inducing, 0)
    ]
    for model in models:
        if options.get("linear_rho"):
            slope = model.covar_module.slope
            slope.data += torch.tensor([0.3, -0.2]).to(slope)
    return models


@pytest.mark.parametrize(
    "options",
    [
        {},
        {"linear_rho": True},
        {"kernels": [MaternKernel(nu=1.5), MaternKernel(), MaternKernel()]},
        {"input_transform": Normalize(d=3, indices=[0, 1])},
        {"outcome_transform": None},
    ],
    ids=["default", "linear_rho", "kernels", "transform", "units"],
)
def test_with_all_points_inducing_it_is_the_dense_model(data, asked, options):
    large, dense = (m.posterior(asked) for m in pair(data, N_LOW, **options))
    torch.testing.assert_close(large.mean, dense.mean, rtol=1e-6, atol=1e-6)
    torch.testing.assert_close(
        large.distribution.covariance_matrix,
        dense.distribution.covariance_matrix,
        rtol=1e-6,
        atol=1e-6,
    )


def test_the_same_with_given_variances(data, asked):
    noise = (
        0.01 + 0.1 * torch.rand(len(data[1]), 1, generator=torch.Generator())
    ).double()
    large, dense = (
        AutoregressiveGP(*data, noise, n_inducing=m).posterior(
            asked, observation_noise=True
        )
        for m in (N_LOW, 0)
    )
    torch.testing.assert_close(large.mean, dense.mean, rtol=1e-6, atol=1e-6)
    torch.testing.assert_close(large.variance, dense.variance, rtol=1e-6, atol=1e-6)


def test_new_data_condition_both_alike(data, asked):
    new = torch.tensor([[0.2, 0.4, 0.0], [0.7, 0.1, 1.0], [0.5, 0.9, 2.0]]).double()
    means = []
    for model in pair(data, N_LOW):
        model.posterior(asked)
        conditioned = model.condition_on_observations(new, new[:, :1])
        means.append(conditioned.posterior(asked).mean)
    torch.testing.assert_close(*means, rtol=1e-6, atol=1e-6)


@pytest.mark.parametrize("level", [1, 2])
def test_the_fit_of_a_level_sees_the_same_lower_levels(data, level):
    large, dense = (
        lower_posterior(model, sorted_rows(model), level)
        for model in map(known, pair(data, N_LOW, outcome_transform=None))
    )
    torch.testing.assert_close(large.mean, dense.mean, rtol=1e-6, atol=1e-6)
    torch.testing.assert_close(large.covariance, dense.covariance, rtol=1e-6, atol=1e-6)


def known(model):
    if model.lowest is not None:
        know_lowest(model)
    return model.eval()


def test_evidence_factors_into_that_of_the_lowest_level_and_the_rest(data):
    """log p(y_0) + log p(y_1, y_2 | y_0) = log p(y), with all points inducing."""
    large, dense = pair(data, N_LOW)
    whole = joint_density(dense.eval(), sorted_rows(dense)) - log_prior(dense)
    rest = large.train()(*large.train_inputs)
    likelihood = large.likelihood(rest, *large.train_inputs)
    upper = likelihood.log_prob(large.train_targets)
    unit = large.covar_module.level_unit[0]
    lowest = large.covar_module.known.log_evidence - N_LOW * float(unit.log())
    found = lowest + float(upper.detach())
    assert found == pytest.approx(float(whole.detach()), rel=1e-7)


def dense_fitc(kernel, offset, z, x, y, noise, asked):
    """Quinonero-Candela & Rasmussen (2005), equations 22 to 24, by dense algebra."""

    def k(a, b):
        return kernel(a, b).to_dense() + offset

    def q(a, b):
        return k(a, z) @ torch.linalg.solve(k(z, z), k(z, b))

    covariance = q(x, x) + (k(x, x) - q(x, x)).diag().diag() + noise.diag()
    weights = torch.linalg.solve(covariance, q(x, asked)).mT
    evidence = MultivariateNormal(torch.zeros_like(y), covariance).log_prob(y)
    return weights @ y, k(asked, asked) - weights @ q(x, asked), evidence


def test_woodbury_is_dense_algebra(generator):
    x, z, asked = (
        torch.rand(n, 2, generator=generator, dtype=torch.float64) for n in (40, 9, 6)
    )
    y, noise = torch.sin(6 * x).sum(1), 0.01 + 0.1 * x[:, 0]
    kernel = MaternKernel(nu=1.5).double()
    kernel.lengthscale = 0.4
    known = inducing_posterior(kernel, 0.5, z, x, y, noise)
    mean, covariance, evidence = dense_fitc(kernel, 0.5, z, x, y, noise, asked)
    found = kernel(asked).to_dense() + 0.5 - known.explained(asked, asked)
    torch.testing.assert_close(known.mean(asked), mean)
    torch.testing.assert_close(found, covariance)
    torch.testing.assert_close(
        known.explained_pairs(asked, asked), known.explained(asked, asked).diag()
    )
    for few, many in ((asked[:1], asked), (asked, asked[:1])):
        rows, columns = len(few), len(many)
        torch.testing.assert_close(
            known.explained(few, many), known.explained(asked, asked)[:rows, :columns]
        )
    assert known.log_evidence == pytest.approx(float(evidence.detach()))


def test_blocks_of_rows_add_up(generator, monkeypatch):
    x = torch.rand(40, 2, generator=generator, dtype=torch.float64)
    arguments = (MaternKernel().double(), 1.0, x[:5], x, x[:, 0], x[:, 1] + 0.1)
    whole = inducing_posterior(*arguments)
    monkeypatch.setattr("mfal.models.autoregressive_inducing.BLOCK", 7)
    parts = inducing_posterior(*arguments)
    torch.testing.assert_close(parts.coefficients, whole.coefficients)
    assert parts.log_evidence == pytest.approx(whole.log_evidence)


def test_each_inducing_point_has_the_largest_variance_given_those_before(generator):
    x = torch.rand(30, 2, generator=generator, dtype=torch.float64)
    kernel = MaternKernel(nu=1.5).double()
    chosen = rows_of(pivoted_inducing(kernel, x, 8), x)
    k = kernel(x).to_dense()
    for m in range(1, 8):
        z = chosen[:m]
        left = k - k[:, z] @ torch.linalg.solve(k[z][:, z], k[z])
        assert int(left.diag().argmax()) == int(chosen[m])


def rows_of(points, x):
    return (points[:, None] == x).all(-1).long().argmax(1)


def test_inputs_of_upper_levels_are_inducing_points_up_to_half(generator):
    x = torch.rand(30, 2, generator=generator, dtype=torch.float64)
    first = torch.rand(4, 2, generator=generator, dtype=torch.float64)
    kernel = MaternKernel(nu=1.5).double()
    points = pivoted_inducing(kernel, x, 8, first)
    assert sorted(points[:4].tolist()) == sorted(first.tolist())
    assert len(points.unique(dim=0)) == 8
    few = pivoted_inducing(kernel, x, 4, first)
    assert sorted(few[:2].tolist()) == sorted(first[::2].tolist())


def test_points_that_are_explained_are_no_inducing_points():
    x = torch.tensor([[0.1], [0.5], [0.1], [0.5]]).double()
    assert len(pivoted_inducing(MaternKernel().double(), x, 4)) == 2


def test_more_inducing_points_bring_the_dense_model_nearer(data, generator):
    asked = torch.rand(60, 3, generator=generator, dtype=torch.float64)
    asked[:, -1] = torch.arange(60) % 3
    dense = with_noise(AutoregressiveGP(*data, n_inducing=0)).posterior(asked)
    distances = []
    for m in (4, 12, 36, N_LOW):
        large = with_noise(AutoregressiveGP(*data, n_inducing=m)).posterior(asked)
        distances.append(float((large.mean - dense.mean).norm().detach()))
    assert distances == sorted(distances, reverse=True)
    assert distances[-1] < 1e-6 < distances[0]


@pytest.fixture(scope="module")
def drawn():
    return fitted(AutoregressiveGP(*two_levels(), n_inducing=12), n_samples=3)


def test_a_fit_is_that_of_the_dense_model_level_by_level(drawn, asked):
    """The levels' best values, and with all points inducing the draws, are the same."""
    asked = asked.clamp_max(1.0)
    model = AutoregressiveGP(*two_levels(), n_inducing=0)
    dense = fitted(model, n_samples=3)
    assert drawn.hyperparameter_batch == (3,)
    torch.testing.assert_close(
        drawn.posterior(asked).mean, dense.posterior(asked).mean, rtol=0, atol=0.05
    )


def test_hyperparameters_that_change_by_hand_take_the_posterior_with_them(data, asked):
    large, dense = pair(data, N_LOW)
    large.posterior(asked)
    for model in (large, dense):
        model.covar_module.kernels[0].base_kernel.lengthscale = torch.tensor([0.3, 0.5])
        model.train()
    torch.testing.assert_close(
        large.posterior(asked).mean, dense.posterior(asked).mean, rtol=1e-6, atol=1e-6
    )


def test_an_optimiser_of_the_caller_leaves_the_lowest_kernel_where_it_was(data):
    model = AutoregressiveGP(*data, n_inducing=20)
    with known_lowest_held(model):
        held = [name for name, p in model.named_parameters() if not p.requires_grad]
    assert held
    assert all("kernels.0" in name for name in held)
    assert all(p.requires_grad for p in model.parameters())


def test_state_goes_round_and_draws_make_batches_and_fantasies(drawn, asked):
    asked = asked.clamp_max(1.0)
    other = AutoregressiveGP(*two_levels(), n_inducing=12)
    other.load_state_dict(drawn.state_dict())
    expected = drawn.posterior(asked)
    torch.testing.assert_close(other.posterior(asked).mean, expected.mean)
    batch = drawn.posterior(asked.expand(2, 4, 7, 3))
    torch.testing.assert_close(batch.mean[1, 2], expected.mean)
    fantasies = drawn.fantasize(asked, SobolQMCNormalSampler(torch.Size([2]), seed=0))
    assert fantasies.posterior(asked[:2]).mean.shape == (2, 2, 1)


def test_many_points_at_once_have_the_variances_of_few(drawn, generator):
    x = torch.rand(900, 3, generator=generator, dtype=torch.float64)
    x[:, -1] = 1.0
    many, few = drawn.posterior(x), drawn.posterior(x[:7])
    torch.testing.assert_close(many.mean[:7], few.mean)
    torch.testing.assert_close(many.variance[:7], few.variance, rtol=1e-6, atol=1e-9)


def test_a_diagnosis_asks_for_the_data_themselves(drawn):
    with pytest.raises(ValueError, match="pass the data themselves"):
        fidelity_diagnosis(drawn, costs=[1.0, 5.0])


def test_slopes_with_respect_to_inputs_are_finite_differences(data):
    model = with_noise(AutoregressiveGP(*data, n_inducing=20))
    x = torch.tensor([[0.3, 0.6, 1.0]], dtype=torch.float64, requires_grad=True)
    (slope,) = torch.autograd.grad(model.posterior(x).mean.sum(), x)
    step = torch.tensor([[1e-5, 0.0, 0.0]], dtype=torch.float64)
    ahead, behind = (model.posterior(x + s).mean.sum() for s in (step, -step))
    torch.testing.assert_close(
        slope[0, 0], (ahead - behind).detach() / 2e-5, rtol=1e-5, atol=1e-6
    )


def test_a_large_level_says_that_it_goes_through_inducing_points(caplog):
    X, Y = two_levels(n_low=2001)
    with caplog.at_level(logging.INFO, logger="mfal"):
        AutoregressiveGP(X, Y)
    assert "2001 points through at most 1500 inducing points" in caplog.text


def test_a_level_of_up_to_2000_points_stays_dense(caplog):
    X, Y = two_levels(n_low=2000)
    with caplog.at_level(logging.INFO, logger="mfal"):
        model = AutoregressiveGP(X, Y)
    assert model.lowest is None
    assert caplog.text == ""


@pytest.mark.parametrize("wrong", [-1, N_LOW + 1])
def test_a_number_of_inducing_points_out_of_range_is_refused(data, wrong):
    with pytest.raises(ValueError, match=r"from 0 \(dense\) to the 60 points"):
        AutoregressiveGP(*data, n_inducing=wrong)


def test_a_lowest_level_alone_is_refused(data):
    low = data[0][:, -1] == 0
    with pytest.raises(ValueError, match="needs data at a level above"):
        AutoregressiveGP(data[0][low], data[1][low], n_inducing=10)


def test_upper_levels_that_do_not_fit_are_refused():
    X = torch.zeros(6002, 2).double()
    X[1:, -1] = 1.0
    with pytest.raises(ValueError, match=r"at most 6000 rows .* upper levels"):
        AutoregressiveGP(X, X[:, :1], n_inducing=1)


def test_a_transform_that_learns_is_refused(data):
    warp = Warp(d=3, indices=[0, 1])
    with pytest.raises(ValueError, match="cannot be learned with inducing points"):
        AutoregressiveGP(*data, n_inducing=10, input_transform=warp)
