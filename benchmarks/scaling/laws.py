"""Power laws through measured points, and the floor of the arithmetic."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

FITTED = 4
"""So many of the largest sizes give the exponent: the smallest are overheads."""


@dataclass(frozen=True)
class PowerLaw:
    """y = y0 (x / x0)^b, x0 the largest size, with the standard error of b.

    The error is that of the least-squares line in logarithms; NaN through two points.
    """

    largest: float
    at_largest: float
    exponent: float
    error: float

    def __call__(self, x: float) -> float:
        """The value of the law."""
        return self.at_largest * (x / self.largest) ** self.exponent

    def range(self, x: float, known: float | None = None) -> tuple[float, float]:
        """Least and largest value with the exponent two standard errors off.

        An exponent that is `known` of the algorithm counts as well: load and overheads
        bend a line more than its error says.
        """
        spread = 0.0 if math.isnan(self.error) else 2 * self.error
        exponents = [self.exponent - spread, self.exponent + spread]
        exponents += [] if known is None else [known]
        ends = [self.at_largest * (x / self.largest) ** b for b in exponents]
        return min(ends), max(ends)


def power_law(x: Sequence[float], y: Sequence[float]) -> PowerLaw:
    """The line of least squares through the largest points, in logarithms.

    Raises:
        ValueError: fewer than two sizes, or a value that is not positive.
    """
    order = np.argsort(x)[-FITTED:]
    sizes, values = np.asarray(x, float)[order], np.asarray(y, float)[order]
    if len(set(sizes)) < 2 or (values <= 0).any() or (sizes <= 0).any():
        raise ValueError(
            "a power law goes through at least two sizes with positive values, got "
            f"{values.tolist()} at {sizes.tolist()}"
        )
    u, v = np.log(sizes / sizes[-1]), np.log(values)
    slope, level = np.polyfit(u, v, 1)
    error = math.nan
    if len(u) > 2:
        rest = v - level - slope * u
        error = math.sqrt(rest @ rest / (len(u) - 2) / ((u - u.mean()) ** 2).sum())
    return PowerLaw(float(sizes[-1]), math.exp(level), float(slope), error)


def floor_seconds(stage: Mapping[str, Any], rates: Mapping[str, float]) -> float:
    """The time of the operations or of the bytes of a stage, whichever is longer."""
    return max(
        stage["flops"] / rates["flops_per_second"],
        stage["moved"] / rates["bytes_per_second"],
    )


def curve(
    points: Sequence[Mapping[str, Any]], stage: str, key: str
) -> tuple[list[float], list[float]]:
    """Sizes and values of a stage, of the points that have it, by size."""
    have = sorted((p for p in points if stage in p["stages"]), key=lambda p: p["size"])
    return [p["size"] for p in have], [p["stages"][stage][key] for p in have]
