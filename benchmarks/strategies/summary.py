"""What learning curves say: the cost of an error, what is saved, and against whom.

An error is given by what random choice at the high level alone reaches with so many
labels, seed by seed on the same structures. Costs are counted in high labels.
"""

from collections.abc import Mapping
from typing import Any

import numpy as np
from jaxtyping import Float

from benchmarks.strategies.strategies import ACTIVE, FIXED, RANDOM
from benchmarks.strategies_small.summary import RESAMPLES, cost_to_reach, error_at, of

__all__ = [
    "REACHED",
    "best_of",
    "costs_of",
    "error_at",
    "errors_of",
    "has",
    "interval",
    "labels_of",
    "least_cost",
    "of",
    "paid_over",
    "ratio",
]

REACHED = (10, 20, 40)
"""Labels of random choice whose errors are asked for."""
SystemResults = Mapping[str, Any]


def has(system: SystemResults, strategy: str, mode: str) -> bool:
    """Whether a strategy was measured in a way of deployment."""
    mine = of(system["results"], strategy)
    return bool(mine) and all(mode in p for r in mine.values() for p in r["curve"])


def errors_of(
    system: SystemResults, strategy: str, mode: str, n_labels: float
) -> Float[np.ndarray, " seeds"]:
    """The errors of all seeds when the price of so many high labels is spent."""
    mine = of(system["results"], strategy)
    cost = n_labels * _high_cost(system)
    return np.array(
        [
            error_at(mine[s]["curve"], cost, mode, system["measure"])
            for s in sorted(mine)
        ]
    )


def costs_of(
    system: SystemResults, strategy: str, mode: str, n_labels: int
) -> Float[np.ndarray, " seeds"]:
    """What is paid, in high labels, for the error of so many labels at random.

    From where on the error stays at or below it; infinite if it never does.
    """
    errors = errors_of(system, RANDOM.name, "standalone", n_labels)
    mine = of(system["results"], strategy)
    paid = [
        cost_to_reach(mine[s]["curve"], error, mode, system["measure"])
        for s, error in zip(sorted(mine), errors, strict=True)
    ]
    return np.array(paid) / _high_cost(system)


def labels_of(
    system: SystemResults, strategy: str, mode: str, n_labels: int
) -> Float[np.ndarray, " seeds"]:
    """How many high labels there are when that error is reached.

    Those of the first measured step at or below it for good.
    """
    high = system["levels"][-1]
    paid = costs_of(system, strategy, mode, n_labels) * _high_cost(system)
    mine = of(system["results"], strategy)
    found = []
    for s, cost in zip(sorted(mine), paid, strict=True):
        reached = [
            p["labels"][high]
            for p in mine[s]["curve"]
            if p["cost"] >= cost * (1 - 1e-9)
        ]
        found.append(float(reached[0]) if reached else np.inf)
    return np.array(found)


def best_of(
    system: SystemResults, kind: str, mode: str, n_labels: int
) -> tuple[str, Float[np.ndarray, " seeds"]] | None:
    """The cheapest in the median of the fixed ratios, or of the active ones at one level.

    Known only in hindsight. `None` if the system has none.
    """
    names = [s.name for s in (FIXED if kind == "fixed" else ACTIVE)]
    names = [n for n in names if has(system, n, mode)]
    if not names:
        return None
    found = {n: costs_of(system, n, mode, n_labels) for n in names}
    best = min(names, key=lambda n: float(np.median(found[n])))
    return best, found[best]


def interval(
    values: Float[np.ndarray, " seeds"], percent: float = 95.0
) -> tuple[float, float, float]:
    """The median over seeds, and a bootstrap interval of it; infinite values may be."""
    n = len(values)
    drawn = np.random.default_rng(0).integers(n, size=(RESAMPLES, n))
    medians = np.median(values[drawn], axis=1)
    tails = [(100 - percent) / 2, (100 + percent) / 2]
    low, high = np.percentile(medians, tails, method="inverted_cdf")
    return float(np.median(values)), float(low), float(high)


def ratio(
    above: Float[np.ndarray, " seeds"], below: Float[np.ndarray, " seeds"]
) -> Float[np.ndarray, " seeds"]:
    """One cost over the other, seed by seed; one where neither is ever reached."""
    both = np.isinf(above) & np.isinf(below)
    with np.errstate(invalid="ignore"):
        return np.where(both, 1.0, above / below)


def paid_over(
    system: SystemResults, who: str, against: str, mode: str, other: str, n_labels: int
) -> Float[np.ndarray, " seeds"]:
    """What one pays over what the other pays, seed by seed.

    For the error of `n_labels` at random (the first in `mode`, the second in `other`);
    where one of the two does not get there, for the larger of the errors they end with.
    """
    measure = system["measure"]
    mine, theirs = of(system["results"], who), of(system["results"], against)
    errors = errors_of(system, RANDOM.name, "standalone", n_labels)
    found = []
    for s, error in zip(sorted(mine), errors, strict=True):
        curves = [(mine[s]["curve"], mode), (theirs[s]["curve"], other)]
        reached = max(error, *(curve[-1][m][measure] for curve, m in curves))
        paid = [cost_to_reach(curve, reached, m, measure) for curve, m in curves]
        found.append(paid[0] / paid[1])
    return np.array(found)


def least_cost(system: SystemResults, strategy: str) -> float:
    """The pilot of a strategy, in high labels: no error is reached for less."""
    mine = of(system["results"], strategy)
    return float(min(r["curve"][0]["cost"] for r in mine.values())) / _high_cost(system)


def _high_cost(system: SystemResults) -> float:
    return float(system["costs"][system["levels"][-1]])
