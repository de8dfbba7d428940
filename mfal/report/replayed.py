"""The shadow baseline: what other choices would have reached for the same cost."""

import math
from typing import Any, NamedTuple

import matplotlib
import numpy as np
from matplotlib.figure import Figure

from mfal.report.document import (
    Document,
    cost_scale,
    finite,
    floats,
    highest,
    level_names,
    mode_name,
    part,
)
from mfal.report.drawing import Drawing, logarithmic
from mfal.report.style import COLOURS, MARKERS, RC, WIDTH
from mfal.report.typography import UNITS, rounded, shortened


class Strategy(NamedTuple):
    """A row of the comparison with a curve: how it deploys, and which labels it has."""

    kind: str
    labels: str
    costs: np.ndarray
    points: list[Any]


def strategies(document: Document) -> list[Strategy]:
    """The rows of the comparison that have errors at several numbers of labels.

    What n labels cost: n times what a label of the highest level has cost, failed ones
    charged, and for joint models all that the lower levels have cost.
    """
    found = []
    price, below = _prices(document)
    for row in part(document, "comparison") or []:
        name = str(part(row, "name") or "")
        labels = name.rpartition(", ")[2].removesuffix(" labels")
        points = [p for p in part(row, "curve") or [] if finite(part(p, "n_high"))]
        if labels not in ("random", "chosen") or not points or price is None:
            continue
        kind = (
            "alone"
            if not name.startswith("joint")
            else "at_hand"
            if " at hand," in name
            else "standalone"
        )
        n = floats([part(p, "n_high") for p in points])
        costs = n * price + (0.0 if kind == "alone" else below)
        found.append(Strategy(kind, labels, costs, points))
    return found


def draw_strategies(document: Document, quantity: str) -> Drawing | None:
    """Error against cost of random and chosen labels, with and without lower levels."""
    divisor, unit = cost_scale(document)
    found = [
        s
        for s in strategies(document)
        if np.isfinite(floats([part(p, f"{quantity}_mae") for p in s.points])).any()
    ]
    if not found:
        return None
    drawn, all_costs, told = [], [], []
    with matplotlib.rc_context(RC):
        figure = Figure(figsize=(WIDTH, 4.4), layout="constrained")
        axes = figure.add_subplot()
        for strategy in found:
            error, low, high = (
                floats([part(p, f"{quantity}_mae{end}") for p in strategy.points])
                for end in ("", "_low", "_high")
            )
            known = (error > 0) & (strategy.costs > 0)
            costs, y = strategy.costs[known] / divisor, error[known]
            ends = [np.where(np.isfinite(e[known]), e[known], y) for e in (low, high)]
            random = strategy.labels == "random"
            colour = COLOURS[strategy.kind]
            axes.errorbar(
                costs * (0.985 if random else 1.015),  # side by side, both to be seen
                y,
                [np.maximum(y - ends[0], 0), np.maximum(ends[1] - y, 0)],
                color=colour,
                ls=(0, (4, 2)) if random else "-",
                marker=MARKERS[strategy.kind],
                markerfacecolor="white" if random else colour,
                elinewidth=0.8,
                capsize=2,
                label=_label(document, strategy),
            )
            drawn += [y, *ends]
            all_costs.append(costs)
            if y.size:
                told.append(
                    f"{_label(document, strategy)} {rounded(y[0])} to {rounded(y[-1])}"
                )
        axes.set_xlabel(f"cost ({unit})")
        word = {"energy": "energy", "forces": "force"}[quantity]
        axes.set_ylabel(f"{word} MAE ({UNITS[quantity]})")
        logarithmic(axes, "x", np.concatenate(all_costs))
        values = np.concatenate(drawn)
        logarithmic(axes, "y", values[values > 0])
        figure.legend(loc="outside lower center", handlelength=3)
    alt = (
        f"Held-out {word} error in {UNITS[quantity]} against cost on logarithmic axes, "
        f"from few to many {highest(document)} labels: {'; '.join(told)}."
    )
    return Drawing(f"baselines_{quantity}", figure, alt)


def random_labels_needed(document: Document) -> str:
    """How many random labels would do what the chosen ones did, in a sentence.

    On the straight line between the points of the curve of random labels, logarithms on
    both axes; nothing where there is no curve.
    """
    by_key = {(s.kind, s.labels): s for s in strategies(document)}
    kind = "at_hand" if ("at_hand", "chosen") in by_key else "alone"
    chosen, random = by_key.get((kind, "chosen")), by_key.get((kind, "random"))
    if chosen is None or random is None:
        return ""
    target = finite(part(chosen.points[-1], "forces_mae"))
    n_chosen = finite(part(chosen.points[-1], "n_high"))
    error = floats([part(p, "forces_mae") for p in random.points])
    n = floats([part(p, "n_high") for p in random.points])
    known = error > 0
    if target is None or n_chosen is None or target <= 0 or known.sum() < 2:
        return ""
    error, n = error[known], n[known]
    high, way = highest(document), _way(document, kind)
    begin = f"The force error of {n_chosen:.0f} chosen {high} labels{way}"
    if target < error.min():
        return (
            f"{begin} is not reached by {n.max():.0f} random ones, all that the held-out "
            "labels allow."
        )
    if target > error.max():
        return f"{begin} is reached by fewer than {n.min():.0f} random ones."
    for i in range(len(n) - 1):
        if error[i] >= target >= error[i + 1]:
            share = math.log(error[i] / target) / max(
                math.log(error[i] / error[i + 1]), 1e-12
            )
            needed = math.exp(math.log(n[i]) + share * math.log(n[i + 1] / n[i]))
            return f"{begin} takes about {needed:.0f} random ones."
    return ""


def _prices(document: Document) -> tuple[float | None, float]:
    """Cost of a label of the highest level, and of all lower levels together."""
    *lower, high = level_names(document) or ("",)
    spent = {
        n: finite(part(document, "budget", "spent_per_level", n))
        for n in (*lower, high)
    }
    done = finite(part(document, "n_labels", high, "done")) or 0.0
    done -= finite(part(document, "n_labels_outside", high)) or 0.0
    paid = spent.get(high)
    price = paid / done if paid and done > 0 else None
    if price is None:
        price = finite(part(document, "cost_model", high, "mean"))
    return price, math.fsum(spent[n] or 0.0 for n in lower)


def _label(document: Document, strategy: Strategy) -> str:
    if strategy.kind == "alone":
        return f"{shortened(highest(document), 16)} alone, {strategy.labels}"
    way = mode_name(document, strategy.kind).removeprefix("with ")
    return f"joint, {shortened(way, 24)}, {strategy.labels}"


def _way(document: Document, kind: str) -> str:
    return f" {mode_name(document, kind)}" if kind == "at_hand" else ""
