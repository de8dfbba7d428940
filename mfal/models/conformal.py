r"""Split conformal intervals: a coverage that holds for finite samples, sigma right or not.

From n residuals r with standard deviations s that the model has not seen, the scores
|r| / s are sorted, and

    q = the score of rank k = ceil((n + 1) (1 - alpha)),   interval: mean -+ q s.

If the new label and those of the calibration are exchangeable, it is inside with a
probability of at least 1 - alpha, and (without ties) of at most 1 - alpha + 1 / (n + 1).

Source: Vovk, Gammerman, Shafer (2005), section 2.2; Angelopoulos & Bates (2021), eq. 1 and
section 2.3.2 (scores over sigma), section 4.1 (groups).
"""

import math
from collections.abc import Hashable, Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float, Int


@dataclass(frozen=True)
class ConformalIntervals:
    r"""Sorted scores |r| / s of n labels that the model has not seen, and intervals.

    .. math:: \mu \mp q s, \qquad q = \text{score of rank } \lceil (n + 1) c \rceil

    An exchangeable new label is inside with a probability of at least c, the coverage.
    Residuals and sigmas are in one unit, q has none.

    Source: Vovk, Gammerman, Shafer (2005), section 2.2; Angelopoulos & Bates (2021),
    eq. 1 and section 2.3.2.

    >>> intervals = ConformalIntervals.of(np.arange(-9.0, 10.0), np.ones(19))
    >>> intervals.factor(0.9)  # the 18th of 19
    9.0

    Raises:
        ValueError: no scores, or one that is not a finite number >= 0.
    """

    scores: Float[np.ndarray, " n"]

    def __post_init__(self) -> None:
        if not len(self.scores) or not (self.scores >= 0).all():
            raise ValueError(
                "conformal intervals need residuals with positive sigmas, got "
                f"{len(self.scores)} scores"
            )
        object.__setattr__(self, "scores", np.sort(self.scores))

    @staticmethod
    def of(
        residual: Float[np.ndarray, " n"], sigma: Float[np.ndarray, " n"]
    ) -> "ConformalIntervals":
        """From residuals of single labels, each with its standard deviation.

        Components of the forces of one structure are not exchangeable with those of
        another: `of_structures` keeps what is promised.
        """
        return ConformalIntervals(_scores(residual, sigma))

    @staticmethod
    def of_structures(
        residual: Float[np.ndarray, " n"],
        sigma: Float[np.ndarray, " n"],
        structure: Int[np.ndarray, " n"],
    ) -> "ConformalIntervals":
        """With the largest score of each structure as one: all of it lies inside at once.

        What is exchangeable is structures, and these are the intervals that hold for
        every component of a new one with the stated probability.
        """
        scores = _scores(residual, sigma)
        _, place = np.unique(structure, return_inverse=True)
        largest = np.zeros(place.max(initial=-1) + 1)
        np.maximum.at(largest, place, scores)
        return ConformalIntervals(largest)

    def factor(self, coverage: float) -> float:
        """q, the half width of the intervals in standard deviations.

        Raises:
            ValueError: a coverage that is not between 0 and 1, or one that so few
                labels cannot promise.
        """
        if not 0 < coverage < 1:
            raise ValueError(f"a coverage is between 0 and 1, got {coverage}")
        n = len(self.scores)
        rank = math.ceil((n + 1) * coverage - 1e-9)
        if rank > n:
            least = math.ceil(coverage / (1 - coverage) - 1e-9)
            raise ValueError(
                f"intervals that hold {coverage:g} of the labels take {least} labels to "
                f"calibrate with, got {n}: add labels or ask for less"
            )
        return float(self.scores[rank - 1])

    def coverage(
        self,
        residual: Float[np.ndarray, " n"],
        sigma: Float[np.ndarray, " n"],
        nominal: Float[np.ndarray, " p"],
    ) -> Float[np.ndarray, " p"]:
        """Share of other residuals inside the interval of each nominal coverage.

        `mfal.models.calibration.coverage` asks that of Gaussian error bars; these
        intervals take their widths from the labels that they were calibrated with,
        whatever the shape of the errors.
        """
        scores = _scores(residual, sigma)
        factors = np.array([self.factor(float(p)) for p in nominal])
        return (scores[:, None] <= factors).mean(axis=0)

    def interval(
        self,
        mean: Float[np.ndarray, "*shape"],
        sigma: Float[np.ndarray, "*shape"],
        coverage: float,
    ) -> tuple[Float[np.ndarray, "*shape"], Float[np.ndarray, "*shape"]]:
        """Lower and upper ends of the intervals of predictions."""
        half = self.factor(coverage) * sigma
        return mean - half, mean + half


def conformal_by_group(
    residual: Float[np.ndarray, " n"],
    sigma: Float[np.ndarray, " n"],
    groups: Sequence[Hashable],
) -> dict[Hashable, ConformalIntervals]:
    """Intervals that hold within each group (a species, a kind of cell).

    Raises:
        ValueError: not one group per residual.
    """
    if len(groups) != len(residual):
        raise ValueError(
            f"each residual has a group: got {len(groups)} groups for {len(residual)}"
        )
    names = list(dict.fromkeys(groups))
    place = np.array([names.index(g) for g in groups], dtype=int)
    return {
        name: ConformalIntervals.of(residual[place == k], sigma[place == k])
        for k, name in enumerate(names)
    }


def _scores(
    residual: Float[np.ndarray, " n"], sigma: Float[np.ndarray, " n"]
) -> Float[np.ndarray, " n"]:
    if not (sigma > 0).all() or not np.isfinite(residual).all():
        raise ValueError("every sigma must be positive, and every residual finite")
    return np.abs(residual) / sigma
