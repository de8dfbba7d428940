"""What to do with the levels before anything is chosen, in plain words."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from mfal.models.verdict import FidelityDiagnosis, expected_saving

FIRST_ABOVE = 30.0
"""Cost ratio above which the pool is labelled at the low level first."""

PILOT = 8
"""Paired labels from which error bars are trustworthy; 5 are the least."""


@dataclass(frozen=True)
class Plan:
    """What to do: levels to leave, to label the pool with first, and to choose from.

    With `at_hand`, a level whose labels are there in production, targets are conditioned
    on it (`at_hand` of `TargetInformation`). `reasons` are sentences, one per decision.
    """

    leave: tuple[str, ...]
    label_first: tuple[str, ...]
    choose_from: tuple[str, ...]
    at_hand: str | None
    reasons: tuple[str, ...]


def low_level_first(ratio: float, threshold: float) -> bool:
    """Whether the pool is labelled at the low level before anything is chosen.

    `ratio` is the cost of a high label over that of a low one (`cost_ratio`).
    """
    return ratio > threshold


def plan(
    levels: Sequence[str],
    costs: Mapping[str, float],
    diagnoses: Mapping[str, FidelityDiagnosis],
    *,
    at_hand: str | None = None,
    first_above: float = FIRST_ABOVE,
) -> Plan:
    """What to do with the levels, from low to high, by their costs and a pilot.

    `costs` are what a label of each level is expected to cost, `diagnoses` the verdicts
    on lower levels (`mfal.models.fidelity_diagnosis`); a level without one is used.
    `at_hand` names a lower level that is run in production, too.

    Raises:
        ValueError: a level without a cost, or one at hand that is not below the highest.
    """
    *lower, high = levels
    missing = [name for name in levels if not costs.get(name, 0.0) > 0]
    if missing or (at_hand is not None and at_hand not in lower):
        raise ValueError(
            f"every level has a positive cost and the one at hand is one of {lower}, got "
            f"costs {dict(costs)} and {at_hand!r} at hand"
        )
    leave, first, choose, reasons = [], [], [], []
    for low in lower:
        ratio = costs[high] / costs[low]
        why = _reason_to_leave(low, high, ratio, diagnoses.get(low), low == at_hand)
        if why is not None:
            leave.append(low)
            reasons.append(why)
            continue
        reasons += _doubts(low, high, diagnoses.get(low))
        if low_level_first(ratio, first_above):
            first.append(low)
            reasons.append(
                f"{high} costs {ratio:,.0f} times as much as {low}: label the pool at "
                f"{low} first, then choose {high} alone."
            )
        else:
            choose.append(low)
            reasons.append(
                f"{high} costs {ratio:,.1f} times as much as {low}: choose between them "
                "by information per cost."
            )
        if low == at_hand:
            reasons.append(
                f"{low} is at hand in production: only the discrepancy to {high} is "
                f"learned; give each {high} label its {low} label, and condition the "
                f"targets on {low}."
            )
    if not lower:
        reasons.append(f"{high} is the only level: choose by information about it.")
    used = at_hand if at_hand not in leave else None
    return Plan(tuple(leave), tuple(first), (*choose, high), used, tuple(reasons))


def _reason_to_leave(
    low: str,
    high: str,
    ratio: float,
    verdict: FidelityDiagnosis | None,
    at_hand: bool,
) -> str | None:
    if verdict is None or verdict.r2 is None:
        return None
    if verdict.verdict == "leave it":
        return (
            f"{low} explains {100 * max(verdict.r2, 0.0):.0f} % of {high} on "
            f"{verdict.n_pairs} paired labels: leave it, it costs and tells nothing."
        )
    saving = expected_saving(verdict.r2, ratio)
    if saving < 1 and not at_hand:
        return (
            f"{low} is useful but only {ratio:.3g} times cheaper than {high}: the same "
            f"error would cost {1 / saving:.2f} times as much with it, leave it."
        )
    return None


def _doubts(low: str, high: str, verdict: FidelityDiagnosis | None) -> list[str]:
    n_pairs = None if verdict is None else verdict.n_pairs
    if verdict is not None and verdict.verdict != "too few pairs":
        return []
    known = "no verdict on it" if n_pairs is None else f"only {n_pairs} paired labels"
    return [
        f"{low} is used with {known}: label {PILOT} structures at {low} and {high} (5 at "
        "least) and ask again."
    ]
