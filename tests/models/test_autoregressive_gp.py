"""A Gaussian process of levels: what it computes, and what data it takes."""

import laws
import numpy as np
import pytest
import textbook
import torch
from botorch.exceptions.errors import BotorchTensorDimensionError
from botorch.fit import fit_gpytorch_mll
from botorch.models.transforms import Normalize, Standardize
from gpytorch.kernels import MaternKernel, RBFKernel, ScaleKernel
from gpytorch.mlls import ExactMarginalLogLikelihood

from mfal.models import AutoregressiveGP
from mfal.models.autoregressive_density import joint_density, sorted_rows
from mfal.models.autoregressive_kernel import SmoothMaternKernel
from mfal.models.autoregressive_parameters import ParameterVector
from mfal.models.autoregressive_prior import share_within


def two_levels(n_low=12, n_high=4, seed=0, d=2):
    generator = torch.Generator().manual_seed(seed)
    x = torch.rand(n_low, d, generator=generator, dtype=torch.float64)
    low = torch.sin(5 * x[:, :1]) + x[:, 1:].square().sum(-1, keepdim=True)
    high = 2 * low + 0.3 * x[:, :1] - 1
    level = torch.zeros(n_low, 1).double()
    train_X = torch.cat(
        [torch.cat([x, level], 1), torch.cat([x, level + 1], 1)[:n_high]]
    )
    return train_X, torch.cat([low, high[:n_high]])


def fitted(model, **options):
    fit_gpytorch_mll(ExactMarginalLogLikelihood(model.likelihood, model), **options)
    return model


@pytest.fixture(scope="module")
def data():
    return two_levels()


@pytest.fixture(scope="module")
def model(data):
    return fitted(AutoregressiveGP(*data), n_samples=4)


@pytest.fixture
def asked():
    generator = torch.Generator().manual_seed(7)
    x = torch.rand(5, 2, generator=generator, dtype=torch.float64)
    return torch.cat([x, torch.tensor([[1.0], [0.0], [1.0], [1.0], [0.0]]).double()], 1)


def dense_posterior(model, draw, train_X, train_Y, asked):
    """Kennedy & O'Hagan by naive algebra, for one draw of the hyperparameters."""
    kernel = model.covar_module
    scale = model.outcome_transform.stdvs[:, 0]
    mean = model.outcome_transform.means[:, 0]
    unit = kernel.level_unit.reshape(-1, 2)[draw]
    rho = kernel.rho.reshape(-1, 1)[draw]
    offset = model.mean_module.values

    def part(m, x1, x2):
        base = kernel.kernels[m]
        length = base.base_kernel.lengthscale.reshape(-1, 2)[draw]
        variance = base.outputscale.reshape(-1)[draw]
        w = base.base_kernel.smoothness.reshape(-1)[draw]

        def phi(a, b):
            pair = (a / length, b / length, torch.ones((), dtype=torch.float64))
            return (1 - w) * textbook.matern52(*pair) + w * textbook.rbf(*pair)

        rows = [torch.stack([phi(a, b) for b in x2]) for a in x1]
        return variance * torch.stack(rows) + 1.0

    def up(X):
        level = X[:, -1].long()
        along = torch.stack([textbook.recursion(rho, int(k)) for k in level])
        return along * (unit * scale)[level][:, None]

    def covariance(A, B):
        return sum(
            up(A)[:, m, None] * part(m, A[:, :-1], B[:, :-1]) * up(B)[:, m]
            for m in (0, 1)
        )

    noise = (model.likelihood.noise.reshape(-1, 2)[draw] * scale.square())[
        train_X[:, -1].long()
    ]
    shift = mean + offset * scale
    cross = covariance(asked, train_X)
    return textbook.conditioned(
        covariance(asked, asked).detach().numpy(),
        cross.detach().numpy(),
        (covariance(train_X, train_X) + noise.diag()).detach().numpy(),
        (train_Y[:, 0] - shift[train_X[:, -1].long()]).detach().numpy(),
    ), shift[asked[:, -1].long()].numpy()


