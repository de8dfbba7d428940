"""Gradients as data of a Gaussian process of levels."""

import numpy as np
import pytest
import textbook
import torch
from gpytorch.mlls import ExactMarginalLogLikelihood
from test_autoregressive_gp import fitted

from mfal.models import AutoregressiveGP, with_gradients
from mfal.models.autoregressive_density import (
    joint_density,
    level_density,
    log_prior,
    lower_posterior,
    sorted_rows,
)
from mfal.models.autoregressive_gradient_rows import GradientKernel
from mfal.models.autoregressive_parameters import ParameterVector
from mfal.models.autoregressive_prior import default_kernel

SPREAD = torch.tensor([2.0, 0.5], dtype=torch.float64)


def low(x):
    return torch.sin(4 * x[..., 0]) + x[..., 1] ** 2


def high(x):
    return 2 * low(x) + 0.3 * x[..., 0] - 1


def wave(x):
    return torch.sin(9 * x[..., 0]) * (1 + x[..., 0])


def at_level(x, level):
    return torch.cat([x, torch.full_like(x[:, :1], level)], dim=1)


def slopes(function, x):
    return torch.func.vmap(torch.func.grad(function))(x)


def two_levels(n_low=10, n_high=3, seed=0):
    """Values X, Y and gradients of both levels, the last low one half unknown."""
    generator = torch.Generator().manual_seed(seed)
    x = torch.rand(n_low, 2, generator=generator, dtype=torch.float64)
    top = x[:n_high]
    X = torch.cat([at_level(x, 0.0), at_level(top, 1.0)])
    Y = torch.cat([low(x), high(top)])[:, None]
    gradient_X = torch.cat([at_level(x[:4], 0.0), at_level(top[:2] + 0.1, 1.0)])
    gradient_Y = torch.cat([slopes(low, x[:4]), slopes(high, top[:2] + 0.1)])
    gradient_Y[3, 1] = torch.nan
    return X, Y, gradient_X, gradient_Y


def gradient_model(X, Y, gradient_X, gradient_Y, Yvar=None, gradient_Yvar=None):
    model = AutoregressiveGP(X, Y, Yvar)
    return with_gradients(model, gradient_X, gradient_Y, gradient_Yvar)


@pytest.fixture(scope="module")
def data():
    return two_levels()


def moved(model, draws=()):
    """Hyperparameters that are nobody's defaults, as a fit would leave them."""
    mll = ExactMarginalLogLikelihood(model.likelihood, model).eval()
    vector = ParameterVector(mll)
    generator = torch.Generator().manual_seed(2)
    shift = torch.randn(*draws, sum(vector.sizes), generator=generator).double()
    vector.write(vector.read() + 0.3 * shift)
    return model.eval()


@pytest.fixture(scope="module", params=[(), (3,)], ids=["one", "draws"])
def model(request, data):
    return moved(gradient_model(*data), request.param)


@pytest.fixture
def asked(generator):
    x = torch.rand(5, 2, generator=generator, dtype=torch.float64)
    return torch.cat([x, torch.tensor([[1.0], [0.0], [1.0], [1.0], [0.0]]).double()], 1)


# --- the long way


def scalar_kernel(length, w, variance, offset):
    """One process's covariance of two points, whose derivatives autodiff can take."""
    one = torch.ones((), dtype=torch.float64)

    def k(a, b):
        pair = (a / length, b / length, one)
        mixed = (1 - w) * textbook.matern52(*pair) + w * textbook.rbf(*pair)
        return variance * mixed + offset

    return k


def observations(X, spread=None):
    """(b, v, x) of rows that carry their code, and their levels."""
    code = X[:, -1].long()
    level, j = code % 1000, code // 1000
    directions = torch.eye(X.shape[1], dtype=torch.float64)[j]
    v = directions[:, 1:] * (1.0 if spread is None else spread)
    return (directions[:, 0], v, X[:, :-1]), level


