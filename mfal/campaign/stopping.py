"""When a campaign stops: rules over what its steps have learned, joined by & and |.

A rule reads a `State`, which is made of the store alone, so that a campaign that was
killed stops where one that was not would have.
"""

import math
from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

FEWEST = 5
"""Configurations below which errors are not known."""

PERFECT_ECE = 0.31
"""ECE of n independent residuals with the right sigmas is this over sqrt(n).

E|k/n - p| is sqrt(2 p (1 - p) / (pi n)) for large n, averaged over p = 5, ..., 95 %.
"""


@dataclass(frozen=True)
class Verdict:
    """Whether a rule is met, and why, in words with numbers."""

    met: bool
    reason: str


@dataclass(frozen=True)
class State:
    """What rules read: the steps that ended with a fit, oldest first, and the budget.

    `judged` holds the errors of each step by their source (`mfal.campaign.judging`),
    `gains` the best gain per cost among the labels that the step bought by gain (`None`:
    none). `left` is what is left of the budget, `cheapest` the cost of the cheapest label
    that is left to buy (`None`: there is none).
    """

    judged: tuple[Mapping[str, Mapping[str, Any]], ...] = ()
    gains: tuple[float | None, ...] = ()
    left: float = math.inf
    cheapest: float | None = 0.0

    def before(self, n_steps: int) -> "State":
        """The state without the last steps."""
        kept = len(self.judged) - n_steps
        return replace(self, judged=self.judged[:kept], gains=self.gains[:kept])


class Rule(ABC):
    """Abstract: a condition of stopping. `a & b` needs both, `a | b` either of them."""

    @abstractmethod
    def __call__(self, state: State) -> Verdict:
        """Whether the condition holds."""

    def __and__(self, other: "Rule") -> "Every":
        return Every((self, other))

    def __or__(self, other: "Rule") -> "Either":
        return Either((self, other))


@dataclass(frozen=True)
class Every(Rule):
    """Met when every one of its rules is."""

    rules: tuple[Rule, ...]

    def __call__(self, state: State) -> Verdict:
        """All verdicts, with all reasons."""
        verdicts = [rule(state) for rule in self.rules]
        return Verdict(all(v.met for v in verdicts), _joined(verdicts))

    def __and__(self, other: Rule) -> "Every":
        return Every((*self.rules, other))


@dataclass(frozen=True)
class Either(Rule):
    """Met when one of its rules is; the reason is that of those that are."""

    rules: tuple[Rule, ...]

    def __call__(self, state: State) -> Verdict:
        """The verdicts that are met, or all if none is."""
        verdicts = [rule(state) for rule in self.rules]
        met = [v for v in verdicts if v.met]
        return Verdict(bool(met), _joined(met or verdicts))

    def __or__(self, other: Rule) -> "Either":
        return Either((*self.rules, other))


@dataclass(frozen=True)
class Patience(Rule):
    """Met when its rule was met in each of the last so many steps."""

    rule: Rule
    steps: int

    def __call__(self, state: State) -> Verdict:
        """The verdict of the last step, and how long it has held."""
        last = self.rule(state)
        held = self.held(state)
        if held >= self.steps:
            words = f"what was asked for held in {_steps(self.steps)} in a row"
            return Verdict(True, f"{words}: {last.reason}")
        return Verdict(
            False, f"{last.reason} ({held} of {_steps(self.steps)} in a row)"
        )

    def held(self, state: State) -> int:
        """In how many of the last steps, up to those asked for, the rule was met."""
        for n in range(min(self.steps, len(state.judged))):
            if not self.rule(state.before(n)).met:
                return n
        return min(self.steps, len(state.judged))


@dataclass(frozen=True)
class BudgetSpent(Rule):
    """Met when what is left pays for no label, or no label is left to buy."""

    def __call__(self, state: State) -> Verdict:
        """By the expected cost of the cheapest label."""
        if state.cheapest is None:
            return Verdict(True, "nothing is left to buy: the whole pool is labelled")
        if state.cheapest > state.left:
            return Verdict(
                True,
                "the budget is spent: what is left does not pay for another label",
            )
        return Verdict(False, f"{state.left:.4g} of the budget is left")


