"""Is any label lost or computed twice, and do workers wait, when a tenth of all fails?

    python -m benchmarks.campaign_engine.run [--parts pebble dask-guarded dask busy store]
        [--seeds 1] [--labels 1000] [--workers 16] [--scale 3] [--smoke]

pebble, dask: simulated labels that only sleep, log-uniform between 0.05 and 5 s times
`--scale`, through an executor into the store of a campaign; of the first attempts 5 % kill
their worker, 2 % hang and 3 % do not converge. Since labels sleep, more workers than
cores can be kept busy. store: a campaign of 10^5 labels, `mfal status` and a resumption.
"""

import argparse
import json
import platform
from collections.abc import Mapping, Sequence
from importlib.metadata import version
from pathlib import Path
from typing import Any

from benchmarks.campaign_engine import busy, stored
from benchmarks.campaign_engine.figure import figure
from benchmarks.campaign_engine.labels import EXECUTORS, labelled
from benchmarks.derivative_kernel.measured import machine
from benchmarks.markdown import table, write_sections
from mfal.data.files import write_text

HERE = Path(__file__).parent
WORK = Path("campaigns/campaign_engine")
VERSIONS = ("mfal", "pebble", "dask", "distributed")
TARGETS = {"over_ideal": 0.15, "status": 1.0, "resume": 10.0, "busy": 0.9}
BUSY_LABELS, BUSY_WORKERS = 64, 4


def main(words: Sequence[str] | None = None) -> None:
    options = _options(words)
    results = HERE / "results.json"
    document: dict[str, Any] = {"labels": [], "store": None}
    if results.exists() and not options.smoke:  # what is not run now stays
        document = json.loads(results.read_text())
    for name in [p for p in options.parts if p in EXECUTORS]:
        for seed in range(options.seeds):
            run = labelled(
                name,
                options.work / name,
                n=options.labels,
                workers=options.workers,
                seed=seed,
                scale=options.scale,
            )
            run["machine"] = machine(options.workers)
            add_run(document, run)
            print(json.dumps({k: v for k, v in run.items() if k != "spans"}))
    if "busy" in options.parts:
        document["busy"] = [
            busy.used(
                options.work / f"busy_{mode}",
                asynchronous=mode == "asynchronous",
                n=14 if options.smoke else BUSY_LABELS,
                workers=BUSY_WORKERS,
                scale=0.02 if options.smoke else 1.0,
                seed=0,
            )
            for mode in ("in_step", "asynchronous")
        ]
        print(json.dumps(document["busy"]))
    if "store" in options.parts:
        n = 400 if options.smoke else 100_000
        found = stored.measured(
            options.work / f"store_{n}", n, 1 if options.smoke else 3
        )
        document["store"] = found | {"machine": machine(1)}
        print(json.dumps(document["store"]))
    document["versions"] = {name: version(name) for name in VERSIONS} | {
        "python": platform.python_version()
    }
    tables = sections(document)
    print("\n\n".join(tables.values()))
    if options.smoke:
        return
    write_text(results, json.dumps(document) + "\n")
    write_sections(HERE / "README.md", tables)
    firsts = {run["executor"]: run for run in document["labels"] if run["seed"] == 0}
    if firsts:
        figure(firsts).savefig(HERE / "figure.png", dpi=160)


def add_run(document: dict[str, Any], run: dict[str, Any]) -> None:
    """Puts a run in the place of the one of its executor and seed."""
    who = (run["executor"], run["seed"])
    others = [r for r in document["labels"] if (r["executor"], r["seed"]) != who]
    order = EXECUTORS.index
    document["labels"] = sorted(
        [*others, run], key=lambda r: (order(r["executor"]), r["seed"])
    )


def sections(document: Mapping[str, Any]) -> dict[str, str]:
    """The parts of the README that the results say."""
    found = {
        "labels": _labels(document["labels"]),
        "busy": _busy(document.get("busy") or []),
        "store": _store(document["store"]),
    }
    machines = [run["machine"] for run in document["labels"]]
    machines += [document["store"]["machine"]] if document["store"] else []
    if machines:
        versions = ", ".join(f"{k} {v}" for k, v in document["versions"].items())
        found["conditions"] = (
            f"{machines[0]['processor']}, {machines[0]['cores']} cores, other work beside "
            f"it; {versions}."
        )
    return found


