"""Learning curves: force error against cost, a panel for each kind of strategy."""

from collections.abc import Mapping
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import LogLocator, NullFormatter

from benchmarks.strategies_small.strategies import (
    BOTH,
    HIGH_ONLY,
    STRATEGIES,
    SWEEP,
    Strategy,
)
from benchmarks.strategies_small.summary import Results, error_at, of

COLOURS = ("#222222", "#0072b2", "#d55e00", "#009e73", "#cc79a7")
"""Black is random; then the ones of Okabe and Ito."""


def figure(document: Mapping[str, Any]) -> Figure:
    """A row for each system; random choice of high labels alone is grey in all panels."""
    systems = {n: r for n, r in document["systems"].items() if r}
    drawing = Figure(figsize=(10.5, 3.6 * max(len(systems), 1)), layout="constrained")
    panels = drawing.subplots(
        max(len(systems), 1), 3, sharex="row", sharey="row", squeeze=False
    )
    for row, (name, results) in zip(panels, systems.items(), strict=False):
        for axes, kind in zip(row, (HIGH_ONLY, BOTH, SWEEP), strict=True):
            _panel(axes, results, kind)
            axes.set_title(f"{name}, {kind}", fontsize=9)
        unit = results[0]["cost_unit"]
        _headroom(row[0])
        row[0].set_ylabel("held-out force RMSE (eV/Å)")
        for axes in row:
            axes.set_xlabel(f"cost ({unit})")
    return drawing


def _panel(axes: Axes, results: Results, kind: str) -> None:
    if kind != HIGH_ONLY:
        _curve(axes, results, STRATEGIES[0], "#999999", band=False)
    mine = [s for s in STRATEGIES if s.levels == kind]
    for strategy, colour in zip(mine, COLOURS, strict=False):
        _curve(axes, results, strategy, colour, band=True)
    axes.set(xscale="log", yscale="log")
    for axis in (axes.xaxis, axes.yaxis):
        axis.set_major_locator(LogLocator(subs=(1, 1.5, 2, 3, 5, 7)))
        axis.set_major_formatter("{x:g}")
        axis.set_minor_formatter(NullFormatter())
    axes.tick_params(labelsize=7)
    axes.grid(alpha=0.25)
    axes.legend(fontsize=6.5, frameon=False)


def _headroom(axes: Axes) -> None:
    """Space above the curves for the legend."""
    low, high = axes.get_ylim()
    axes.set_ylim(low, high * (high / low) ** 0.2)


def _curve(
    axes: Axes, results: Results, strategy: Strategy, colour: str, *, band: bool
) -> None:
    runs = list(of(results, strategy.name).values())
    begin = max(r["curve"][0]["cost"] for r in runs)
    end = min(r["curve"][-1]["cost"] for r in runs)
    costs = np.geomspace(begin, end, 60)
    errors = [
        [error_at(r["curve"], cost, "standalone", "forces_rmse") for cost in costs]
        for r in runs
    ]
    low, middle, high = np.percentile(errors, [25, 50, 75], axis=0)
    label = strategy.name
    axes.plot(costs, middle, color=colour, linewidth=1.3, label=label)
    if band:
        axes.fill_between(costs, low, high, color=colour, alpha=0.12, linewidth=0)