def dense_posterior(model, data, asked):
    """Kennedy & O'Hagan on rows in the units of the user; autodiff, a naive solve."""
    X, Y, gradient_X, gradient_Y = data
    kernel, transform = model.covar_module, model.outcome_transform
    scale = transform.stdvs[:2, 0]
    mean = transform.means[:2, 0] + model.mean_module.values * scale
    rows_X, rows_Y, rows_unit = [*X], [*Y[:, 0]], [*scale[X[:, -1].long()]]
    for x, line in zip(gradient_X, gradient_Y, strict=True):
        for j, (value, width) in enumerate(
            zip(line, kernel.kernels[0].spread, strict=True)
        ):
            if not value.isnan():
                coded = x.clone()
                coded[-1] += 1000 * (j + 1)
                rows_X.append(coded)
                rows_Y.append(value)
                rows_unit.append(scale[int(x[-1])] / width)
    rows_X, rows_Y, rows_unit = map(torch.stack, (rows_X, rows_Y, rows_unit))

    def covariance(A, B):
        (rows_a, level_a), (rows_b, level_b) = observations(A), observations(B)
        total = 0.0
        for m in (0, 1):
            part = kernel.kernels[m].kernel
            scalar = scalar_kernel(
                part.base_kernel.lengthscale[0],
                part.base_kernel.smoothness.squeeze(),
                part.outputscale,
                1.0,
            )
            unit = kernel.level_unit * scale
            left, right = (
                torch.stack([textbook.recursion(kernel.rho, int(k))[m] for k in level])
                * unit[level]
                for level in (level_a, level_b)
            )
            k = textbook.covariance(scalar, rows_a, rows_b)
            total = total + left[:, None] * k * right
        return total.detach()

    level, quantity = rows_X[:, -1].long() % 1000, rows_X[:, -1] >= 1000
    noise = model.likelihood.noise.detach()[level, quantity.long()] * rows_unit.square()
    conditioned = textbook.conditioned(
        covariance(asked, asked).numpy(),
        covariance(asked, rows_X).numpy(),
        (covariance(rows_X, rows_X) + noise.diag()).numpy(),
        (rows_Y - torch.where(quantity, 0.0, mean[level])).numpy(),
    )
    code = asked[:, -1].long()
    shift = torch.where(code >= 1000, 0.0, mean[code % 1000])
    return conditioned[0] + shift.numpy(), conditioned[1]


# --- the covariance


@pytest.mark.parametrize("weight", [-30.0, 0.4, 30.0])
def test_covariance_of_rows_is_that_of_autodiff(weight, generator):
    kernel = default_kernel(SPREAD, 0.7, 1.0)
    kernel.base_kernel.lengthscale = torch.tensor([0.6, 1.7]).double()
    kernel.base_kernel.raw_smoothness.data.fill_(weight)
    X = torch.rand(9, 3, generator=generator, dtype=torch.float64)
    X[:, -1] = 1000.0 * torch.tensor([0, 1, 2, 0, 1, 2, 0, 1, 2])
    X[3:6, :2] = X[:1, :2]  # the value and both derivatives at one point
    scalar = scalar_kernel(
        torch.tensor([0.6, 1.7]).double(),
        torch.sigmoid(torch.tensor(weight).double()),
        0.7,
        1.3,
    )
    rows, _ = observations(X, SPREAD)
    expected = textbook.covariance(scalar, rows, rows)
    quantity = X.clone()
    quantity[:, -1] /= 1000
    ours = GradientKernel(kernel, SPREAD, 1.3)
    torch.testing.assert_close(
        ours(quantity).to_dense(), expected, rtol=1e-6, atol=1e-7
    )
    torch.testing.assert_close(
        ours(quantity, diag=True), expected.diagonal(), rtol=1e-6, atol=1e-7
    )


def test_density_and_slope_are_those_of_gpytorch(data):
    model = moved(gradient_model(*data))
    mll = ExactMarginalLogLikelihood(model.likelihood, model).eval()
    value = joint_density(model, sorted_rows(model))
    value.backward()
    slope = {name: p.grad.clone() for name, p in model.named_parameters()}
    mll.train()
    model.zero_grad()
    output = model(*model.train_inputs)
    expected = mll(output, model.train_targets, *model.train_inputs)
    expected = expected * len(model.train_targets)
    expected.backward()
    torch.testing.assert_close(value, expected)
    for name, p in model.named_parameters():
        torch.testing.assert_close(slope[name], p.grad, rtol=1e-5, atol=1e-7)


