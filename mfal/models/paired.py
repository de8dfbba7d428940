"""How well the labels of a low level, scaled, give those of a high level."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float

FEWEST_PAIRS = 3
"""Paired labels below which nothing is said about a level."""


@dataclass(frozen=True)
class PairedFit:
    """The regression of high on low labels, see `paired_regression`."""

    scale: float
    scale_error: float
    correlation: float
    r2: float
    n_pairs: int


def paired_regression(
    low: Sequence[Float[np.ndarray, "..."]],
    high: Sequence[Float[np.ndarray, "..."]],
    *,
    intercept: bool,
) -> PairedFit:
    r"""High labels as scaled low labels, each pair left out of its own scale.

    .. math:: R^2 = 1 - \frac{\sum_k |H_k - a_{-k} - s_{-k} L_k|^2}
                             {\sum_k |H_k - b_{-k}|^2}

    with scale s (and intercept a) by least squares over the other pairs, and b their
    mean; without `intercept` a = b = 0, as for forces, whose zero has a meaning. A pair
    is one geometry: its rows are left out together. The standard error of s is the
    jackknife's, which needs no white residuals; the correlation is that of all rows,
    about zero if there is no intercept.

    Source: Allen (1974), Technometrics 16, 125 (PRESS); Efron (1982), The Jackknife,
    eq. 3.2.

    Raises:
        ValueError: fewer than three pairs.
    """
    if len(low) != len(high) or len(low) < FEWEST_PAIRS:
        raise ValueError(
            f"a diagnosis takes at least {FEWEST_PAIRS} paired labels, got {len(low)} "
            f"and {len(high)}"
        )
    sums = np.array([_sums(a, b) for a, b in zip(low, high, strict=True)])
    total = sums.sum(axis=0)
    without = [_line(total - s, intercept=intercept) for s in sums]
    missed = bare = 0.0
    for x, y, (slope, at_zero, mean) in zip(low, high, without, strict=True):
        missed += float(np.square(y - at_zero - slope * x).sum())
        bare += float(np.square(y - mean).sum())
    n, x, y, xx, xy, yy = total
    if intercept:
        xx, xy, yy = xx - x * x / n, xy - x * y / n, yy - y * y / n
    slopes = np.array([slope for slope, _, _ in without])
    k = len(slopes)
    return PairedFit(
        scale=_line(total, intercept=intercept)[0],
        scale_error=float(
            np.sqrt((k - 1) / k * np.square(slopes - slopes.mean()).sum())
        ),
        correlation=float(xy / np.sqrt(xx * yy)) if xx > 0 and yy > 0 else 0.0,
        r2=1 - missed / bare if bare > 0 else 0.0,
        n_pairs=k,
    )


def _sums(x: np.ndarray, y: np.ndarray) -> tuple[float, ...]:
    """n and the sums of x, y, x^2, x y, y^2."""
    parts = (x, y, x * x, x * y, y * y)
    return (float(np.size(x)), *(float(p.sum()) for p in parts))


def _line(sums: np.ndarray, *, intercept: bool) -> tuple[float, float, float]:
    """Slope, intercept and mean of y."""
    n, x, y, xx, xy, _ = sums
    if not intercept:
        return float(xy / max(xx, 1e-30)), 0.0, 0.0
    spread = xx - x * x / n
    # rounding is all that is left of a low level that does not vary
    slope = (xy - x * y / n) / spread if spread > 1e-12 * xx else 0.0
    return float(slope), float((y - slope * x) / n), float(y / n)
