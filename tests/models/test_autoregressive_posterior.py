"""The posterior of the mixture is that of its draws, and only what is asked is computed."""

import pytest
import torch
from botorch.posteriors import GPyTorchPosterior
from botorch.sampling import SobolQMCNormalSampler
from gpytorch.kernels import MaternKernel, RBFKernel, ScaleKernel
from gpytorch.mlls import ExactMarginalLogLikelihood
from test_autoregressive_gp import fitted, two_levels
from torch.autograd import gradcheck

from mfal.models import AutoregressiveGP, autoregressive_posterior, with_gradients
from mfal.models.autoregressive import exact_algebra
from mfal.models.autoregressive_covariance import LazyCovariance
from mfal.models.autoregressive_parameters import ParameterVector
from mfal.models.autoregressive_posterior import Conditioned
from mfal.models.autoregressive_values import kernel_values


def with_draws(model, n_draws=5):
    """Draws of the hyperparameters around where they start; a noise that can be seen."""
    noise = model.likelihood.noise_covar
    noise.excess = torch.full_like(noise.excess, 1e-3)
    if n_draws:
        mll = ExactMarginalLogLikelihood(model.likelihood, model).eval()
        vector = ParameterVector(mll)
        z = vector.read()
        generator = torch.Generator().manual_seed(3)
        vector.write(z + 0.1 * torch.randn(n_draws, len(z), generator=generator).to(z))
    return model.eval()


def three_levels():
    X, Y = two_levels()
    X[:4, -1] = 2.0
    return X, Y


MODELS = {
    "draws": lambda: with_draws(AutoregressiveGP(*two_levels())),
    "maximum": lambda: with_draws(AutoregressiveGP(*two_levels()), 0),
    "three levels": lambda: with_draws(AutoregressiveGP(*three_levels())),
    "rho of x": lambda: with_draws(AutoregressiveGP(*two_levels(), linear_rho=True)),
    "no scaling": lambda: with_draws(
        AutoregressiveGP(*two_levels(), outcome_transform=None)
    ),
    "other kernels": lambda: with_draws(
        AutoregressiveGP(
            *two_levels(), kernels=[ScaleKernel(RBFKernel()), MaternKernel(nu=1.5)]
        )
    ),
    "inducing points": lambda: with_draws(
        AutoregressiveGP(*two_levels(40, 6), n_inducing=9), 0
    ),
    "gradients": lambda: with_gradients(
        AutoregressiveGP(*two_levels()),
        two_levels()[0][:3],
        two_levels()[0][:3, :2],
    ).eval(),
}


@pytest.fixture(scope="module", params=MODELS)
def model(request):
    return MODELS[request.param]()


@pytest.fixture(scope="module")
def drawn():
    return MODELS["draws"]()


@pytest.fixture
def points(generator):
    x = torch.rand(2, 3, 5, 3, generator=generator, dtype=torch.float64)
    x[..., -1] = x[..., -1].round()
    return x


def by_gpytorch(model, x):
    """Each draw by GPyTorch's own prediction; the moments of the mixture densely."""
    draws = bool(model.hyperparameter_batch)
    with torch.no_grad(), exact_algebra():
        each = model(x.unsqueeze(-3) if draws else x)
        means, covariances = each.mean, each.covariance_matrix
    if not draws:
        means, covariances = means.unsqueeze(-2), covariances.unsqueeze(-3)
    mean = means.mean(-2)
    apart = (means - mean.unsqueeze(-2)).mT
    covariance = covariances.mean(-3) + apart @ apart.mT / means.shape[-2]
    if hasattr(model, "outcome_transform"):
        level = x[..., -1].long()
        unit = model.outcome_transform.stdvs[level, 0]
        mean = model.outcome_transform.means[level, 0] + unit * mean
        covariance = unit.unsqueeze(-1) * covariance * unit.unsqueeze(-2)
    return mean, covariance


