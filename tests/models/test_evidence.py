"""The log evidence, its gradient and its maximum are those of the dense Gaussian."""

import logging

import pytest
import textbook
import torch
from small_models import (
    MIXED,
    SWAP,
    as_molecule,
    hyperparameters,
    observations_of,
    orders_of,
    water_dataset,
)

from mfal.kernels import GramProducts
from mfal.models.evidence import log_evidence, maximise_evidence, rho_standard_error
from mfal.models.fitting import typical_distance
from mfal.models.hyperparameters import default_prior

KERNELS = {
    "two levels": ("rbf", "matern52"),
    "three levels": ("matern52", "rbf", "matern52"),
}


class Case:
    """Data with missing quantities, paired and unpaired labels, and its products."""

    def __init__(self, kernels, keep=False):
        self.h = hyperparameters(*kernels)
        self.data = observations_of(water_dataset(MIXED[len(kernels)]))
        self.orders = orders_of(["O", "H", "H"], SWAP)
        self.products = GramProducts(self.data.rows, orders=self.orders, keep=keep)

    def fast(self, vector, buffer=None):
        h = self.h.from_vector(vector)
        return log_evidence(h, self.data, self.products, buffer)

    def dense(self, vector):
        h = self.h.from_vector(vector)
        rows = as_molecule(self.data)
        covariance = textbook.smooth(h, rows, rows, self.orders)
        covariance = covariance + textbook.white(h, rows, rows)
        return textbook.log_normal(self.data.values, covariance)


@pytest.fixture(params=KERNELS)
def case(request):
    return Case(KERNELS[request.param])


@pytest.fixture
def two():
    return Case(KERNELS["two levels"])


def test_log_evidence_is_that_of_the_dense_normal_density(case):
    vector = case.h.to_vector()
    torch.testing.assert_close(
        case.fast(vector), case.dense(vector), rtol=1e-10, atol=1e-10
    )


def test_the_dense_density_is_that_of_torch(two):
    rows = as_molecule(two.data)
    covariance = textbook.smooth(two.h, rows, rows, two.orders)
    covariance = covariance + textbook.white(two.h, rows, rows)
    normal = torch.distributions.MultivariateNormal(
        torch.zeros(len(rows.b)).double(), 0.5 * (covariance + covariance.T)
    )
    torch.testing.assert_close(
        normal.log_prob(two.data.values), two.dense(two.h.to_vector())
    )


def test_gradient_is_that_of_the_dense_density_for_every_hyperparameter(case):
    slopes = []
    for density in (case.fast, case.dense):
        vector = case.h.to_vector().requires_grad_()
        slopes += torch.autograd.grad(-1.7 * density(vector), vector)
    assert (slopes[0].abs() > 1e-6)[: 4 * case.h.n_levels - 1].all()
    torch.testing.assert_close(*slopes, rtol=1e-8, atol=1e-8)


def test_gradient_is_that_of_finite_differences(case):
    vector = case.h.to_vector().requires_grad_()
    (slope,) = torch.autograd.grad(case.fast(vector), vector)
    vector, step = vector.detach(), 1e-5
    for i in range(len(vector)):
        ahead, behind = vector.clone(), vector.clone()
        ahead[i] += step
        behind[i] -= step
        difference = (case.fast(ahead) - case.fast(behind)) / (2 * step)
        assert float(slope[i]) == pytest.approx(float(difference), rel=1e-5, abs=1e-6)


def test_a_buffer_that_is_used_again_changes_nothing():
    case = Case(KERNELS["two levels"], keep=True)
    n = len(case.data)
    buffer = torch.full((n, n), float("nan"), dtype=torch.float64)
    results = []
    for given in (None, buffer, buffer):
        vector = case.h.to_vector().requires_grad_()
        value = case.fast(vector, given)
        results.append((value.detach(), torch.autograd.grad(value, vector)[0]))
    for value, slope in results[1:]:
        torch.testing.assert_close(value, results[0][0], rtol=0, atol=0)
        torch.testing.assert_close(slope, results[0][1], rtol=0, atol=0)


def prior_of(case):
    return default_prior(case.h.n_levels, typical_distance(case.data))


