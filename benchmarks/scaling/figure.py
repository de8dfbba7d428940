"""CPU time against each size, the fitted slopes, and the floors of the arithmetic."""

from collections.abc import Mapping
from typing import Any

import matplotlib

matplotlib.use("Agg")
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import FixedLocator, NullFormatter, StrMethodFormatter

from benchmarks.scaling.extrapolation import selection_curve, selection_law
from benchmarks.scaling.laws import FITTED, curve, floor_seconds, power_law
from benchmarks.scaling.points import AXES

MARKERS = "osD^v"
LABELS = {
    "structures": "cells of about 100 atoms",
    "atoms": "atoms of a cell",
    "inducing": "inducing environments",
    "levels": "levels",
    "rows": "rows of an exact model",
    "candidates": "candidates",
}


def figure(document: Mapping[str, Any]) -> Figure:
    """A panel for each axis: measured, fitted (line), floor (dotted, open)."""
    fig = Figure(figsize=(10.0, 7.0), layout="constrained")
    panels = fig.subplots(2, 3).flatten()
    for panel, (name, label) in zip(panels, LABELS.items(), strict=True):
        for k, stage in enumerate(AXES[name].powers):
            _stage(panel, document, name, stage, k)
        if name == "candidates":
            _selection(panel)
        panel.set(xlabel=label, xscale="log", yscale="log")
        panel.xaxis.set_minor_formatter(NullFormatter())
        panel.legend(
            frameon=False,
            fontsize=7,
            ncols=2,
            loc="lower center",
            bbox_to_anchor=(0.5, 1),
        )
    for row in (0, 3):
        panels[row].set_ylabel("CPU time / s")
    ticks = {3: [1, 2, 3, 4, 6], 4: [400, 1000, 3000, 8000]}
    for k, places in ticks.items():
        panels[k].xaxis.set_major_locator(FixedLocator(places))
        panels[k].xaxis.set_major_formatter(StrMethodFormatter("{x:,.0f}"))
    return fig


def _selection(panel: Axes) -> None:
    """The batches of 50 that `benchmarks/selection` has measured."""
    for k, criterion in enumerate(("parameters", "targets")):
        x, y = selection_curve(criterion)
        law = selection_law(criterion)
        if law is not None:
            name = f"information about {criterion}: {law.exponent:.2f}"
            panel.plot(x, y, "*x"[k], color=f"C{k + 6}", ms=5, label=name)
            panel.plot(x, [law(n) for n in x], color=f"C{k + 6}", lw=1)


def _stage(
    panel: Axes, document: Mapping[str, Any], axis: str, stage: str, k: int
) -> None:
    points = document["axes"][axis]
    x, y = curve(points, stage, "cpu_seconds")
    law = power_law(x, y)
    name = f"{stage.replace('_', ' ')}: {law.exponent:.2f}"
    colour = f"C{k}"
    panel.plot(x, y, MARKERS[k], color=colour, ms=4, label=name)
    span = np.array([x[-min(FITTED, len(x))], x[-1]])
    panel.plot(span, [law(s) for s in span], color=colour, lw=1)
    have = {p["size"]: p["stages"][stage] for p in points if stage in p["stages"]}
    floor = [floor_seconds(have[s], document["machine"]) for s in x]
    if all(floor):
        panel.plot(x, floor, MARKERS[k], color=colour, ls=":", lw=0.8, ms=3, mfc="none")
