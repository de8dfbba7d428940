"""The figure of the README: errors beside the published ones, and what fits cost."""

from collections.abc import Mapping
from typing import Any

import matplotlib
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import LogLocator, NullLocator

from mfal.report.style import RC

MARKS = {
    "GAP": ("D", "#999999", "GAP, published"),
    "MTP": ("s", "#5a5a5a", "MTP, published"),
    "gap_fit": ("^", "#d55e00", "gap_fit, here"),
    "mfal_matched": ("v", "#56b4e9", "mfal, descriptor of gap_fit"),
    "mfal": ("o", "#0072b2", "mfal, defaults"),
}
PANELS = ("energy MAE (meV/atom)", "force MAE (eV/A)", "CPU time of the fit (s)")


def figure(document: Mapping[str, Any]) -> Figure:
    """A panel each for energies, forces and the CPU time of the fit."""
    with matplotlib.rc_context(RC):
        drawn = Figure(figsize=(4.2, 6.4), layout="constrained")
        panels = drawn.subplots(3, 1)
        for k, (axes, label) in enumerate(zip(panels, PANELS, strict=True)):
            _panel(axes, document, k)
            axes.set_ylabel(label)
        panels[2].set_yscale("log")
        panels[2].yaxis.set_major_locator(LogLocator(subs=(1, 2, 5)))
        panels[2].yaxis.set_major_formatter("{x:,.0f}")
        panels[2].yaxis.set_minor_locator(NullLocator())
        handles, names = panels[0].get_legend_handles_labels()
        drawn.legend(handles, names, loc="outside upper center", ncols=2)
    return drawn


def _panel(axes: Axes, document: Mapping[str, Any], k: int) -> None:
    """One quantity of every element, a mark for each potential."""
    elements = document["elements"]
    for place, (name, (marker, colour, label)) in enumerate(MARKS.items()):
        values = [_value(document, element, name, k) for element in elements]
        known = [(i, v) for i, v in enumerate(values) if v is not None]
        x = [i + 0.16 * (place - 1.5) for i, _ in known]
        y = [v for _, v in known]
        axes.plot(x, y, marker, color=colour, label=label, markersize=6.5)
    axes.set_xticks(range(len(elements)), list(elements))
    axes.set_xlim(-0.5, len(elements) - 0.5)
    axes.grid(False, axis="x")
    if k < 2:
        axes.set_ylim(bottom=0)


def _value(document: Mapping, element: str, name: str, k: int) -> float | None:
    if name in document["published"]:
        values = document["published"][name].get(element)
        return values[k] if values and k < 2 else None
    side = document["elements"][element].get(name)
    if side is None:
        return None
    if k == 2:
        return side["fit"]["cpu_seconds"]
    return side["evaluation"]["errors"][("energy", "forces")[k]]["mae"]
