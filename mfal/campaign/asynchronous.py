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

from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import Executor
from dataclasses import dataclass
from threading import Event
from typing import Any

from mfal.campaign.labelling import Labelling, Paused, check_failures
from mfal.campaign.records import OPEN
from mfal.campaign.records import LabelRequest as CampaignRequest
from mfal.campaign.store import CampaignStore
from mfal.oracles import LabelPool, LabelRequest, Leases, label_all

AHEAD = 1
"""Labels that are chosen before a worker is free, so that it need not wait."""


@dataclass
class Stream:
    """Labels of all steps that are open, and the steps that come after them.

    `ask` says which labels a step of this number should have (none: nothing is worth
    asking for) and what is to be noted of the choice, `learn` finishes a step whose labels
    are all done.
    """

    labelling: Labelling
    ask: Callable[[int], tuple[Sequence[CampaignRequest], Mapping[str, Any]]]
    learn: Callable[[int], None]

    def run(
        self, executor: LabelPool | Executor, stop: Event, leases: Leases | None
    ) -> None:
        """Chooses and labels until nothing more is chosen and nothing runs.

        Args:
            leases: of an executor that cannot kill.

        Raises:
            Paused: `stop` was set.
            TooManyFailures: see `mfal.campaign.labelling`.
        """
        labelling = self.labelling
        while True:
            label_all(
                executor,
                self._requests(),
                labelling.take,
                stop=stop,
                at_once=labelling.execution.workers + AHEAD,
                leases=None if isinstance(executor, LabelPool) else leases,
            )
            if stop.is_set():
                raise Paused(
                    "stopped while labels were running: they will be run again"
                )
            self._settle()
            if not labelling.pending() and not self._choose():
                return

    def _requests(self) -> Iterator[LabelRequest]:
        """What is open, then what is chosen next, one by one as workers are free."""
        labelling = self.labelling
        while True:
            check_failures(labelling.store, labelling.execution.max_failed_fraction)
            yield from labelling.requests(labelling.pending())
            self._settle()
            if not self._choose():
                return

    def _choose(self) -> bool:
        """Opens the next step; whether there was anything to ask for."""
        store = self.labelling.store
        number = 1 + max(step.step for step in store.steps())
        self.labelling.progress(f"step {number}: choosing (acquired)")
        requests, info = self.ask(number)
        if requests:
            store.open_step(number, "acquired", info, requests)
            self.labelling.total += len(requests)
            self.labelling.n_open += len(requests)
        return bool(requests)

    def _settle(self) -> None:
        """Learns from all steps that are complete at once, as the last of them."""
        complete = complete_steps(self.labelling.store)
        for number in complete[:-1]:
            self.labelling.store.finish_step(number, {})
        if complete:
            self.learn(complete[-1])


def complete_steps(store: CampaignStore) -> list[int]:
    """Numbers of the open steps, from the first on, whose labels are all closed."""
    waiting = {label.step for label in store.entries() if label.state in OPEN}
    found = []
    for step in store.steps():
        if step.state == "open":
            if step.step in waiting:
                break
            found.append(step.step)
    return found
