"""What grows how fast, and what breaks first at 10^6 structures and 10^8 candidates?

    python -m benchmarks.scaling.run [--threads 1] [--smoke]

Time and memory against structures, atoms, levels, inducing environments, rows of an exact
model and candidates, each size in a process of its own, kept in the work folder: what was
interrupted goes on. Beside each stand its exponent and what the arithmetic alone takes on
this machine. From these come the hours and bytes of a problem that no machine here holds;
how it divides is tried on a dask cluster of two local processes. Copper comes from `mlearn`
in the folder that `MFAL_DATA` names. Other work may run beside it: set
`OMP_WAIT_POLICY=passive`, and read CPU seconds.
"""

import argparse
import json
import os
import platform
import shutil
from collections.abc import Sequence
from importlib.metadata import version
from pathlib import Path
from typing import Any

import psutil

from benchmarks.markdown import write_sections
from benchmarks.scaling import points, tables
from benchmarks.scaling.figure import figure
from mfal.data.files import write_text

HERE = Path(__file__).parent
VERSIONS = ("mfal", "torch", "numpy", "scipy", "dask", "distributed")
MLEARN_ATOMS = 107
"""Atoms of a cell of Cu in mlearn, the median."""


def main(words: Sequence[str] | None = None) -> None:
    options = _options(words)
    os.environ["OMP_WAIT_POLICY"] = "passive"  # for the processes of the points
    work = options.work / "smoke" if options.smoke else options.work
    work.mkdir(parents=True, exist_ok=True)
    document = measured(work, options.threads, smoke=options.smoke)
    found = tables.sections(document)
    print("\n\n".join(found.values()))
    picture = figure(document)
    if options.smoke:
        shutil.rmtree(work)
        return
    write_text(HERE / "results.json", json.dumps(document, indent=1) + "\n")
    write_sections(HERE / "README.md", found)
    picture.savefig(HERE / "scaling.png", dpi=200)


def measured(work: Path, threads: int, *, smoke: bool) -> dict[str, Any]:
    """All points, with the settings and the machine that they were measured on."""
    settings = {
        name: {**axis.settings, **(axis.tiny_settings if smoke else {})}
        for name, axis in points.EVERY.items()
    }
    settings["structures"]["n_atoms"] = MLEARN_ATOMS
    document: dict[str, Any] = {
        "settings": settings,
        "machine": points.machine_rates(work, threads, smoke=smoke),
        "memory_bytes": psutil.virtual_memory().total,
        "axes": {
            name: points.measured(name, work, threads, smoke=smoke)
            for name in points.AXES
        },
    }
    for name in ("check", "mapreduce", "selection"):
        document[name] = points.measured(name, work, threads, smoke=smoke)
    versions = {name: version(name) for name in VERSIONS}
    document["versions"] = versions | {"python": platform.python_version()}
    return document


def _options(words: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--smoke", action="store_true", help="tiny sizes, not kept")
    parser.add_argument("--work", type=Path, default=Path("campaigns/scaling"))
    return parser.parse_args(words)


if __name__ == "__main__":
    main()