def test_posterior_is_that_of_the_textbook(data, asked):
    model = fitted(AutoregressiveGP(*data), n_samples=1)
    (mean, covariance), shift = dense_posterior(model, 0, *data, asked)
    posterior = model.posterior(asked)
    np.testing.assert_allclose(
        posterior.mean[:, 0].detach().numpy(), mean + shift, rtol=1e-5, atol=1e-6
    )
    np.testing.assert_allclose(
        posterior.distribution.covariance_matrix.detach().numpy(), covariance, atol=1e-6
    )


def test_draws_of_hyperparameters_are_mixed_by_their_moments(model, data, asked):
    parts = [dense_posterior(model, h, *data, asked) for h in range(4)]
    means = np.stack([mean + shift for (mean, _), shift in parts])
    within = np.mean([covariance for (_, covariance), _ in parts], axis=0)
    between = np.cov(means.T, bias=True)
    posterior = model.posterior(asked)
    np.testing.assert_allclose(
        posterior.mean[:, 0].detach().numpy(), means.mean(0), rtol=1e-5, atol=1e-5
    )
    np.testing.assert_allclose(
        posterior.distribution.covariance_matrix.detach().numpy(),
        within + between,
        atol=1e-5,
    )


@pytest.mark.parametrize("linear_rho", [False, True])
@pytest.mark.parametrize(
    "kernels",
    [lambda: None, lambda: [ScaleKernel(RBFKernel()), MaternKernel(nu=1.5)]],
    ids=["default", "given"],
)
def test_density_and_slope_are_those_of_gpytorch(data, kernels, linear_rho):
    model = AutoregressiveGP(*data, kernels=kernels(), linear_rho=linear_rho)
    mll = ExactMarginalLogLikelihood(model.likelihood, model)
    if linear_rho:
        model.covar_module.slope.data += torch.tensor([0.3, -0.2]).double()
    vector = ParameterVector(mll.eval())
    value = joint_density(model, sorted_rows(model))
    value.backward()
    slope = vector.slope()
    mll.train()
    model.zero_grad()
    output = model(*model.train_inputs)
    expected = mll(output, model.train_targets, *model.train_inputs) * len(data[0])
    expected.backward()
    torch.testing.assert_close(value, expected)
    torch.testing.assert_close(slope, vector.slope(), rtol=1e-6, atol=1e-8)


def test_a_batch_of_vectors_has_the_densities_of_each(data):
    model = AutoregressiveGP(*data)
    vector = ParameterVector(ExactMarginalLogLikelihood(model.likelihood, model).eval())
    z = vector.read() + 0.1 * torch.arange(3).double()[:, None]
    rows = sorted_rows(model)
    single = []
    for one in z:
        vector.write(one)
        single.append(joint_density(model, rows))
    vector.write(z)
    torch.testing.assert_close(joint_density(model, rows), torch.stack(single))


def test_noiseless_data_are_interpolated(model, data):
    posterior = model.posterior(data[0])
    torch.testing.assert_close(posterior.mean, data[1], rtol=0, atol=2e-2)


def test_affine_maps_of_the_levels_do_not_matter(model, data, asked):
    level = data[0][:, -1:]
    factor = torch.where(level == 0, 100.0, 0.01)
    shift = torch.where(level == 0, 1000.0, -3.0)
    mapped = fitted(
        AutoregressiveGP(data[0], factor * data[1] + shift), n_samples=4
    ).posterior(asked)
    plain = model.posterior(asked)
    scale = torch.where(asked[:, -1:] == 0, 100.0, 0.01)
    offset = torch.where(asked[:, -1:] == 0, 1000.0, -3.0)
    torch.testing.assert_close(
        mapped.mean, scale * plain.mean + offset, rtol=1e-3, atol=1e-3
    )


def test_the_fit_is_the_same_every_time(model, data, asked):
    again = fitted(AutoregressiveGP(*data), n_samples=4)
    torch.testing.assert_close(again.posterior(asked).mean, model.posterior(asked).mean)