def test_evidence_is_that_of_each_level_given_those_below(data):
    model = moved(gradient_model(*data))
    rows = sorted_rows(model)
    parts = [
        level_density(
            model,
            rows,
            level,
            lower_posterior(model, rows, level) if level else None,
            torch.arange(rows.count(level)),
        )
        for level in (0, 1)
    ]
    both = joint_density(model, rows) + log_prior(model)
    torch.testing.assert_close(sum(parts), both, rtol=1e-5, atol=1e-4)


# --- the posterior


@pytest.mark.parametrize("options", [{}, {"outcome_transform": None}])
def test_posterior_is_that_of_the_textbook(data, asked, options):
    model = moved(with_gradients(AutoregressiveGP(*data[:2], **options), *data[2:]))
    asked = torch.cat([asked, asked[:2] + torch.tensor([0, 0, 1000.0]).double()])
    mean, covariance = dense_posterior(model, data, asked)
    posterior = model.posterior(asked)
    np.testing.assert_allclose(
        posterior.mean[:, 0].detach().numpy(), mean, rtol=1e-5, atol=1e-5
    )
    np.testing.assert_allclose(
        posterior.distribution.covariance_matrix.detach().numpy(), covariance, atol=1e-5
    )


def test_slope_of_the_mean_is_the_gradient_datum(data):
    X, Y, gradient_X, gradient_Y = data
    exact = torch.zeros_like(Y), torch.zeros_like(gradient_Y)
    model = moved(gradient_model(*data, *exact))
    known = ~gradient_Y.isnan()
    x = gradient_X.clone().requires_grad_()
    (slope,) = torch.autograd.grad(model.posterior(x).mean.sum(), x)
    torch.testing.assert_close(
        slope[:, :2][known], gradient_Y[known], rtol=1e-3, atol=1e-3
    )
    step = torch.tensor([1e-4, 0.0, 0.0]).double()
    ahead, behind = (model.posterior(gradient_X + s).mean for s in (step, -step))
    torch.testing.assert_close(
        ((ahead - behind) / 2e-4)[:, 0].detach(), gradient_Y[:, 0], rtol=1e-3, atol=1e-3
    )
    torch.testing.assert_close(model.posterior(X).mean, Y, rtol=0, atol=1e-3)


def test_derivatives_can_be_asked_for(model, asked):
    coded = asked.clone()
    coded[:, -1] += 2000
    x = asked.clone().requires_grad_()
    (slope,) = torch.autograd.grad(model.posterior(x).mean.sum(), x)
    torch.testing.assert_close(
        model.posterior(coded).mean[:, 0].detach(), slope[:, 1], rtol=1e-5, atol=1e-6
    )


def test_an_unknown_derivative_does_not_matter(data, asked):
    X, Y, gradient_X, gradient_Y = data
    everywhere_unknown = at_level(torch.full((1, 2), 0.5).double(), 1.0)
    more_X = torch.cat([gradient_X, everywhere_unknown])
    more_Y = torch.cat([gradient_Y, torch.full((1, 2), torch.nan).double()])
    few, many = gradient_model(*data), gradient_model(X, Y, more_X, more_Y)
    torch.testing.assert_close(few.posterior(asked).mean, many.posterior(asked).mean)


def test_derivatives_lower_the_error_of_values_alone():
    x = torch.linspace(0, 1, 5).double()[:, None]
    X, Y = at_level(x, 0.0), wave(x)[:, None]
    dense = torch.linspace(0, 1, 41).double()[:, None]
    alone = fitted(AutoregressiveGP(X, Y), n_samples=1)
    both = fitted(gradient_model(X, Y, X, slopes(wave, x)), n_samples=1)
    a, b = (m.posterior(at_level(dense, 0.0)) for m in (alone, both))
    errors = [(p.mean[:, 0] - wave(dense)).square().mean().sqrt() for p in (a, b)]
    assert errors[1] < 0.25 * errors[0]
    assert b.variance.mean() < a.variance.mean()


