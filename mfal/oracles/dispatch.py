"""Many labels through any executor, the results in the caller's thread."""

import logging
import socket
import time
from collections.abc import Callable, Iterable
from concurrent.futures import (
    FIRST_COMPLETED,
    BrokenExecutor,
    CancelledError,
    Executor,
    Future,
    wait,
)
from threading import Event

from mfal.oracles.executor import label_structure
from mfal.oracles.pool import LabelPool
from mfal.oracles.request import LabelError, LabelRequest, LabelResult

log = logging.getLogger(__name__)

GLANCE = 0.2
"""Seconds between two looks at `stop` while labels are running."""


def label_all(
    executor: LabelPool | Executor,
    requests: Iterable[LabelRequest],
    on_result: Callable[[LabelResult], None],
    *,
    stop: Event | None = None,
    at_once: int | None = None,
) -> None:
    """Label what `requests` yields; hand over each result, here, as it arrives.

    The next request is taken as soon as fewer than `at_once` labels are with the
    executor, so a generator that chooses with the results so far does not wait for a
    batch. Once `stop` is set nothing more is submitted, what has not begun is
    cancelled, what is finished is handed over, and the function returns; what still
    runs is left to the executor (a `LabelPool` kills it by `stop`), its result goes to
    the spool. Retries are for the caller to decide.

    Args:
        at_once: by default the number of workers of a `LabelPool`, else 8.
    """
    submit = _submission(executor)
    if at_once is None:
        at_once = executor.n_workers if isinstance(executor, LabelPool) else 8
    waiting = iter(requests)
    running: dict[Future[LabelResult], LabelRequest] = {}
    exhausted = False
    while not (stop and stop.is_set()):
        while len(running) < at_once and not exhausted:
            request = next(waiting, None)
            if request is None:
                exhausted = True
            else:
                running[submit(request)] = request
        if not running:
            return
        _hand_over(running, on_result, GLANCE)
    for future in running:
        future.cancel()
    _hand_over(running, on_result, 0.0)


def _submission(
    executor: LabelPool | Executor,
) -> Callable[[LabelRequest], Future[LabelResult]]:
    if isinstance(executor, LabelPool):
        return executor.submit
    return lambda request: executor.submit(label_structure, request)


def _hand_over(
    running: dict[Future[LabelResult], LabelRequest],
    on_result: Callable[[LabelResult], None],
    seconds: float,
) -> None:
    """Give away what is finished within some seconds."""
    done, _ = wait(running, timeout=seconds, return_when=FIRST_COMPLETED)
    for future in [f for f in running if f in done]:  # in the order of submission
        request = running.pop(future)
        if not future.cancelled():
            on_result(_result(future, request))


def _result(future: Future[LabelResult], request: LabelRequest) -> LabelResult:
    try:
        return future.result()
    except (BrokenExecutor, CancelledError, OSError) as death:
        log.warning("label %s: the executor lost it: %r", request.label_id, death)
        return LabelResult(
            label_id=request.label_id,
            task=request.task,
            attempt=request.attempt,
            label=None,
            error=LabelError("crashed", f"the executor lost its worker: {death!r}"),
            wall_seconds=0.0,
            cpu_seconds=0.0,
            host=socket.gethostname(),
            finished=time.time(),
        )
