"""The figure of the README: every seed of every model on every problem."""

from collections.abc import Mapping
from typing import Any

import matplotlib
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import LogLocator, NullLocator

from benchmarks.cokriging.tables import MODELS, quartiles
from mfal.report.style import RC

OURS, THEIRS = "#0072b2", "#5a5a5a"
NLPD_SHOWN = 6.0
"""Larger values stand at the edge, as triangles."""


def figure(document: Mapping[str, Any]) -> Figure:
    """A row for each problem: RMSE (in spreads of its best median) and NLPD."""
    problems = document["problems"]
    with matplotlib.rc_context(RC | {"ytick.labelsize": 7.5, "axes.titlesize": 9}):
        height = 0.5 + 1.42 * len(problems)
        drawn = Figure(figsize=(6.4, height), layout="constrained")
        rows = drawn.subplots(len(problems), 2, squeeze=False, sharey="row")
        for (left, right), found in zip(rows, problems.values(), strict=True):
            models = [m for m in MODELS if m in found["models"]]
            _strip(left, found["models"], models, "rmse")
            _strip(right, found["models"], models, "nlpd")
            left.set_xscale("log")
            left.xaxis.set_major_locator(LogLocator(subs=(1, 2, 5)))
            left.xaxis.set_major_formatter("{x:g}")
            left.xaxis.set_minor_locator(NullLocator())
            left.set_yticks(range(len(models)), [MODELS[m] for m in models])
            left.set_title(found["title"], loc="left", fontweight="bold")
        if len(rows):
            rows[-1][0].set_xlabel("RMSE")
            rows[-1][1].set_xlabel("NLPD, in units of the truth's spread")
    return drawn


def _strip(axes: Axes, found: Mapping, models: list[str], name: str) -> None:
    """One score: a dot for each seed, a bar from quartile to quartile, the median."""
    for row, model in enumerate(models):
        colour = OURS if model == "mfal" else THEIRS
        values = np.array([r[name] for r in found[model] if name in r])
        cut = np.minimum(values, NLPD_SHOWN) if name == "nlpd" else values
        y = row + 0.5 * (np.arange(len(cut)) / max(1, len(cut) - 1) - 0.5)
        inside = cut == values
        axes.plot(cut[inside], y[inside], "o", color=colour, ms=2.6, alpha=0.6)
        axes.plot(cut[~inside], y[~inside], ">", color=colour, ms=4)
        low, middle, high = quartiles(found[model], name)
        if np.isfinite([low, middle, high]).all():
            if name == "nlpd":
                low, middle, high = (min(q, NLPD_SHOWN) for q in (low, middle, high))
            axes.plot([low, high], [row, row], color=colour, lw=5, alpha=0.3)
            axes.plot([middle], [row], "|", color=colour, ms=9, mew=2)
    axes.set_ylim(len(models) - 0.4, -0.6)
    axes.grid(False, axis="y")
