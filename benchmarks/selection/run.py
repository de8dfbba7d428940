"""Does choosing cost less than labelling, on large pools too?

    python -m benchmarks.selection.run [--part vectors pool] [--cells 10000]
        [--pool 1000 3000 10000 30000] [--smoke]

Vectors: a batch of 20 from 2,000 places at two levels, beside BoTorch's
`optimize_acqf_discrete` with `qNegIntegratedPosteriorVariance`, for the same criterion.
Cells: a batch of 50 (configuration, level) pairs with energies and forces from pools of
64-atom cells. The features of `--cells` cells are stored once in the work folder (3 GB for
10,000) and used for all pools; a larger pool holds the same cells several times. Copper
comes from `mlearn` in the folder that `MFAL_DATA` names.
"""

import argparse
import json
import platform
from collections.abc import Sequence
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
import torch

from benchmarks.derivative_kernel.measured import cost, in_subprocess, machine
from benchmarks.keeping import kept
from benchmarks.markdown import table, write_sections
from benchmarks.selection import pool, vectors
from benchmarks.selection.figure import figure
from mfal.data.files import write_text
from mfal.models.storage import save_potential

HERE = Path(__file__).parent
CRITERIA = {
    "parameters": "information about the parameters",
    "targets": "information about 20 cells",
}


def main(words: Sequence[str] | None = None) -> None:
    options = _options(words)
    results = HERE / "results.json"
    document: dict[str, Any] = {}
    if results.exists() and not options.smoke:  # what is not run now stays
        document = json.loads(results.read_text())
    if "vectors" in options.part:
        torch.set_num_threads(1)
        sizes = (50, 3) if options.smoke else (2000, 20)
        document["vectors"] = vectors.compared(*sizes) | {"machine": machine(1)}
    if "pool" in options.part:
        document["pool"] = _pools(options, document.get("pool", {}).get("runs", []))
    document["versions"] = {
        name: version(name) for name in ("mfal", "botorch", "gpytorch", "torch")
    } | {"python": platform.python_version()}
    tables = sections(document)
    print("\n\n".join(tables.values()))
    if options.smoke:
        return
    write_text(results, json.dumps(document, indent=1) + "\n")
    write_sections(HERE / "README.md", tables)
    if "pool" in document:
        figure(document["pool"]).savefig(HERE / "time.png", dpi=200)


def _pools(
    options: argparse.Namespace, before: Sequence[dict[str, Any]]
) -> dict[str, Any]:
    """The runs of the criteria, and those before of the others."""
    sizes, n_cells, batch = sorted(options.pool), options.cells, 50
    n_structures, n_inducing = 40, 1000
    if options.smoke:
        sizes, n_cells, batch, n_structures, n_inducing = [10, 20], 10, 3, 4, 30
    work = options.work / "smoke" if options.smoke else options.work
    work.mkdir(parents=True, exist_ok=True)
    torch.set_num_threads(2)
    model = pool.model_of(work, n_structures, n_inducing, smoke=options.smoke)
    save_potential(model, work / "model")
    built: dict[str, Any] = {"n_cells": n_cells}
    file = work / "features.f32"
    with cost(built):
        fresh = not file.exists()
        pool.stored(model, n_cells, file)
    built_file = work / "features.json"
    if fresh:
        write_text(built_file, json.dumps(built))
    built = json.loads(built_file.read_text())
    runs = [r for r in before if r["criterion"] not in options.criteria]
    for criterion in options.criteria:
        for n in sizes:
            wanted = {
                "work": str(work),
                "n_pool": n,
                "batch": batch,
                "criterion": criterion,
                "threads": 1,
            }
            words = ["-m", "benchmarks.selection.pool", json.dumps(wanted)]
            runs.append(
                kept(
                    work / f"{criterion}_{n}.json",
                    wanted | {"n_cells": n_cells},
                    lambda words=words: in_subprocess(words, 2),
                )
            )
            print(json.dumps(runs[-1])[:300], flush=True)
    return {
        "features": built,
        "runs": runs,
        "n_features": pool.open_features(file).n_features,
        "machine": machine(2),
    }


