"""The log evidence, its gradient and its maximum are those of the dense Gaussian."""

import logging
from dataclasses import replace

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


def test_the_search_begins_where_it_is_told_to(two):
    prior = prior_of(two)
    found = maximise_evidence(two.data, two.products, prior, [two.h])
    again = maximise_evidence(two.data, two.products, prior, [found.hyperparameters])
    assert again.evaluations < 4 < found.evaluations
    assert again.log_posterior == pytest.approx(found.log_posterior, abs=0.1)


@pytest.mark.parametrize(("low", "high", "end"), [(1.4, 3.0, 1.4), (-1.0, -0.2, -0.2)])
def test_a_search_that_is_pushed_against_a_bound_ends_there(two, low, high, end):
    """What pulls rho over its bound is nothing that is left to gain."""
    prior, rho = prior_of(two), 4
    lows, highs = prior.low.clone(), prior.high.clone()
    lows[rho], highs[rho] = low, high
    held = type(prior)(prior.mean, prior.deviation, lows, highs)
    found = maximise_evidence(two.data, two.products, held, [two.h])
    vector = found.hyperparameters.to_vector()
    assert (vector >= lows - 1e-12).all()
    assert (vector <= highs + 1e-12).all()
    assert float(vector[rho]) == pytest.approx(end)
    beyond = vector.clone()
    beyond[rho] += 0.05 if end == high else -0.05
    assert log_posterior(two, beyond) > log_posterior(two, vector) + 0.05
    assert found.converged
    assert found.gradient < 0.3


def test_a_search_that_is_cut_short_says_so(two, caplog):
    with caplog.at_level(logging.WARNING, logger="mfal"):
        found = maximise_evidence(
            two.data, two.products, prior_of(two), [two.h], max_evaluations=2
        )
    assert not found.converged
    left = 0.5 * found.gradient**2
    assert f"maximised in {found.evaluations} evaluations: about {left:.2g} nats" in (
        caplog.text
    )


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


@pytest.mark.parametrize("side", ["low", "high"])
def test_what_is_at_a_bound_has_no_part_in_the_error_of_rho(two, side):
    """All but rho stand at one of their bounds: rho's curvature alone is left."""
    prior, rho, step = prior_of(two), 4, 1e-3
    value = two.h.to_vector()
    bound = value.clone()
    bound[rho] = getattr(prior, side)[rho]
    held = replace(prior, **{side: bound})
    computed = rho_standard_error(two.h, two.data, two.products, held, step=step)
    values = []
    for shift in (-step, 0.0, step):
        vector = value.clone()
        vector[rho] += shift
        values.append(float(log_posterior(two, vector)))
    curvature = -(values[0] - 2 * values[1] + values[2]) / step**2
    assert computed.shape == (1,)
    assert float(computed[0]) == pytest.approx(curvature**-0.5, rel=0.01)
