"""Tables and figure of the searches: what a good and the best place cost, and regret."""

import math
from collections.abc import Mapping
from typing import Any

import matplotlib
import numpy as np
from matplotlib.figure import Figure

from benchmarks.markdown import table
from mfal.report.style import RC

NAMES = {
    "informed": "mfal, its own criterion",
    "mfal": "mfal",
    "botorch": "BoTorch multi-fidelity",
    "single": "high level alone",
    "random": "random",
}
COLOURS = {
    "informed": "#009e73",
    "mfal": "#0072b2",
    "botorch": "#d55e00",
    "single": "#5a5a5a",
    "random": "#b0b0b0",
}
STYLES = {
    "informed": (0, (6, 1)),
    "mfal": "-",
    "botorch": "--",
    "single": "-.",
    "random": ":",
}
SHARES = (0.25, 0.5, 0.75, 1.0)
"""Of the budget that is left after the first labels."""


def tables(document: Mapping[str, Any]) -> dict[str, str]:
    """The text of each section of the README."""
    searches = document["searches"]
    return {"found": found_table(searches), "regret": regret_table(searches)}


def found_table(searches: Mapping) -> str:
    """Cost until a good and until the best high-level value was bought."""
    rows = []
    for found in searches.values():
        for name in (n for n in NAMES if n in found["strategies"]):
            runs = found["strategies"][name]
            cells = [found["title"], NAMES[name]]
            for target in ("good", "best"):
                costs = [cost_to(run, found[target]) for run in runs]
                reached = sum(math.isfinite(c) for c in costs)
                cells.append(f"{_quartiles(costs)}, {reached} of {len(runs)}")
            bought = [_bought(run) for run in runs]
            cells.append(
                " / ".join(f"{np.median(b):.0f}" for b in zip(*bought, strict=True))
            )
            cells.append(str(sum(_cut_off(run, found) for run in runs)))
            cells.append(str(sum("failure" in run for run in runs)))
            rows.append(cells)
    heads = [
        "",
        "",
        "cost to a good one",
        "cost to the best",
        "labels low / high",
        "budget not spent",
        "failed",
    ]
    return table(heads, rows)


def regret_table(searches: Mapping) -> str:
    """Median regret of the place where the best is expected, against the budget."""
    rows = []
    for found in searches.values():
        start = _start(found)
        for name in (n for n in NAMES if n in found["strategies"]):
            cells = [found["title"], NAMES[name]]
            for share in SHARES:
                cost = start + share * (found["budget"] - start)
                values = [
                    regret_at(run, cost, found["best"])
                    for run in found["strategies"][name]
                ]
                cells.append(_quartiles(values))
            rows.append(cells)
    heads = ["", "", *(f"{100 * share:.0f} % spent" for share in SHARES)]
    return table(heads, rows)


def paired_table(searches: Mapping) -> str:
    """Of how many seeds a strategy finds a good one for less than the high level alone."""
    rows = []
    for found in searches.values():
        runs = found["strategies"]
        if "single" not in runs:
            continue
        for name in (n for n in NAMES if n in runs and n not in ("single", "random")):
            cells = [found["title"], NAMES[name]]
            for target in ("good", "best"):
                pairs = [
                    (cost_to(a, found[target]), cost_to(b, found[target]))
                    for a, b in zip(runs[name], runs["single"], strict=False)
                ]
                less, more = sum(a < b for a, b in pairs), sum(a > b for a, b in pairs)
                cells.append(f"{less} / {len(pairs) - less - more} / {more}")
            rows.append(cells)
    heads = ["less / as much / more than the high level alone", "", "good", "best"]
    return table(heads, rows)


def cost_to(run: Mapping[str, Any], value: float) -> float:
    """What was spent when a label of the high level first reached a value; inf if never."""
    spent = np.cumsum(run["costs"])
    for cost, level, reached in zip(spent, run["levels"], run["values"], strict=True):
        if level == 1 and reached >= value:
            return float(cost)
    return math.inf


def regret_at(run: Mapping[str, Any], cost: float, best: float) -> float:
    """Best value less that of the place expected to be best by then; inf if it failed."""
    known = [v for s, v in zip(run["spent"], run["expected"], strict=True) if s <= cost]
    if "failure" in run and (not run["spent"] or run["spent"][-1] < cost):
        return math.inf
    return best - known[-1] if known else math.inf


def figure(document: Mapping[str, Any]) -> Figure:
    """Regret of the expected best against cost, median and quartiles, for each search."""
    searches = document["searches"]
    with matplotlib.rc_context(RC):
        drawn = Figure(figsize=(4.2, 0.5 + 2.3 * len(searches)), layout="constrained")
        panels = np.atleast_1d(drawn.subplots(len(searches), 1))
        for axes, found in zip(panels, searches.values(), strict=True):
            start = _start(found)
            costs = np.linspace(start, found["budget"], 60)
            for name in (n for n in NAMES if n in found["strategies"]):
                runs = found["strategies"][name]
                regrets = [
                    [regret_at(r, c, found["best"]) for c in costs] for r in runs
                ]
                low, middle, high = _sorted_quartiles(np.array(regrets))
                colour = COLOURS[name]
                axes.plot(
                    costs,
                    middle,
                    linestyle=STYLES[name],
                    color=colour,
                    label=NAMES[name],
                )
                axes.fill_between(costs, low, high, color=colour, alpha=0.15, lw=0)
            axes.set_title(found["title"], loc="left", fontweight="bold")
            axes.set_xlabel(f"cost ({found['unit']})")
            axes.set_ylabel("regret")
            axes.set_ylim(bottom=0)
        if len(panels):
            handles, names = panels[0].get_legend_handles_labels()
            drawn.legend(handles, names, loc="outside upper center", ncols=2)
    return drawn


def _cut_off(run: Mapping[str, Any], found: Mapping[str, Any]) -> bool:
    """Whether a run ended with money left and the best not bought: too many labels."""
    best = math.isfinite(cost_to(run, found["best"]))
    return not best and "failure" not in run and sum(run["costs"]) < found["budget"]


def _start(found: Mapping) -> float:
    """What the first labels cost, of the seed and strategy that paid most."""
    runs = [run for runs in found["strategies"].values() for run in runs]
    return max(sum(run["costs"][: run["first"]]) for run in runs)


def _bought(run: Mapping[str, Any]) -> tuple[int, int]:
    levels = run["levels"][run["first"] :]
    return sum(level == 0 for level in levels), sum(level == 1 for level in levels)


def _sorted_quartiles(values: np.ndarray) -> np.ndarray:
    """Quartiles over the first axis, without interpolation: inf stays inf."""
    return np.quantile(values, [0.25, 0.5, 0.75], axis=0, method="higher")


def _quartiles(values: list[float]) -> str:
    if not values:
        return "-"
    quartiles = _sorted_quartiles(np.array(values))
    low, middle, high = ("never" if math.isinf(q) else f"{q:.3g}" for q in quartiles)
    return f"{middle} ({low} to {high})"
