"""The labels on their workers, and what kept the workers from them."""

from collections.abc import Mapping
from typing import Any

import matplotlib

matplotlib.use("Agg")
from matplotlib.figure import Figure
from matplotlib.patches import Patch

from mfal.report.timeline import lanes

COLOURS = {
    "end": "#4c78a8",
    "killed": "#d62728",
    "hanging": "#f2a900",
    "unconverged": "#7b3294",
}
WORDS = {
    "end": "taken",
    "killed": "killed with its worker",
    "hanging": "hangs",
    "unconverged": "not converged",
}


def figure(runs: Mapping[str, Mapping[str, Any]]) -> Figure:
    """A panel per executor: every computation as a bar, on as few lines as hold them."""
    fig = Figure(figsize=(7.5, 2.2 * len(runs) + 0.8), layout="constrained")
    panels = fig.subplots(len(runs), 1, squeeze=False, sharex=True)[:, 0]
    for axes, (name, run) in zip(panels, runs.items(), strict=True):
        spans = run["spans"]
        lane = lanes([(a, b) for a, b, _ in spans], slack=0.0)
        for how, colour in COLOURS.items():
            mine = [i for i, span in enumerate(spans) if span[2] == how]
            axes.barh(
                [lane[i] + 1 for i in mine],
                [spans[i][1] - spans[i][0] for i in mine],
                left=[spans[i][0] for i in mine],
                height=0.8,
                color=colour,
                edgecolor="white",
                linewidth=0.2,
            )
        for x, style in ((run["ideal_seconds"], "--"), (run["wall_seconds"], "-")):
            axes.axvline(x, color="0.2", lw=1, ls=style)
        axes.set_title(
            f"{name}: {run['wall_seconds']:.0f} s (solid) for "
            f"{run['ideal_seconds']:.0f} s of the ideal schedule (dashed)",
            fontsize=9,
            loc="left",
        )
        axes.set(ylabel="label at once", ylim=(max(lane) + 1.6, 0.4))
        axes.spines[["top", "right"]].set_visible(False)
    panels[-1].set_xlabel("time since the first label was asked for / s")
    panels[-1].set_xlim(0, None)
    handles = [Patch(color=COLOURS[how], label=WORDS[how]) for how in COLOURS]
    fig.legend(handles=handles, loc="outside lower center", ncols=4, frameon=False)
    return fig
