"""Do the error bars hold, and is a run that leaves the training set caught in time?

    python -m benchmarks.trust.run [--sets Si,Cu,methanol] [--seeds 10] [--smoke]
        [--parts calibration dynamics stopping] [--cases methanol cluster]

Every fit that is judged, every run of dynamics and every campaign is kept in the work
folder with its settings, so that a run that was interrupted goes on. To measure anew,
remove its file.
"""

import argparse
import json
import platform
from collections.abc import Sequence
from functools import cache
from pathlib import Path
from typing import Any

import ase
import numpy
import torch

import mfal
from benchmarks.keeping import kept
from benchmarks.markdown import write_sections
from benchmarks.trust.calibration import element, methanol
from benchmarks.trust.excursion import (
    MONITORS,
    SMOKE,
    Setting,
    free,
    outcome,
    prepare,
    watched,
)
from benchmarks.trust.figure import curves, excursion
from benchmarks.trust.stopping import recorded, summary
from benchmarks.trust.stopping_cases import CASES
from benchmarks.trust.tables import sections
from mfal.data.files import write_text

HERE = Path(__file__).parent
TEMPERATURES = (300.0, 600.0, 1200.0, 1600.0, 2000.0)
PARTS = ("calibration", "dynamics", "stopping")


def main(words: Sequence[str] | None = None) -> None:
    options = _options(words)
    work = options.work / "smoke" if options.smoke else options.work
    results = HERE / "results.json"
    document: dict[str, Any] = {}
    if results.exists() and not options.smoke:  # what is not run now stays
        document = json.loads(results.read_text())
    document["question"] = (__doc__ or "").splitlines()[0]
    document["versions"] = versions()
    if "calibration" in options.parts:
        document["calibration"] = calibration(options, work)
    if "dynamics" in options.parts:
        document["excursion"] = dynamics(options, work)
    if "stopping" in options.parts:
        before = document.get("stopping", [])
        document["stopping"] = stopping(options, work, before)
    tables = sections(document)
    print("\n\n".join(tables.values()))
    ran = document["excursion"] if "dynamics" in options.parts else {}
    shown = caught_run(ran)
    target = work if options.smoke else HERE
    if document.get("calibration"):
        curves(document["calibration"]).savefig(target / "calibration.png", dpi=200)
    if shown is not None:
        excursion(shown).savefig(target / "excursion.png", dpi=200)
    if options.smoke:
        return
    write_text(results, json.dumps(_short(document), indent=1) + "\n")
    write_sections(HERE / "README.md", tables)


def calibration(options: argparse.Namespace, work: Path) -> dict[str, Any]:
    """Each set judged raw and calibrated."""
    found = {}
    for name in options.sets:
        if name == "methanol":
            settings = {
                "n_train": 16 if options.smoke else options.methanol,
                "n_splits": 2 if options.smoke else options.splits,
            }
            found[name] = kept(
                work / f"calibration_{name}.json",
                settings,
                lambda s=settings: {"levels": methanol(**s, smoke=options.smoke)},
            )
            continue
        settings = {"n_inducing": 24 if options.smoke else options.points}
        found[name] = kept(
            work / f"calibration_{name}.json",
            settings,
            lambda n=name, s=settings: {
                "levels": element(n, s["n_inducing"], options.smoke)
            },
        )
    return found


def dynamics(options: argparse.Namespace, work: Path) -> dict[str, Any]:
    """Free and watched runs of every temperature and seed."""
    setting = SMOKE if options.smoke else Setting()
    prepared = cache(lambda: prepare(setting))
    runs: dict[str, dict[str, list[dict[str, Any]]]] = {}
    ungoverned = {
        k: v
        for k, v in setting.to_json().items()
        if not k.startswith(("soft", "hard", "quantile", "halvings"))
    }
    for temperature in options.temperatures:
        for seed in range(1, options.seeds + 1):
            at = {"temperature": temperature, "seed": seed}
            name = f"{temperature:.0f}K_{seed}.json"
            alone = kept(
                work / "free" / name,
                ungoverned | at,
                lambda t=temperature, s=seed: free(prepared(), t, s),
            )
            for monitor in MONITORS:
                found = kept(
                    work / monitor / name,
                    setting.to_json() | at,
                    lambda m=monitor, t=temperature, s=seed: watched(
                        prepared(), m, t, s
                    ),
                )
                lists = runs.setdefault(monitor, {})
                lists.setdefault(f"{temperature:.0f}", []).append(
                    at | {"free": alone, "watched": found}
                )
    return {"setting": setting.to_json(), "runs": runs}


def stopping(
    options: argparse.Namespace, work: Path, before: list[dict[str, Any]]
) -> list[dict[str, Any]]:
    """Where a rule stops campaigns, and where held-out labels meet its targets.

    Rows of cases that are not run stay as they were.
    """
    rows = []
    for case in CASES:
        if case not in options.cases:
            rows += [row for row in before if row.get("case") == CASES[case].title]
            continue
        records = [
            kept(
                work / f"stopping_{case}_{seed}.json",
                {"case": case, "seed": seed, "smoke": options.smoke},
                lambda c=case, s=seed: recorded(c, s, work / "stopping", options.smoke),
            )
            for seed in range(options.seeds)
        ]
        rows += summary(case, records)
    return rows


def caught_run(document: dict[str, Any]) -> dict[str, Any] | None:
    """The run for the figure: caught, and the free one beyond the limit, after longest."""
    found = [
        run
        for by_temperature in document.get("runs", {}).values()
        for runs in by_temperature.values()
        for run in runs
        if outcome([run])["caught"]
    ]
    return max(found, key=lambda r: r["watched"]["time_fs"], default=None)


def versions() -> dict[str, str]:
    """Of what was measured, and of what it stands on."""
    modules = {"mfal": mfal, "ase": ase, "numpy": numpy, "torch": torch}
    found = {name: str(m.__version__) for name, m in modules.items()}
    return found | {"python": platform.python_version()}


def _short(document: dict[str, Any]) -> dict[str, Any]:
    """The document without every step of every run."""
    slim = json.loads(json.dumps(document))
    for by_temperature in slim.get("excursion", {}).get("runs", {}).values():
        for runs in by_temperature.values():
            for run in runs:
                for side in ("free", "watched"):
                    for name in ("errors", "record", "settings"):
                        run[side].pop(name, None)
    return slim


def _options(words: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--sets", type=lambda t: t.split(",") if t else [])
    parser.add_argument("--points", type=int, default=600, help="inducing environments")
    parser.add_argument("--methanol", type=int, default=40, help="training geometries")
    parser.add_argument("--splits", type=int, default=10, help="of methanol")
    parser.add_argument("--seeds", type=int)
    parser.add_argument("--temperatures", type=float, nargs="+")
    parser.add_argument("--parts", nargs="+", choices=PARTS, default=list(PARTS))
    parser.add_argument("--cases", nargs="+", choices=CASES, default=list(CASES))
    parser.add_argument("--work", type=Path, default=Path("campaigns/trust"))
    parser.add_argument("--smoke", action="store_true", help="a minute, no other data")
    options = parser.parse_args(words)
    if options.sets is None:
        options.sets = ["Cu", "methanol"] if options.smoke else ["Si", "Cu", "methanol"]
    if options.seeds is None:
        options.seeds = 1 if options.smoke else 10
    if options.temperatures is None:
        options.temperatures = [300.0, 1600.0] if options.smoke else list(TEMPERATURES)
    return options


if __name__ == "__main__":
    main()