def same(posterior, expected, tolerance=1e-8):
    mean, covariance = expected
    close = {"rtol": tolerance, "atol": tolerance}
    torch.testing.assert_close(posterior.mean[..., 0].detach(), mean, **close)
    torch.testing.assert_close(
        posterior.variance[..., 0].detach(),
        covariance.diagonal(dim1=-2, dim2=-1),
        **close,
    )
    torch.testing.assert_close(
        posterior.distribution.covariance_matrix.detach(), covariance, **close
    )


def test_moments_are_those_of_the_draws(model, points):
    same(model.posterior(points), by_gpytorch(model, points))
    same(model.posterior(points[0, 0]), by_gpytorch(model, points[0, 0]))
    same(model.posterior(points[..., :1, :]), by_gpytorch(model, points[..., :1, :]))


def test_moments_are_the_same_where_slopes_are_recorded(model, points):
    same(model.posterior(points.requires_grad_()), by_gpytorch(model, points.detach()))


def test_moments_of_fantasies_are_those_of_the_draws(drawn, points):
    sampler = SobolQMCNormalSampler(torch.Size([2]), seed=0)
    fantasies = drawn.fantasize(points[0], sampler)
    x = points[1, :, :2]
    with torch.no_grad():
        same(fantasies.posterior(x), by_gpytorch(fantasies, x.expand(2, 3, 2, 3)))


def test_blocks_of_points_give_the_moments_of_all_at_once(model, points, monkeypatch):
    with torch.no_grad():
        at_once = model.posterior(points)
        expected = (
            at_once.mean[..., 0],
            at_once.distribution.covariance_matrix,
        )
        monkeypatch.setattr(autoregressive_posterior, "BLOCK", 1)
        monkeypatch.setattr(autoregressive_posterior, "LEAST_POINTS", 4)
        monkeypatch.setattr(autoregressive_posterior, "LEAST_POINTS_BESIDE_INDUCING", 4)
        same(model.posterior(points), expected, 1e-10)
        same(
            model.posterior(points.reshape(1, 30, 3)[:, :7]),
            (
                expected[0].reshape(1, 30)[:, :7],
                by_gpytorch(model, points.reshape(1, 30, 3)[:, :7])[1],
            ),
        )


def test_variances_need_no_joint_covariance(drawn, points, monkeypatch):
    def refuse(*args):
        raise AssertionError("the joint covariance was computed")

    monkeypatch.setattr(Conditioned, "_joint", refuse)
    assert (drawn.posterior(points).variance > 0).all()
    noisy = drawn.posterior(points, observation_noise=True)
    assert (noisy.variance > drawn.posterior(points).variance).all()
    assert drawn.posterior(points[:, 0, 0]).distribution.stddev.shape == (2,)
    with pytest.raises(AssertionError, match="joint covariance"):
        drawn.posterior(points).distribution.covariance_matrix  # noqa: B018


def test_a_covariance_is_that_of_the_model_when_it_was_asked(points):
    model = MODELS["draws"]()
    expected = by_gpytorch(model, points)
    before = model.posterior(points)
    state = {k: v + 0.3 for k, v in model.state_dict().items() if "raw" in k}
    model.load_state_dict({**model.state_dict(), **state})
    same(before, expected)
    assert (model.posterior(points).mean[..., 0] - expected[0]).abs().max() > 1e-3


@pytest.mark.parametrize("kind", ["draws", "maximum", "rho of x", "other kernels"])
def test_slopes_in_x_are_finite_differences(kind, points):
    model = MODELS[kind]()
    x = points[0, 0, :2].clone()
    level = x[:, -1:]

    def moments(inputs):
        posterior = model.posterior(torch.cat([inputs, level], dim=-1))
        mvn = posterior.distribution
        return posterior.mean, posterior.variance, mvn.covariance_matrix

    assert gradcheck(moments, (x[:, :-1].requires_grad_(),), eps=1e-6, atol=1e-6)


