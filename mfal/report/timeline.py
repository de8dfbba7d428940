"""What ran when: the budget by level over time, and the labels on their workers."""

import heapq
from collections.abc import Sequence
from typing import Any

import matplotlib
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from mfal.report.document import Document, cost_scale, finite, level_names, part
from mfal.report.drawing import Drawing
from mfal.report.style import GREY, RC, WIDTH, level_colours
from mfal.report.typography import count, duration, percent, shortened

MOST_LANES = 32
"""Lanes that are drawn: the labels of more workers would be thinner than a line."""
FAILED = "#b3261e"
BOUGHT = ("pilot", "sweep", "acquired")
_CLOCK = 1.0  # s: the ends are known to the second


def timed(document: Document) -> list[Any]:
    """The labels whose times are known, in the order they began."""
    found = []
    for label in part(document, "timeline", "labels") or []:
        start, end = finite(part(label, "start")), finite(part(label, "end"))
        if start is not None and end is not None:
            found.append({**label, "start": start, "end": end})
    return sorted(found, key=lambda x: x["start"])


def lanes(spans: Sequence[tuple[float, float]], slack: float = _CLOCK) -> list[int]:
    """A lane per span (sorted by start): the one free the longest, else a new one.

    These are the fewest that hold all spans without overlap (by more than `slack`).

    >>> lanes([(0.0, 5.0), (1.0, 3.0), (4.0, 9.0)], slack=0.0)
    [0, 1, 1]
    """
    free: list[tuple[float, int]] = []
    found = []
    for start, end in spans:
        again = bool(free) and free[0][0] <= start + slack
        lane = heapq.heappop(free)[1] if again else len(free)
        heapq.heappush(free, (end, lane))
        found.append(lane)
    return found


def utilisation(document: Document) -> str:
    """How much of the time labels ran, in a sentence; nothing if it is not known."""
    labels, workers = timed(document), finite(part(document, "execution", "workers"))
    if not labels or not workers:
        return ""
    span = max(x["end"] for x in labels) - labels[0]["start"]
    if not span > 0:
        return ""
    busy = sum(x["end"] - x["start"] for x in labels) / (workers * span)
    share = percent(min(busy, 1.0), digits=0 if busy >= 0.01 else 1)
    return (
        f"From the first label to the last {duration(span)} went by; "
        f"{count(workers)} workers were labelling {share} of it. "
        "The rest went into choosing, learning and pauses. Which worker ran a "
        "label is not recorded, and when it ended to the second only: labels are put on "
        "as few lines as hold them."
    )


def draw_timeline(document: Document) -> Drawing | None:
    """Above, what had been spent by level; below, each label as a bar on its worker."""
    labels, names = timed(document), level_names(document)
    if not labels or not names:
        return None
    end = max(x["end"] for x in labels)
    scale, clock = _clock(end)
    n_lanes = max(lanes([(x["start"], x["end"]) for x in labels])) + 1
    with matplotlib.rc_context(RC):
        tall = 0.5 + 0.18 * min(n_lanes, 16)
        figure = Figure(figsize=(WIDTH, 2.6 + tall), layout="constrained")
        above, below = figure.subplots(2, sharex=True, height_ratios=(1.8, tall))
        _draw_spending(above, document, labels, scale)
        _draw_labels(below, labels, level_colours(names), scale)
        below.set(xlabel=f"time since the first label ({clock})", ylabel="worker")
        below.set_xlim(0, end / scale * 1.01 or 1.0)
        below.xaxis.set_major_locator(MaxNLocator(6))
        figure.legend(loc="outside lower center", ncols=2)
    given_up = sum(_given_up(x) for x in labels)
    alt = (
        f"Above, the budget spent by level over {duration(end)}; below, "
        f"{count(len(labels))} labels as bars on {count(n_lanes)} workers, "
        f"{count(given_up)} of them given up."
    )
    return Drawing("timeline", figure, alt)


def _draw_spending(
    axes: Axes, document: Document, labels: Sequence[Any], scale: float
) -> None:
    """The budget that was spent by then, stacked by level."""
    divisor, unit = cost_scale(document)
    ends = np.array([x["end"] for x in labels])
    order = np.argsort(ends, kind="stable")
    times = np.concatenate([[0.0], ends[order]]) / scale
    base = np.zeros(len(times))
    for name, colour in level_colours(level_names(document)).items():
        costs = np.array([_cost(document, x, name) for x in labels])[order] / divisor
        top = base + np.concatenate([[0.0], np.cumsum(costs)])
        label = shortened(name, 24)
        axes.fill_between(
            times, base, top, step="post", color=colour, lw=0, label=label
        )
        base = top
    axes.set_ylabel(f"spent ({unit})")
    axes.set_ylim(bottom=0)


def _draw_labels(
    axes: Axes, labels: Sequence[Any], colours: dict[str, str], scale: float
) -> None:
    """A bar per label; those that were given up are hatched."""
    spans = [(x["start"], x["end"]) for x in labels]
    lane = lanes(spans)
    longest = max(end for _, end in spans)
    for given_up in (False, True):
        label = "given up" if given_up else None
        for number in range(min(max(lane) + 1, MOST_LANES)):
            mine = [
                i
                for i, x in enumerate(labels)
                if _given_up(x) == given_up and lane[i] == number
            ]
            if not mine:
                continue
            fill = [colours.get(str(part(labels[i], "level")), GREY) for i in mine]
            edges = [  # white ones tell neighbours apart
                "white" if spans[i][1] - spans[i][0] > 0.01 * longest else colour
                for i, colour in zip(mine, fill, strict=True)
            ]
            axes.broken_barh(
                [
                    (spans[i][0] / scale, (spans[i][1] - spans[i][0]) / scale)
                    for i in mine
                ],
                (number + 0.6, 0.8),
                facecolors="white" if given_up else fill,
                edgecolors=FAILED if given_up else edges,
                hatch="////" if given_up else None,
                linewidths=0.8 if given_up else 0.4,
                rasterized=len(labels) > 500,
                label=label,
            )
            label = None
    n = max(lane) + 1
    axes.set_ylim(min(n, MOST_LANES) + 0.6, 0.4)
    axes.grid(visible=False, axis="y")
    if n <= 8:
        axes.set_yticks(range(1, n + 1))
    else:
        axes.yaxis.set_major_locator(MaxNLocator(6, integer=True))


def _given_up(label: Any) -> bool:
    return part(label, "state") != "done"


def _clock(seconds: float) -> tuple[float, str]:
    if seconds < 600:
        return 1.0, "s"
    return (60.0, "min") if seconds < 4 * 3600 else (3600.0, "h")


def _cost(document: Document, label: Any, name: str) -> float:
    """What the budget was charged for a label, if it is of this level."""
    if part(label, "level") != name or part(label, "purpose") not in BOUGHT:
        return 0.0
    if part(document, "budget", "unit") == "declared cost":
        price = finite(part(document, "cost_model", name, "mean")) or 0.0
        return price * (finite(part(label, "attempts")) or 1.0)
    return finite(part(label, "cpu_seconds")) or 0.0
