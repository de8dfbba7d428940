"""Reading the document of a campaign: any part of it may be missing or null."""

import math
from collections.abc import Mapping
from typing import Any

import numpy as np

Document = Mapping[str, Any]
"""The content of `results.json`, as parsed from JSON."""

MODES = ("standalone", "at_hand")
"""The two ways to deploy a potential, as the document names them."""
QUANTITIES = ("forces", "energy")
"""What errors are told of, in the order of the page."""


def part(document: Any, *keys: str) -> Any:
    """The value at this path, or `None` where any piece of the path is missing.

    >>> part({"budget": {"total": 220.0}}, "budget", "total")
    220.0
    >>> part({"budget": None}, "budget", "total") is None
    True
    """
    for key in keys:
        if not isinstance(document, Mapping):
            return None
        document = document.get(key)
    return document


def finite(value: Any) -> float | None:
    """The value as a float if it is a finite number, else `None`."""
    if isinstance(value, bool) or not isinstance(value, int | float):
        return None
    return float(value) if math.isfinite(value) else None


def floats(values: Any) -> np.ndarray:
    """A one-dimensional array of floats, NaN where a value is missing."""
    found = [finite(value) for value in values or []]
    return np.array([math.nan if v is None else v for v in found], dtype=float)


def level_names(document: Document) -> tuple[str, ...]:
    """Names of the levels, low to high."""
    levels = part(document, "levels") or []
    return tuple(str(part(level, "name") or "unnamed") for level in levels)


def done_in_budget(document: Document, level: str) -> Any:
    """Labels of a level that the budget paid for: all that are done but validation."""
    done = part(document, "n_labels", level, "done")
    outside = part(document, "n_labels_outside", level)
    return done if done is None or outside is None else done - outside


def highest(document: Document) -> str:
    """Name of the highest level."""
    names = level_names(document)
    return names[-1] if names else "the highest level"


def mode_name(document: Document, mode: str) -> str:
    """A way of deployment in words: standalone, or with the lower level at hand."""
    if mode == "standalone":
        return "standalone"
    lower = level_names(document)[:-1]
    return f"with {' and '.join(lower) or 'the low level'} at hand"


def learning_curve(document: Document) -> list[Document]:
    """The finished steps that say what they had cost, in order."""
    records = part(document, "learning_curve") or []
    return [r for r in records if finite(part(r, "cost")) is not None]


def steps(document: Document) -> np.ndarray:
    """The number of each step of `learning_curve`; counted from 1 if not rising."""
    records = learning_curve(document)
    numbers = floats([part(record, "step") for record in records])
    if np.isnan(numbers).any() or (np.diff(numbers) <= 0).any():
        return np.arange(1.0, len(records) + 1)
    return numbers


def cost_scale(document: Document) -> tuple[float, str]:
    """Divisor and unit in which costs are told: hours once seconds are unwieldy."""
    unit = str(part(document, "budget", "unit") or "CPU s")
    amounts = [finite(part(document, "budget", key)) for key in ("total", "spent")]
    largest = max((a for a in amounts if a is not None), default=0.0)
    return (3600.0, "CPU h") if unit == "CPU s" and largest >= 20_000 else (1.0, unit)


def mae_standard_error(document: Document, mode: str, quantity: str) -> float | None:
    """Standard error of the held-out mean absolute error, over the structures.

    The rows of one structure err together, so they are averaged first: with a_s the
    mean |error| of structure s, it is std(a) / sqrt(n_structures). The rows must stand
    structure by structure, equally many each; `None` where they do not.
    """
    parity = part(document, "evaluation", mode, "parity", quantity)
    reference, predicted = (floats(part(parity, k)) for k in ("reference", "predicted"))
    n_structures = finite(part(document, "evaluation", "n_structures")) or 0
    n_atoms = finite(part(document, "system", "n_atoms")) or 0
    n_rows = n_structures * (1 if quantity == "energy" else 3 * n_atoms)
    if n_structures < 2 or not len(reference) == len(predicted) == n_rows > 0:
        return None
    error = np.abs(predicted - reference).reshape(int(n_structures), -1)
    per_structure = error.mean(axis=1)
    scale = 1000.0 if quantity == "energy" else 1.0  # eV/atom -> meV/atom
    return finite(scale * per_structure.std(ddof=1) / math.sqrt(n_structures))
