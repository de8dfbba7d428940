"""The tables of the README: costs, savings, and which targets are met."""

from collections.abc import Mapping
from typing import Any

import numpy as np

from benchmarks.markdown import table
from benchmarks.strategies.losers import losers
from benchmarks.strategies.strategies import AT_HAND, OURS, RANDOM
from benchmarks.strategies.summary import (
    REACHED,
    SystemResults,
    best_of,
    costs_of,
    errors_of,
    has,
    interval,
    least_cost,
    of,
    ratio,
)
from benchmarks.strategies.targets import targets_table

FRACTIONS = (0.25, 0.5, 1.0)
NAMES = {"forces_rmse": "force RMSE (eV/A)", "energy_mae": "energy MAE (meV)"}


def sections(document: Mapping[str, Any]) -> dict[str, str]:
    """What the script writes into the README, by the name of its marks."""
    systems = document["systems"]
    found = {"systems": systems_table(systems), "targets": targets_table(systems)}
    for name in systems:
        found[f"{name} errors"] = errors_table(systems[name])
        found[f"{name} costs"] = costs_table(systems[name])
    found["levels"] = levels_text(systems)
    found["losers"] = losers(systems)
    found["machine"] = machine_line(document)
    return found


def systems_table(systems: Mapping[str, SystemResults]) -> str:
    """Levels, costs, sizes."""
    rows = []
    for system in systems.values():
        costs = system["costs"]
        high = costs[system["levels"][-1]]
        ratios = [f"{name} 1/{high / c:.4g}" for name, c in costs.items() if c < high]
        sizes = system["sizes"]
        rows.append(
            [
                system["title"],
                ", ".join(ratios),
                f"{high:.3g} {system['cost_unit']}",
                f"{sizes['candidates']}, {sizes['targets']}, {sizes['heldout']}",
                f"{_n_seeds(system)}",
            ]
        )
    heads = ["system", "cost of lower labels", "of a high one"]
    return table([*heads, "candidates, targets, held out", "seeds"], rows)


def errors_table(system: SystemResults) -> str:
    """Medians and quartiles at shares of the budget, a row for each strategy."""
    budget = system["sizes"]["budget"]
    heads = ["strategy", *(f"{100 * f:.0f} %" for f in FRACTIONS)]
    heads += [f"at hand, {100 * f:.0f} %" for f in FRACTIONS]
    heads += [f"labels ({', '.join(system['levels'])})"]
    rows = []
    for name in system["strategies"]:
        cells = [name]
        for mode in ("standalone", "at_hand"):
            for share in FRACTIONS:
                values = None
                if has(system, name, mode):
                    values = errors_of(system, name, mode, share * budget)
                cells.append("-" if values is None else _quartiles(values))
        counts = [
            list(r["curve"][-1]["labels"].values())
            for r in of(system["results"], name).values()
        ]
        cells.append(", ".join(f"{n:.0f}" for n in np.median(counts, axis=0)))
        rows.append(cells)
    about = (
        f"{NAMES[system['measure']]}, median (quartiles) of {_n_seeds(system)} seeds, when "
        f"a share of the price of {budget} high labels is spent."
    )
    return f"{about}\n\n{table(heads, rows)}"


