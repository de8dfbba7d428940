"""Labels on any executor, each in a process of its own that can be ended."""

import threading
import weakref
from collections.abc import Callable
from concurrent.futures import Executor, Future
from dataclasses import dataclass

from mfal.oracles.executor import label_structure
from mfal.oracles.pool import LabelPool
from mfal.oracles.request import LabelRequest, LabelResult


@dataclass(frozen=True)
class Limits:
    """What one label may take: see `LabelPool`."""

    timeout: float | None
    memory_limit: int | None
    threads: int


class GuardedExecutor(Executor):
    """An executor whose workers label in a child of theirs, and end it if they must.

    Engines such as dask cannot kill a task: a label that hangs holds its worker, one
    that crashes takes the worker along. Here the worker keeps a `LabelPool` of one
    process (for each of its threads) and labels there: after `timeout` (seconds of wall
    time) the label is ended with every process that it started, a crash costs the label
    alone, and both give a `LabelResult` with an error. The child is kept for the next
    label; if the worker itself is killed, it finishes its label into the spool, for
    which it has `timeout` seconds, and leaves.

    >>> from concurrent.futures import ThreadPoolExecutor
    >>> with GuardedExecutor(ThreadPoolExecutor(2), timeout=60.0) as executor:
    ...     executor.limits.threads
    1

    Raises:
        ValueError: a timeout or a number of threads that is not positive.
    """

    def __init__(
        self,
        executor: Executor,
        *,
        timeout: float | None = None,
        memory_limit: int | None = None,
        threads: int = 1,
    ) -> None:
        self.executor = executor
        self.limits = Limits(timeout, memory_limit, threads)
        LabelPool.check(1, timeout, threads)

    def submit(  # type: ignore[override]
        self, function: Callable[[LabelRequest], LabelResult], request: LabelRequest
    ) -> Future[LabelResult]:
        """Queue a label.

        Raises:
            TypeError: a function that is not `label_structure`.
        """
        if function is not label_structure:
            raise TypeError(f"a GuardedExecutor runs label_structure, got {function!r}")
        return self.executor.submit(label_guarded, request, self.limits)

    def shutdown(self, wait: bool = True, *, cancel_futures: bool = False) -> None:
        """Shut the executor down that is guarded."""
        self.executor.shutdown(wait, cancel_futures=cancel_futures)


_own = threading.local()


def label_guarded(request: LabelRequest, limits: Limits) -> LabelResult:
    """The label of one structure, from the child of this thread that keeps the limits."""
    pools: dict[Limits, LabelPool] = _own.__dict__.setdefault("pools", {})
    if limits not in pools:
        pool = LabelPool(
            1,
            timeout=limits.timeout,
            memory_limit=limits.memory_limit,
            threads=limits.threads,
        )
        weakref.finalize(threading.current_thread(), pool.stop)  # or at exit
        pools[limits] = pool
    return pools[limits].submit(request).result()
