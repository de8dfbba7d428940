"""The figures of the README: one caught excursion, and the curves of calibration."""

from collections.abc import Mapping, Sequence
from typing import Any

import matplotlib
from matplotlib.figure import Figure

from benchmarks.trust.excursion import LIMIT
from mfal.report.style import COLOURS, GREY, RC

KINDS = {
    "raw": ("--", GREY),
    "calibrated": ("-", COLOURS["standalone"]),
    "quantiles": ("-.", COLOURS["at_hand"]),
}


def excursion(run: Mapping[str, Any]) -> Figure:
    """Force sigma, step and true error against time; the free run in grey."""
    record = run["watched"]["record"]
    steps = [dict(zip(record["columns"], row, strict=True)) for row in record["steps"]]
    kept = [s for s in steps if s["event"] in ("safe", "watched")]
    refused = [s for s in steps if s["event"] == "rejected"]
    with matplotlib.rc_context(RC):
        drawn = Figure(figsize=(4.2, 5.6), layout="constrained")
        sigma, grade, step, error = drawn.subplots(4, 1, sharex=True)
        own, other = COLOURS["standalone"], COLOURS["at_hand"]
        for axes, name in ((sigma, "sigma"), (grade, "grade")):
            axes.plot([s["time"] for s in kept], [s[name] for s in kept], color=own)
            axes.plot(
                [s["time"] for s in refused],
                [s[name] for s in refused],
                "x",
                color=other,
                label="refused",
            )
        grade.axhline(record["soft"], linestyle=":", color=GREY, label="soft")
        grade.axhline(record["hard"], linestyle="--", color=GREY, label="hard")
        step.step([s["time"] for s in kept], [s["dt"] for s in kept], color=own)
        free, true = run["free"]["errors"], run["watched"]["errors"]
        error.plot(*zip(*free, strict=True), color=GREY, label="no monitor")
        error.plot(*zip(*true, strict=True), color=own, label="trust region")
        error.axhline(LIMIT, linestyle="--", color=other)
        last = kept[-1]["time"] if kept else 1.0
        error.set_xlim(0, max(1.8 * last, run["free"]["exceeds_at_fs"] or 0.0, 1.0))
        shown = [e for t, e in free if t <= error.get_xlim()[1]]
        error.set_ylim(0, max(1.1 * max(shown), 1.9 * LIMIT))
        sigma.set_ylabel("sigma (eV/A)")
        grade.set_ylabel("grade")
        step.set_ylabel("step (fs)")
        step.set_ylim(bottom=0)
        error.set_ylabel("true error (eV/A)")
        error.set_xlabel("time (fs)")
        grade.legend(loc="lower right")
        error.legend(loc="upper left")
    return drawn


def curves(sets: Mapping[str, Mapping[str, Any]]) -> Figure:
    """Empirical against nominal coverage, a row for each set and level."""
    rows = [(name, level) for name, found in sets.items() for level in found["levels"]]
    with matplotlib.rc_context(RC):
        drawn = Figure(figsize=(4.2, 2.0 * max(len(rows), 1)), layout="constrained")
        panels = drawn.subplots(max(len(rows), 1), 2, squeeze=False)
        for (name, level), line in zip(rows, panels, strict=False):
            for quantity, axes in zip(("energy", "forces"), line, strict=True):
                judged = sets[name]["levels"][level].get(quantity)
                axes.plot([0, 1], [0, 1], linestyle=":", color=GREY)
                for kind, (style, colour) in KINDS.items():
                    if judged is not None and kind in judged:
                        curve = judged[kind]["curve"]
                        axes.plot(
                            *_columns(curve), linestyle=style, color=colour, label=kind
                        )
                axes.set_title(f"{name} {level}, {quantity}")
        handles, names = panels[0, 0].get_legend_handles_labels()
        drawn.legend(handles, names, loc="outside upper center", ncols=len(KINDS))
        drawn.supxlabel("nominal coverage")
        drawn.supylabel("share inside")
    return drawn


def _columns(
    curve: Mapping[str, Sequence[float]],
) -> tuple[Sequence[float], Sequence[float]]:
    return curve["nominal"], curve["empirical"]
