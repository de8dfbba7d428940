"""How much does the one-formula derivative kernel save against RBFKernelGrad?

    python -m benchmarks.derivative_kernel.run [--threads 2] [--smoke]

Log evidence plus gradient of values and all 27 derivatives at 100, 200 and 300 points
(2,800 to 8,400 rows), by mfal and by an exact GPyTorch model; each evaluation in a
process of its own, the two sides in turn, medians over the repetitions.
"""

import argparse
import json
import statistics
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.figure import Figure

from benchmarks.derivative_kernel.evidence import ENTRIES, SIDES
from benchmarks.derivative_kernel.measured import in_subprocess, machine
from benchmarks.markdown import write_sections

HERE = Path(__file__).parent
REPETITIONS = {100: 3, 200: 3, 300: 1}
"""Evaluations per number of points."""
MEASURED = ("wall_seconds", "cpu_seconds", "peak_memory_MB")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--smoke", action="store_true", help="20 points, once")
    options = parser.parse_args()
    sizes = {20: 1} if options.smoke else REPETITIONS
    document: dict[str, Any] = {"machine": machine(options.threads), "sizes": []}
    for points, repetitions in sizes.items():
        runs: dict[str, list[dict]] = {side: [] for side in SIDES}
        for _ in range(repetitions):
            for side in SIDES:
                runs[side].append(evaluated(side, points, options.threads))
        document["sizes"].append(compared(points, runs))
        document["versions"] = runs["mfal"][0]["versions"]
        print(json.dumps(document["sizes"][-1]), flush=True)
    print(table(document))
    if options.smoke:
        return
    (HERE / "results.json").write_text(json.dumps(document, indent=1))
    write_sections(HERE / "README.md", {"evidence": table(document)})
    figure(document).savefig(HERE / "evidence.png", dpi=200)


def evaluated(side: str, points: int, threads: int) -> dict[str, Any]:
    """One evaluation in a process of its own."""
    module = "benchmarks.derivative_kernel.evidence"
    return in_subprocess(["-m", module, side, str(points)], threads)


def compared(points: int, runs: dict[str, list[dict]]) -> dict[str, Any]:
    """Medians of both sides, their ratio, how far the numbers differ, the floor."""
    sides = {
        side: {name: statistics.median(run[name] for run in found) for name in MEASURED}
        for side, found in runs.items()
    }
    ours, theirs = runs["mfal"][0], runs["gpytorch"][0]
    slope, other = np.array(ours["gradient"]), np.array(theirs["gradient"])
    n = points * (1 + ENTRIES)
    lapack = {
        step: statistics.median(run["lapack_seconds"][step] for run in runs["mfal"])
        for step in runs["mfal"][0]["lapack_seconds"]
    }
    wall, cpu = (sides["mfal"][name] for name in ("wall_seconds", "cpu_seconds"))
    steps = ("cholesky", "inverse", "product")
    return {
        "points": points,
        "rows": n,
        "repetitions": len(runs["mfal"]),
        **sides,
        "all_wall_seconds": {
            side: [run["wall_seconds"] for run in found] for side, found in runs.items()
        },
        "faster": sides["gpytorch"]["wall_seconds"] / wall,
        "cpu_ratio": sides["gpytorch"]["cpu_seconds"] / cpu,
        "memory_ratio": sides["gpytorch"]["peak_memory_MB"]
        / sides["mfal"]["peak_memory_MB"],
        "evidence_difference": abs(ours["evidence"] / theirs["evidence"] - 1),
        "gradient_difference": float(np.abs(slope / other - 1).max()),
        "lapack_seconds": lapack,
        "share": {step: lapack[step] / cpu for step in steps},
        "gflops": {step: n**3 / 3e9 / lapack[step] for step in steps},
        "over_floor": cpu / (lapack["cholesky"] + lapack["inverse"]),
    }


def table(document: dict[str, Any]) -> str:
    """Two Markdown tables, and one line on the machine."""
    lines = [
        "| rows | | wall (s) | CPU (s) | peak memory (MB) | evidence differs by "
        "| gradient differs by |",
        "|---|---|---|---|---|---|---|",
    ]
    floor = [
        "| rows | Cholesky | triangular inverse | triangular product "
        "| GFlop/s and core of the three | our time over the floor |",
        "|---|---|---|---|---|---|",
    ]
    for size in document["sizes"]:
        for side in SIDES:
            wall, cpu, peak = (size[side][name] for name in MEASURED)
            row = (
                f"| {size['rows']:,} | {side} | {wall:.2f} | {cpu:.2f} | {peak:,.0f} |"
            )
            lines.append(row + " | |")
        lines.append(
            f"| {size['rows']:,} | **ratio** | **{size['faster']:.1f}** "
            f"| {size['cpu_ratio']:.1f} | {size['memory_ratio']:.1f} "
            f"| {size['evidence_difference']:.0e} | {size['gradient_difference']:.0e} |"
        )
        share, speed = size["share"].values(), size["gflops"].values()
        floor.append(
            f"| {size['rows']:,} | "
            + " | ".join(f"{100 * s:.0f} %" for s in share)
            + f" | {', '.join(f'{s:.0f}' for s in speed)} | {size['over_floor']:.2f} |"
        )
    facts, versions = document["machine"], document["versions"]
    named = ", ".join(f"{name} {number}" for name, number in versions.items())
    note = (
        f"{facts['processor']}, {facts['threads']} thread(s) on {facts['cores']} cores "
        f"(load before the run {facts['load_before']:.1f}), "
        f"Python {facts['python']}, {named}; medians of "
        f"{', '.join(str(size['repetitions']) for size in document['sizes'])} runs."
    )
    return "\n".join([*lines, "", *floor, "", note])


def figure(document: dict[str, Any]) -> Figure:
    """CPU time of both sides and of the floor against the number of rows."""
    drawn = Figure(figsize=(4.2, 3.2), layout="constrained")
    axes = drawn.subplots()
    rows = [size["rows"] for size in document["sizes"]]
    for side, style in (("gpytorch", "s--"), ("mfal", "o-")):
        spent = [size[side]["cpu_seconds"] for size in document["sizes"]]
        axes.loglog(rows, spent, style, label=side)
    least = [
        size["lapack_seconds"]["cholesky"] + size["lapack_seconds"]["inverse"]
        for size in document["sizes"]
    ]
    axes.loglog(rows, least, ":", color="0.4", label="Cholesky + triangular inverse")
    axes.set_xticks(rows, [f"{n:,}" for n in rows])
    axes.minorticks_off()
    axes.set(xlabel="rows", ylabel="evidence and gradient (CPU s)")
    axes.legend(frameon=False, loc="lower right", fontsize=8)
    return drawn


if __name__ == "__main__":
    main()
