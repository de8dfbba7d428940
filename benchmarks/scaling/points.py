"""Which sizes are measured along which axis, each in a process of its own."""

import json
import sys
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from importlib import import_module
from pathlib import Path
from typing import Any

import torch

from benchmarks.derivative_kernel.measured import in_subprocess, machine
from benchmarks.keeping import kept
from benchmarks.scaling.measuring import rates


@dataclass(frozen=True)
class Axis:
    """One size that grows: what it counts, its values, and what is done at each.

    `work` names a function of this package, which only the process of a point imports.
    `powers` are the exponents of the algorithm, by stage, of the seconds.
    """

    counts: str
    sizes: tuple[int, ...]
    tiny: tuple[int, ...]
    work: str
    powers: Mapping[str, str]
    settings: Mapping[str, Any] = field(default_factory=dict)
    tiny_settings: Mapping[str, Any] = field(default_factory=dict)


AXES = {
    "structures": Axis(
        "PBE cells of Cu (mlearn, mostly 108 atoms)",
        (8, 16, 32, 64, 128, 256),
        (2, 4),
        "sparse.of_structures",
        {"features": "1", "hyperparameters": "0 from 128 on", "leave_out": "1"},
        {"n_inducing": 400},
        {"n_inducing": 20},
    ),
    "atoms": Axis(
        "atoms of a cell",
        (32, 108, 256, 500, 864),
        (4, 32),
        "sparse.of_atoms",
        {"features": "1", "mean": "1", "predict": "1"},
        {"n_inducing": 400, "n_cells": 3},
        {"n_inducing": 20, "n_cells": 2},
    ),
    "inducing": Axis(
        "inducing environments",
        (100, 200, 400, 800, 1600),
        (10, 20),
        "sparse.of_inducing",
        {"choice": "3", "features": "1 to 2", "evidence": "3", "leave_out": "1 to 2"},
        {"n_cells": 6},
        {"n_cells": 1},
    ),
    "levels": Axis(
        "levels",
        (1, 2, 3, 4, 6),
        (1, 2),
        "sparse.of_levels",
        {"features": "0 to 1", "evidence": "3", "hyperparameters": "3"},
        {"n_inducing": 200, "n_cells": 16},
        {"n_inducing": 20, "n_cells": 2},
    ),
    "rows": Axis(
        "rows of an exact model (ethanol, GFN2 and PBE)",
        (352, 704, 1408, 2816, 5632, 8448),
        (88, 176),
        "exact.of_rows",
        {
            "condition": "2 to 3",
            "mean": "1",
            "predict": "1 to 2",
            "evidence": "2 to 3",
            "fit": "2 to 3",
        },
        {"largest_evidence": 5632, "largest_fit": 1408},
    ),
    "candidates": Axis(
        "candidates with values that are there",
        (10_000, 30_000, 100_000, 300_000, 1_000_000),
        (100, 200),
        "bookkeeping.of_candidates",
        {"objects": "1", "greedy": "1", "in parts": "1"},
        {"picks": 10},
    ),
    "dataset": Axis(
        "labelled structures of 64 atoms in memory",
        (1000, 4000, 16_000),
        (20, 40),
        "sparse.of_dataset",
        {"memory": "1", "keys": "1", "pickle": "1"},
    ),
}
CHECK = Axis(
    "cells of 256 atoms at two levels, 800 inducing environments",
    (12,),
    (2,),
    "sparse.of_check",
    {},
    {"n_inducing": 800, "edge": 4, "n_levels": 2},
    {"n_inducing": 20, "edge": 1, "n_levels": 2},
)
MAPREDUCE = Axis(
    "cells of Cu at two levels, in parts",
    (64,),
    (4,),
    "partitioned.fit_compared",
    {},
    {"n_inducing": 400, "n_parts": 8, "n_test": 20, "candidates": 12},
    {"n_inducing": 20, "n_parts": 2, "n_test": 2, "candidates": 4},
)
SELECTION = Axis(
    "cells of 64 atoms in the pool, each at two levels",
    (200,),
    (6,),
    "partitioned.selection_compared",
    {},
    {"n_inducing": 400, "n_parts": 4, "batch": 20, "n_structures": 40},
    {"n_inducing": 20, "n_parts": 2, "batch": 2, "n_structures": 2},
)
EVERY = {**AXES, "check": CHECK, "mapreduce": MAPREDUCE, "selection": SELECTION}


def measured(
    name: str, work: Path, threads: int, *, smoke: bool
) -> list[dict[str, Any]]:
    """The points of an axis, one after the other; those that are kept are not run again.

    Each in a process of its own; a tiny run does them here, which saves the imports.
    """
    axis, found = EVERY[name], []
    for size in axis.tiny if smoke else axis.sizes:
        settings = {**axis.settings, **(axis.tiny_settings if smoke else {})}
        settings |= {"work": str(work), "smoke": smoke, "threads": threads}
        wanted = {"axis": name, "size": size, **settings}
        found.append(_kept(work / f"{name}_{size}.json", wanted))
    return found


def machine_rates(work: Path, threads: int, *, smoke: bool) -> dict[str, Any]:
    """The rates of the machine, measured once in a process of their own."""
    wanted = {"axis": "machine", "smoke": smoke, "threads": threads}
    return _kept(work / "machine.json", wanted)


def point(settings: Mapping[str, Any]) -> dict[str, Any]:
    """What one point takes, in this process."""
    torch.set_num_threads(settings["threads"])
    found: dict[str, Any] = {"machine": machine(settings["threads"])}
    if settings["axis"] == "machine":
        return found | rates(smoke=settings["smoke"])
    module, name = EVERY[settings["axis"]].work.split(".")
    work = getattr(import_module(f"benchmarks.scaling.{module}"), name)
    stages: dict[str, Any] = {}
    work(settings["size"], dict(settings), stages)
    found["process_cpu_seconds"] = time.process_time()
    return found | {"size": settings["size"], "stages": stages}


def _kept(file: Path, wanted: dict[str, Any]) -> dict[str, Any]:
    if wanted["smoke"]:
        return point(wanted)
    words = ["-m", "benchmarks.scaling.points", json.dumps(wanted)]
    return kept(file, wanted, lambda: in_subprocess(words, wanted["threads"]))


if __name__ == "__main__":
    print(json.dumps(point(json.loads(sys.argv[1]))))
