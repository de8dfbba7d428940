"""A figure with its words, and the axes that several figures share."""

import math
from dataclasses import dataclass

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter, LogLocator, NullLocator


@dataclass(frozen=True)
class Drawing:
    """A figure, the name of its file, and what it shows in words (the alt text)."""

    name: str
    figure: Figure
    alt: str


def logarithmic(axes: Axes, which: str, values: np.ndarray) -> None:
    """A logarithmic axis with ticks in plain numbers; linear where all are equal."""
    if values.size == 0 or values.max() <= 1.02 * values.min():
        return
    axis = axes.xaxis if which == "x" else axes.yaxis
    low, high = values.min(), values.max()
    margin = (high / low) ** 0.05
    (axes.set_xscale if which == "x" else axes.set_yscale)("log")
    (axes.set_xlim if which == "x" else axes.set_ylim)(low / margin, high * margin)
    decades = math.log10(high / low)
    fine = (1, 2, 3, 5, 7) if decades > 0.5 else (1, 1.5, 2, 2.5, 3, 4, 5, 6, 7, 8, 9)
    subs = (1,) if decades > 3 else (1, 2, 5) if decades > 1 else fine
    axis.set_major_locator(LogLocator(subs=subs, numticks=20))
    axis.set_minor_locator(NullLocator())
    axis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:,.10g}"))


def spread_out(x: np.ndarray, n: int, *, logarithmic: bool) -> list[int]:
    """Indices of at most n values that lie far enough apart; the last one always."""
    place = np.log(np.maximum(x, 1e-12)) if logarithmic else x
    gap = (place[-1] - place[0]) / (n - 0.5)
    chosen = [len(x) - 1]
    for i in range(len(x) - 2, -1, -1):
        if len(chosen) < n and place[chosen[-1]] - place[i] >= max(gap, 1e-9):
            chosen.append(i)
    return chosen[::-1]
