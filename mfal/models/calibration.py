"""How honest error bars are: coverage, calibration error, likelihood, recalibration."""

import math
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float
from scipy.stats import norm

NOMINAL = np.arange(1, 20) / 20
"""The central coverages at which calibration is measured: 5, 10, ..., 95 %."""


def coverage(
    residual: Float[np.ndarray, " n"],
    sigma: Float[np.ndarray, " n"],
    nominal: float | Float[np.ndarray, " p"],
) -> float | Float[np.ndarray, " p"]:
    """Share of residuals within the central interval of the nominal probability."""
    width = norm.ppf(0.5 + 0.5 * np.asarray(nominal))
    inside = np.abs(residual)[:, None] <= np.atleast_1d(width) * sigma[:, None]
    share = inside.mean(axis=0)
    return share if np.ndim(nominal) else float(share[0])


def metrics(
    residual: Float[np.ndarray, " n"], sigma: Float[np.ndarray, " n"]
) -> dict[str, float]:
    """Errors and calibration of predictions with standard deviations sigma.

    mae, rmse, max; nll (mean negative log density); coverage_68 and coverage_95;
    ece (mean gap between nominal and empirical coverage over `NOMINAL`); z_std (root
    mean square of the standardised residuals, one if sigma is right). Units are those of
    the residuals.

    Source: Kuleshov, Fenner, Ermon (2018), ICML; Gneiting & Raftery (2007).

    Raises:
        ValueError: no residuals, or a sigma that is not positive.
    """
    if len(residual) == 0:
        raise ValueError("there are no residuals to judge")
    if not (sigma > 0).all():
        raise ValueError("every sigma must be positive")
    z = residual / sigma
    return {
        "mae": float(np.abs(residual).mean()),
        "rmse": float(np.sqrt(np.square(residual).mean())),
        "max": float(np.abs(residual).max()),
        "nll": float((0.5 * z**2 + np.log(sigma) + 0.5 * math.log(2 * math.pi)).mean()),
        "coverage_68": float(coverage(residual, sigma, 0.68)),
        "coverage_95": float(coverage(residual, sigma, 0.95)),
        "ece": float(np.abs(coverage(residual, sigma, NOMINAL) - NOMINAL).mean()),
        "z_std": float(np.sqrt(np.square(z).mean())),
    }


@dataclass(frozen=True)
class Recalibration:
    """Factors on the standard deviations of energies, forces and stresses.

    Raises:
        ValueError: a factor that is not positive and finite.
    """

    energy: float = 1.0
    forces: float = 1.0
    stress: float = 1.0

    def __post_init__(self) -> None:
        for name in ("energy", "forces", "stress"):
            factor = getattr(self, name)
            if not (math.isfinite(factor) and factor > 0):
                raise ValueError(
                    f"the factor on the sigma of {name} must be positive, got {factor}"
                )


def coverage_factor(z: Float[np.ndarray, " n"]) -> float:
    """The factor on sigma that brings the 68 and 95 % coverages nearest to nominal.

    The sum of the two gaps is least among the factors that make one coverage between
    60 and 97 % right. A few large residuals do not move it, as they move the root mean
    square: its intervals are honest for the many, not for the few. Residuals below a
    thousandth of sigma are left out: forces that vanish by symmetry, in the label and
    in the model, would pass for a triumph of the error bars.
    """
    z = z[np.abs(z) > 1e-3]
    if not len(z):
        return 1.0
    nominal = np.array([0.68, 0.95])
    shares = np.linspace(0.60, 0.97, 38)
    factors = np.quantile(np.abs(z), shares) / norm.ppf(0.5 + 0.5 * shares)
    ones = np.ones_like(z)
    gaps = [np.abs(coverage(z, f * ones, nominal) - nominal).sum() for f in factors]
    return float(factors[int(np.argmin(gaps))])


def recalibration(
    residuals: Mapping[str, Float[np.ndarray, " n"]],
    sigmas: Mapping[str, Float[np.ndarray, " n"]],
    *,
    least: int = 5,
) -> Recalibration:
    """The factors that make held-out standardised residuals of unit mean square.

    This is the factor of largest likelihood for normal residuals. A quantity with fewer
    than `least` residuals keeps the factor one. Residuals are those of the closed-form
    leave-one-configuration-out, or of a held-out set.
    """
    factors = {}
    for quantity, residual in residuals.items():
        z = residual / sigmas[quantity]
        enough = len(z) >= least
        factors[quantity] = float(np.sqrt(np.square(z).mean())) if enough else 1.0
    return Recalibration(**factors)
