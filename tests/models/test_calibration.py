"""Calibration is measured by the textbook's formulas and mended by one factor."""

import numpy as np
import pytest
from scipy import stats

from mfal.models.calibration import (
    NOMINAL,
    Recalibration,
    coverage,
    metrics,
    recalibration,
)


@pytest.fixture
def rng():
    return np.random.default_rng(0)


@pytest.fixture
def residual(rng):
    return rng.normal(size=200) * 1.5


@pytest.fixture
def sigma(rng):
    return rng.uniform(0.5, 2.0, size=200)


def test_metrics_are_those_of_scipy(residual, sigma):
    found = metrics(residual, sigma)
    normal = stats.norm(0, sigma)
    # share of residuals whose central interval of this probability holds them
    central = np.abs(2 * normal.cdf(residual) - 1)

    def share(p):
        return np.mean(central <= p)

    expected = {
        "mae": np.mean(np.abs(residual)),
        "rmse": np.linalg.norm(residual) / np.sqrt(200),
        "max": np.max(np.abs(residual)),
        "nll": -np.mean(normal.logpdf(residual)),
        "coverage_68": share(0.68),
        "coverage_95": share(0.95),
        "ece": np.mean([abs(share(p) - p) for p in np.linspace(0.05, 0.95, 19)]),
        "z_std": np.sqrt(np.mean((residual / sigma) ** 2)),
    }
    assert found == pytest.approx(expected, rel=1e-12)


def test_residuals_of_the_stated_width_are_covered_as_stated(rng):
    sigma = rng.uniform(0.1, 10, size=100_000)
    found = metrics(sigma * rng.normal(size=100_000), sigma)
    assert found["coverage_68"] == pytest.approx(0.68, abs=0.005)
    assert found["coverage_95"] == pytest.approx(0.95, abs=0.005)
    assert found["z_std"] == pytest.approx(1, abs=0.01)
    assert found["ece"] < 0.005


def test_coverage_of_many_probabilities_is_each_of_them(residual, sigma):
    many = coverage(residual, sigma, NOMINAL)
    each = [coverage(residual, sigma, float(p)) for p in NOMINAL]
    np.testing.assert_array_equal(many, each)


@pytest.mark.parametrize(
    ("residual", "sigma", "rule"),
    [
        (np.zeros(0), np.zeros(0), "no residuals to judge"),
        (np.ones(2), np.array([1.0, 0.0]), "every sigma must be positive"),
        (np.ones(2), np.array([1.0, np.nan]), "every sigma must be positive"),
    ],
)
def test_what_cannot_be_judged_is_refused(residual, sigma, rule):
    with pytest.raises(ValueError, match=rule):
        metrics(residual, sigma)


def test_recalibrated_residuals_have_unit_mean_square(residual, sigma):
    factors = recalibration(
        {"energy": residual, "forces": 3 * residual},
        {"energy": sigma, "forces": sigma},
    )
    assert factors.forces == pytest.approx(3 * factors.energy)
    z = residual / (factors.energy * sigma)
    assert np.mean(z**2) == pytest.approx(1)


def test_the_factor_is_the_most_likely_one(residual, sigma):
    best = recalibration({"energy": residual}, {"energy": sigma}).energy
    nll = [metrics(residual, f * best * sigma)["nll"] for f in (0.99, 1.0, 1.01)]
    assert nll[1] < min(nll[0], nll[2])


def test_too_few_residuals_change_nothing():
    four, five = np.full(4, 2.0), np.full(5, 2.0)
    factors = recalibration(
        {"energy": four, "forces": five}, {"energy": np.ones(4), "forces": np.ones(5)}
    )
    assert factors == Recalibration(energy=1.0, forces=2.0)


@pytest.mark.parametrize("factor", [0.0, -1.0, float("nan"), float("inf")])
@pytest.mark.parametrize("quantity", ["energy", "forces"])
def test_a_factor_that_is_no_scale_is_refused(quantity, factor):
    with pytest.raises(ValueError, match=f"sigma of {quantity} must be positive, got"):
        Recalibration(**{quantity: factor})
