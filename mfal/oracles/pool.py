"""A pool of label workers on this machine that survives whatever a code does."""

import multiprocessing
import os
import resource
import signal
import sys
import threading
import time
import types
from collections.abc import Iterator, Mapping
from concurrent.futures import (
    CancelledError,
    Future,
    ThreadPoolExecutor,
    TimeoutError,
)
from concurrent.futures.process import BrokenProcessPool
from contextlib import contextmanager
from multiprocessing.context import SpawnContext, SpawnProcess
from typing import Any

from pebble import ProcessExpired, ProcessPool

from mfal.oracles.executor import label_structure
from mfal.oracles.request import LabelError, LabelRequest, LabelResult
from mfal.oracles.spool import finished_before

THREAD_VARIABLES = (
    "OMP_NUM_THREADS",
    "OPENBLAS_NUM_THREADS",
    "MKL_NUM_THREADS",
    "BLIS_NUM_THREADS",
    "NUMEXPR_NUM_THREADS",
    "VECLIB_MAXIMUM_THREADS",
)
ORPHAN_CHECK = 2.0
"""Seconds between two looks of a worker at whether its driver lives."""


class LabelPool:
    """Labels structures in `n_workers` processes of `threads` threads each.

    A label that takes longer than `timeout` (seconds of wall time) is ended with every
    process that it started; a worker that dies costs its own label and is replaced.
    Both give a `LabelResult` with an error, as does a worker that meets
    `memory_limit` (bytes of address space).

    Use it as a context: at the end of the block it waits for what was submitted, after
    an exception it kills what runs. A worker whose driver is killed finishes its label
    into the spool, for which it has `timeout` seconds, and leaves.
    """

    def __init__(
        self,
        n_workers: int = 1,
        *,
        timeout: float | None = None,
        memory_limit: int | None = None,
        threads: int = 1,
    ) -> None:
        self.check(n_workers, timeout, threads)
        self.n_workers = n_workers
        self.timeout = timeout
        self.memory_limit = memory_limit
        self._context = _WorkerContext(threads)
        # one pool of one worker per thread: a death in one cannot disturb the others
        self._threads = ThreadPoolExecutor(n_workers, thread_name_prefix="label")
        self._own = threading.local()
        self._pools: set[ProcessPool] = set()
        self._running: set[Future] = set()
        self._stopped = threading.Event()

    @staticmethod
    def check(n_workers: int, timeout: float | None, threads: int) -> None:
        """Refuse numbers that no pool can have.

        Raises:
            ValueError: one that is not positive.
        """
        for name, value in (("n_workers", n_workers), ("threads", threads)):
            if value < 1:
                raise ValueError(f"{name} is at least 1, got {value}")
        if timeout is not None and not timeout > 0:
            raise ValueError(f"the timeout is above 0 seconds, got {timeout}")

    def submit(self, request: LabelRequest) -> Future[LabelResult]:
        """Queue a label. The future holds its result, which may be an error."""
        return self._threads.submit(self._label, request)

    def shutdown(self) -> None:
        """Wait for everything that was submitted, then end the workers."""
        self._threads.shutdown(wait=True)
        self._end_workers()

    def stop(self) -> None:
        """Forget what has not begun and kill what runs."""
        self._stopped.set()
        self._threads.shutdown(wait=False, cancel_futures=True)
        for future in tuple(self._running):
            future.cancel()
        self._threads.shutdown(wait=True)
        self._end_workers()

    def __enter__(self) -> "LabelPool":
        return self

    def __exit__(self, exception: type[BaseException] | None, *_: object) -> None:
        if exception is None:
            self.shutdown()
        else:
            self.stop()

    def _label(self, request: LabelRequest) -> LabelResult:
        if self._stopped.is_set():
            raise CancelledError
        begin = time.perf_counter()
        pool = self._own_pool()
        future = pool.schedule(label_structure, [request], timeout=self.timeout)
        self._running.add(future)
        if self._stopped.is_set():  # `stop` may have looked just before
            future.cancel()
        try:
            return future.result()
        except TimeoutError:
            error = LabelError("timeout", f"not finished in {self.timeout:g} seconds")
        except (ProcessExpired, BrokenProcessPool) as death:
            _end_group(getattr(death, "pid", None))  # what the dead worker started
            error = LabelError("crashed", self._cause(death))
        finally:
            self._running.discard(future)
        self._end_worker(pool)
        # a worker may have died with its result written but not sent
        seconds = (
            time.perf_counter() - begin
        )  # of a worker that is gone: all is charged
        return finished_before(request) or LabelResult.of(
            request, error, seconds, seconds
        )

    def _own_pool(self) -> ProcessPool:
        pool = getattr(self._own, "pool", None)
        if pool in self._pools and not pool.active:  # its worker died while idle
            self._end_worker(pool)
        if pool not in self._pools:
            pool = self._own.pool = ProcessPool(
                max_workers=1,
                initializer=_prepare_worker,
                initargs=(self.memory_limit, self.timeout),
                context=self._context,
            )
            self._pools.add(pool)
        return pool

    def _end_worker(self, pool: ProcessPool) -> None:
        self._pools.discard(pool)
        pool.stop()
        pool.join()

    def _end_workers(self) -> None:
        for pool in tuple(self._pools):
            self._end_worker(pool)

    def _cause(self, death: BaseException) -> str:
        code = getattr(death, "exitcode", None)
        how = "the worker died"
        if isinstance(code, int) and code < 0:
            how += f" of {signal.Signals(-code).name}"
        elif code is not None:
            how += f" with exit code {code}"
        if self.memory_limit is not None:
            how += f" (its memory limit was {self.memory_limit / 2**20:.0f} MiB)"
        elif code == -signal.SIGKILL:
            how += " (often: the machine ran out of memory)"
        return how


