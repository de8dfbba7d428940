r"""What a label costs by the size of its structure, learned from the labels so far.

With x = log(n / n_0), n the number of atoms (or electrons) and n_0 the geometric mean
of those seen,

.. math:: \log c = a + b x + e, \quad e ~ N(0, s^2), \quad b | s ~ N(b_0, s^2 v^2),

a flat prior on a (the first label says what it is), and one pseudo-observation of the
prior's spread in s. What a new label costs is Student t in log c. Its expectation is
taken so that the expected costs of the labels seen add up to what was paid, failed
attempts included: the budget adds costs and not their logarithms.

Source: Gelman et al. (2013), Bayesian Data Analysis, section 14.2 (regression with
conjugate prior); Duan (1983), J. Am. Stat. Assoc. 78, 605 (smearing).
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float
from scipy.stats import t as student

from mfal.acquisition.cost import CostEstimate

_INSIDE = 0.84
"""Upper end of the central 68 % interval."""


@dataclass(frozen=True)
class SizeCost:
    r"""The cost of a label of one level as a power of its size.

    .. math:: \log c = a + b \log(n / n_0) + e, \quad e ~ N(0, s^2)

    Costs c in the unit of those that were paid, n in atoms or electrons. Make one with
    `SizeCost.learned`. `slope` and `slope_error` are the power and its standard error
    (of a Student t with `degrees`), `failure_rate` the share of attempts that failed.

    Source: Gelman et al. (2013), Bayesian Data Analysis, section 14.2.
    """

    log_size: float | int
    intercept: float
    slope: float
    unit_covariance: Float[np.ndarray, "2 2"]
    scale: float
    degrees: int
    paid_over_median: float
    failure_rate: float

    @staticmethod
    def learned(
        sizes: Sequence[float | int],
        costs: Sequence[float],
        failed_costs: Sequence[float] = (),
        *,
        slope: float = 2.0,
        slope_spread: float = 1.0,
        spread: float = 0.3,
    ) -> "SizeCost":
        """From the labels that were paid for, and the cost of attempts that failed.

        The prior: costs rise with the size to the power 2 +- 1 (from linear to cubic,
        which spans the codes), single labels of one size differ by 30 %.

        Raises:
            ValueError: no labels, not one size each, or numbers that are not positive.
        """
        x, y = np.asarray(sizes, dtype=float), np.asarray(costs, dtype=float)
        failed = np.asarray(failed_costs, dtype=float)
        if (
            not len(y)
            or len(x) != len(y)
            or not all((v > 0).all() and np.isfinite(v).all() for v in (x, y))
            or not ((failed >= 0).all() and np.isfinite(failed).all())
        ):
            raise ValueError(
                "costs are learned from one label or more, each of positive cost and "
                f"size, got costs {list(costs)}, sizes {list(sizes)} and failed attempts "
                f"of {list(failed_costs)}: declare the cost of a level without labels"
            )
        log_size = float(np.log(x).mean())
        rows = np.column_stack([np.ones(len(x)), np.log(x) - log_size])
        logs = np.log(y)
        prior = np.diag([0.0, (spread / slope_spread) ** 2])
        centre = np.array([0.0, slope])
        covariance = np.linalg.inv(rows.T @ rows + prior)
        mean = covariance @ (rows.T @ logs + prior @ centre)
        misfit = np.square(logs - rows @ mean).sum()
        misfit += (mean - centre) @ prior @ (mean - centre) + spread**2
        medians = np.exp(rows @ mean)
        return SizeCost(
            log_size,
            float(mean[0]),
            float(mean[1]),
            covariance,
            math.sqrt(misfit / len(y)),
            len(y),
            float((y.sum() + failed.sum()) / medians.sum()),
            len(failed) / (len(failed) + len(y)),
        )

    @property
    def slope_error(self) -> float:
        """Standard error of the power."""
        return self.scale * math.sqrt(self.unit_covariance[1, 1])

    def estimate(self, size: float | int) -> CostEstimate:
        """Expected cost of a label of a structure of this size, and its 68 % interval.

        The mean holds what failed attempts cost on the way to a label; the interval is
        that of the attempt that succeeds.
        """
        row = np.array([1.0, math.log(size) - self.log_size])
        centre = float(row @ [self.intercept, self.slope])
        spread = self.scale * math.sqrt(1 + row @ self.unit_covariance @ row)
        half = float(student.ppf(_INSIDE, self.degrees)) * spread
        return CostEstimate(
            self.paid_over_median * math.exp(centre),
            math.exp(centre - half),
            math.exp(centre + half),
            self.degrees,
        )


@dataclass(frozen=True)
class LearnedCosts:
    """Expected costs per level, each learned (`SizeCost`): a function of size and level.

    Any function of size and level will do where costs are given, such as
    `lambda size, level: {"gfn2": 1.0, "pbe": 300.0}[level]`.
    """

    levels: Mapping[str, SizeCost]

    def __call__(self, size: float | int, level: str) -> float:
        """The expected cost of a label.

        Raises:
            KeyError: a level without labels.
        """
        return self.levels[level].estimate(size).mean