def test_derivatives_of_the_low_level_lower_the_error_of_the_high_one():
    x = torch.linspace(0, 1, 5).double()[:, None]
    X = torch.cat([at_level(x, 0.0), at_level(x[::2], 1.0)])
    Y = torch.cat([wave(x), 2 * wave(x[::2]) + 1])[:, None]
    model = gradient_model(X, Y, at_level(x, 0.0), slopes(wave, x))
    model = fitted(model, n_samples=1)
    dense = torch.linspace(0, 1, 41).double()[:, None]
    alone = fitted(AutoregressiveGP(X, Y), n_samples=1)
    errors = [
        (m.posterior(at_level(dense, 1.0)).mean[:, 0] - 2 * wave(dense) - 1)
        .square()
        .mean()
        for m in (alone, model)
    ]
    assert errors[1].sqrt() < 0.3 * errors[0].sqrt()
    assert abs(float(model.rho) - 2.0) < 0.3


def test_a_level_may_have_derivatives_only(asked):
    x, X, Y = asked[:, :2], *two_levels(n_low=10, n_high=10)[:2]
    places = X[X[:, -1] == 1][:, :2]
    values = (X[:, -1] == 0) | (torch.arange(len(X)) == 10)  # one value at the top
    model = AutoregressiveGP(X[values], Y[values])
    truth = high(x)
    alone = model.posterior(at_level(x, 1.0)).mean[:, 0]
    model = with_gradients(model, at_level(places, 1.0), slopes(high, places))
    both = model.posterior(at_level(x, 1.0)).mean[:, 0]
    assert (both - truth).abs().max() < 0.2 * (alone - truth).abs().max()


@pytest.mark.parametrize("draws", [(), (3,)], ids=["one", "draws"])
def test_units_of_inputs_and_values_do_not_matter(data, asked, draws):
    X, Y, gradient_X, gradient_Y = data
    wide = torch.tensor([10.0, 0.1, 1.0]).double()
    scaled_slope = 100 * gradient_Y / wide[:2]
    scaled = gradient_model(X * wide, 100 * Y + 7, gradient_X * wide, scaled_slope)
    plain = gradient_model(*data)
    densities = [joint_density(m, sorted_rows(m)) for m in (plain, scaled)]
    torch.testing.assert_close(*densities)
    here = moved(plain, draws).posterior(asked)
    there = moved(scaled, draws).posterior(asked * wide)
    torch.testing.assert_close(there.mean, 100 * here.mean + 7, rtol=1e-4, atol=1e-4)
    torch.testing.assert_close(
        there.variance, 1e4 * here.variance, rtol=1e-3, atol=1e-4
    )


def test_noise_of_derivatives_is_found_apart_from_that_of_values():
    generator = torch.Generator().manual_seed(1)
    x = torch.rand(20, 2, generator=generator, dtype=torch.float64)
    X, Y = at_level(x, 0.0), low(x)[:, None]
    noise = 0.2 * torch.randn(20, 2, generator=generator, dtype=torch.float64)
    model = fitted(gradient_model(X, Y, X, slopes(low, x) + noise), n_samples=1)
    scale = model.outcome_transform.stdvs[:, 0]
    sigma = model.likelihood.noise.detach()[0].sqrt()
    assert float(sigma[1] * scale[1]) == pytest.approx(0.2, rel=0.3)
    assert float(sigma[0] * scale[0]) < 0.01


def test_given_variances_are_those_of_each_derivative(data):
    X, Y, _, gradient_Y = data
    variance = torch.full_like(gradient_Y, 0.04)
    model = gradient_model(*data, torch.full_like(Y, 0.01), variance)
    unit = model.outcome_transform._get_per_input_means_stdvs(
        model.train_inputs[0], include_stdvs_sq=False
    )[1]
    expected = torch.cat([torch.full((len(X),), 0.01), torch.full((11,), 0.04)])
    torch.testing.assert_close(
        model.likelihood.noise * unit[:, 0].square(), expected.double()
    )
