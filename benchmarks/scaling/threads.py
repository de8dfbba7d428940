"""What do further threads of torch gain or cost where structures are computed one by one?

    python -m benchmarks.scaling.threads [--smoke]

Energy and forces of one cell of copper by `MfalCalculator`, and the pass over a data set of
a sparse fit, with one thread of torch and with all cores; one after the other in one
process, the least of several rounds. Threads with nothing to do sleep (as mfal asks for, if
it is imported before torch) or spin (as torch has it by itself): a process of its own each.
The cells are rattled, their labels are EMT's.
"""

import argparse
import json
import os
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import psutil
import torch

from benchmarks.derivative_kernel.measured import machine
from benchmarks.markdown import table, write_sections
from benchmarks.scaling.cells import emt, rattled
from mfal.calculators import MfalCalculator
from mfal.data import Fidelity, LabelledDataset
from mfal.data.files import write_text
from mfal.models import SparsePotential
from mfal.models import feature_map as streaming
from mfal.models.threads import torch_threads

HERE = Path(__file__).parent
MODULE = "benchmarks.scaling.threads"
CORES = psutil.cpu_count() or 1
ROUNDS = 5


def main(words: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--smoke", action="store_true", help="tiny sizes, not kept")
    parser.add_argument(
        "--here", action="store_true", help="print what this process took"
    )
    options = parser.parse_args(words)
    smoke: bool = options.smoke
    if options.here:
        sys.stdout.write(json.dumps(measured(smoke=smoke)) + "\n")
        return
    document: dict[str, Any] = {"many": CORES, "machine": machine(CORES)}
    for policy in ("passive", "active"):
        environment = os.environ | {"OMP_WAIT_POLICY": policy}
        environment.pop("OMP_NUM_THREADS", None)
        words = [
            sys.executable,
            "-m",
            MODULE,
            "--here",
            *(["--smoke"] if smoke else []),
        ]
        done = subprocess.run(
            words, env=environment, check=True, stdout=subprocess.PIPE, text=True
        )
        document[policy] = json.loads(done.stdout)
    sections = {"threads": told(document)}
    print(sections["threads"])
    if not smoke:
        write_text(HERE / "threads.json", json.dumps(document, indent=1) + "\n")
        write_sections(HERE / "README.md", sections)


def measured(*, smoke: bool) -> dict[str, dict[str, float]]:
    """Seconds of each task with one thread and with as many as there are cores."""
    structures = rattled(20, 2)
    labels = {(i, "emt"): emt(atoms) for i, atoms in enumerate(structures)}
    data = LabelledDataset(tuple(structures), (Fidelity("emt"),), labels)
    model = SparsePotential.fit(data, n_inducing=20 if smoke else 300)
    tasks: dict[str, Callable[[int], object]] = {}
    for edge in (2,) if smoke else (2, 4, 6):
        (cell,) = rattled(1, edge)
        for bars in (True, False):
            what = "energy, forces and their sigmas" if bars else "energy and forces"
            tasks[f"{what}, {len(cell)} atoms"] = _one_structure(model, cell, bars)
    tasks[f"sparse fit, {len(data)} cells of {len(structures[0])} atoms"] = (
        lambda threads: SparsePotential.fit(data, model.feature_map)
    )
    rounds = 1 if smoke else ROUNDS
    with torch_threads(None):
        return {
            name: {str(n): _least(task, n, rounds) for n in (1, CORES)}
            for name, task in tasks.items()
        }


def told(document: dict[str, Any]) -> str:
    """The table, and the machine."""
    many = str(document["many"])
    rows = []
    for name, asleep in document["passive"].items():
        spinning = document["active"][name]
        one = asleep["1"]
        rows.append(
            [
                name,
                f"{1e3 * one:.3g}",
                f"{asleep[many] / one:.2f}",
                f"{spinning[many] / spinning['1']:.2f}",
            ]
        )
    heads = ["task", "1 thread (ms)", f"{many} threads, asleep", f"{many}, spinning"]
    about = document["machine"]
    return (
        f"{table(heads, rows)}\n\nTimes of {many} threads over that of one. "
        f"{about['processor']}, {about['cores']} cores."
    )


def _one_structure(model: Any, cell: Any, bars: bool) -> Callable[[int], object]:
    def forces(threads: int) -> object:
        atoms = cell.copy()
        atoms.calc = MfalCalculator(model, uncertainties=bars, threads=threads)
        return atoms.get_forces()

    return forces


def _least(task: Callable[[int], object], threads: int, rounds: int) -> float:
    """Seconds of the fastest round, with so many threads wherever mfal takes one."""
    plain = {
        name: getattr(streaming.FeatureMap, name)
        for name in ("environments", "energy_and_slopes", "rows", "unexplained")
    }
    torch.set_num_threads(threads)
    for name, method in plain.items():  # without the decorator that takes one thread
        setattr(streaming.FeatureMap, name, method.__wrapped__)
    try:
        seconds = []
        for _ in range(rounds):
            begin = time.perf_counter()
            task(threads)
            seconds.append(time.perf_counter() - begin)
    finally:
        for name, method in plain.items():
            setattr(streaming.FeatureMap, name, method)
    return min(seconds)


if __name__ == "__main__":
    main()
