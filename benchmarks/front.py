"""The table on the first page of the project: what was measured, and where it loses.

    python -m benchmarks.front

It runs nothing: it is made from the `results.json` of the benchmarks that it links to.
"""

import json
import sys
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.cokriging.tables import MODELS, quartiles
from benchmarks.markdown import table, write_sections
from benchmarks.strategies.summary import interval
from benchmarks.strategies.targets import TARGETS, rows_of
from benchmarks.trust.excursion import LIMIT
from benchmarks.trust.tables import caught_and_false

HERE = Path(__file__).parent
AIM = 4.0
"""Times cheaper than random choice at one level that were aimed at."""
Results = Mapping[str, Any]


def main() -> None:
    text = front(read)
    sys.stdout.write(text + "\n")
    write_sections(HERE.parent / "README.md", {"front": text})


def read(name: str) -> Results:
    """The results of a benchmark."""
    found: Results = json.loads((HERE / name / "results.json").read_text())
    return found


def front(results: Callable[[str], Results]) -> str:
    """The rows: a question, what mfal does, what it is compared with, where it loses."""
    rows = [
        [_link(name, question), *answer(results(name))]
        for name, question, answer in ROWS
    ]
    return table(["", "mfal", "where it loses, or what is missing"], rows)


def savings(document: Results) -> list[str]:
    """Cost of the error of 40 random high labels, systems by their savings."""
    alone, hand = list(TARGETS)[:2]
    found = {
        kind: {
            name: interval(row.values)[0]
            for name, system in document["systems"].items()
            for row in rows_of(name, system)
            if row.target == kind
        }
        for kind in (alone, hand)
    }
    best = sorted(found[alone], key=lambda name: -found[alone][name])
    won = [n for n in best if found[alone][n] >= AIM]
    lost = [n for n in best if found[alone][n] < AIM]

    def told(names: Sequence[str]) -> str:
        return "; ".join(
            f"{document['systems'][n]['title']}: {found[alone][n]:.2g} times cheaper, "
            f"{found[hand][n]:.2g} with the low level at hand"
            for n in names
        )

    return [told(won), told(lost) or "-"]


def coupled_cluster(document: Results) -> list[str]:
    """Coupled-cluster labels for the same error, alone and over MP2."""
    kind = list(TARGETS)[6]
    systems = document["systems"].items()
    found = {
        system["title"]: interval(row.values)
        for name, system in systems
        for row in rows_of(name, system)
        if row.target == kind
    }
    coupled = [system for _, system in systems if system["title"] in found]
    told = "; ".join(
        f"{title}: {m:.2g} times fewer ({low:.2g} to {high:.2g})"
        for title, (m, low, high) in found.items()
    )
    if not coupled:
        return ["-", "-"]
    most = max(s["sizes"]["budget"] / s["sizes"]["pilot"] for s in coupled)
    return [told, f"the pilot allows no more than {most:.0f}; energies only"]


def published(document: Results) -> list[str]:
    """Force errors beside gap_fit run here, and the CPU time of a fit."""
    told, missing = [], []
    for element, found in document["elements"].items():
        ours, theirs = (found[k]["evaluation"]["errors"] for k in ("mfal", "gap_fit"))
        told.append(
            f"{element}: {ours['forces']['mae']:.4f} against "
            f"{theirs['forces']['mae']:.4f} eV/A"
        )
        inside = ours["energy"]["coverage_95"]
        if inside < 0.9:
            missing.append(f"{element} {100 * inside:.0f} %")
    bars = f"95 % error bars of energies hold too few: {', '.join(missing)}"
    return [f"force MAE, gap_fit run here: {'; '.join(told)}", bars if missing else "-"]


def vectors(document: Results) -> list[str]:
    """On how many test problems the density and the error are the best of all."""
    wins = {"nlpd": 0, "rmse": 0}
    n = slower = 0
    for found in document["problems"].values():
        models = found["models"]
        peers = [m for m in MODELS if m in models and m not in ("mfal", "single_level")]
        if not peers:
            continue
        n += 1
        for score in wins:
            ours = quartiles(models["mfal"], score)[1]
            best = min(quartiles(models[m], score)[1] for m in peers)
            wins[score] += ours < best
        mine, theirs = (
            quartiles(models.get(m, ()), "fit_seconds")[1] for m in ("mfal", "smt_mfk")
        )
        slower += mine > theirs
    return [
        f"best median log density of all peers on {wins['nlpd']} of {n} problems",
        f"least median error on {wins['rmse']} of {n} only; slower to fit than "
        f"SMT's MFK on {slower}",
    ]


def choosing(document: Results) -> list[str]:
    """The same batch as BoTorch, and the time of a large one."""
    small = document["vectors"]
    same = "the same labels" if small["same_set"] else "other labels"
    large = max(
        (r for r in document["pool"]["runs"] if r["wall_seconds"] < 120),
        key=lambda r: (r["criterion"] == "targets", r["n_candidates"]),
    )
    slow = max(document["pool"]["runs"], key=lambda r: r["wall_seconds"])
    return [
        f"{small['batch']} of {small['n_candidates']:,} candidates: "
        f"{small['cpu_ratio']:.0f} times less CPU time than BoTorch, {same}; "
        f"{large['batch']} of {large['n_candidates']:,} labels of 64 atoms in "
        f"{large['wall_seconds']:.0f} s",
        f"{slow['n_candidates']:,} labels by information about targets take "
        f"{slow['wall_seconds'] / 60:.0f} min",
    ]


def trust(document: Results) -> list[str]:
    """Excursions that were caught, and rules that stopped in time."""
    counts = caught_and_false(document["excursion"])
    caught, n, false, inside = counts["grade"]
    by_sigma = counts["sigma"][0]
    ratios = [
        np.median(s["ratios"])
        for s in document["stopping"]
        if s["patience"] == 2 and s["ratios"]
    ]
    return [
        f"{caught} of {n} excursions caught before forces are wrong by {LIMIT} eV/A, "
        f"{false} of {inside} false alarms at the temperature of the training set",
        f"force sigma alone catches {by_sigma}; a stopping rule pays {min(ratios):.2g} "
        f"to {max(ratios):.2g} times what was needed (median, by targets)",
    ]


ROWS: Sequence[tuple[str, str, Callable[[Results], list[str]]]] = (
    ("strategies", "Cost of the error that 40 random high labels give", savings),
    (
        "strategies",
        "CCSD(T) labels for the same error, over MP2 and alone",
        coupled_cluster,
    ),
    ("published_tables", "One level of theory: Cu and Si of mlearn", published),
    ("cokriging", "Vectors at several levels, beside SMT, emukit and BoTorch", vectors),
    ("selection", "Time to choose a batch", choosing),
    ("trust", "Dynamics that leave the training set, and when to stop", trust),
)


def _link(name: str, words: str) -> str:
    return f"[{words}](benchmarks/{name}/README.md)"


if __name__ == "__main__":
    main()
