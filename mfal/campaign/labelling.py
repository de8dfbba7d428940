"""Labels the requests of a step: submit, record, retry, quarantine."""

import logging
from collections import deque
from collections.abc import Callable, Collection, Iterator, Mapping
from concurrent.futures import Executor
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from threading import Event

from mfal.campaign.by_hand import batch_folder, exchange, waiting_sentence
from mfal.campaign.config import ExecutionConfig
from mfal.campaign.records import OPEN, StoredLabel
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
from mfal.oracles.manual import MANUAL

_logger = logging.getLogger(__name__)

FINAL_KINDS = ("unphysical_structure", "bad_specification", "missing_package", "memory")
"""Errors that another attempt would meet again."""

GRACE = 2.0
"""Timeouts that an executor which cannot kill may keep a label, once it has begun."""

_FEWEST_FAILURES = 5


class TooManyFailures(RuntimeError):
    """More labels failed than the configuration allows."""


class Paused(RuntimeError):
    """The campaign was asked to stop; it can be resumed."""


class WaitingForResults(Paused):
    """Labels that are made by hand are not back yet."""


def label_step(
    store: CampaignStore,
    step: int,
    fidelities: Mapping[str, Fidelity],
    execution: ExecutionConfig,
    executor: LabelPool | Executor,
    spool: Path,
    stop: Event,
    progress: Callable[[str], None],
    within_budget: Callable[[StoredLabel], bool] = lambda label: True,
    *,
    allowed_modules: Collection[str] = ALLOWED_MODULES,
    leases: Leases | None = None,
) -> None:
    """Runs every open label of a step until each is done or given up.

    A finished label is in the store before the next is asked for; workers also spool
    it, so a killed driver loses nothing. A failed attempt is charged and repeated up
    to `max_attempts`, unless another attempt cannot help or is not `within_budget`.

    Labels of levels by hand are written to the folder `manual` beside the spool, and
    taken from there; the others are run meanwhile.

    Args:
        leases: of an executor that cannot kill; by default `GRACE` timeouts, with late
            results taken until this step ends.

    Raises:
        Paused: `stop` was set, or (`WaitingForResults`) labels by hand are not back.
        TooManyFailures: more than `max_failed_fraction` of all labels were given up.
    """
    at_once = execution.workers
    if isinstance(executor, LabelPool):  # it has its own timeout, and kills
        at_once, leases = executor.n_workers, None
    elif leases is None:
        leases = Leases(GRACE * execution.timeout)
    labelling = Labelling(
        store,
        fidelities,
        execution,
        spool,
        progress,
        within_budget,
        tuple(allowed_modules),
        step,
    )
    labelling.take_by_hand()
    while pending := labelling.pending():
        if stop.is_set():
            raise Paused("stopped before the labels of this step were done")
        label_all(
            executor,
            labelling.requests(pending),
            labelling.take,
            stop=stop,
            at_once=at_once,
            leases=leases,
        )
        if stop.is_set():
            raise Paused("stopped while labels were running: they will be run again")
        check_failures(store, execution.max_failed_fraction)
    if waiting := labelling.take_by_hand():
        raise WaitingForResults("; ".join(waiting))


