r"""Pictures of calibration in numbers: curve, area, sharpness, error against sigma.

Source: Kuleshov, Fenner, Ermon (2018), ICML, for the curve; Tran et al. (2020), Mach.
Learn.: Sci. Technol. 1, 025006, for area and sharpness; Levi et al. (2022), Sensors 22,
5540, for errors against sigmas.
"""

from typing import Any

import numpy as np
from jaxtyping import Float

from mfal.models.calibration import NOMINAL, coverage, metrics

GRID = np.linspace(0.0, 1.0, 101)
"""The central coverages between which the area is taken."""


def miscalibration_area(
    residual: Float[np.ndarray, " n"],
    sigma: Float[np.ndarray, " n"],
    nominal: Float[np.ndarray, " p"] = GRID,
) -> float:
    """Area between the curve of empirical over nominal coverage and the diagonal.

    The curve is straight between the `nominal` coverages. Zero is right, 1/2 the worst.
    """
    return area_of_gaps(
        np.asarray(coverage(residual, sigma, nominal)) - nominal, nominal
    )


def area_of_gaps(
    gaps: Float[np.ndarray, " p"], nominal: Float[np.ndarray, " p"]
) -> float:
    """Area under |gap|, straight lines between the nominal coverages."""
    a, b = gaps[:-1], gaps[1:]
    width = np.diff(nominal)
    same = a * b >= 0
    # two triangles where the curve crosses the diagonal
    total = np.abs(a) + np.abs(b)
    crossing = (a**2 + b**2) / np.where(total > 0, total, 1.0)
    return float((0.5 * width * np.where(same, total, crossing)).sum())


def sharpness(sigma: Float[np.ndarray, " n"]) -> float:
    """Root mean square of the sigmas: how much is promised, right or not."""
    return float(np.sqrt(np.square(sigma).mean()))


def error_against_sigma(
    residual: Float[np.ndarray, " n"], sigma: Float[np.ndarray, " n"], bins: int = 10
) -> dict[str, list[float]]:
    """Root mean squares of sigmas and of errors, in bins of as many rising sigmas.

    On the diagonal sigma says where errors are large, and how large.

    Raises:
        ValueError: fewer residuals than bins.
    """
    if not 1 <= bins <= len(residual):
        raise ValueError(
            f"there are from one to as many bins as residuals, got {bins} for "
            f"{len(residual)} residuals"
        )
    parts = np.array_split(np.argsort(sigma, kind="stable"), bins)
    return {
        "sigma": [sharpness(sigma[p]) for p in parts],
        "error": [float(np.sqrt(np.square(residual[p]).mean())) for p in parts],
        "n": [float(len(p)) for p in parts],
    }


def summary(
    residual: Float[np.ndarray, " n"], sigma: Float[np.ndarray, " n"], bins: int = 10
) -> dict[str, Any]:
    """`metrics`, `miscalibration_area`, `sharpness` and the data of two figures.

    `curve` has the nominal and the empirical coverage, `error_against_sigma` up to so
    many bins, `z_mean` is the mean of the standardised residuals.

    Raises:
        ValueError: no residuals, or a sigma that is not positive.
    """
    found: dict[str, Any] = dict(metrics(residual, sigma))
    return found | {
        "n": len(residual),
        "z_mean": float((residual / sigma).mean()),
        "miscalibration_area": miscalibration_area(residual, sigma),
        "sharpness": sharpness(sigma),
        "curve": {
            "nominal": NOMINAL.tolist(),
            "empirical": np.asarray(coverage(residual, sigma, NOMINAL)).tolist(),
        },
        "error_against_sigma": error_against_sigma(
            residual, sigma, min(bins, len(residual))
        ),
    }
