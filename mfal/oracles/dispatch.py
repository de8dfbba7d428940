"""Many labels through any executor, the results in the caller's thread."""

import logging
from collections.abc import Callable, Iterable
from concurrent.futures import FIRST_COMPLETED, Executor, Future, wait
from threading import Event

from mfal.oracles.executor import label_structure
from mfal.oracles.leases import Leases
from mfal.oracles.pool import LabelPool
from mfal.oracles.request import LabelError, LabelRequest, LabelResult

log = logging.getLogger(__name__)

GLANCE = 0.2
"""Seconds between two looks at `stop` while labels are running."""

Running = dict[Future[LabelResult], LabelRequest]


def label_all(
    executor: LabelPool | Executor,
    requests: Iterable[LabelRequest],
    on_result: Callable[[LabelResult], None],
    *,
    stop: Event | None = None,
    at_once: int | None = None,
    leases: Leases | None = None,
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
        leases: for executors that cannot kill: a label that is kept too long is handed
            over as a `timeout`; its label is handed over too if it comes after all,
            and what else runs for it is cancelled or no longer waited for.
    """
    submit = _submission(executor)
    if at_once is None:
        at_once = executor.n_workers if isinstance(executor, LabelPool) else 8
    waiting = iter(requests)
    running: Running = {}
    late = {} if leases is None else leases.late
    exhausted = False

    def take(future: Future[LabelResult]) -> None:
        if future in late:
            request, given_up = late.pop(future), True
        else:
            request, given_up = running.pop(future), False
        result = _result(future, request)
        if not given_up:
            on_result(result)
        elif result.label is None:
            log.info("label %s: late, and failed: %s", request.label_id, result.error)
        else:
            assert leases is not None  # nothing is late without leases
            on_result(leases.uncharged(result))
            _wait_no_more(running, late, request.label_id)

    while not (stop and stop.is_set()):
        # a worker that is held up counts, but one label always goes on
        while len(running) < max(at_once - len(late), 1) and not exhausted:
            request = next(waiting, None)
            if request is None:
                exhausted = True
            else:
                running[submit(request)] = request
        if not running:
            return
        for future in _finished({**running, **late}, GLANCE):
            if future in running or future in late:  # it may just have been settled
                take(future)
        if leases is not None:
            for request, seconds in leases.expire(running):
                error = LabelError("timeout", f"not back after {seconds:.3g} seconds")
                on_result(LabelResult.of(request, error, seconds, seconds))
    for future in running:
        future.cancel()
    for future in _finished({**running, **late}, 0.0):
        if not future.cancelled():
            take(future)


def _submission(
    executor: LabelPool | Executor,
) -> Callable[[LabelRequest], Future[LabelResult]]:
    if isinstance(executor, LabelPool):
        return executor.submit
    return lambda request: executor.submit(label_structure, request)


def _finished(futures: Running, seconds: float) -> list[Future[LabelResult]]:
    """What is finished within some seconds, in the order of submission."""
    done, _ = wait(futures, timeout=seconds, return_when=FIRST_COMPLETED)
    return [future for future in futures if future in done]


def _wait_no_more(running: Running, late: Running, label_id: str) -> None:
    """A label that came late has no use for its other attempts."""
    for future in [f for f, r in running.items() if r.label_id == label_id]:
        request = running.pop(future)
        if not future.cancel():
            late[future] = request


def _result(future: Future[LabelResult], request: LabelRequest) -> LabelResult:
    """The result; an exception is the executor's, since a label never raises."""
    try:
        return future.result(timeout=0)
    except Exception as death:  # each executor has its own: broken, killed, lost
        log.warning("label %s: the executor lost it: %r", request.label_id, death)
        words = f"{type(death).__name__}: {death}".strip(": ")[:500]
        error = LabelError("crashed", f"the executor lost its worker: {words}")
        return LabelResult.of(request, error, 0.0, 0.0)
