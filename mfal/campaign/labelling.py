"""Labels the requests of a step: submit, record, retry, quarantine."""

import logging
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import Executor
from pathlib import Path
from threading import Event

from mfal.campaign.config import ExecutionConfig
from mfal.campaign.records import StoredLabel
from mfal.campaign.store import CampaignStore
from mfal.data import Fidelity
from mfal.oracles import LabelPool, LabelRequest, LabelResult, label_all

_logger = logging.getLogger(__name__)

FINAL_KINDS = ("unphysical_structure", "bad_specification", "missing_package", "memory")
"""Errors that another attempt would meet again."""

_FEWEST_FAILURES = 5


class TooManyFailures(RuntimeError):
    """More labels failed than the configuration allows."""


class Paused(RuntimeError):
    """The campaign was asked to stop; it can be resumed."""


def label_step(
    store: CampaignStore,
    step: int,
    fidelities: Mapping[str, Fidelity],
    execution: ExecutionConfig,
    executor: LabelPool | Executor,
    spool: Path,
    stop: Event,
    progress: Callable[[str], None],
    within_budget: Callable[[], bool] = lambda: True,
) -> None:
    """Runs every open label of a step until each is done or given up.

    A finished label is in the store before the next is asked for; workers also spool
    it, so a killed driver loses nothing. A failed attempt is charged and repeated up
    to `max_attempts`, unless another attempt cannot help or is not `within_budget`.

    Raises:
        Paused: `stop` was set.
        TooManyFailures: more than `max_failed_fraction` of all labels were given up.
    """
    atoms = {s.id: s.atoms for s in store.structures()}
    total = len(store.labels(step=step))
    while pending := store.labels(state="pending", step=step):
        if stop.is_set():
            raise Paused("stopped before the labels of this step were done")
        done = total - len(pending)

        def requests(pending: list[StoredLabel] = pending) -> Iterator[LabelRequest]:
            for label in pending:
                if label.attempts and not within_budget():
                    _give_up(store, label)
                    continue
                store.start(label.id)
                yield LabelRequest.of(
                    f"label-{label.id}",
                    atoms[label.structure_id],
                    fidelities[label.level],
                    attempt=label.attempts + 1,
                    spool=str(spool),
                )

        def take(result: LabelResult) -> None:
            nonlocal done
            _take(store, result, execution.max_attempts)
            done += 1
            progress(f"step {step}: {min(done, total)} of {total} labels")

        label_all(executor, requests(), take, stop=stop)
        if stop.is_set():
            raise Paused("stopped while labels were running: they will be run again")
        _check_failures(store, execution.max_failed_fraction)


def _take(store: CampaignStore, result: LabelResult, max_attempts: int) -> None:
    label_id = int(result.label_id.removeprefix("label-"))
    wall, cpu = float(result.wall_seconds), float(result.cpu_seconds)
    if result.label is not None:
        store.record(label_id, result.label, wall, cpu, result.host, result.versions)
        return
    assert result.error is not None  # a result is a label or an error
    kind, message = result.error.kind, result.error.message
    attempts = store.label(label_id).attempts
    retry = attempts < max_attempts and kind not in FINAL_KINDS
    state = store.record_failure(label_id, kind, message, wall, cpu, retry=retry)
    _logger.warning("label %d, attempt %d: %s: %s", label_id, attempts, kind, message)
    if state != "pending":
        _logger.warning("label %d is %s; the campaign goes on", label_id, state)


def _give_up(store: CampaignStore, label: StoredLabel) -> None:
    """A label that failed is not tried again once the budget is spent."""
    message = f"{label.error_message} (the budget does not pay for another attempt)"
    store.record_failure(
        label.id, label.error_kind or "code_error", message, 0.0, 0.0, retry=False
    )


def _check_failures(store: CampaignStore, largest: float) -> None:
    counts = store.counts().values()
    given_up = sum(c["failed"] + c["quarantined"] for c in counts)
    ended = given_up + sum(c["done"] for c in counts)
    if given_up >= _FEWEST_FAILURES and given_up > largest * ended:
        raise TooManyFailures(
            f"{given_up} of {ended} labels were given up, more than the "
            f"{100 * largest:.0f} % that execution.max_failed_fraction allows: see "
            "`mfal status` for the reasons"
        )