def test_the_step_between_levels_is_found(model):
    assert abs(float(model.rho) - 2.0) < 0.3
    assert model.rho_error.shape == (1,)


def test_one_level_is_a_single_gaussian_process():
    train_X, train_Y = two_levels()
    low = train_X[:, -1] == 0
    model = fitted(AutoregressiveGP(train_X[low], train_Y[low]), n_samples=4)
    assert model.posterior(train_X[low]).mean.shape == (12, 1)
    assert model.rho.shape == (0,)


def test_a_level_without_data_below_one_with_data_works():
    train_X, train_Y = two_levels()
    train_X[train_X[:, -1] == 1, -1] = 2.0
    model = fitted(AutoregressiveGP(train_X, train_Y), n_samples=4)
    posterior = model.posterior(train_X[-2:])
    torch.testing.assert_close(posterior.mean, train_Y[-2:], rtol=0, atol=1e-2)


def test_levels_that_wait_for_data_can_be_asked():
    train_X, train_Y = two_levels()
    model = fitted(AutoregressiveGP(train_X, train_Y, n_levels=3), n_samples=4)
    top = train_X[:3].clone()
    top[:, -1] = 2.0
    low = train_X[:3].clone()
    low[:, -1] = 1.0
    assert (model.posterior(top).variance > model.posterior(low).variance).all()


@pytest.mark.parametrize("n_high", [1, 2])
def test_very_few_high_data_give_wide_intervals(n_high):
    train_X, train_Y = two_levels(n_high=n_high)
    model = fitted(AutoregressiveGP(train_X, train_Y))
    rest = train_X[2:12].clone()
    truth = 2 * train_Y[2:12] + 0.3 * rest[:, :1] - 1
    rest[:, -1] = 1.0
    posterior = model.posterior(rest)
    assert ((truth - posterior.mean).abs() < 3 * posterior.variance.sqrt()).all()


def test_constant_targets_give_the_constant():
    train_X, train_Y = two_levels()
    model = fitted(
        AutoregressiveGP(train_X, torch.full_like(train_Y, 3.0)), n_samples=4
    )
    posterior = model.posterior(train_X[:2] + torch.tensor([0.01, 0.0, 0.0]))
    torch.testing.assert_close(posterior.mean, torch.full((2, 1), 3.0).double())


def test_duplicates_with_different_values_are_noise():
    train_X, train_Y = two_levels(n_high=6)
    train_X = torch.cat([train_X, train_X[-6:]])
    train_Y = torch.cat([train_Y, train_Y[-6:] + 0.5])
    model = fitted(AutoregressiveGP(train_X, train_Y), n_samples=4)
    mean = model.posterior(train_X[-6:]).mean
    assert ((mean - train_Y[-6:] + 0.25).abs() < 0.3).all()


def test_given_variances_are_used():
    train_X, train_Y = two_levels()
    loose = torch.where(train_X[:, -1:] == 1, 1.0, 1e-6).double()
    model = fitted(AutoregressiveGP(train_X, train_Y, loose), n_samples=4)
    high = train_X[train_X[:, -1] == 1]
    quiet, noisy = model.posterior(high), model.posterior(high, observation_noise=True)
    torch.testing.assert_close(
        noisy.variance - quiet.variance, torch.ones(4, 1).double(), rtol=1e-4, atol=1e-4
    )


def test_the_level_may_stand_in_any_column(model, data, asked):
    first = [2, 0, 1]
    moved = fitted(
        AutoregressiveGP(data[0][:, first], data[1], fidelity_column=0), n_samples=4
    )
    torch.testing.assert_close(
        moved.posterior(asked[:, first]).mean, model.posterior(asked).mean
    )


@pytest.mark.parametrize("wrong", [0.5, -1.0, 1e3])
def test_a_level_that_is_no_index_is_refused(wrong):
    train_X, train_Y = two_levels()
    train_X[0, -1] = wrong
    with pytest.raises(ValueError, match="levels must be integers"):
        AutoregressiveGP(train_X, train_Y, n_levels=2)


