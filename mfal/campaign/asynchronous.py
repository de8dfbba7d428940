"""Labels without waiting: a worker that is free gets the next best one.

In step, a batch is chosen, labelled and learned from before the next is chosen, and all
workers wait for the slowest label. Without waiting, the next batch is chosen as soon as a
worker would be idle: from the model of the last step whose labels are all there, given
every label that was asked for since. The variance of a Gaussian process does not depend on
the values of its data, so that for the same hyperparameters this is the choice that would
be made if these labels were known.

Source: Desautels, Krause, Burdick (2014), J. Mach. Learn. Res. 15, 3873 (choice with labels
outstanding by their hallucinated values).
"""

from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from concurrent.futures import Executor
from dataclasses import dataclass
from pathlib import Path
from threading import Event
from typing import Any

from mfal.campaign.config import ExecutionConfig
from mfal.campaign.labelling import (
    Paused,
    check_failures,
    closes,
    give_up,
)
from mfal.campaign.records import OPEN
from mfal.campaign.records import LabelRequest as CampaignRequest
from mfal.campaign.store import CampaignStore
from mfal.data import Fidelity
from mfal.oracles import (
    ALLOWED_MODULES,
    LabelPool,
    LabelRequest,
    LabelResult,
    Leases,
    label_all,
)

AHEAD = 1
"""Labels that are chosen before a worker is free, so that it need not wait."""


@dataclass
class Stream:
    """Labels on their way, of all steps that are open.

    `ask` says which labels a step of this number should have (none: nothing is worth
    asking for) and what is to be noted of the choice, `learn` finishes a step whose labels
    are all done.
    """

    store: CampaignStore
    fidelities: Mapping[str, Fidelity]
    execution: ExecutionConfig
    spool: Path
    ask: Callable[[int], tuple[Sequence[CampaignRequest], Mapping[str, Any]]]
    learn: Callable[[int], None]
    within_budget: Callable[[], bool]
    progress: Callable[[str], None]
    allowed_modules: Collection[str] = ALLOWED_MODULES
    leases: Leases | None = None

    def run(self, executor: LabelPool | Executor, stop: Event) -> None:
        """Chooses and labels until nothing more is chosen and nothing runs.

        Raises:
            Paused: `stop` was set.
            TooManyFailures: see `mfal.campaign.labelling`.
        """
        leases = None if isinstance(executor, LabelPool) else self.leases
        while True:
            label_all(
                executor,
                self._requests(),
                self._take,
                stop=stop,
                at_once=self.execution.workers + AHEAD,
                leases=leases,
            )
            if stop.is_set():
                raise Paused(
                    "stopped while labels were running: they will be run again"
                )
            self._settle()
            if not self.store.labels("pending") and not self._choose():
                return

    def _requests(self) -> Iterator[LabelRequest]:
        """What is open, then what is chosen next, one by one as workers are free."""
        while True:
            check_failures(self.store, self.execution.max_failed_fraction)
            for label in self.store.labels("pending"):
                if label.attempts and not self.within_budget():
                    give_up(self.store, label)
                    continue
                if self.store.label(label.id).state != "pending":
                    continue  # the result of an earlier attempt came late
                self.store.start(label.id)
                yield LabelRequest.of(
                    f"label-{label.id}",
                    self.store.structure(label.structure_id).atoms,
                    self.fidelities[label.level],
                    attempt=label.attempts + 1,
                    spool=str(self.spool),
                    allowed_modules=self.allowed_modules,
                )
            self._settle()
            if not self._choose():
                return

    def _choose(self) -> bool:
        """Opens the next step; whether there was anything to ask for."""
        number = 1 + max(step.step for step in self.store.steps())
        self.progress(f"step {number}: choosing (acquired)")
        requests, info = self.ask(number)
        if requests:
            self.store.open_step(number, "acquired", info, requests)
        return bool(requests)

    def _settle(self) -> None:
        """Learns from all steps that are complete at once, as the last of them."""
        complete = complete_steps(self.store)
        for number in complete[:-1]:
            self.store.finish_step(number, {})
        if complete:
            self.learn(complete[-1])

    def _take(self, result: LabelResult) -> None:
        closes(self.store, result, self.execution.max_attempts)
        labels = self.store.labels()
        done = sum(label.state not in OPEN for label in labels)
        self.progress(f"{done} of {len(labels)} labels that were asked for")


def complete_steps(store: CampaignStore) -> list[int]:
    """Numbers of the open steps, from the first on, whose labels are all closed."""
    found = []
    for step in store.steps():
        if step.state == "open":
            if any(label.state in OPEN for label in store.labels(step=step.step)):
                break
            found.append(step.step)
    return found