def costs_table(system: SystemResults) -> str:
    """What the errors of random choice cost, and what is saved; rows by deployment."""
    rows = []
    reached = [n for n in REACHED if n <= system["sizes"]["budget"]]
    last = system["sizes"]["budget"]
    for mode in ("standalone", "at_hand"):
        random = costs_of(system, RANDOM.name, "standalone", last)
        fixed = _costs(best_of(system, "fixed", mode, last))
        active = _costs(best_of(system, "active", "standalone", last))
        for name in system["strategies"]:
            given = name == AT_HAND.name and mode == "standalone"
            if given or not has(system, name, mode):
                continue
            cells = [f"{name}{', at hand' if mode == 'at_hand' else ''}"]
            for n in reached:
                cells.append(_cost(float(np.median(costs_of(system, name, mode, n)))))
            mine = costs_of(system, name, mode, last)
            for theirs in (random, active, fixed):
                cells.append("-")
                if theirs is not None and theirs is not mine:
                    most = float(np.median(theirs)) / least_cost(system, name)
                    cells[-1] = _saving(ratio(theirs, mine), most)
            rows.append(cells)
    heads = ["strategy", *(f"as {n}" for n in reached), "saving against random"]
    heads += ["against active", "against fixed ratio"]
    notes = [
        f"Cost in high labels (median; the pilot is {least_cost(system, RANDOM.name):.3g}, "
        f"with its lower labels {least_cost(system, OURS.name):.3g}) of the error that "
        f"random choice at the high level alone has with {_listed(reached)} labels; "
        f"savings at that of {last}, with 95 % intervals: 0 where it is not reached within "
        "the budget, ∞ where the other does not, ≥ where the pilot reaches it."
    ]
    for kind, mode, words in (
        ("active", "standalone", "Best at one level"),
        ("fixed", "standalone", "best fixed ratio"),
        ("fixed", "at_hand", "at hand"),
    ):
        found = best_of(system, kind, mode, last)
        if found is not None:
            notes.append(f"{words}: {found[0]};")
    text = " ".join(notes).removesuffix(";") + "."
    return f"{text.replace('..', '.')}\n\n{table(heads, rows)}"


def levels_text(systems: Mapping[str, SystemResults]) -> str:
    """Three levels beside two of the same molecule, structures and seeds."""
    if not {"methanol", "methanol_three"} <= set(systems):
        return "Not measured yet."
    two, three = systems["methanol"], systems["methanol_three"]
    n = two["sizes"]["budget"]
    seeds = min(_n_seeds(two), _n_seeds(three))
    rows = []
    for mode in ("standalone", "at_hand"):
        names = ("with two levels", "with three", "ratio of the errors")
        a, b = (errors_of(s, OURS.name, mode, n)[:seeds] for s in (two, three))
        rows.append([f"{mode.replace('_', ' ')}, error", _quartiles(a), _quartiles(b)])
        rows[-1].append(_factor(b / a))
    return table(["ours, whole budget", *names], rows)


def machine_line(document: Mapping[str, Any]) -> str:
    """The processor, the versions, and what the campaigns took."""
    facts = document["machine"]
    versions = ", ".join(f"{k} {v}" for k, v in document["versions"].items())
    minutes = ", ".join(
        f"{name} {sum(r['cpu_seconds'] for r in system['results']) / 60:.1f}"
        for name, system in document["systems"].items()
    )
    codes = sorted(
        {
            r["settings"]["code"]
            for system in document["systems"].values()
            for r in system["results"]
        }
    )
    return (
        f"{facts['processor']}, {facts['cores']} cores, {facts['threads']} thread; "
        f"{versions}. CPU minutes of all campaigns: {minutes}. Hash of the code: "
        f"{', '.join(codes)}."
    )


def _n_seeds(system: SystemResults) -> int:
    return len(of(system["results"], RANDOM.name))


def _quartiles(values: np.ndarray) -> str:
    low, middle, high = (f"{v:.3g}" for v in np.percentile(values, [25, 50, 75]))
    return f"{middle} ({low} to {high})"


def _cost(value: float) -> str:
    return "not reached" if np.isinf(value) else f"{value:.1f}"


def _costs(found: tuple[str, np.ndarray] | None) -> np.ndarray | None:
    return None if found is None else found[1]


def _saving(values: np.ndarray, most: float) -> str:
    """With a sign where the error is reached by the pilot: more cannot be seen."""
    middle, low, high = (
        "∞" if np.isinf(v) else f"{'≥ ' * (v >= most * (1 - 1e-9) and v > 1)}{v:.2g}"
        for v in interval(values)
    )
    return f"{middle} ({low} to {high})"


def _factor(values: np.ndarray) -> str:
    middle, low, high = (f"{v:.2g}" for v in interval(values))
    return f"{middle} ({low} to {high})"


def _listed(numbers: list[int]) -> str:
    return ", ".join(map(str, numbers))
