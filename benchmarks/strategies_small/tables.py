"""The tables of the README, and what loses, in words."""

from collections.abc import Mapping
from itertools import product
from typing import Any

import numpy as np

from benchmarks.markdown import table
from benchmarks.strategies_small.strategies import STRATEGIES
from benchmarks.strategies_small.summary import (
    Results,
    errors_of,
    interval,
    of,
    ratios,
    savings,
)

BASELINE = STRATEGIES[0].name
FRACTIONS = (0.3, 0.5, 1.0)
"""Of the budget; the pilot is a quarter of it, and the sweep comes on top."""
FORCES = ("standalone", "forces_rmse")
AT_HAND = ("at_hand", "forces_rmse")
ENERGY = ("standalone", "energy_mae")
MEASURES = {"forces": FORCES, "forces, low level at hand": AT_HAND, "energies": ENERGY}


def sections(document: Mapping[str, Any]) -> dict[str, str]:
    """What the script writes into the README, by the name of its marks."""
    found = {}
    for name, results in document["systems"].items():
        found[name] = errors_table(results)
        found[f"{name} losers"] = losers(results)
    found["machine"] = machine_line(document)
    return found


def errors_table(results: Results) -> str:
    """Medians and quartiles of a system, a row for each strategy."""
    if not results:
        return "Not measured yet."
    at_hand = any("at_hand" in r["curve"][-1] for r in results)
    first = next(iter(of(results, BASELINE).values()))
    n_seeds = len(of(results, BASELINE))
    budget = f"{first['budget']:.3g} {first['cost_unit']}"
    heads = ["strategy", *(f"forces at {100 * f:.0f} %" for f in FRACTIONS)]
    heads += ["at hand, 100 %"] if at_hand else []
    heads += ["energy, 100 %", "forces against its random one", "saving"]
    heads += ["labels (low, high)"]
    rows = []
    for strategy in STRATEGIES:
        name = strategy.name
        cells = [name]
        cells += [_quartiles(errors_of(results, name, f, *FORCES)) for f in FRACTIONS]
        last = [r["curve"][-1] for r in of(results, name).values()]
        if at_hand:
            mine = np.array(
                [p["at_hand"]["forces_rmse"] for p in last if "at_hand" in p]
            )
            cells.append(_quartiles(mine) if len(mine) else "-")
        cells.append(_quartiles(errors_of(results, name, 1.0, *ENERGY), 2))
        cells.append("-")
        if strategy.random:
            ratio = ratios(results, name, strategy.random, 1.0, *FORCES)
            cells[-1] = _percents(*interval(ratio))
        cells.append(_saving(results, name))
        counts = [list(p["labels"].values()) for p in last]
        cells.append(", ".join(f"{n:.0f}" for n in np.median(counts, axis=0)))
        rows.append(cells)
    about = f"Budget {budget}, {n_seeds} seeds: median (lower to upper quartile)."
    return f"{about}\n\n{table(heads, rows)}"


def losers(results: Results) -> str:
    """Who ends above random choice, at equal cost and on the same structures."""
    if not results:
        return "Not measured yet."
    clear, unclear = [], []
    for (measure, names), fraction in product(MEASURES.items(), FRACTIONS[1:]):
        for name, against in _pairs(results, names[0]):
            ratio = ratios(results, name, against, fraction, *names)
            middle, low, high = interval(ratio)
            line = (
                f"- {measure} at {100 * fraction:.0f} %: **{name}** against "
                f"*{against}*: {_percents(middle, low, high)}; worse in "
                f"{(ratio > 1).sum()} of {len(ratio)} seeds."
            )
            if low > 1:
                clear.append(line)
            elif middle > 1:
                unclear.append(line)
    return "\n".join(
        [
            "Error against that of random choice at the same cost (half and all of the "
            "budget), worse with all of the 95 % interval:",
            "",
            *(clear or ["- none."]),
            "",
            "Worse in the median, but within the interval:",
            "",
            *(unclear or ["- none."]),
        ]
    )


def _pairs(results: Results, mode: str) -> list[tuple[str, str]]:
    """Strategies and the random ones they are held against, where both have a mode."""
    have = {r["strategy"] for r in results if all(mode in p for p in r["curve"])}
    return [
        (s.name, against)
        for s in STRATEGIES
        for against in dict.fromkeys([s.random, BASELINE])
        if {s.name, against} <= have and against != s.name
    ]


def machine_line(document: Mapping[str, Any]) -> str:
    """The processor, the versions, and what the campaigns took."""
    facts = document["machine"]
    versions = ", ".join(f"{k} {v}" for k, v in document["versions"].items())
    seconds = {
        name: sum(r["cpu_seconds"] for r in results)
        for name, results in document["systems"].items()
    }
    costs = ", ".join(f"{name} {s / 60:.1f}" for name, s in seconds.items())
    return (
        f"{facts['processor']}, {facts['cores']} cores, {facts['threads']} thread; "
        f"{versions}. CPU minutes of all campaigns: {costs}."
    )


def _quartiles(values: np.ndarray, digits: int = 4) -> str:
    low, middle, high = np.percentile(values, [25, 50, 75])
    return f"{middle:.{digits}f} ({low:.{digits}f} to {high:.{digits}f})"


def _saving(results: Results, name: str) -> str:
    if name == BASELINE:
        return "1"
    found = interval(savings(results, name, BASELINE, *FORCES))
    begin, end = (
        np.median([r["curve"][k]["cost"] for r in of(results, n).values()])
        for n, k in ((name, 0), (BASELINE, -1))
    )
    least = end / begin * (1 - 1e-9)
    middle, low, high = (
        "< 1" if not v else f"{'≥ ' if v >= least else ''}{v:.1f}" for v in found
    )
    return f"{middle} ({low} to {high})"


def _percents(middle: float, low: float, high: float) -> str:
    m, a, b = (f"{100 * (ratio - 1):+.0f} %" for ratio in (middle, low, high))
    return f"{m} ({a} to {b})"
