"""Which levels are worth buying, and in which order: the verdict on the pilot."""

from collections.abc import Mapping
from typing import Any

from mfal.acquisition import (
    CostEstimate,
    Diagnosis,
    cost_ratio,
    diagnose,
    low_level_first,
)
from mfal.campaign.config import ConfigError
from mfal.data import LabelledDataset

FEWEST_PAIRS = 3
"""Paired labels below which nothing is said about a level."""


def plan_levels(
    pilot: LabelledDataset, costs: Mapping[str, CostEstimate], sweep_above: float
) -> dict[str, Any]:
    """What the campaign does with its levels, as plain JSON with its reasons in words.

    `levels` are bought, `sweep` are those that label the pool before anything is
    chosen: the highest level costs more than `sweep_above` times as much.

    Raises:
        ConfigError: the pilot has no label of the highest level.
    """
    *lower, high = pilot.levels
    if not pilot.labelled(high):
        raise ConfigError(
            f"every pilot label of the highest level {high!r} failed: see "
            "`mfal status` for the reasons, and `mfal doctor`"
        )
    levels, sweep, sentences, verdicts = [], [], [], []
    for low in lower:
        useful, sentence, verdict = _verdict(pilot, low, high)
        sentences.append(sentence)
        if verdict is not None:
            verdicts.append(vars(verdict))
        if useful:
            levels.append(low)
    for low in levels:
        ratio = cost_ratio(costs, low, high)
        if low_level_first(ratio, sweep_above):
            sweep.append(low)
            sentences.append(
                f"{low} is {ratio:,.0f} times cheaper than {high}: the pool is "
                f"labelled at {low} first, then only {high} is chosen."
            )
    return {
        "levels": [*levels, high],
        "sweep": sweep,
        "sentences": sentences,
        "diagnosis": verdicts[0] if verdicts else None,
        "costs": {name: vars(cost) for name, cost in costs.items()},
    }


def _verdict(
    pilot: LabelledDataset, low: str, high: str
) -> tuple[bool, str, Diagnosis | None]:
    """Whether a level is bought, why, and the diagnosis if there is one."""
    if not pilot.labelled(low):
        return False, f"every pilot label of {low} failed: the low level is left.", None
    pairs = [
        (pilot.labels[i, low].forces, pilot.labels[i, high].forces)
        for i in pilot.paired(low, high)
    ]
    forces = [(a, b) for a, b in pairs if a is not None and b is not None]
    if len(forces) < FEWEST_PAIRS:
        sentence = (
            f"{low} and {high} share forces on {len(forces)} geometries: too few for a "
            "verdict, the low level is used."
        )
        return True, sentence, None
    verdict = diagnose([a for a, _ in forces], [b for _, b in forces], (low, high))
    return verdict.useful, verdict.sentence, verdict
