"""What a label costs, learned from the labels that were paid for."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from botorch.models.deterministic import DeterministicModel
from jaxtyping import Float
from scipy.stats import t as student
from torch import Tensor


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
    half = float(student.ppf(0.84, n)) * math.sqrt(variance * (1 + 1 / n))
    centre = float(logs.mean())
    return CostEstimate(
        float(values.mean()), math.exp(centre - half), math.exp(centre + half), n
    )


def cost_ratio(estimates: Mapping[str, CostEstimate], low: str, high: str) -> float:
    """How many times a label at the high level costs one at the low level, by the means."""
    return estimates[high].mean / estimates[low].mean


class LevelCostModel(DeterministicModel):
    """A BoTorch cost model: what a label costs depends on its level alone.

    `costs[l]` is the cost at level l, in any one unit. Between levels, where a model
    takes them as continuous, the cost is interpolated.

    >>> model = LevelCostModel([1.0, 10.0])
    >>> model(torch.tensor([[0.3, 0.0], [0.3, 1.0]])).flatten().tolist()
    [1.0, 10.0]

    Raises:
        ValueError: no costs, or one that is not positive.
    """

    costs: Tensor

    def __init__(self, costs: Sequence[float], *, fidelity_column: int = -1) -> None:
        super().__init__()
        if not len(costs) or not all(0 < c < math.inf for c in costs):
            raise ValueError(
                f"costs must be positive, one per level, got {list(costs)}"
            )
        self.register_buffer("costs", torch.tensor(costs, dtype=torch.float64))
        self.fidelity_column = fidelity_column
        self._num_outputs = 1

    def forward(self, X: Float[Tensor, "*b q d"]) -> Float[Tensor, "*b q 1"]:
        """The cost of each label.

        Raises:
            ValueError: a level that has no cost.
        """
        level = X[..., self.fidelity_column]
        highest = len(self.costs) - 1
        if not ((level >= 0) & (level <= highest)).all():
            raise ValueError(
                f"levels from 0 to {highest} have a cost, got "
                f"{level.min().item():g} to {level.max().item():g}"
            )
        below = level.detach().floor().long().clamp_max(max(highest - 1, 0))
        above = (below + 1).clamp_max(highest)
        low, high = self.costs[below].to(X), self.costs[above].to(X)
        return (low + (level - below) * (high - low)).unsqueeze(-1)