@dataclass
class Labelling:
    """Labels on their way between the store and who makes them: of one step, or of all."""

    store: CampaignStore
    fidelities: Mapping[str, Fidelity]
    execution: ExecutionConfig
    spool: Path
    progress: Callable[[str], None]
    within_budget: Callable[[StoredLabel], bool]
    allowed_modules: tuple[str, ...]
    step: int | None = None

    def __post_init__(self) -> None:
        by_hand = [
            f for f in self.fidelities.values() if f.oracle.get("code") == MANUAL
        ]
        self.by_hand = {f.name: f for f in by_hand}
        labels = [x for x in self.store.entries() if self.step in (None, x.step)]
        self.total, self.n_open = len(labels), sum(x.state in OPEN for x in labels)
        self.queue: deque[int] = deque()

    def pending(self) -> list[StoredLabel]:
        """The labels that an executor still has to make."""
        labels = self.store.labels("pending", step=self.step)
        return [label for label in labels if label.level not in self.by_hand]

    def requests(self, pending: list[StoredLabel]) -> Iterator[LabelRequest]:
        """Each label, started in the store as it is asked for.

        What failed meanwhile comes next: after all others it would be waited for
        alone. What timed out comes last: it may still report, and is then done.
        """
        self.queue = deque(label.id for label in pending)
        while self.queue:
            label = self.store.label(self.queue.popleft())
            if label.state != "pending":
                continue  # the result of an earlier attempt came late
            if label.attempts and not self.within_budget(label):
                _give_up(self.store, label)
                self.n_open -= 1
                continue
            self.store.start(label.id)
            yield LabelRequest.of(
                f"label-{label.id}",
                self.store.structure(label.structure_id).atoms,
                self.fidelities[label.level],
                attempt=label.attempts + 1,
                spool=str(self.spool),
                allowed_modules=self.allowed_modules,
            )

    def take(self, result: LabelResult) -> None:
        """Records a result and tells how far the step is."""
        self.n_open -= _closes(self.store, result, self.execution.max_attempts)
        label_id = int(result.label_id.removeprefix("label-"))
        if self.store.label(label_id).state == "pending":
            timeout = result.error is not None and result.error.kind == "timeout"
            (self.queue.append if timeout else self.queue.appendleft)(label_id)
        where = "all steps" if self.step is None else f"step {self.step}"
        self.progress(f"{where}: {self.total - self.n_open} of {self.total} labels")

    def take_by_hand(self) -> list[str]:
        """Hands over what is made by hand, takes what is back; what is awaited.

        Of one step only.
        """
        waiting = []
        for level, fidelity in self.by_hand.items():
            labels = partial(self.store.labels, "pending", step=self.step, level=level)
            wanted = {f"label-{label.id}": label for label in labels()}
            if not wanted:
                continue
            assert self.step is not None  # by hand goes batch by batch
            folder = batch_folder(self.spool.with_name("manual"), self.step, level)
            ids = {label.structure_id for label in wanted.values()}
            atoms = {i: self.store.structure(i).atoms for i in ids}
            returned, results = exchange(folder, fidelity, wanted, atoms)
            for result in results:
                with self.store.batch():
                    self.store.start(wanted[result.label_id].id)
                    self.take(result)
            if left := labels():
                waiting.append(waiting_sentence(returned, len(left)))
        check_failures(self.store, self.execution.max_failed_fraction)
        return waiting


def _closes(store: CampaignStore, result: LabelResult, max_attempts: int) -> bool:
    """Records a result; whether its label was open and is not any more."""
    label_id = int(result.label_id.removeprefix("label-"))
    wall, cpu = float(result.wall_seconds), float(result.cpu_seconds)
    if result.label is not None:
        versions = result.versions
        return store.record(label_id, result.label, wall, cpu, result.host, versions)
    assert result.error is not None  # a result is a label or an error
    kind, message = result.error.kind, result.error.message
    before = store.label(label_id)
    retry = before.attempts < max_attempts and kind not in FINAL_KINDS
    state = store.record_failure(label_id, kind, message, wall, cpu, retry=retry)
    words = "label %d, attempt %d: %s: %s"
    _logger.warning(words, label_id, before.attempts, kind, message)
    if state != "pending":
        _logger.warning("label %d is %s; the campaign goes on", label_id, state)
    return before.state in OPEN and state not in OPEN


def _give_up(store: CampaignStore, label: StoredLabel) -> None:
    """A label that failed is not tried again once the budget is spent."""
    message = f"{label.error_message} (the budget does not pay for another attempt)"
    store.record_failure(
        label.id, label.error_kind or "code_error", message, 0.0, 0.0, retry=False
    )


def check_failures(store: CampaignStore, largest: float) -> None:
    """Stops a campaign of too many labels that were given up.

    Raises:
        TooManyFailures: at least five, and more than the fraction `largest`.
    """
    counts = store.counts().values()
    given_up = sum(c["failed"] + c["quarantined"] for c in counts)
    ended = given_up + sum(c["done"] for c in counts)
    if given_up >= _FEWEST_FAILURES and given_up > largest * ended:
        raise TooManyFailures(
            f"{given_up} of {ended} labels were given up, more than the "
            f"{100 * largest:.0f} % that execution.max_failed_fraction allows: see "
            "`mfal status` for the reasons"
        )
