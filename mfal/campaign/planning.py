"""Which levels are worth buying, and in which order: the verdict on the pilot.

And the guard that goes on asking: a level without which the labels above it are
explained better is not bought any more.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict
from functools import partial
from typing import Any

from mfal.acquisition import CostEstimate, cost_ratio, low_level_first
from mfal.campaign.config import ConfigError
from mfal.campaign.records import StoredStep
from mfal.data import LabelledDataset
from mfal.models.diagnosis import fidelity_diagnosis
from mfal.models.level_evidence import StepEvidence
from mfal.models.storage import Potential
from mfal.models.verdict import FidelityDiagnosis

FEWEST_LABELS = 3
"""Labels of a level below which the guard says nothing of those below it."""


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
        useful, sentence, verdict = _verdict(pilot, low, high, costs)
        sentences.append(sentence)
        if verdict is not None:
            verdicts.append({**asdict(verdict), "useful": useful})
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


def without_useless_levels(
    model: Potential,
    evidence: Callable[[Potential, int], StepEvidence | None],
    refit: Callable[[Sequence[str]], Potential],
    *,
    refitted_from: int,
) -> tuple[Potential, list[dict[str, Any]]]:
    """The guard: the model without the levels that `level_to_leave` names, and these.

    `refit` gives the model of some of the levels. A fit that has not converged gives no
    verdict.
    """
    left: list[dict[str, Any]] = []

    def gain(level: str) -> float:
        pair = refit([level, model.levels[-1]])
        found = evidence(pair, 1)
        return 0.0 if found is None else found.joint - found.alone

    while model.dataset is not None and model.fitted.converged:
        found = level_to_leave(
            model.dataset, partial(evidence, model), gain, refitted_from=refitted_from
        )
        if found is None:
            break
        left.append(found)
        model = refit([name for name in model.levels if name != found["level"]])
        refitted_from = 0
    return model, left


def level_to_leave(
    dataset: LabelledDataset,
    evidence: Callable[[int], StepEvidence | None],
    gain: Callable[[str], float],
    *,
    refitted_from: int = 0,
) -> dict[str, Any] | None:
    """A level to leave, as plain JSON, if two levels have nothing in common.

    From the top, every step between levels that was fitted now is asked for its two
    evidences (`mfal.models.level_evidence`): do independent levels explain the labels of
    the upper one better? Then the lower one is left; below the top, the one of the two
    that has less in common with the top (`gain`: what the evidence gains by joining a
    level to it). Fewer than three upper labels give no verdict.
    """
    names = dataset.levels
    for level in range(len(names) - 1, max(refitted_from, 1) - 1, -1):
        if len(dataset.labelled(names[level])) < FEWEST_LABELS:
            continue
        found = evidence(level)
        if found is None or found.joined:
            continue
        useless = found.below
        if level < len(names) - 1:
            useless = min((found.below, found.level), key=gain)
        return {
            "level": useless,
            "between": [found.below, found.level],
            "log_evidence_joint": found.joint,
            "log_evidence_independent": found.alone,
            "sentence": (
                f"{found.level} labels are explained better without {found.below} (log "
                f"evidence {found.alone:.1f} against {found.joint:.1f}): {useless} is "
                "not bought any more, and the model does without it."
            ),
        }
    return None


def levels_at(
    plan: Mapping[str, Any], steps: Sequence[StoredStep], number: int
) -> list[str]:
    """The levels that are bought at a step: planned, and not left at one before."""
    gone = {
        left["level"]
        for step in steps
        if step.step < number
        for left in step.info.get("left", [])
    }
    return [name for name in plan["levels"] if name not in gone]


def _verdict(
    pilot: LabelledDataset, low: str, high: str, costs: Mapping[str, CostEstimate]
) -> tuple[bool, str, FidelityDiagnosis | None]:
    """Whether a level is bought, why, and the diagnosis if there is one."""
    if not pilot.labelled(low):
        return False, f"every pilot label of {low} failed: the low level is left.", None
    prices = {name: cost.mean for name, cost in costs.items()}
    found = fidelity_diagnosis(pilot, low=low, high=high, costs=prices)
    if found.verdict == "too few pairs":
        return True, f"{found.sentence[:-1]}, the low level is used.", None
    return found.useful, found.sentence, found