def test_nothing_is_recorded_for_the_hyperparameters_alone(drawn, points):
    posterior = drawn.posterior(points, observation_noise=True)
    assert not posterior.mean.requires_grad
    assert not posterior.variance.requires_grad
    assert not posterior.distribution.covariance_matrix.requires_grad


def test_a_model_is_fitted_while_what_it_predicted_before_is_alive(points):
    model = AutoregressiveGP(*two_levels())
    alive = [
        model.posterior(points[0]),
        model.fantasize(points[0], SobolQMCNormalSampler(torch.Size([2]))),
        model.condition_on_observations(points[0, 0], points[0, 0, :, :1]),
    ]
    fitted(model, n_samples=2)
    assert alive[0].mean.shape == (3, 5, 1)
    assert model.posterior(points).mean.shape == (2, 3, 5, 1)


def test_values_in_place_are_those_of_the_kernel(drawn, points):
    x1, x2 = points[0, 0, :, :-1].unsqueeze(-3), points[1, 0, :, :-1]
    for kernel in drawn.covar_module.kernels:
        expected = kernel(x1, x2).to_dense()
        with torch.no_grad():
            torch.testing.assert_close(kernel_values(kernel, x1, x2), expected)
        assert kernel_values(kernel, x1, x2).requires_grad


@pytest.fixture
def lazy(generator):
    root = torch.rand(2, 3, 4, 4, generator=generator, dtype=torch.float64)
    dense = root @ root.mT + torch.eye(4)
    lazy = LazyCovariance(dense.diagonal(dim1=-2, dim2=-1), lambda: dense)
    return lazy, dense


CHANGES = {
    "indexed": lambda c: c[..., :2, 1:],
    "one of a batch": lambda c: c[1, 2],
    "entries": lambda c: c[0, 0, [0, 1], [2, 2]],
    "in a new dimension": lambda c: c.unsqueeze(0),
    "expanded": lambda c: c.expand(5, 2, 3, 4, 4),
    "transposed": lambda c: c.mT,
    "swapped": lambda c: c.permute(1, 0, 2, 3),
    "scaled": lambda c: 2.5 * c,
    "without slopes": lambda c: c.detach(),
    "summed": lambda c: c + c,
    "times": lambda c: c @ torch.ones(4, 2).double(),
    "in float32": lambda c: c.float(),
}


@pytest.mark.parametrize("change", CHANGES.values(), ids=CHANGES)
def test_a_lazy_covariance_is_its_matrix(lazy, change):
    operator, dense = lazy
    found, expected = change(operator), change(dense)
    if not torch.is_tensor(found):
        if found.shape[-1] == found.shape[-2]:
            torch.testing.assert_close(
                found.diagonal(dim1=-2, dim2=-1),
                expected.diagonal(dim1=-2, dim2=-1),
            )
        found = found.to_dense()
    torch.testing.assert_close(found, expected)


def test_algebra_with_a_lazy_covariance_has_the_slopes_of_its_matrix(lazy):
    _, dense = lazy
    given = dense.detach().requires_grad_()
    operator = LazyCovariance(given.diagonal(dim1=-2, dim2=-1), lambda: given)
    right = torch.ones(2, 3, 4, 1).double()
    value = operator.solve(right).sum() + operator.logdet().sum()
    expected = torch.linalg.solve(given, right).sum() + given.logdet().sum()
    torch.testing.assert_close(value, expected)
    torch.testing.assert_close(
        torch.autograd.grad(value, given)[0], torch.autograd.grad(expected, given)[0]
    )


def test_the_posterior_is_one_of_botorch(drawn, points):
    posterior = drawn.posterior(points)
    assert type(posterior) is GPyTorchPosterior
    drawn_twice = posterior.rsample(torch.Size([4000]))
    torch.testing.assert_close(
        drawn_twice.var(dim=0), posterior.variance, rtol=0.15, atol=1e-6
    )
