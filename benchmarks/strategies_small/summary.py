"""What a learning curve says: the error at a cost, the cost of an error, with intervals.

Between the points of a curve the error is a power of the cost (a line in log-log).
"""

import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from jaxtyping import Float

RESAMPLES = 4000
Results = Sequence[Mapping[str, Any]]


def error_at(curve: Sequence[Mapping[str, Any]], cost: float, *names: str) -> float:
    """The error when so much is spent: of the last point if it is beyond the curve."""
    costs, errors = _columns(curve, *names)
    return float(np.exp(np.interp(math.log(cost), np.log(costs), np.log(errors))))


def cost_to_reach(
    curve: Sequence[Mapping[str, Any]], error: float, *names: str
) -> float:
    """The cost from which on the error stays at or below one, infinite if it never does.

    Not below the first point: what a pilot reaches costs the pilot.
    """
    costs, errors = _columns(curve, *names)
    above = np.flatnonzero(errors > error * (1 + 1e-9))
    if not len(above):
        return float(costs[0])
    last = int(above[-1])
    if last == len(costs) - 1:
        return math.inf
    x, y = np.log(costs[last : last + 2]), np.log(errors[last : last + 2])
    share = (y[0] - math.log(error)) / (y[0] - y[1])
    return float(np.exp(x[0] + share * (x[1] - x[0])))


def of(results: Results, strategy: str) -> dict[int, Mapping[str, Any]]:
    """The results of a strategy by their seed."""
    return {r["seed"]: r for r in results if r["strategy"] == strategy}


def errors_of(
    results: Results, strategy: str, fraction: float, *names: str
) -> Float[np.ndarray, " seeds"]:
    """The errors of all seeds at a fraction of the budget."""
    mine = of(results, strategy)
    return np.array(
        [
            error_at(mine[s]["curve"], fraction * mine[s]["budget"], *names)
            for s in sorted(mine)
        ]
    )


def ratios(
    results: Results, strategy: str, baseline: str, fraction: float, *names: str
) -> Float[np.ndarray, " seeds"]:
    """The error of one over that of the other at equal cost, seed by seed."""
    mine, theirs = (
        errors_of(results, name, fraction, *names) for name in (strategy, baseline)
    )
    return mine / theirs


def savings(
    results: Results, strategy: str, baseline: str, *names: str
) -> Float[np.ndarray, " seeds"]:
    """How many times less is paid for the error that the baseline ends with.

    Seed by seed on the same structures; zero where it is not reached within the budget.
    """
    mine, theirs = of(results, strategy), of(results, baseline)
    found = []
    for seed in sorted(mine):
        curve = theirs[seed]["curve"]
        error = float(_columns(curve, *names)[1][-1])
        paid = cost_to_reach(mine[seed]["curve"], error, *names)
        found.append(curve[-1]["cost"] / paid)
    return np.array(found)


def interval(
    values: Float[np.ndarray, " seeds"], percent: float = 95.0
) -> tuple[float, float, float]:
    """The median over seeds, and a bootstrap interval of it."""
    drawn = np.random.default_rng(0).integers(
        len(values), size=(RESAMPLES, len(values))
    )
    medians = np.median(values[drawn], axis=1)
    tail = (100 - percent) / 2
    low, high = np.percentile(medians, [tail, 100 - tail])
    return float(np.median(values)), float(low), float(high)


def _columns(
    curve: Sequence[Mapping[str, Any]], *names: str
) -> tuple[np.ndarray, np.ndarray]:
    costs, errors = [], []
    for point in curve:
        value: Any = point
        for name in names:
            value = value[name]
        costs.append(point["cost"])
        errors.append(value)
    return np.array(costs), np.array(errors)
