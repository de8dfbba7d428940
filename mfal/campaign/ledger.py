"""The budget: what was spent, what a label costs, what is left."""

import math
from bisect import bisect_right
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from mfal.acquisition import CostEstimate, estimate_cost
from mfal.campaign.config import CampaignConfig, ConfigError
from mfal.campaign.reader import Books, LabelEntry, StoreReader, Tallies, Tally
from mfal.campaign.records import BUDGETED, StoredLabel


@dataclass(frozen=True)
class Ledger:
    """Costs of a campaign in one unit: measured CPU seconds, or declared costs.

    Failed attempts are charged. Validation is bought outside the budget, or from what
    is set aside of it (`reserve`). `store` is asked at each question; give its `Books`
    for many questions about one moment, or its `Tallies`, whose sums are those of `Books`
    to rounding.
    """

    config: CampaignConfig
    store: StoreReader | Books | Tallies

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
        entries: Sequence[LabelEntry | Tally]
        entries = self.store.entries(level, purposes)
        if up_to_step is not None:
            entries = [x for x in entries if x.step <= up_to_step]
        return math.fsum(self._charged(entries))

    def spent_by_step(self, steps: Sequence[int]) -> list[dict[str, float]]:
        """What the budget was charged per level up to each of these (rising) steps.

        The numbers of `spent(level, up_to_step=step)` but for rounding, from one look at
        the labels.
        """
        names = [level.name for level in self.config.levels]
        entries: Sequence[LabelEntry | Tally]
        entries = self.store.entries(purposes=BUDGETED)  # steps rise
        charged = self._charged(entries)
        found, so_far, begin = [], dict.fromkeys(names, 0.0), 0
        for step in steps:
            end = bisect_right(entries, step, lo=begin, key=lambda x: x.step)
            for i in range(begin, end):
                so_far[entries[i].level] += charged[i]
            found.append(dict(so_far))
            begin = end
        return found

    def _charged(self, entries: Sequence[LabelEntry | Tally]) -> list[float]:
        """The cost of all attempts of each label in the ledger's unit."""
        declared = self._declared
        if declared is None:
            return [entry.cpu_seconds for entry in entries]
        # an attempt that is running is charged when it ends
        return [
            declared[x.level] * (x.attempts - x.n_labels * (x.state == "running"))
            for x in entries
        ]

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
            costs = self.store.costs(level.name, up_to_step)
            if costs and not all(cost > 0 for cost in costs):
                raise ConfigError(
                    f"budget: labels of level {level.name!r} carry no cost: declare "
                    "`budget.costs` for every level"
                )
            if costs:
                found[level.name] = estimate_cost(costs)
        return found

    @property
    def limit(self) -> float:
        """The budget as far as it is known before a label has shown its cost."""
        budget = self.config.budget
        given = budget.cpu_seconds if budget.cost is None else budget.cost
        return math.inf if given is None else given

    def committed(self, label: StoredLabel) -> float:
        """What will be spent once this label was tried again, and all that is open ran.

        Open are labels that run and those that were not tried yet; other failed ones
        wait. A level without a label that is done costs what the attempts here did.
        """
        assert not isinstance(self.store, Tallies)  # single labels are asked for
        estimates = self.estimates()

        def expected(level: str) -> float:
            if level in estimates:
                return estimates[level].mean
            return label.cpu_seconds / max(label.attempts, 1)

        still = math.fsum(
            expected(x.level)
            for x in self.store.entries(purposes=BUDGETED)
            if x.id != label.id
            and (x.state == "running" or (x.state == "pending" and not x.attempts))
        )
        return self.spent() + still + expected(label.level)

    def reserve(
        self, estimates: Mapping[str, CostEstimate], levels: Sequence[str]
    ) -> float:
        """What held-out labels at these levels will cost, if the budget pays for them."""
        if self.config.budget.validation == "beside":
            return 0.0
        return self.config.validation * math.fsum(estimates[x].mean for x in levels)

    def total(self, estimates: Mapping[str, CostEstimate]) -> float:
        """The whole budget in the ledger's unit."""
        budget = self.config.budget
        if budget.highest_labels is not None:
            return budget.highest_labels * estimates[self.config.levels[-1].name].mean
        limit = budget.cpu_seconds if budget.cost is None else budget.cost
        assert limit is not None  # the configuration has exactly one of the three
        return limit
