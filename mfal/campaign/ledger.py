"""The budget: what was spent, what a label costs, what is left."""

import math
from collections.abc import Mapping
from dataclasses import dataclass

from mfal.acquisition import CostEstimate, estimate_cost
from mfal.campaign.config import CampaignConfig, ConfigError
from mfal.campaign.reader import StoreReader
from mfal.campaign.records import BUDGETED


@dataclass(frozen=True)
class Ledger:
    """Costs of a campaign in one unit: measured CPU seconds, or declared costs.

    Failed attempts are charged. Validation is bought outside the budget.
    """

    config: CampaignConfig
    store: StoreReader

    @property
    def unit(self) -> str:
        """The unit of all costs."""
        return "CPU s" if self._declared is None else "declared cost"

    @property
    def _declared(self) -> Mapping[str, float] | None:
        return self.config.budget.costs

    def spent(
        self,
        level: str | None = None,
        purposes: tuple[str, ...] = BUDGETED,
        up_to_step: int | None = None,
    ) -> float:
        """What was charged at a level (or all), for these purposes."""
        labels = [
            label
            for label in self.store.labels(level=level)
            if label.purpose in purposes
            and (up_to_step is None or label.step <= up_to_step)
        ]
        if self._declared is None:
            return math.fsum(label.cpu_seconds for label in labels)
        # an attempt that is running is charged when it ends
        return math.fsum(
            self._declared[label.level] * (label.attempts - (label.state == "running"))
            for label in labels
        )

    def estimates(self, up_to_step: int | None = None) -> dict[str, CostEstimate]:
        """Expected cost of a label per level, from the labels that are done.

        Raises:
            ConfigError: replayed labels that carry no cost, without declared costs.
        """
        if self._declared is not None:
            return {
                name: CostEstimate(cost, cost, cost, 0)
                for name, cost in self._declared.items()
            }
        found = {}
        for level in self.config.levels:
            costs = [
                label.cpu_seconds
                for label in self.store.labels(state="done", level=level.name)
                if up_to_step is None or label.step <= up_to_step
            ]
            if costs and not all(cost > 0 for cost in costs):
                raise ConfigError(
                    f"budget: labels of level {level.name!r} carry no cost: declare "
                    "`budget.costs` for every level"
                )
            if costs:
                found[level.name] = estimate_cost(costs)
        return found

    def total(self, estimates: Mapping[str, CostEstimate]) -> float:
        """The whole budget in the ledger's unit."""
        budget = self.config.budget
        if budget.highest_labels is not None:
            return budget.highest_labels * estimates[self.config.levels[-1].name].mean
        limit = budget.cpu_seconds if budget.cost is None else budget.cost
        assert limit is not None  # the configuration has exactly one of the three
        return limit
