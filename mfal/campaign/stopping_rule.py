"""The stopping rule of a configuration, and how far a campaign is from it."""

import math
from collections.abc import Sequence
from typing import Any

from mfal.campaign.reader import LabelEntry, Tally
from mfal.campaign.records import StoredLabel, StoredStep
from mfal.campaign.stopping import (
    BudgetSpent,
    CalibrationWithin,
    ErrorWithin,
    Every,
    MarginalValue,
    Patience,
    Rule,
    State,
)
from mfal.campaign.stopping_config import StoppingConfig

SOURCES = {
    "leave_one_out": "labels left out one configuration at a time",
    "validation": "held-out labels",
    "predicted": "probes without labels, from sigmas that left-out labels scale",
}


def conditions(section: StoppingConfig) -> Every:
    """All that a section asks of a step."""
    rules: list[Rule] = [
        ErrorWithin(name, getattr(section, name), section.source)
        for name in ("energy_mae", "forces_rmse", "largest_residual")
        if getattr(section, name) is not None
    ]
    if section.ece is not None:
        rules.append(CalibrationWithin(section.ece, section.source))
    if section.marginal_value is not None:
        rules.append(MarginalValue(section.marginal_value))
    return Every(tuple(rules))


def patient(section: StoppingConfig) -> Patience:
    """What a section asks for, in as many steps in a row as it says."""
    return Patience(conditions(section), section.patience)


def stopping_rule(sections: Sequence[StoppingConfig]) -> Rule:
    """The budget is spent, or all that one of the sections asks for holds."""
    rule: Rule = BudgetSpent()
    for section in sections:
        rule = rule | patient(section)
    return rule


def state_of(
    steps: Sequence[StoredStep],
    labels: Sequence[StoredLabel | LabelEntry | Tally],
    *,
    left: float,
    cheapest: float | None,
) -> State:
    """What the rules read of a store: its finished steps that ended with a fit."""
    learned = [s for s in steps if s.state == "finished" and "fit" in s.info]
    best: dict[int, float] = {}
    for x in labels:
        if x.gain_per_cost is not None:
            best[x.step] = max(best.get(x.step, -math.inf), x.gain_per_cost)
    return State(
        tuple(step.info.get("judged", {}) for step in learned),
        tuple(best.get(step.step) for step in learned),
        left,
        cheapest,
    )


def standing(sections: Sequence[StoppingConfig], state: State) -> list[dict[str, Any]]:
    """How far each section is from being met, as plain JSON with words.

    `steps_met` is in how many of the last steps, up to `patience`, all `conditions` held.
    """
    found = []
    for section in sections:
        rule = patient(section)
        verdicts = [condition(state) for condition in conditions(section).rules]
        found.append(
            {
                "conditions": [{"met": v.met, "sentence": v.reason} for v in verdicts],
                "patience": section.patience,
                "steps_met": rule.held(state),
                "errors": _errors(section, state),
            }
        )
    return found


def _errors(section: StoppingConfig, state: State) -> str:
    """What the errors are of, in words."""
    last = state.judged[-1].get(section.source, {}) if state.judged else {}
    way = section.deployment.replace("at_hand", "with the low level at hand")
    words = f"errors of {SOURCES[section.errors]}, {way}"
    return f"{words}, {last['n']} configurations" if last.get("n") else words
