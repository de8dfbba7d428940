"""A dask cluster on this machine, for benchmarks that need one."""

from collections.abc import Iterator
from contextlib import contextmanager
from logging import CRITICAL
from typing import Any


@contextmanager
def local_client(workers: int, *, processes: bool = True) -> Iterator[Any]:
    """A client of so many workers of one thread each, once all of them are there.

    A task that kills its worker is not tried again.
    """
    import dask
    import distributed

    settings = {
        "distributed.scheduler.allowed-failures": 0,
        "distributed.worker.multiprocessing-method": "spawn",
        "distributed.admin.tick.limit": "1h",  # no complaints of a busy machine
    }
    with (
        dask.config.set(settings),
        distributed.LocalCluster(
            n_workers=workers,
            processes=processes,
            threads_per_worker=1,
            dashboard_address=":0",
            silence_logs=CRITICAL,
        ) as cluster,
        distributed.Client(cluster) as client,
    ):
        client.wait_for_workers(workers)
        yield client
