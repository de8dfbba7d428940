"""A figure with its words, and the axes that several figures share."""

import math
from dataclasses import dataclass

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter, LogLocator, MaxNLocator, NullLocator


@dataclass(frozen=True)
class Drawing:
    """A figure, the name of its file, and what it shows in words (the alt text)."""

    name: str
    figure: Figure
    alt: str


def logarithmic(axes: Axes, which: str, values: np.ndarray) -> None:
    """A logarithmic axis with ticks in plain numbers; linear where all are alike."""
    if values.size == 0:
        return
    axis = axes.xaxis if which == "x" else axes.yaxis
    low, high = values.min(), values.max()
    if high <= 1.5 * low:
        axis.set_major_locator(MaxNLocator(4))
        (axes.set_xlim if which == "x" else axes.set_ylim)(0.8 * low, 1.2 * high)
        return
    margin = (high / low) ** 0.05
    (axes.set_xscale if which == "x" else axes.set_yscale)("log")
    (axes.set_xlim if which == "x" else axes.set_ylim)(low / margin, high * margin)
    decades = math.log10(high / low)
    fine = (1, 2, 3, 5, 7) if decades > 0.5 else (1, 1.5, 2, 2.5, 3, 4, 5, 6, 7, 8, 9)
    subs = (1,) if decades > 3 else (1, 2, 5) if decades > 1 else fine
    axis.set_major_locator(LogLocator(subs=subs, numticks=20))
    axis.set_minor_locator(NullLocator())
    axis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:,.10g}"))


def spread_out(axes: Axes, x: np.ndarray, n: int) -> list[int]:
    """Indices of at most n values that lie far apart along x; the last one always."""
    ends = np.array(axes.get_xlim())
    logarithmic = axes.get_xscale() == "log"
    low, high = np.log(ends) if logarithmic else ends
    place = np.log(np.maximum(x, ends[0])) if logarithmic else x
    chosen = [len(x) - 1]
    for i in range(len(x) - 2, -1, -1):
        if len(chosen) < n and place[chosen[-1]] - place[i] >= (high - low) / n:
            chosen.append(i)
    return chosen[::-1]