def _labels(runs: Sequence[Mapping[str, Any]]) -> str:
    rows = [
        [
            run["executor"],
            str(run["seed"]),
            f"{run['done']:,} of {run['n']:,}",
            *(str(run[key]) for key in ("lost", "wrong", "again", "completed_twice")),
            f"{run['computations']:,}",
            f"{run['ideal_seconds']:.0f}",
            f"{run['wall_seconds']:.0f}",
            f"{100 * run['over_ideal']:.0f} %",
        ]
        for run in runs
    ]
    heads = ["executor", "seed", "done", "lost", "wrong", "sound ones again"]
    heads += ["completed twice", "computations", "ideal s", "wall s", "over ideal"]
    text = table(heads, rows)
    if runs:
        run, most = runs[0], 100 * TARGETS["over_ideal"]
        met = [r["executor"] for r in runs if r["over_ideal"] <= TARGETS["over_ideal"]]
        text += (
            f"\n\n{run['workers']} workers, durations times {run['scale']:g}, a label is "
            f"ended after {run['timeout']:g} s. The aim of {most:.0f} % over the ideal "
            f"schedule is met by {', '.join(met) or 'none'}."
        )
    return text


def _busy(runs: Sequence[Mapping[str, Any]]) -> str:
    if not runs:
        return "Not measured yet."
    rows = [
        [
            "label after label" if run["asynchronous"] else "batch after batch",
            f"{100 * run['steady']:.0f} %",
            f"{100 * run['whole']:.0f} %",
            f"{run['wall_seconds']:.0f}",
        ]
        for run in runs
    ]
    run = runs[-1]
    words = "" if run["steady"] > TARGETS["busy"] else "not "
    heads = ["", "busy while there is work", "busy to the end", "wall s"]
    return table(heads, rows) + (
        f"\n\n{run['n']} labels of {run['label_seconds']:.1f} s on average, "
        f"{run['workers']} workers, batches of {busy.BATCH}. The aim of "
        f"{100 * TARGETS['busy']:.0f} % is {words}met label after label."
    )


def _store(found: Mapping[str, Any] | None) -> str:
    if found is None:
        return "Not measured yet."
    names = {
        "status": "`mfal status`, the command",
        "imports": "the same on 80 labels: imports",
        "document": "the document that it shows",
        "resume": "resume: open, reset, read the data set",
    }
    rows = [
        [words, f"{found[key]['seconds']:.2f}", f"{found[key]['cpu_seconds']:.2f}"]
        for key, words in names.items()
    ]
    aims = ("status", "resume")
    met = [name for name in aims if found[name]["seconds"] <= TARGETS[name]]
    return table(["", "wall s", "CPU s"], rows) + (
        f"\n\n{found['n_labels']:,} labels, {found['megabytes']:.0f} MB, best of three. "
        f"Of the aims (wall time of status under {TARGETS['status']:g} s, of resume under "
        f"{TARGETS['resume']:g} s) met: {', '.join(met) or 'none'}."
    )


def _options(words: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parts = [*EXECUTORS, "busy", "store"]
    parser.add_argument("--parts", nargs="+", choices=parts, default=parts)
    parser.add_argument("--seeds", type=int, default=1)
    parser.add_argument("--labels", type=int, default=1000)
    parser.add_argument("--workers", type=int, default=16)
    parser.add_argument("--scale", type=float, default=3.0)
    parser.add_argument("--work", type=Path, default=WORK)
    parser.add_argument(
        "--smoke", action="store_true", help="tiny; writes nothing here"
    )
    options = parser.parse_args(words)
    if options.smoke:
        options.labels, options.workers, options.scale = 30, 2, 0.05
        options.work = options.work / "smoke"
    return options


if __name__ == "__main__":
    main()
