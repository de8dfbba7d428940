"""The shadow baseline in words: whether the second level and the choosing paid."""

from collections.abc import Mapping, Sequence
from typing import Any

MARGIN = 1.05
"""Errors that differ by less than this factor are called equal."""


def verdicts(rows: Sequence[dict[str, Any]], levels: Sequence[str]) -> dict[str, str]:
    """Whether the second level and the choosing paid, in words with numbers.

    Nothing if the rows are of other levels, of which one was left since.
    """
    by_name = {row["name"]: row for row in rows}
    high = levels[-1]
    alone = by_name.get(f"{high} alone, random labels")
    if alone is None:
        return {}
    if len(levels) == 1:
        chosen = by_name[f"{high} alone, chosen labels"]
        return {"choosing": _paid("The choosing", chosen, alone, "random labels")}
    joint = f"joint, {levels[0]} at hand"
    if f"{joint}, random labels" not in by_name:
        return {}
    second = _paid(
        f"The level {levels[0]}",
        by_name[f"{joint}, random labels"],
        alone,
        f"{high} labels alone",
    )
    choosing = _paid(
        "The choosing",
        by_name[f"{joint}, chosen labels"],
        by_name[f"{joint}, random labels"],
        "random labels",
    )
    return {"second_level": second, "choosing": choosing}


def so_far(document: Mapping[str, Any]) -> str:
    """How a verdict begins while a campaign runs: the step it was compared after.

    >>> so_far({"compared_after": 4}), so_far({"compared_after": 9, "finished": True})
    ('by step 4: ', '')
    """
    step = document.get("compared_after")
    return "" if document.get("finished") or step is None else f"by step {step}: "


def _paid(what: str, mine: dict, other: dict, than: str) -> str:
    """The verdict: that of the interval of the ratio of errors, where there is one."""
    factor = low = high = other["forces_mae"] / mine["forces_mae"]
    interval, against = "", mine.get("against") or {}
    if against.get("forces_ratio_low") is not None:
        low, high = (against[f"forces_ratio_{end}"] for end in ("low", "high"))
        interval = f"; 95 % interval {low:.2f} to {high:.2f}"
    told = (
        f"with {mine['n_high']} labels a force error of {mine['forces_mae']:.3f} eV/A "
        f"against {other['forces_mae']:.3f} eV/A with as many {than} "
        f"({factor:.1f} times{interval})."
    )
    if factor > MARGIN and low > 1:
        return f"{what} paid: {told}"
    if high <= MARGIN or factor <= 1:
        return f"{what} did not pay: {told}"
    return f"Whether {what[0].lower()}{what[1:]} paid cannot be told: {told}"
