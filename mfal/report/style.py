"""Colours and rules of the figures: told apart without colour, readable on a phone.

A figure is 4.2 inches wide; on a phone 390 pixels wide it is shown at 0.89 of its
size, so that its smallest text (9 points) is 8 points there.
"""

from collections.abc import Sequence
from importlib import resources
from typing import Any

import numpy as np
from matplotlib.colors import LinearSegmentedColormap, to_hex

WIDTH = 4.2  # inches
INK = "#1a1a1a"
GREY = "#6b6b6b"
COLOURS = {
    "standalone": "#0072b2",
    "at_hand": "#d55e00",
    "loo": "#5a5a5a",
    "alone": "#b0509a",
}
"""After Okabe & Ito (2008): distinct for every common kind of colour vision."""
MARKERS = {"standalone": "o", "at_hand": "s", "loo": "D", "alone": "^"}

RC: dict[Any, Any] = {
    "figure.facecolor": "white",
    "savefig.facecolor": "white",
    "savefig.dpi": 220,
    "font.family": "DejaVu Sans",
    "font.size": 9.0,
    "axes.labelsize": 9.5,
    "axes.titlesize": 9.5,
    "xtick.labelsize": 9.0,
    "ytick.labelsize": 9.0,
    "legend.fontsize": 9.0,
    "legend.frameon": False,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.linewidth": 0.8,
    "axes.edgecolor": INK,
    "axes.labelcolor": INK,
    "text.color": INK,
    "xtick.color": INK,
    "ytick.color": INK,
    "axes.grid": True,
    "axes.axisbelow": True,
    "grid.color": "#e4e4e4",
    "grid.linewidth": 0.6,
    "lines.linewidth": 1.6,
    "lines.markersize": 4.5,
    "text.parse_math": False,  # a name with a dollar sign is a name
    "text.usetex": False,
    "axes.unicode_minus": True,
    "svg.fonttype": "path",  # looks the same wherever it is opened
    "svg.hashsalt": "mfal",  # the same results give the same bytes
}

_LEVELS = LinearSegmentedColormap.from_list("levels", ["#a6dbc8", "#009e73", "#00513b"])


def level_colours(names: Sequence[str]) -> dict[str, str]:
    """One colour per level: the higher the level, the darker."""
    shades = [0.5] if len(names) == 1 else np.linspace(0.0, 0.75, len(names))
    return {n: to_hex(_LEVELS(x)) for n, x in zip(names, shades, strict=True)}


def page_css() -> str:
    """The style sheet of the page."""
    return resources.files("mfal.report").joinpath("page.css").read_text("utf-8")