def sections(document: dict[str, Any]) -> dict[str, str]:
    """The parts of the README that the results say."""
    found = {}
    if "vectors" in document:
        found["vectors"] = _vectors(document["vectors"])
    if "pool" in document:
        found["pool"] = _pool(document["pool"])
        found["growth"] = _growth(document["pool"])
    machines = [document[k]["machine"] for k in ("vectors", "pool") if k in document]
    if machines:
        versions = ", ".join(f"{k} {v}" for k, v in document["versions"].items())
        found["conditions"] = (
            f"{machines[0]['processor']}, {machines[0]['cores']} cores; {versions}."
        )
    return found


def _vectors(v: dict[str, Any]) -> str:
    rows = [
        [
            name,
            f"{v[key]['cpu_seconds']:.3g}",
            f"{v[key]['wall_seconds']:.3g}",
            f"{v['variance_left'][key]:.6g}",
        ]
        for name, key in (("mfal", "mfal"), ("BoTorch", "botorch"))
    ]
    heads = ["", "CPU s", "wall s", "mean variance left at the targets"]
    same = "the same" if v["same_set"] else f"{v['in_common']} of them the same"
    return (
        table(heads, rows)
        + f"\n\nBatch of {v['batch']} of {v['n_candidates']:,} candidates, "
        + f"{v['n_training']} training points, {v['n_targets']} targets: "
        + f"{v['cpu_ratio']:.0f} times less CPU time; the chosen labels are {same}."
    )


def _pool(found: dict[str, Any]) -> str:
    heads = [
        "criterion",
        "cells",
        "candidates",
        "wall s",
        "CPU s",
        "MB",
        "gains worked out",
    ]
    heads += ["saved", "low / high"]
    rows = [
        [
            CRITERIA[r["criterion"]],
            f"{r['n_pool']:,}",
            f"{r['n_candidates']:,}",
            f"{r['wall_seconds']:.0f}",
            f"{r['cpu_seconds']:.0f}",
            f"{r['peak_memory_MB']:,.0f}",
            f"{r['evaluations']:,}",
            f"{100 * r['evaluations_saved']:.0f} %",
            " / ".join(str(n) for n in r["levels"]),
        ]
        for r in found["runs"]
    ]
    first = found["runs"][0]
    return (
        table(heads, rows)
        + f"\n\nBatches of {first['batch']}; {first['rank']} of "
        + f"{2 * found['n_features']} directions kept, at most {first['nats_lost']:.2g} of "
        + f"{first['nats']:.3g} nats of a label lost on average. Features of "
        + f"{found['features']['n_cells']:,} cells (a larger pool repeats them): "
        + f"{found['features']['cpu_seconds']:.0f} CPU s, once."
    )


def _growth(found: dict[str, Any]) -> str:
    lines = []
    for criterion, name in CRITERIA.items():
        runs = [r for r in found["runs"] if r["criterion"] == criterion]
        if len(runs) > 1:
            x = np.log([r["n_pool"] for r in runs])
            y = np.log([r["wall_seconds"] - r["seconds_directions"] for r in runs])
            lines.append(
                f"- {name}: time grows as the pool to the {np.polyfit(x, y, 1)[0]:.2f}."
            )
    return "\n".join(lines)


def _options(words: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument(
        "--part", nargs="+", choices=("vectors", "pool"), default=["vectors", "pool"]
    )
    parser.add_argument(
        "--pool", nargs="+", type=int, default=[1000, 3000, 5000, 10000, 30000]
    )
    parser.add_argument(
        "--criteria", nargs="+", choices=tuple(CRITERIA), default=list(CRITERIA)
    )
    parser.add_argument("--cells", type=int, default=10000, help="different ones")
    parser.add_argument("--smoke", action="store_true", help="tiny sizes, not kept")
    parser.add_argument("--work", type=Path, default=Path("campaigns/selection"))
    return parser.parse_args(words)


if __name__ == "__main__":
    main()
