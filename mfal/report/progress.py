"""Figures over the steps of a campaign: learning curve, spending, rho.

Each function takes the document and gives a `Drawing`, or `None` if there is nothing
to draw yet.
"""

import math
from collections.abc import Sequence
from typing import Any

import matplotlib
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator, NullLocator

from mfal.report.document import (
    MODES,
    Document,
    cost_scale,
    finite,
    floats,
    highest,
    learning_curve,
    level_names,
    mode_name,
    part,
    steps,
)
from mfal.report.drawing import Drawing, logarithmic, spread_out
from mfal.report.style import COLOURS, GREY, INK, MARKERS, RC, WIDTH, level_colours
from mfal.report.typography import UNITS, count, percent, rounded, shortened


def draw_learning_curve(document: Document, quantity: str) -> Drawing | None:
    """Error of the highest level against what had been spent, axes logarithmic."""
    divisor, unit = cost_scale(document)
    records = learning_curve(document)
    costs = floats([record["cost"] for record in records]) / divisor
    loo = {
        end: floats([part(r, "loo", f"{quantity}_mae{end}") for r in records])
        for end in ("", "_low", "_high")
    }
    held_out = {mode: _held_out(document, mode, quantity) for mode in MODES}
    curves = [loo[""], *held_out.values()]
    if not any(np.isfinite(curve).any() for curve in curves):
        return None
    with matplotlib.rc_context(RC):
        figure = Figure(figsize=(WIDTH, 3.7), layout="constrained")
        axes = figure.add_subplot()
        drawn = np.isfinite(loo[""])
        if drawn.any():
            _band(axes, costs, loo["_low"], loo["_high"])
            _curve(axes, costs, loo[""], "loo", _left_out_label(document, records))
        for mode, errors in held_out.items():
            if np.isfinite(errors).any():
                _curve(axes, costs, errors, mode, _held_out_label(document, mode))
        axes.set_xlabel(f"spent ({unit})")
        logarithmic(axes, "x", costs[costs > 0])
        values = np.concatenate([*curves, loo["_low"], loo["_high"]])
        logarithmic(axes, "y", values[np.isfinite(values) & (values > 0)])
        name = {"energy": "energy", "forces": "force"}[quantity]
        axes.set_ylabel(f"{name} MAE ({UNITS[quantity]})")
        _label_counts(axes, document, costs)
        figure.legend(loc="outside lower center", handlelength=2.2)
    return Drawing(
        f"learning_curve_{quantity}", figure, _learning_alt(document, quantity, curves)
    )


def _left_out_label(document: Document, records: Sequence[Document]) -> str:
    """Left-out errors are those of one way of deployment: of the last step's."""
    mode = part(records[-1], "loo_mode")
    way = f" {shortened(mode_name(document, mode), 32)}" if mode in MODES else ""
    return f"leave-one-out{way}, with its band"


def draw_spending(document: Document) -> Drawing | None:
    """What had been spent after each step, stacked by level, against the budget."""
    divisor, unit = cost_scale(document)
    records, names = learning_curve(document), level_names(document)
    spent = np.array(
        [[finite(part(r, "spent_per_level", n)) or 0.0 for n in names] for r in records]
    )
    if not spent.any():
        return None
    spent, colours = spent / divisor, level_colours(names)
    total = finite(part(document, "budget", "total"))
    with matplotlib.rc_context(RC):
        figure = Figure(figsize=(WIDTH, 3.2), layout="constrained")
        axes = figure.add_subplot()
        positions, base = steps(document), np.zeros(len(records))
        for level, name in enumerate(names):
            whole = float(spent[-1].sum()) or math.nan
            share = percent(float(spent[-1, level]) / whole, digits=1)
            price = f"{rounded(spent[-1, level])} {unit}"
            label = f"{shortened(name, 24)}: {price}, {share}"
            axes.bar(
                positions, spent[:, level], 0.8, base, color=colours[name], label=label
            )
            base = base + spent[:, level]
        if total is not None:
            label = f"budget: {rounded(total / divisor)} {unit}"
            axes.axhline(total / divisor, color=INK, ls=(0, (4, 3)), lw=1, label=label)
        axes.grid(visible=False, axis="x")
        axes.xaxis.set_major_locator(MaxNLocator(6, integer=True))
        axes.set(xlabel="step", ylabel=f"spent so far ({unit})")
        figure.legend(loc="outside lower center")
    ends = zip(names, spent[-1], strict=True)
    shares = ", ".join(f"{rounded(end)} at {name}" for name, end in ends)
    alt = f"Bars over {len(records)} steps: spent in the end, in {unit}: {shares}."
    return Drawing("spending", figure, alt)


