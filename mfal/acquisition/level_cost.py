"""A cost per level, for BoTorch's acquisition functions and ours."""

import math
from collections.abc import Sequence

import torch
from botorch.models.deterministic import DeterministicModel
from jaxtyping import Float
from torch import Tensor


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
