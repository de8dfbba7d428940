"""The map of the pool: what was labelled, at which level, and at which step.

Each function takes the document and gives a `Drawing`, or `None` if there is nothing
to draw.
"""

from typing import Any

import matplotlib
import numpy as np
from matplotlib.axes import Axes
from matplotlib.colors import LinearSegmentedColormap
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from mfal.report.document import Document, finite, floats, level_names, part
from mfal.report.drawing import Drawing
from mfal.report.style import GREY, INK, RC, WIDTH, level_colours
from mfal.report.typography import count, percent, shortened

PALE = "#c9c9c9"
_STEPS = LinearSegmentedColormap.from_list("steps", ["#f0b400", "#b5367a", "#200c4a"])
_SIZES = {"pale": 9.0, "labelled": 20.0, "held": 22.0}


def map_points(document: Document) -> list[Any]:
    """The points of the map that have a place."""
    return [
        point
        for point in part(document, "map", "points") or []
        if finite(part(point, "x")) is not None and finite(part(point, "y")) is not None
    ]


def draw_map_of_levels(document: Document) -> Drawing | None:
    """Every structure in the colour of the highest level that it was labelled at."""
    points, names = map_points(document), level_names(document)
    if not points:
        return None
    colours = level_colours(names)
    highest = [_highest(point, names) for point in points]
    held = np.array([part(p, "role") == "heldout" for p in points])
    told = []
    with matplotlib.rc_context(RC):
        figure, axes = _map(document)
        none = np.array([level is None for level in highest]) & ~held
        _scatter(axes, points, none, PALE, "pale", f"no label: {_number(none)}")
        told.append(f"{_number(none)} have no label")
        for name in names:
            mine = np.array([level == name for level in highest]) & ~held
            label = f"{shortened(name, 24)}: {_number(mine)}"
            _scatter(axes, points, mine, colours[name], "labelled", label)
            told.append(f"{_number(mine)} have {name} as their highest level")
        if held.any():
            x, y = _places(points, held)
            axes.scatter(
                x,
                y,
                s=_SIZES["held"],
                facecolors="none",
                edgecolors=INK,
                linewidths=0.7,
                label=f"held out for validation: {_number(held)}",
            )
            told.append(f"{_number(held)} are held out")
        figure.legend(loc="outside lower center", ncols=2, columnspacing=1.2)
    alt = f"The pool in two principal components: {', '.join(told)}."
    return Drawing("map_levels", figure, alt)


def draw_map_of_steps(document: Document) -> Drawing | None:
    """What was bought at the highest level that was bought, coloured by the step."""
    points, names = map_points(document), level_names(document)
    bought = [_bought_at(point, names) for point in points]
    names_bought = [name for name in names if any(name in b for b in bought)]
    if not names_bought:
        return None
    level = names_bought[-1]
    steps = floats([b.get(level) for b in bought])
    mine = np.isfinite(steps)
    with matplotlib.rc_context(RC):
        figure, axes = _map(document)
        label = f"no {shortened(level, 24)} label of the campaign"
        _scatter(axes, points, ~mine, PALE, "pale", label)
        x, y = _places(points, mine)
        order = np.argsort(steps[mine], kind="stable")
        shown = axes.scatter(
            x[order],
            y[order],
            c=steps[mine][order],
            s=_SIZES["labelled"],
            cmap=_STEPS,
            linewidths=0,
            vmin=float(steps[mine].min()) - 0.5,
            vmax=float(steps[mine].max()) + 0.5,
        )
        bar = figure.colorbar(shown, ax=axes, pad=0.02, aspect=30)
        bar.set_label(f"step of the {shortened(level, 20)} label")
        bar.locator = MaxNLocator(6, integer=True)
        bar.outline.set_linewidth(0.5)
        figure.legend(loc="outside lower center")
    first, last = count(float(steps[mine].min())), count(float(steps[mine].max()))
    alt = (
        f"The pool in two principal components: the {_number(mine)} structures with "
        f"a {level} label of the campaign, coloured by its step, {first} to {last}."
    )
    return Drawing("map_steps", figure, alt)


def _map(document: Document) -> tuple[Figure, Axes]:
    figure = Figure(figsize=(WIDTH, 4.0), layout="constrained")
    axes = figure.add_subplot()
    shares = part(document, "map", "explained") or []
    for i, name in enumerate(("x", "y")):
        share = shares[i] if i < len(shares) else None
        of = "" if finite(share) is None else f" ({percent(share)} of the variance)"
        axes.set(**{f"{name}label": f"principal component {i + 1}{of}"})
    for axis in (axes.xaxis, axes.yaxis):
        axis.set_major_locator(MaxNLocator(5))
    axes.tick_params(colors=GREY)
    return figure, axes


def _scatter(
    axes: Axes, points: list[Any], mask: np.ndarray, colour: str, size: str, label: str
) -> None:
    x, y = _places(points, mask)
    axes.scatter(x, y, s=_SIZES[size], color=colour, linewidths=0, label=label)


def _places(points: list[Any], mask: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    chosen = [p for p, wanted in zip(points, mask, strict=True) if wanted]
    return floats([part(p, "x") for p in chosen]), floats(
        [part(p, "y") for p in chosen]
    )


def _number(mask: np.ndarray) -> str:
    return count(int(mask.sum()))


def _highest(point: Document, names: tuple[str, ...]) -> str | None:
    steps = part(point, "steps") or {}
    return next((n for n in reversed(names) if finite(steps.get(n)) is not None), None)


def _bought_at(point: Document, names: tuple[str, ...]) -> dict[str, Any]:
    """The step of each level that the budget bought for a structure."""
    if part(point, "role") == "heldout":
        return {}
    steps = part(point, "steps") or {}
    return {n: steps[n] for n in names if finite(steps.get(n)) is not None}