def test_nothing_near_the_maximum_is_more_probable(two, generator):
    prior, tolerance = prior_of(two), 0.1
    found = maximise_evidence(
        two.data, two.products, prior, [two.h], tolerance=tolerance
    )
    best = found.hyperparameters.to_vector()
    evidence, posterior = (
        float(x) for x in (two.dense(best), log_posterior(two, best))
    )
    assert found.converged
    assert found.n_rows == len(two.data)
    assert found.log_evidence == pytest.approx(evidence, rel=1e-9)
    assert found.log_posterior == pytest.approx(posterior, rel=1e-9)
    assert posterior > float(log_posterior(two, two.h.to_vector())) + 10
    for size in (0.01, 0.1, 1.0):
        unit = torch.randn(10, len(best), generator=generator, dtype=torch.float64)
        for near in best + size * prior.deviation * unit:
            near = torch.minimum(torch.maximum(near, prior.low), prior.high)
            assert float(log_posterior(two, near)) < posterior + tolerance


def log_posterior(case, vector):
    return case.dense(vector) + prior_of(case).log_density(vector)


def test_the_best_of_all_starts_is_taken(two):
    prior = prior_of(two)
    far = two.h.from_vector(prior.low)
    alone = maximise_evidence(two.data, two.products, prior, [two.h])
    both = maximise_evidence(two.data, two.products, prior, [far, two.h])
    assert both.log_posterior >= alone.log_posterior


def test_the_search_stays_within_the_bounds(two):
    prior = prior_of(two)
    low, high = prior.low.clone(), prior.high.clone()
    low[4], high[4] = 1.4, 1.5  # rho
    held = type(prior)(prior.mean, prior.deviation, low, high)
    found = maximise_evidence(two.data, two.products, held, [two.h])
    vector = found.hyperparameters.to_vector()
    assert (vector >= low - 1e-12).all() and (vector <= high + 1e-12).all()


def test_a_search_that_is_cut_short_says_so(two, caplog):
    with caplog.at_level(logging.WARNING, logger="mfal"):
        found = maximise_evidence(
            two.data, two.products, prior_of(two), [two.h], max_evaluations=2
        )
    assert not found.converged
    assert "was not maximised" in caplog.text


def test_standard_error_of_rho_is_laplaces_with_the_dense_density(two):
    """sqrt of the inverse Hessian of -log p, in units of the prior's deviations, where
    a curvature below the prior's is taken as the prior's."""
    prior = prior_of(two)
    found = maximise_evidence(two.data, two.products, prior, [two.h]).hyperparameters
    best = found.to_vector()

    def slope(unit):
        unit = unit.clone().requires_grad_()
        loss = -log_posterior(two, prior.mean + prior.deviation * unit)
        return torch.autograd.grad(loss, unit)[0]

    at, step = (best - prior.mean) / prior.deviation, 1e-4
    hessian = torch.stack(
        [
            (slope(at + step * e) - slope(at - step * e)) / (2 * step)
            for e in torch.eye(len(at)).double()
        ]
    )
    assert ((best > prior.low + 1e-6) & (best < prior.high - 1e-6)).all()
    curvature, vectors = torch.linalg.eigh(0.5 * (hessian + hessian.T))
    covariance = vectors @ (1 / curvature.clamp_min(1.0)).diag() @ vectors.T
    rho = 4  # behind two lengthscales and two scales
    expected = covariance[rho, rho].sqrt() * prior.deviation[rho]
    computed = rho_standard_error(found, two.data, two.products, prior)
    assert float(computed[0]) == pytest.approx(float(expected), rel=0.03)


def test_what_is_held_has_no_standard_error(two):
    """A hyperparameter at its bound is known: rho's error does not count it."""
    prior = prior_of(two)
    value = two.h.to_vector()
    low, high = value.clone(), value.clone()
    rho = 4
    low[rho], high[rho] = prior.low[rho], prior.high[rho]
    held = type(prior)(prior.mean, prior.deviation, low, high)
    computed = rho_standard_error(two.h, two.data, two.products, held, step=1e-3)
    step = 1e-3
    values = []
    for shift in (-step, 0.0, step):
        vector = value.clone()
        vector[rho] += shift
        values.append(float(log_posterior(two, vector)))
    curvature = -(values[0] - 2 * values[1] + values[2]) / step**2
    assert float(computed[0]) == pytest.approx(curvature**-0.5, rel=0.01)
