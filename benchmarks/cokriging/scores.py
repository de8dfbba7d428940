"""How good a prediction is: root mean square error, predictive density, coverage."""

from typing import Any

import numpy as np
from scipy.stats import norm

FLOOR = 1e-5
"""Least standard deviation of a prediction, in spreads of the truth; for every model."""


def scored(mean: np.ndarray, variance: np.ndarray, truth: np.ndarray) -> dict[str, Any]:
    """Scores of Gaussian predictions of noise-free values.

    NLPD = mean of 1/2 log(2 pi v / s^2) + (y - m)^2 / 2 v, of y in units of its own
    spread s, so that it does not depend on units; the variance v is at least
    (`FLOOR` s)^2. Coverage is the share of truths within the central interval.

    Raises:
        ValueError: a mean or a variance is not a number.
    """
    if not (np.isfinite(mean).all() and np.isfinite(variance).all()):
        raise ValueError("the prediction holds values that are not numbers")
    spread = truth.std()
    floor = (FLOOR * spread) ** 2
    sigma = np.sqrt(np.maximum(variance, floor))
    z = (truth - mean) / sigma
    density = 0.5 * np.log(2 * np.pi) + np.log(sigma / spread) + 0.5 * z**2
    return {
        "rmse": float(np.sqrt(np.mean((truth - mean) ** 2))),
        "nlpd": float(np.mean(density)),
        "coverage_95": within(z, 0.95),
        "coverage_68": within(z, 0.68),
        "floored": float(np.mean(variance < floor)),
    }


def within(z: np.ndarray, share: float) -> float:
    """The share of standardised residuals within the central interval of `share`."""
    return float(np.mean(np.abs(z) <= norm.ppf(0.5 + share / 2)))


def rmse_of_the_mean(high: np.ndarray, truth: np.ndarray) -> float:
    """The error of predicting the mean of the high-level data everywhere.

    A model that does worse than this has failed catastrophically.
    """
    return float(np.sqrt(np.mean((truth - high.mean()) ** 2)))
