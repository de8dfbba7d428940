"""Costs by size: what was paid adds up, the power is learned, intervals hold."""

import numpy as np
import pytest
from scipy.stats import t as student

from mfal.acquisition import LearnedCosts, SizeCost, estimate_cost

SIZES, COSTS = [10, 20, 20, 40, 80], [1.0, 5.0, 7.0, 20.0, 150.0]


def test_at_one_size_it_is_the_estimate_without_sizes():
    costs = [1.0, 8.0, 3.0, 2.0]
    found, plain = SizeCost.learned([64] * 4, costs).estimate(64), estimate_cost(costs)
    for name in ("mean", "low", "high", "n"):
        assert getattr(found, name) == pytest.approx(getattr(plain, name), rel=1e-12)


@pytest.mark.parametrize("failed", [[], [3.0, 0.5, 40.0]])
def test_expected_costs_add_up_to_what_was_paid_failures_included(failed):
    fit = SizeCost.learned(SIZES, COSTS, failed)
    expected = sum(fit.estimate(n).mean for n in SIZES)
    assert expected == pytest.approx(sum(COSTS) + sum(failed))
    assert fit.failure_rate == pytest.approx(len(failed) / (5 + len(failed)))


def test_the_posterior_is_that_of_the_integral_over_the_slope():
    """Brute force on a grid of power and spread, the intercept integrated by hand."""
    x = np.log(SIZES) - np.log(SIZES).mean()
    y = np.log(COSTS)
    slopes = np.linspace(-1, 5, 1201)[:, None]
    spreads = np.exp(np.linspace(np.log(0.02), np.log(30), 1200))[None]
    residual = (y - y.mean())[:, None, None] - slopes * x[:, None, None]
    log_p = (
        -0.5 * np.square(residual).sum(0) / spreads**2
        - (len(y) - 1) * np.log(spreads)  # the intercept is flat
        - 0.5 * ((slopes - 2) / (spreads * 1.0 / 0.3)) ** 2 - np.log(spreads)
        - 0.5 * 0.3**2 / spreads**2 - 1 * np.log(spreads)  # one pseudo-observation
    )  # fmt: skip
    weight = np.exp(log_p - log_p.max())  # uniform in log spread
    weight /= weight.sum()
    mean = (weight * slopes).sum()
    fit = SizeCost.learned(SIZES, COSTS)
    assert fit.slope == pytest.approx(mean, rel=1e-3)
    variance = (weight * (slopes - mean) ** 2).sum()
    of_student = student.var(fit.degrees) * fit.slope_error**2
    assert variance == pytest.approx(of_student, rel=2e-2)


def test_with_one_label_the_power_is_that_of_the_prior():
    fit = SizeCost.learned([30], [12.0])
    for size, expected in ((30, 12.0), (60, 48.0), (15, 3.0)):
        assert fit.estimate(size).mean == pytest.approx(expected)
    near, far = fit.estimate(30), fit.estimate(300)
    assert far.high / far.low > 5 * near.high / near.low
    linear = SizeCost.learned([30], [12.0], slope=1.0)
    assert linear.estimate(60).mean == pytest.approx(24.0)


@pytest.mark.parametrize("power", [1.0, 2.7])
def test_the_power_is_learned_from_labels(power):
    rng = np.random.default_rng(0)
    sizes = rng.integers(10, 200, size=60)
    costs = 3e-3 * sizes**power * np.exp(0.2 * rng.normal(size=60))
    fit = SizeCost.learned(sizes.tolist(), costs.tolist())
    assert fit.slope == pytest.approx(power, abs=3 * fit.slope_error)
    assert fit.slope_error < 0.06
    assert fit.scale == pytest.approx(0.2, abs=0.05)


@pytest.mark.parametrize("n", [1, 4, 20])
def test_68_percent_of_new_labels_cost_what_the_interval_says(n):
    """Powers and spreads drawn from the prior, sizes at random."""
    rng = np.random.default_rng(n)
    inside = []
    for _ in range(3000):
        spread = 0.3 / np.sqrt(rng.chisquare(1))
        power = 2 + spread / 0.3 * rng.normal()
        sizes = rng.uniform(10, 100, size=n + 1)
        with np.errstate(over="ignore"):
            logs = power * np.log(sizes / 30) + spread * rng.normal(size=n + 1)
        if np.abs(logs).max() > 300:
            continue  # beyond the range of floats, as few as there are
        costs = np.exp(logs)
        found = SizeCost.learned(sizes[:-1].tolist(), costs[:-1].tolist())
        interval = found.estimate(sizes[-1])
        inside.append(interval.low <= costs[-1] <= interval.high)
    assert np.mean(inside) == pytest.approx(0.68, abs=0.03)


def test_the_estimate_scales_with_the_unit():
    one = SizeCost.learned(SIZES, COSTS, [2.0]).estimate(50)
    other = SizeCost.learned(SIZES, [60 * c for c in COSTS], [120.0]).estimate(50)
    for name in ("mean", "low", "high"):
        assert getattr(other, name) == pytest.approx(60 * getattr(one, name))


def test_learned_costs_are_a_function_of_size_and_level():
    low, high = SizeCost.learned([10], [1.0]), SizeCost.learned(SIZES, COSTS)
    costs = LearnedCosts({"low": low, "high": high})
    assert costs(20, "low") == pytest.approx(4.0)
    assert costs(20, "high") == high.estimate(20).mean


@pytest.mark.parametrize(
    "case",
    [
        ([], [], []),
        ([10], [1.0, 2.0], []),
        ([10, 0], [1.0, 2.0], []),
        ([10], [0.0], []),
        ([10], [1.0], [-1.0]),
        ([10], [float("nan")], []),
    ],
)
def test_costs_that_are_no_costs_are_refused(case):
    with pytest.raises(ValueError, match="each of positive cost and size, got"):
        SizeCost.learned(*case)