def draw_rho(document: Document) -> Drawing | None:
    """The scale between neighbouring levels with its standard error, step by step."""
    records, names = learning_curve(document), level_names(document)
    n_scales = max((len(part(r, "rho") or []) for r in records), default=0)
    if n_scales == 0:
        return None
    positions, colours = steps(document), [COLOURS["standalone"], COLOURS["at_hand"]]
    last = []
    with matplotlib.rc_context(RC):
        figure = Figure(figsize=(WIDTH, 3.0), layout="constrained")
        axes = figure.add_subplot()
        axes.axhline(1.0, color=GREY, ls=(0, (4, 3)), lw=1, label="ρ = 1")
        for i in range(n_scales):
            rho = floats([_item(part(r, "rho"), i) for r in records])
            error = floats([_item(part(r, "rho_standard_error"), i) for r in records])
            pair = " → ".join(shortened(n) for n in names[i : i + 2])
            axes.errorbar(
                positions,
                rho,
                np.nan_to_num(np.abs(error)),
                color=colours[i % 2],
                fmt="os^v"[i % 4] + "-",
                capsize=2.5,
                elinewidth=1,
                label=f"ρ, {pair} (± 1 standard error)",
            )
            known = rho[np.isfinite(rho)]
            last.append(f"{pair} {rounded(known[-1] if known.size else None)}")
        axes.xaxis.set_major_locator(MaxNLocator(6, integer=True))
        axes.yaxis.set_major_locator(MaxNLocator(6))
        axes.ticklabel_format(axis="y", useOffset=False)
        axes.set(xlabel="step", ylabel="ρ")
        figure.legend(loc="outside lower center")
    alt = f"Rho with its standard error over the steps; at the end {'; '.join(last)}."
    return Drawing("rho", figure, alt)


def _held_out(document: Document, mode: str, quantity: str) -> np.ndarray:
    """Held-out errors per step; the last one from the evaluation if it lacks there."""
    records = learning_curve(document)
    keys = (mode, quantity, "mae")
    errors = floats([part(record, "heldout", *keys) for record in records])
    final = finite(part(document, "evaluation", *keys))
    if len(errors) and math.isnan(errors[-1]) and final is not None:
        errors[-1] = final
    return errors


def _held_out_label(document: Document, mode: str) -> str:
    return f"held out, {shortened(mode_name(document, mode), 32)}"


def _band(axes: Axes, x: np.ndarray, low: np.ndarray, high: np.ndarray) -> None:
    known = (x > 0) & (low > 0) & (high > 0)
    axes.fill_between(
        x[known], low[known], high[known], color=COLOURS["loo"], alpha=0.18, lw=0
    )


def _curve(axes: Axes, x: np.ndarray, y: np.ndarray, kind: str, label: str) -> None:
    known = (x > 0) & (y > 0)  # what a logarithmic axis can show; false for NaN
    axes.plot(
        x[known],
        y[known],
        color=COLOURS[kind],
        marker=MARKERS[kind] if known.sum() <= 25 or kind != "loo" else None,
        markersize=3 if kind == "loo" else 4.5,
        linestyle="--" if kind == "loo" else "-",
        linewidth=1.2 if kind == "loo" else 1.6,
        label=label,
        clip_on=False,
    )


def _label_counts(axes: Axes, document: Document, costs: np.ndarray) -> None:
    """The number of labels per level above the axes, at up to five costs."""
    records, names = learning_curve(document), level_names(document)
    if not names or not part(records[-1], "n_labels"):
        return
    top = axes.secondary_xaxis("top")
    chosen = spread_out(axes, costs, 5)
    top.xaxis.set_minor_locator(NullLocator())
    top.set_xticks(
        costs[chosen],
        [
            "\n".join(count(part(records[i], "n_labels", n)) for n in names)
            for i in chosen
        ],
    )
    top.spines["top"].set_visible(False)
    top.set_xlabel(f"labels: {', '.join(shortened(n) for n in names)} (top to bottom)")


def _item(values: Sequence[Any] | None, index: int) -> Any:
    return values[index] if values is not None and index < len(values) else None


def _learning_alt(
    document: Document, quantity: str, curves: Sequence[np.ndarray]
) -> str:
    names = ["leave-one-out", *(mode_name(document, mode) for mode in MODES)]
    falls = [
        f"{name} from {rounded(known[0])} to {rounded(known[-1])}"
        for name, curve in zip(names, curves, strict=True)
        if (known := curve[np.isfinite(curve)]).size
    ]
    word = "Force" if quantity == "forces" else "Energy"
    return (
        f"{word} error at {highest(document)} in {UNITS[quantity]} against the cost, "
        f"on logarithmic axes: {'; '.join(falls)}."
    )
