"""A rule of stopping is met when what it says holds, and says why."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from mfal.campaign.stopping import (
    PERFECT_ECE,
    BudgetSpent,
    CalibrationWithin,
    Either,
    ErrorWithin,
    Every,
    MarginalValue,
    Patience,
    Rule,
    State,
    Verdict,
)
from mfal.campaign.stopping_config import StoppingConfig
from mfal.campaign.stopping_rule import conditions, stopping_rule
from mfal.models.calibration import metrics

SOURCE = "leave_one_out standalone 0.5"


class Always(Rule):
    """A rule whose verdict is known beforehand."""

    def __init__(self, met):
        self.met = met

    def __call__(self, state):
        return Verdict(self.met, str(self.met))


def error(value, low=None, high=None, bound=None):
    return {"value": value, "low": low, "high": high, "bound": bound or value}


def record(n=10, **errors):
    known = {name: e if isinstance(e, dict) else error(e) for name, e in errors.items()}
    return {SOURCE: {"n": n, **known}}


def after(*rmses, n=10):
    """The state after steps of these force errors."""
    judged = tuple(record(n, forces_rmse=x) for x in rmses)
    return State(judged, (None,) * len(judged))


RMSE = ErrorWithin("forces_rmse", 0.1, SOURCE)


@given(st.lists(st.booleans(), min_size=2, max_size=4))
def test_and_needs_all_and_or_needs_one(truths):
    rules = [Always(t) for t in truths]
    every, either = rules[0], rules[0]
    for rule in rules[1:]:
        every, either = every & rule, either | rule
    assert every(State()).met == all(truths)
    assert either(State()).met == any(truths)
    assert isinstance(every, Every) and len(every.rules) == len(rules)
    assert isinstance(either, Either) and len(either.rules) == len(rules)


def test_and_and_or_may_stand_in_each_other():
    yes, no = Always(True), Always(False)
    assert ((yes & no) | yes)(State()).met
    assert not ((yes | no) & no)(State()).met


def test_the_reason_is_that_of_the_rules_that_are_met():
    rule = BudgetSpent() | RMSE
    assert rule(after(0.05)).reason == "force RMSE 0.05 eV/A within 0.1 eV/A"
    told = rule(after(0.2)).reason
    assert told == "inf of the budget is left; force RMSE 0.2 eV/A not within 0.1 eV/A"


@pytest.mark.parametrize("rmse, met", [(0.0999, True), (0.1, True), (0.1001, False)])
def test_an_error_is_within_its_target_or_not(rmse, met):
    assert RMSE(after(rmse)).met is met


def test_what_counts_is_the_upper_confidence_limit():
    judged = record(forces_rmse=error(0.09, 0.08, 0.1, bound=0.11))
    verdict = RMSE(State((judged,), (None,)))
    assert not verdict.met
    assert "0.09 eV/A (0.08 to 0.1) not within" in verdict.reason


def test_energies_are_told_in_mev_per_atom():
    judged = record(energy_mae=error(0.0015, 0.001, 0.002))
    rule = ErrorWithin("energy_mae", 0.002, SOURCE)
    told = rule(State((judged,), (None,))).reason
    assert told == "energy MAE 1.5 meV/atom (1 to 2) within 2 meV/atom"


@pytest.mark.parametrize(
    "state",
    [State(), after(0.01, n=4), State(({},), (None,)), State((record(),), (None,))],
    ids=["no step", "four configurations", "another source", "no forces"],
)
def test_an_error_that_is_not_known_is_not_within(state):
    assert RMSE(state) == Verdict(False, "force RMSE not known yet")


def test_patience_needs_as_many_steps_in_a_row():
    rule = Patience(RMSE, 2)
    met = [rule(after(*some)).met for some in ((0.05,), (0.05, 0.05), (0.05, 0.2))]
    assert met == [False, True, False]
    assert not rule(after(0.05, 0.2, 0.05)).met
    assert rule(after(0.2, 0.05, 0.05)).met
    assert rule(after(0.05, 0.2, 0.05)).reason.endswith("(1 of 2 steps in a row)")


@given(st.lists(st.booleans(), max_size=8), st.integers(1, 4))
def test_patience_is_the_length_of_the_last_run(truths, patience):
    state = after(*(0.05 if t else 0.2 for t in truths))
    run = next((i for i, t in enumerate(reversed(truths)) if not t), len(truths))
    rule = Patience(RMSE, patience)
    assert rule.held(state) == min(run, patience)
    assert rule(state).met == (run >= patience)


def test_the_budget_ends_a_campaign_when_it_pays_for_no_label():
    rule = BudgetSpent()
    assert rule(State(left=2.0, cheapest=2.1)).met
    assert not rule(State(left=2.0, cheapest=2.0)).met
    assert rule(State(cheapest=None)).reason.startswith("nothing is left to buy")


def test_the_marginal_value_is_that_of_the_best_label_of_the_last_batch():
    rule = MarginalValue(0.5)
    verdicts = [rule(State((), gains)).met for gains in ((1.0, 0.4), (0.4, 1.0))]
    assert verdicts == [True, False]
    assert rule(State((), (0.4, None))).reason == "gain per cost not known yet"


@pytest.mark.parametrize("n", [20, 40])
def test_the_calibration_error_of_right_sigmas_is_as_stated(n):
    draws = np.random.default_rng(0).standard_normal((2000, n))
    found = np.mean([metrics(z, np.ones(n))["ece"] for z in draws])
    assert found == pytest.approx(PERFECT_ECE / np.sqrt(n), rel=0.05)


@pytest.mark.parametrize(
    "n, energy, forces, met",
    [
        (20, 0.3, 0.04, True),  # 20 energies tell nothing of an ECE of 0.05
        (40, 0.3, 0.04, False),
        (40, 0.04, 0.06, False),
        (40, 0.04, 0.04, True),
        (20, 0.3, None, False),  # without forces energies have to tell
    ],
)
def test_energies_are_judged_once_they_are_enough_to_tell(n, energy, forces, met):
    errors = {"ece_energy": energy, "ece_forces": forces}
    judged = record(n, **{k: v for k, v in errors.items() if v is not None})
    assert CalibrationWithin(0.05, SOURCE)(State((judged,), (None,))).met is met


def test_an_unknown_error_or_a_target_of_zero_is_refused():
    for name, target in (("forces_mae", 0.1), ("forces_rmse", 0.0)):
        with pytest.raises(ValueError, match="a target is a positive number for one"):
            ErrorWithin(name, target, SOURCE)


# --- the rule of a configuration


def test_a_section_asks_for_all_that_it_names():
    section = StoppingConfig(
        energy_mae=0.002, forces_rmse=0.1, largest_residual=5, ece=0.05
    )
    good = {"energy_mae": 0.001, "forces_rmse": 0.05, "largest_residual": 4.0}
    good |= {"ece_forces": 0.03, "ece_energy": 0.03}
    rule = conditions(section)
    assert rule(State((record(**good),), (None,))).met
    for name in good:
        if name != "ece_energy":  # too few energies
            worse = record(**{**good, name: 10.0})
            assert not rule(State((worse,), (None,))).met


def test_the_budget_ends_it_whatever_is_asked_for():
    rule = stopping_rule([StoppingConfig(forces_rmse=0.1)])
    assert rule(State(left=0.0, cheapest=1.0)).reason.startswith("the budget is spent")
    assert not rule(after(0.05)).met
    told = rule(after(0.05, 0.05)).reason
    assert told.startswith("what was asked for held in 2 steps in a row: force RMSE")


def test_of_several_sections_one_is_enough():
    sections = [
        StoppingConfig(forces_rmse=0.01, patience=1),
        StoppingConfig(forces_rmse=0.1, patience=1),
    ]
    assert stopping_rule(sections)(after(0.05)).met
    assert not stopping_rule(sections[:1])(after(0.05)).met
