"""Curve, area and sharpness are those of the definitions, and of uncertainty-toolbox."""

import warnings

import numpy as np
import pytest
from scipy.stats import norm

from mfal.models.calibration import NOMINAL, metrics
from mfal.models.calibration_curves import (
    error_against_sigma,
    miscalibration_area,
    sharpness,
    summary,
)


@pytest.fixture
def rng():
    return np.random.default_rng(0)


@pytest.fixture
def sigma(rng):
    return rng.uniform(0.5, 2.0, size=300)


@pytest.fixture
def residual(rng, sigma):
    return 1.6 * sigma * rng.standard_t(4, size=300)


@pytest.fixture(scope="module")
def toolbox():
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return pytest.importorskip("uncertainty_toolbox.metrics_calibration")


def test_what_is_right_has_no_area_and_what_is_sure_and_wrong_a_half(rng):
    sigma = rng.uniform(0.1, 3.0, size=50_000)
    right = sigma * rng.normal(size=50_000)
    assert miscalibration_area(right, sigma) < 0.005
    assert miscalibration_area(1e9 * sigma, sigma) == pytest.approx(0.5, abs=0.01)
    assert miscalibration_area(0 * sigma, sigma) == pytest.approx(0.5, abs=0.01)


def test_the_area_is_the_integral_of_the_gap(residual, sigma):
    fine = np.linspace(0, 1, 20_001)
    z = np.sort(np.abs(residual / sigma))
    inside = np.searchsorted(z, norm.ppf(0.5 + 0.5 * fine), side="right") / len(z)
    expected = np.trapezoid(np.abs(inside - fine), fine)
    assert miscalibration_area(residual, sigma) == pytest.approx(expected, abs=5e-3)


def test_a_curve_that_crosses_the_diagonal_has_two_triangles():
    # gaps 0, -0.4, 0.4, 0: a triangle, two where it crosses, a triangle
    residual = np.array([0.6744897501960817])  # inside from 50 % on
    grid = np.array([0.0, 0.4, 0.6, 1.0])
    area = miscalibration_area(residual, np.ones(1), grid)
    assert area == pytest.approx(0.08 + 0.04 + 0.08)


def test_area_and_sharpness_are_those_of_uncertainty_toolbox(toolbox, residual, sigma):
    zero = np.zeros(len(sigma))
    area = toolbox.miscalibration_area(zero, sigma, residual, num_bins=101)
    assert miscalibration_area(residual, sigma) == pytest.approx(area, rel=1e-6)
    assert sharpness(sigma) == pytest.approx(toolbox.sharpness(sigma))


def test_the_calibration_error_is_that_of_uncertainty_toolbox(toolbox, residual, sigma):
    zero = np.zeros(len(sigma))
    # bins at 0, 5, ..., 100 %; of the ends the first has no gap and the last none
    theirs = toolbox.mean_absolute_calibration_error(
        zero, sigma, residual, num_bins=len(NOMINAL) + 2
    )
    ours = metrics(residual, sigma)["ece"] * len(NOMINAL) / (len(NOMINAL) + 2)
    assert ours == pytest.approx(theirs, abs=1e-9)


def test_errors_follow_sigmas_that_are_right(rng):
    sigma = np.exp(rng.normal(size=40_000))
    found = error_against_sigma(sigma * rng.normal(size=40_000), sigma, 8)
    np.testing.assert_allclose(found["error"], found["sigma"], rtol=0.05)
    assert found["sigma"] == sorted(found["sigma"])
    assert sum(found["n"]) == 40_000
    half = error_against_sigma(0.5 * sigma, sigma, 8)
    np.testing.assert_allclose(half["error"], 0.5 * np.array(half["sigma"]))


def test_the_summary_holds_all_of_it(residual, sigma):
    found = summary(residual, sigma)
    assert metrics(residual, sigma).items() <= found.items()
    assert found["n"] == 300
    assert found["z_mean"] == pytest.approx(np.mean(residual / sigma))
    assert found["sharpness"] == sharpness(sigma)
    assert found["miscalibration_area"] == miscalibration_area(residual, sigma)
    gaps = np.subtract(found["curve"]["empirical"], found["curve"]["nominal"])
    assert np.abs(gaps).mean() == pytest.approx(found["ece"])
    assert len(found["error_against_sigma"]["sigma"]) == 10
    assert len(summary(residual[:3], sigma[:3])["error_against_sigma"]["n"]) == 3


@pytest.mark.parametrize("bins", [0, 301])
def test_more_bins_than_residuals_are_refused(residual, sigma, bins):
    with pytest.raises(ValueError, match="as many bins as residuals"):
        error_against_sigma(residual, sigma, bins)
