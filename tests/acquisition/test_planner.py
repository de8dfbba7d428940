"""What to do with the levels before anything is chosen, and why."""

import pytest

from mfal.acquisition import low_level_first, plan
from mfal.models.verdict import FidelityDiagnosis

LEVELS = ("xtb", "pbe", "ccsdt")


def verdict(low, r2, word="use it", n_pairs=8):
    return FidelityDiagnosis(low, "ccsdt", word, n_pairs, r2=r2)


GOOD = {"xtb": verdict("xtb", 0.9), "pbe": verdict("pbe", 0.97)}


def costs(xtb=0.01, pbe=1.0, ccsdt=10.0):
    return {"xtb": xtb, "pbe": pbe, "ccsdt": ccsdt}


def test_the_low_level_comes_first_above_the_ratio():
    assert low_level_first(31.0, 30.0)
    assert not low_level_first(30.0, 30.0)
    assert not low_level_first(3.0, 30.0)


def test_a_level_that_costs_next_to_nothing_labels_the_pool_first():
    found = plan(LEVELS, costs(), GOOD)
    assert found.label_first == ("xtb",)
    assert found.choose_from == ("pbe", "ccsdt")
    assert found.leave == () and found.at_hand is None
    assert "ccsdt costs 1,000 times as much as xtb: label the pool" in found.reasons[0]
    assert "ccsdt costs 10.0 times as much as pbe: choose between" in found.reasons[1]


def test_the_ratio_that_is_asked_for_is_the_one_that_counts():
    assert plan(LEVELS, costs(), GOOD, first_above=5.0).label_first == ("xtb", "pbe")
    assert plan(LEVELS, costs(xtb=0.4), GOOD).label_first == ()


def test_a_useless_level_is_left_whatever_it_costs_and_where_it_runs():
    useless = {**GOOD, "xtb": verdict("xtb", 0.2, "leave it")}
    for at_hand in (None, "xtb"):
        found = plan(LEVELS, costs(), useless, at_hand=at_hand)
        assert found.leave == ("xtb",)
        assert found.at_hand is None
        assert "xtb explains 20 % of ccsdt on 8 paired labels" in found.reasons[0]


def test_a_level_that_saves_nothing_is_left_unless_it_is_there_anyway():
    alike = costs(pbe=9.0)
    found = plan(LEVELS, alike, {"pbe": verdict("pbe", 0.8)})
    assert found.leave == ("pbe",)
    assert "only 1.11 times cheaper" in found.reasons[-1]
    found = plan(LEVELS, alike, {"pbe": verdict("pbe", 0.8)}, at_hand="pbe")
    assert found.leave == () and found.at_hand == "pbe"


def test_with_the_low_level_at_hand_only_the_discrepancy_is_learned():
    found = plan(LEVELS, costs(), GOOD, at_hand="xtb")
    assert found.at_hand == "xtb"
    assert any("only the discrepancy to ccsdt is learned" in r for r in found.reasons)


def test_without_a_verdict_a_level_is_used_and_a_pilot_asked_for():
    few = {"xtb": FidelityDiagnosis("xtb", "ccsdt", "too few pairs", 3)}
    found = plan(LEVELS, costs(), few)
    assert found.leave == ()
    assert "xtb is used with only 3 paired labels" in found.reasons[0]
    assert any("pbe is used with no verdict on it" in r for r in found.reasons)


def test_a_single_level_is_chosen_from():
    found = plan(["pbe"], {"pbe": 1.0}, {})
    assert found.choose_from == ("pbe",) and len(found.reasons) == 1


def test_what_makes_no_sense_is_refused():
    with pytest.raises(ValueError, match="every level has a positive cost"):
        plan(LEVELS, {"xtb": 1.0, "pbe": 2.0}, {})
    with pytest.raises(ValueError, match="'ccsdt' at hand"):
        plan(LEVELS, costs(), {}, at_hand="ccsdt")
