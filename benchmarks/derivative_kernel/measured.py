"""What a piece of work costs: each in a process of its own, with a fixed thread count."""

import json
import os
import platform
import resource
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[2]
THREADS = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS")


def in_subprocess(
    command: Sequence[str], threads: int, *, python: str = sys.executable
) -> dict[str, Any]:
    """The JSON that a command writes as its last line.

    Raises:
        RuntimeError: the command failed, with the end of what it said.
    """
    done = subprocess.run(
        [python, *command],
        env=os.environ | dict.fromkeys(THREADS, str(threads)),
        cwd=ROOT,
        capture_output=True,
        text=True,
    )
    if done.returncode:
        raise RuntimeError(f"{' '.join(command)} failed:\n{done.stderr[-2000:]}")
    return json.loads(done.stdout.strip().splitlines()[-1])


@contextmanager
def cost(into: dict[str, Any]) -> Iterator[None]:
    """Puts wall and CPU seconds of the block, and the peak memory so far, into a dict."""
    wall, cpu = time.perf_counter(), time.process_time()
    yield
    into["wall_seconds"] = time.perf_counter() - wall
    into["cpu_seconds"] = time.process_time() - cpu
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss  # KiB on Linux
    into["peak_memory_MB"] = peak * 1024 / 1e6


def machine(threads: int) -> dict[str, Any]:
    """The processor, its number of cores, the threads taken, the load before."""
    names = [
        line.split(":")[1].strip()
        for line in Path("/proc/cpuinfo").read_text().splitlines()
        if line.startswith("model name")
    ]
    return {
        "processor": names[0] if names else platform.processor(),
        "cores": os.cpu_count(),
        "threads": threads,
        "load_before": os.getloadavg()[0],
        "python": platform.python_version(),
    }
