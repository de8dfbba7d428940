"""Learning curves: error against cost; a row for each system, a panel for each way of
deployment."""

from collections.abc import Mapping
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import LogLocator, NullFormatter

from benchmarks.strategies.strategies import (
    ACTIVE,
    AT_HAND,
    DELTA,
    ENERGIES,
    FIXED,
    JOINT,
    OTHERS,
    OURS,
    RANDOM,
    UNGUARDED,
    USELESS,
)
from benchmarks.strategies.summary import SystemResults, errors_of, has, of

STYLES: dict[str, tuple[str, str, float, bool]] = {
    RANDOM.name: ("#000000", "-", 1.8, True),
    ACTIVE[0].name: ("#777777", "-", 1.2, False),
    ACTIVE[1].name: ("#777777", "--", 1.2, False),
    FIXED[0].name: ("#e69f00", ":", 1.2, False),
    FIXED[1].name: ("#e69f00", "--", 1.2, False),
    FIXED[2].name: ("#e69f00", "-", 1.2, False),
    JOINT.name: ("#56b4e9", "--", 1.2, False),
    OTHERS[0].name: ("#0072b2", "--", 1.2, False),
    OTHERS[1].name: ("#0072b2", "-", 1.2, False),
    OURS.name: ("#d55e00", "-", 1.8, True),
    AT_HAND.name: ("#d55e00", "--", 1.8, False),
    DELTA.name: ("#009e73", "-", 1.8, True),
    ENERGIES.name: ("#cc79a7", "-", 1.2, False),
    USELESS.name: ("#8c510a", "-", 1.2, False),
    UNGUARDED.name: ("#8c510a", ":", 1.2, False),
}
"""Colour (Okabe and Ito), line, width, and whether there is a band."""
AXIS = {
    "forces_rmse": "held-out force RMSE (eV/Å)",
    "energy_mae": "held-out energy MAE (meV)",
}


def figure(document: Mapping[str, Any]) -> Figure:
    """Random choice of high labels alone, standalone, is black in all panels."""
    systems = document["systems"]
    n = max(len(systems), 1)
    drawing = Figure(figsize=(9.5, 3.1 * n + 1.2), layout="constrained")
    panels = drawing.subplots(n, 2, sharey="row", squeeze=False)
    handles: dict[str, Any] = {}
    for row, system in zip(panels, systems.values(), strict=False):
        for axes, mode in zip(row, ("standalone", "at_hand"), strict=True):
            handles |= _panel(axes, system, mode)
            words = "standalone" if mode == "standalone" else "low level at hand"
            axes.set_title(f"{system['title']}: {words}", fontsize=8)
            axes.set_xlabel(f"cost ({system['cost_unit']})", fontsize=8)
        row[0].set_ylabel(AXIS[system["measure"]], fontsize=8)
    names = [name for name in STYLES if name in handles]
    drawing.legend(
        [handles[name] for name in names],
        names,
        loc="outside lower center",
        ncols=3,
        fontsize=7,
        frameon=False,
    )
    return drawing


def _panel(axes: Axes, system: SystemResults, mode: str) -> dict[str, Any]:
    found = {}
    for name, style in STYLES.items():
        if has(system, name, mode) or name == RANDOM.name:
            at = "standalone" if name == RANDOM.name else mode
            found[name] = _curve(axes, system, name, at, style)
    axes.set(xscale="log", yscale="log")
    for axis in (axes.xaxis, axes.yaxis):
        low, high = axis.get_view_interval()
        subs = (
            (1, 2, 3, 5)
            if high > 4 * low
            else (1, 1.1, 1.2, 1.4, 1.7, 2, 3, 5, 7, 8, 9)
        )
        axis.set_major_locator(LogLocator(subs=subs))
        axis.set_major_formatter("{x:g}")
        axis.set_minor_formatter(NullFormatter())
    axes.tick_params(labelsize=7)
    axes.grid(alpha=0.25)
    return found


def _curve(
    axes: Axes,
    system: SystemResults,
    name: str,
    mode: str,
    style: tuple[str, str, float, bool],
) -> Any:
    """The median over the seeds, with a band between the quartiles."""
    colour, line, width, band = style
    runs = list(of(system["results"], name).values())
    begin = max(r["curve"][0]["cost"] for r in runs)
    end = min(r["curve"][-1]["cost"] for r in runs)
    costs = np.geomspace(begin, end, 60)
    unit = system["costs"][system["levels"][-1]]
    errors = np.array([errors_of(system, name, mode, c / unit) for c in costs])
    low, middle, high = np.percentile(errors, [25, 50, 75], axis=1)
    (drawn,) = axes.plot(costs, middle, color=colour, linestyle=line, linewidth=width)
    if band:
        axes.fill_between(costs, low, high, color=colour, alpha=0.13, linewidth=0)
    return drawn
