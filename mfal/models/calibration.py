"""How honest error bars are: coverage, calibration error, likelihood, recalibration."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float
from scipy.optimize import minimize
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


def calibration_error(
    share: Float[np.ndarray, " p"], nominal: Float[np.ndarray, " p"] = NOMINAL
) -> float:
    """ECE: the mean gap between the shares that intervals hold and their nominal ones.

    Source: Kuleshov, Fenner, Ermon (2018), ICML.
    """
    return float(np.abs(share - nominal).mean())


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
        "ece": calibration_error(np.asarray(coverage(residual, sigma, NOMINAL))),
        "z_std": float(np.sqrt(np.square(z).mean())),
    }


@dataclass(frozen=True)
class Recalibration:
    """Factors on the standard deviations of energies, forces and stresses.

    `energy`, `forces` and `stress` multiply the epistemic sigmas, `*_noise` those of the
    noise (`None`: the same factor). `unexplained` multiplies the part of the epistemic
    sigma of energies that no feature of a sparse model carries, before `energy` does.

    Raises:
        ValueError: a factor that is not positive and finite.
    """

    energy: float = 1.0
    forces: float = 1.0
    stress: float = 1.0
    energy_noise: float | None = None
    forces_noise: float | None = None
    stress_noise: float | None = None
    unexplained: float = 1.0

    def __post_init__(self) -> None:
        for name, factor in vars(self).items():
            if factor is None or (name == "unexplained" and factor == 0):
                continue
            if not (math.isfinite(factor) and factor > 0):
                raise ValueError(
                    f"the factor on the sigma of {name} must be positive, got {factor}"
                )

    def on_sigma(self, quantity: str) -> float:
        """The factor on the epistemic sigma of a quantity."""
        return float(getattr(self, quantity))

    def on_noise(self, quantity: str) -> float:
        """The factor on the noise of a quantity."""
        factor = getattr(self, f"{quantity}_noise")
        return self.on_sigma(quantity) if factor is None else float(factor)


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


HEAVY = 4.0
"""Degrees of freedom of the t distribution that factors on variances are fitted with."""

_LEAST_LOG, _MOST_LOG = math.log(0.05), math.log(200.0)


def t_loss(
    residual: Float[np.ndarray, " n"], scale: Float[np.ndarray, " n"]
) -> Float[np.ndarray, " n"]:
    """-log density of t-distributed residuals, less a constant: log s and the misfit."""
    z2 = np.square(residual / scale)
    return np.log(scale) + 0.5 * (HEAVY + 1) * np.log1p(z2 / HEAVY)


def component_factors(
    residual: Float[np.ndarray, " n"],
    components: Sequence[Float[np.ndarray, " n"]],
) -> Float[np.ndarray, " c"]:
    r"""Factors a_k such that (sum_k a_k^2 s_k^2)^1/2 are the scales of the residuals.

    The factors of largest likelihood for t-distributed residuals, each between 1/20 and
    200, then all times the one factor of `coverage_factor`: a few large residuals move
    neither. What the misfit of a model follows (its epistemic sigma, constant noise) is
    thereby read from the residuals and not supposed.

    Source: Lange, Little, Taylor (1989), J. Am. Stat. Assoc. 84, 881, for the likelihood.
    """
    squares = np.stack([np.square(c) for c in components])
    total = np.sqrt(squares.sum(axis=0))
    kept = np.abs(residual) > 1e-3 * total
    if kept.sum() < 2:
        return np.ones(len(squares))
    r2, some = np.square(residual[kept]), squares[:, kept]
    # in units in which every component is as large as the residuals
    unit = np.sqrt(np.median(r2) / np.maximum(np.median(some, axis=1), 1e-300))
    unit = np.clip(unit, math.exp(_LEAST_LOG), math.exp(_MOST_LOG))

    def loss(logs: np.ndarray) -> tuple[float, np.ndarray]:
        parts = np.exp(2 * logs)[:, None] * some
        variance = parts.sum(axis=0)
        z2 = r2 / variance
        slope = 0.5 - 0.5 * (HEAVY + 1) * z2 / (HEAVY + z2)
        value = t_loss(residual[kept], np.sqrt(variance)).mean()
        return float(value), (2 * parts / variance * slope).mean(axis=1)

    starts = [np.log(unit)]
    starts += [
        np.log(unit) - 2.0 * (np.arange(len(unit)) != k) for k in range(len(unit))
    ]
    bounds = [(_LEAST_LOG, _MOST_LOG)] * len(unit)
    found = min(
        (
            minimize(loss, np.clip(x, *bounds[0]), jac=True, bounds=bounds)
            for x in starts
        ),
        key=lambda f: f.fun,
    )
    factors = np.exp(found.x)
    scale = np.sqrt((np.square(factors)[:, None] * squares).sum(axis=0))
    return factors * coverage_factor(residual / scale)


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
