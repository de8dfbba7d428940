"""What a stage of a piece of work costs, and what it would cost a perfect machine."""

import resource
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch

PROCESS = Path("/proc/self")
PAGE = resource.getpagesize()
"""The least memory that can be seen."""


@contextmanager
def stage(
    into: dict[str, Any],
    name: str,
    *,
    count: int = 1,
    flops: float = 0.0,
    moved: float = 0.0,
    held: float = 0.0,
) -> Iterator[dict[str, Any]]:
    """Puts what the block costs into `into[name]`, times divided by `count`.

    Seconds of CPU and wall; `grown_MB`, the largest resident memory during the block
    over that before it, and `peak_MB`, the largest of the process. Beside them, of one of
    the `count` repetitions, the floating-point operations that the algorithm needs at
    least (a symmetric product counts half), the bytes it moves between memory and
    processor if the cache is perfect, and those that it must hold.

    Raises:
        OSError: not Linux: the mark of the largest memory cannot be set back.
    """
    (PROCESS / "clear_refs").write_text("5")
    before = _memory("VmRSS")
    wall, cpu = time.perf_counter(), time.process_time()
    found: dict[str, Any] = {"flops": flops, "moved": moved, "held_MB": held / 1e6}
    yield found
    found["cpu_seconds"] = (time.process_time() - cpu) / count
    found["wall_seconds"] = (time.perf_counter() - wall) / count
    peak = _memory("VmHWM")
    found["grown_MB"] = max(peak - before, PAGE) / 1e6
    found["peak_MB"] = peak / 1e6
    into[name] = found


def rates(*, smoke: bool = False) -> dict[str, Any]:
    """What this machine does with one thread: flops of a product, bytes of a copy.

    The best of five; matrices of 2,048 in double precision, and a copy of 512 MB, read
    and written, which is more than a cache holds.
    """
    n, size = (256, 2**20) if smoke else (2048, 2**26)
    a = torch.rand(n, n, dtype=torch.float64)
    source = torch.rand(size, dtype=torch.float64)
    target = torch.empty_like(source)
    target.copy_(source)
    products, copies = [], []
    for _ in range(5):
        began = time.process_time()
        torch.mm(a, a)
        products.append(time.process_time() - began)
        began = time.process_time()
        target.copy_(source)
        copies.append(time.process_time() - began)
    return {
        "flops_per_second": 2 * n**3 / min(products),
        "bytes_per_second": 16 * size / min(copies),
        "peak_MB": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024 / 1e6,
    }


def _memory(name: str) -> int:
    for line in (PROCESS / "status").read_text().splitlines():
        if line.startswith(name):
            return int(line.split()[1]) * 1024
    raise OSError(f"{PROCESS / 'status'} does not say {name}")
