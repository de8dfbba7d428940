"""What a label costs, learned from the labels that were paid for."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from scipy.special import stdtrit


@dataclass(frozen=True)
class CostEstimate:
    """Expected cost of a label and a central 68 % interval of single labels.

    `low`, `mean` and `high` are in the unit of the costs that were paid (CPU seconds in
    campaigns); `n` labels stand behind them.
    """

    mean: float
    low: float
    high: float
    n: int


def estimate_cost(costs: Sequence[float], *, prior_spread: float = 0.3) -> CostEstimate:
    """The cost of the next label from the costs of earlier ones of the same level.

    Costs are taken as log-normal. The mean is the arithmetic mean of what was paid, as
    the budget adds costs and not their logarithms. The interval is Student's for a new
    label; with a single cost its spread is that of the prior (30 %).

    Raises:
        ValueError: no costs, or one that is not positive.
    """
    values = np.asarray(costs, dtype=float)
    if not len(values) or not (values > 0).all() or not np.isfinite(values).all():
        raise ValueError(f"costs must be positive and at least one, got {list(costs)}")
    logs = np.log(values)
    n = len(values)
    # one pseudo-observation of the prior's spread keeps the estimate sane at n = 1
    variance = (prior_spread**2 + ((logs - logs.mean()) ** 2).sum()) / n
    half = float(stdtrit(n, 0.84)) * math.sqrt(variance * (1 + 1 / n))
    centre = float(logs.mean())
    return CostEstimate(
        float(values.mean()), math.exp(centre - half), math.exp(centre + half), n
    )


def cost_ratio(estimates: Mapping[str, CostEstimate], low: str, high: str) -> float:
    """How many times a label at the high level costs one at the low level, by the means."""
    return estimates[high].mean / estimates[low].mean
