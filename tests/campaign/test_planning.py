"""The plan: which levels are bought, which come first, and why."""

from dataclasses import asdict

import numpy as np
import pytest
from small_campaigns import water

from mfal import Fidelity, Label, LabelledDataset
from mfal.acquisition import CostEstimate
from mfal.campaign.config import ConfigError
from mfal.campaign.planning import level_to_leave, plan_levels
from mfal.models.diagnosis import fidelity_diagnosis
from mfal.models.level_evidence import StepEvidence

NAMES = ("low", "middle", "high")


def cost(mean):
    return CostEstimate(mean, 0.8 * mean, 1.2 * mean, 5)


COSTS = {"low": cost(1.0), "middle": cost(20.0), "high": cost(100.0)}


def pilot(*, noise=(0.1, 0.1), n=4, missing=(), quantities=("energy", "forces")):
    """Labels of every level; `noise` is that of the lower levels against the highest."""
    rng = np.random.default_rng(0)
    labels = {}
    for i in range(n):
        forces = rng.normal(size=(3, 3))
        for level, spread in zip(NAMES, (*noise, 0.0), strict=True):
            own = forces + spread * rng.normal(size=(3, 3))
            label = Label(-76.0 + rng.normal(), own).only(
                quantities if level == "high" else ("energy", "forces")
            )
            if (i, level) not in missing:
                labels[i, level] = label
    structures = tuple(water(i) for i in range(n))
    return LabelledDataset(structures, tuple(map(Fidelity, NAMES)), labels)


def test_levels_that_agree_are_used_and_the_cheap_ones_swept():
    plan = plan_levels(pilot(), COSTS, 30.0)
    assert plan["levels"] == ["low", "middle", "high"]
    assert plan["sweep"] == ["low"]
    assert len(plan["sentences"]) == 3
    assert plan["sentences"][2] == (
        "low is 100 times cheaper than high: the pool is labelled at low first, then "
        "only high is chosen."
    )
    assert plan["costs"]["middle"]["mean"] == 20.0
    assert plan_levels(pilot(), COSTS, 4.0)["sweep"] == ["low", "middle"]
    assert plan_levels(pilot(), COSTS, 100.0)["sweep"] == []


def test_a_level_that_does_not_agree_is_neither_bought_nor_swept():
    plan = plan_levels(pilot(noise=(9.0, 0.1)), COSTS, 30.0)
    assert plan["levels"] == ["middle", "high"]
    assert plan["sweep"] == []
    assert plan["sentences"][0].endswith("the low level is left.")
    assert not plan["diagnosis"]["useful"]


def test_the_diagnosis_is_that_of_the_paired_forces():
    data = pilot(missing={(1, "low")})
    prices = {name: c.mean for name, c in COSTS.items()}
    expected = fidelity_diagnosis(data, low="low", high="high", costs=prices)
    assert expected.n_pairs == 3
    assert plan_levels(data, COSTS, 30.0)["diagnosis"] == {
        **asdict(expected),
        "useful": True,
    }


def test_without_forces_at_both_levels_the_energies_of_the_pilot_decide():
    unrelated = plan_levels(pilot(n=6, quantities=("energy",)), COSTS, 30.0)
    assert unrelated["levels"] == ["high"]
    assert "low energies, scaled by" in unrelated["sentences"][0]
    assert unrelated["sentences"][0].endswith("the low level is left.")

    data = pilot(n=6, quantities=("energy",))
    labels = {
        (i, level): Label(
            data.labels[i, "high"].energy + (level == "low"), label.forces
        )
        for (i, level), label in data.labels.items()
    }
    shifted = LabelledDataset(data.structures, data.fidelities, labels)
    agreeing = plan_levels(shifted, COSTS, 30.0)
    assert agreeing["levels"] == ["low", "middle", "high"]
    assert agreeing["diagnosis"]["r2"] == pytest.approx(1.0)


def test_four_energies_are_too_few_to_leave_a_level_for_good():
    plan = plan_levels(pilot(n=4, quantities=("energy",)), COSTS, 30.0)
    assert plan["levels"] == ["low", "middle", "high"]
    assert plan["sentences"][0].startswith("low and high share energies on 4 points")
    assert plan["diagnosis"] is None


def test_with_too_few_pairs_a_level_is_used_and_it_is_said():
    data = pilot(missing={(i, "low") for i in range(2)})
    plan = plan_levels(data, COSTS, 30.0)
    assert plan["levels"] == ["low", "middle", "high"]
    assert plan["sentences"][0] == (
        "low and high share forces on 2 points: too few for a verdict, the low level is "
        "used."
    )
    assert len(plan["sentences"]) == 3 and plan["diagnosis"]["low"] == "middle"


def test_a_level_without_a_label_is_left_even_if_its_cost_is_not_known():
    data = pilot(missing={(i, "low") for i in range(4)})
    costs = {name: COSTS[name] for name in ("middle", "high")}
    plan = plan_levels(data, costs, 30.0)
    assert plan["levels"] == ["middle", "high"]
    assert (
        plan["sentences"][0]
        == "every pilot label of low failed: the low level is left."
    )


def test_without_a_label_of_the_highest_level_there_is_no_plan():
    with pytest.raises(
        ConfigError, match="every pilot label of the highest level 'high'"
    ):
        plan_levels(pilot(missing={(i, "high") for i in range(4)}), COSTS, 30.0)


# --- the guard

GAINS = {"low": 5.0, "middle": 30.0}


def evidence(**gains):
    """Evidence of each upper level, by how much it is better with the one below."""
    asked = []

    def of(level):
        asked.append(NAMES[level])
        gain = gains[NAMES[level]]
        below = NAMES[level - 1]
        return None if gain is None else StepEvidence(below, NAMES[level], gain, 0.0)

    return of, asked


def test_a_level_that_explains_nothing_of_the_one_above_is_left():
    of, asked = evidence(middle=-3.0, high=40.0)
    found = level_to_leave(pilot(), of, GAINS.get)
    assert asked == ["high", "middle"]
    assert found["level"] == "low" and found["between"] == ["low", "middle"]
    assert found["sentence"] == (
        "middle labels are explained better without low (log evidence 0.0 against "
        "-3.0): low is not bought any more, and the model does without it."
    )


def test_of_two_levels_below_the_top_the_one_that_has_less_to_do_with_it_is_left():
    of, _ = evidence(middle=-3.0, high=40.0)
    gains = {"low": 50.0, "middle": -1.0}
    found = level_to_leave(pilot(), of, gains.get)
    assert found["level"] == "middle"
    assert found["sentence"].endswith(
        "middle is not bought any more, and the model does without it."
    )


def test_levels_are_asked_from_the_top_and_one_is_left_at_a_time():
    of, asked = evidence(middle=-3.0, high=-1.1)
    assert level_to_leave(pilot(), of, GAINS.get)["level"] == "middle"
    assert asked == ["high"]


def test_steps_that_were_not_fitted_again_are_not_asked_again():
    of, asked = evidence(middle=-3.0, high=2.0)
    assert level_to_leave(pilot(), of, GAINS.get, refitted_from=2) is None
    assert asked == ["high"]


def test_next_to_a_tie_or_without_labels_no_level_is_left():
    of, _ = evidence(middle=None, high=-0.9)
    assert level_to_leave(pilot(), of, GAINS.get) is None


def test_with_two_labels_there_is_no_verdict():
    of, asked = evidence(middle=-3.0, high=-3.0)
    assert level_to_leave(pilot(n=2), of, GAINS.get) is None and not asked