class _WorkerProcess(SpawnProcess):
    """A worker that starts with its environment and is ended with its children."""

    environment: Mapping[str, str]

    def start(self) -> None:
        with _starting(self.environment), _allowed_children():
            super().start()

    def terminate(self) -> None:
        if not _end_group(self.pid):  # it has not made its group yet
            super().terminate()


class _WorkerContext(SpawnContext):
    def __init__(self, threads: int) -> None:
        super().__init__()
        self._environment = dict.fromkeys(THREAD_VARIABLES, str(threads))

    def Process(self, *args: Any, **kwargs: Any) -> _WorkerProcess:  # type: ignore[override]
        process = _WorkerProcess(*args, **kwargs)
        process.environment = self._environment
        return process


_START = threading.Lock()


@contextmanager
def _starting(environment: Mapping[str, str]) -> Iterator[None]:
    """The environment of a child, and a driver without a main module, for a moment.

    Thread numbers must stand in the environment before numpy is loaded. A spawned
    process imports the main module of its parent again: a script without a guard would
    run a second time in each worker, and the command line would load torch there.
    """
    with _START:
        before = {name: os.environ.get(name) for name in environment}
        main = sys.modules["__main__"]
        os.environ.update(environment)
        sys.modules["__main__"] = types.ModuleType("__main__")
        try:
            yield
        finally:
            sys.modules["__main__"] = main
            for name, value in before.items():
                if value is None:
                    del os.environ[name]
                else:
                    os.environ[name] = value


@contextmanager
def _allowed_children() -> Iterator[None]:
    """Lets a daemonic process, as the workers of dask are, have a child for a moment.

    Python forbids it since such children would be orphans that nobody ends. Ours leave
    by themselves when their driver is gone (`_outlive_driver`).
    """
    config: dict[str, Any] = multiprocessing.current_process()._config  # type: ignore[attr-defined]
    daemon = config.pop("daemon", None)
    try:
        yield
    finally:
        if daemon is not None:
            config["daemon"] = daemon


def _prepare_worker(memory_limit: int | None, timeout: float | None) -> None:
    os.setsid()  # a group of its own, with all processes that a code starts
    if memory_limit is not None:
        resource.setrlimit(resource.RLIMIT_AS, (memory_limit, memory_limit))
    threading.Thread(target=_outlive_driver, args=(timeout,), daemon=True).start()


def _outlive_driver(timeout: float | None) -> None:
    """End this worker `timeout` seconds after its driver died."""
    driver = multiprocessing.parent_process()
    while driver is not None and driver.is_alive():
        time.sleep(ORPHAN_CHECK)
    if timeout is not None:
        time.sleep(timeout)
        os.killpg(0, signal.SIGKILL)


def _end_group(worker: int | None) -> bool:
    """Kill a worker and what it started; whether there was such a group."""
    if not worker:
        return False
    try:
        os.killpg(worker, signal.SIGKILL)
    except ProcessLookupError:
        return False
    return True
