"""The sentences of a forecast."""

from collections.abc import Mapping
from typing import Any

UNITS = {"forces": "eV/A", "energy": "meV/atom"}


def of_labels(
    labels: Mapping[str, Mapping[str, float]], left: float, unit: str, *, over: bool
) -> list[str]:
    """What the rest of the budget buys; `over` if the campaign has ended."""
    if over:
        return ["The campaign is over: nothing more is bought."]
    if not left:
        return ["The budget is spent: nothing more is bought."]
    if not labels:
        return [
            f"{left:.3g} {unit} are left; too few steps to tell what they will buy "
            "(no step has chosen labels yet)."
        ]
    if all(x["mean"] < 1 for x in labels.values()):
        return [f"{left:.3g} {unit} are left, which pay for no further label."]
    parts = [_number(name, x) for name, x in labels.items()]
    return [
        f"{left:.3g} {unit} are left. Spent as in the last steps, at what labels have "
        f"cost (failed ones charged), they buy about {' and '.join(parts)} labels."
    ]


def of_errors(
    errors: Mapping[str, Mapping[str, Any]],
    high: str,
    confidence: float,
    *,
    more: bool,
) -> list[str]:
    """The errors at the end, or (not `more`) were the campaign continued."""
    said = []
    for quantity, x in errors.items():
        source, _, mode = str(x["kind"]).partition(" ")
        way = "with the low level at hand" if mode == "at_hand" else "standalone"
        of = "held-out" if source == "heldout" else "left-out"
        when = (
            f"With {x['n_high']:.0f} {high} labels, at the end,"
            if more
            else f"With twice as many {high} labels ({x['n_high']:.0f})"
        )
        word = "force" if quantity == "forces" else "energy"
        said.append(
            f"{when} the {of} {word} error, {way}, would be {_two(x['value'])} "
            f"{UNITS[quantity]} ({_two(x['low'])} to {_two(x['high'])}, "
            f"{100 * confidence:.0f} %), if it goes on to fall as n^-{x['exponent']:.2f}."
        )
    return said


def of_validation(document: Mapping[str, Any]) -> list[str]:
    """What validation has cost beside the budget, and what is still to come of it."""
    budget = document.get("budget") or {}
    cost = (budget.get("outside") or {}).get("validation")
    if cost is None:
        return []
    unit, open_ = budget.get("unit") or "CPU s", 0.0
    wanted = (document.get("pool") or {}).get("validation_open")
    for name, n in (wanted or {}).items():
        mean = ((document.get("cost_model") or {}).get(name) or {}).get("mean")
        open_ += n * (mean or 0.0)
    if not cost and not open_:
        return ["No label is held out for validation."]
    rest = f"; about {open_:.3g} more are reserved for it" if open_ else ""
    if wanted is not None and not open_:
        rest = "; nothing is open"
    how = "Validation is paid beside the budget:"
    if reserved := budget.get("reserved"):
        how = f"Of the budget {reserved:.3g} {unit} are set aside for validation:"
    return [f"{how} {cost:.3g} {unit} so far{rest}."]


def _two(value: float) -> str:
    """Two significant digits.

    >>> _two(0.01), _two(0.0872), _two(3.04), _two(123.4)
    ('0.010', '0.087', '3.0', '123')
    """
    return f"{value:.0f}" if value >= 10 else f"{value:#.2g}"


def _number(name: str, x: Mapping[str, float]) -> str:
    few, mean, many = (f"{x[end]:.0f}" for end in ("low", "mean", "high"))
    return (
        f"{mean} {name}" if few == mean == many else f"{mean} {name} ({few} to {many})"
    )