@dataclass(frozen=True)
class Measure:
    """An error that has a target: its name in words, the unit it is told in, its scale."""

    words: str
    unit: str = ""
    scale: float = 1.0

    def told(self, value: float) -> str:
        """A value in the unit that it is told in."""
        return f"{self.scale * value:.3g} {self.unit}".strip()


MEASURES = {
    "energy_mae": Measure("energy MAE", "meV/atom", 1e3),
    "forces_rmse": Measure("force RMSE", "eV/A"),
    "largest_residual": Measure("largest error over sigma"),
    "ece_forces": Measure("calibration error of forces", "%", 100.0),
    "ece_energy": Measure("calibration error of energies", "%", 100.0),
}


@dataclass(frozen=True)
class ErrorWithin(Rule):
    """Met when an error (a key of `MEASURES`, eV/atom or eV/A) is within its target.

    What is compared is the upper end of the one-sided confidence interval of the source
    (`bound`; the error itself at a confidence of one half).

    Raises:
        ValueError: an error that is not measured, or a target that is not positive.
    """

    name: str
    target: float
    source: str

    def __post_init__(self) -> None:
        if self.name not in MEASURES or not self.target > 0:
            raise ValueError(
                f"a target is a positive number for one of {', '.join(MEASURES)}, got "
                f"{self.target} for {self.name!r}"
            )

    def __call__(self, state: State) -> Verdict:
        """Of the last step; not met while fewer than five configurations tell of it."""
        measure = MEASURES[self.name]
        found = _known(state, self.source, self.name)
        if found is None:
            return Verdict(False, f"{measure.words} not known yet")
        met = found["bound"] <= self.target
        spread = ""
        if found["low"] is not None:
            low, high = (measure.scale * found[end] for end in ("low", "high"))
            spread = f" ({low:.3g} to {high:.3g})"
        within = "within" if met else "not within"
        return Verdict(
            met,
            f"{measure.words} {measure.told(found['value'])}{spread} {within} "
            f"{measure.told(self.target)}",
        )


@dataclass(frozen=True)
class CalibrationWithin(Rule):
    """Met when the expected calibration error of forces and of energies is within.

    An energy is one number per configuration: those of n with the right sigmas have an
    ECE of 0.31 / sqrt(n) by chance, and are judged from the n on at which that is
    within the target. Where there are no forces, energies have to tell.
    """

    target: float
    source: str

    def __call__(self, state: State) -> Verdict:
        """Of the last step."""
        n = _n(state, self.source)
        rules = []
        if _known(state, self.source, "ece_forces") is not None:
            rules.append(ErrorWithin("ece_forces", self.target, self.source))
        if not rules or (n and PERFECT_ECE / math.sqrt(n) <= self.target):
            rules.append(ErrorWithin("ece_energy", self.target, self.source))
        return Every(tuple(rules))(state)


@dataclass(frozen=True)
class MarginalValue(Rule):
    """Met when the best label of the last batch gained less per cost than is asked for.

    In the unit of the acquisition function (nats of information) per unit of the budget.
    """

    least: float

    def __call__(self, state: State) -> Verdict:
        """Of the last step; not met before a label was chosen by its gain."""
        gain = state.gains[-1] if state.gains else None
        if gain is None:
            return Verdict(False, "gain per cost not known yet")
        met = gain < self.least
        below = "below" if met else "not below"
        return Verdict(met, f"gain per cost {gain:.3g} {below} {self.least:.3g}")


def _known(state: State, source: str, name: str) -> Mapping[str, Any] | None:
    if _n(state, source) < FEWEST:
        return None
    return state.judged[-1][source].get(name)


def _n(state: State, source: str) -> int:
    if not state.judged:
        return 0
    return int(state.judged[-1].get(source, {}).get("n", 0))


def _joined(verdicts: list[Verdict]) -> str:
    return "; ".join(v.reason for v in verdicts)


def _steps(n: int) -> str:
    return "1 step" if n == 1 else f"{n} steps"