@pytest.mark.parametrize("name", ["train_X", "train_Y"])
def test_missing_values_are_refused_with_their_row(name):
    train_X, train_Y = two_levels()
    {"train_X": train_X, "train_Y": train_Y}[name][3, 0] = torch.nan
    with pytest.raises(ValueError, match=rf"{name} must be finite.*\[3\]"):
        AutoregressiveGP(train_X, train_Y)


def test_wrong_shapes_are_refused():
    train_X, train_Y = two_levels()
    errors = (ValueError, BotorchTensorDimensionError, TypeError)
    with pytest.raises(errors):
        AutoregressiveGP(train_X, train_Y[:-1])
    with pytest.raises(errors):
        AutoregressiveGP(train_X, torch.cat([train_Y, train_Y], 1))


def test_a_transform_that_changes_the_level_is_refused():
    train_X, train_Y = two_levels()
    train_X[:, -1] *= 2
    with pytest.raises(ValueError, match="must leave the level in column 2"):
        AutoregressiveGP(train_X, train_Y, input_transform=Normalize(d=3))


def test_one_kernel_per_level_is_asked_for(data):
    with pytest.raises(ValueError, match="2 levels need 2 kernels, got 1"):
        AutoregressiveGP(*data, kernels=[RBFKernel()])


def test_transforms_of_the_caller_are_honoured(model, data, asked):
    scaled = data[0] * torch.tensor([10.0, 0.1, 1.0]).double()
    transformed = fitted(
        AutoregressiveGP(
            scaled,
            data[1],
            input_transform=Normalize(d=3, indices=[0, 1]),
            outcome_transform=Standardize(m=1),
        ),
        n_samples=4,
    )
    there = asked * torch.tensor([10.0, 0.1, 1.0]).double()
    torch.testing.assert_close(
        transformed.posterior(there).mean, model.posterior(asked).mean, rtol=0, atol=0.1
    )


def test_more_rows_than_fit_in_memory_are_refused():
    with pytest.raises(ValueError, match=r"at most 6000 rows .* got 6001"):
        AutoregressiveGP(torch.zeros(6001, 2).double(), torch.zeros(6001, 1).double())


@pytest.mark.parametrize("weight", [-30.0, 0.3, 30.0])
def test_the_default_kernel_lies_between_matern_and_rbf(weight):
    kernel = SmoothMaternKernel(ard_num_dims=2).double()
    kernel.lengthscale = torch.tensor([0.4, 1.3])
    kernel.raw_smoothness.data.fill_(weight)
    x = torch.rand(5, 2, generator=torch.Generator().manual_seed(0)).double()
    u, w = x / torch.tensor([0.4, 1.3]).double(), torch.sigmoid(torch.tensor(weight))
    one = torch.ones((), dtype=torch.float64)
    ends = [
        torch.stack([torch.stack([k(a, b, one) for b in u]) for a in u])
        for k in (textbook.matern52, textbook.rbf)
    ]
    expected = (1 - w) * ends[0] + w * ends[1]
    torch.testing.assert_close(kernel(x).to_dense(), expected, rtol=1e-5, atol=1e-6)
    laws.diag_is_the_diagonal(kernel, x)


@pytest.mark.parametrize(("length", "accuracy"), [(0.3, 0.5), (1.0, 0.3), (5.0, 0.05)])
def test_variance_within_the_box_is_that_of_its_points(length, accuracy):
    """1 - mean correlation, exactly so for long lengthscales."""
    x = torch.linspace(0, 1, 60).double()
    scale = torch.tensor(length).double()
    pairs = torch.stack(
        [textbook.matern52(a[None], b[None], scale) for a in x for b in x]
    )
    share = float(share_within(torch.tensor([length]).double()))
    assert share == pytest.approx(float(1 - pairs.mean()), rel=accuracy)
