"""The forecast follows from prices, the present mix and a power law, or says why not."""

import copy
import math

import numpy as np
import pytest
from scipy.stats import linregress, t

from mfal.campaign.forecast import CONFIDENCE, extrapolated, forecast

PRICE = {"low": 1.0, "high": 10.0}


def record(step, n_low, n_high, phase="acquired", wasted=0.0):
    return {
        "step": step,
        "phase": phase,
        "n_labels": {"low": n_low, "high": n_high},
        "spent_per_level": {"low": 1.0 * n_low, "high": 10.0 * n_high + wasted},
        "loo": {"forces_mae": 1.0 / n_high, "energy_mae": 4.0 / n_high},
        "loo_mode": "at_hand",
        "heldout": None,
    }


@pytest.fixture
def document():
    """A pilot, then four steps of ten low and four high labels each."""
    curve = [record(1, 10, 4, "pilot")]
    curve += [record(2 + i, 20 + 10 * i, 8 + 4 * i) for i in range(4)]
    spent = sum(curve[-1]["spent_per_level"].values())
    return {
        "finished": False,
        "levels": [{"name": "low"}, {"name": "high"}],
        "budget": {"unit": "CPU s", "total": spent + 100.0, "spent": spent},
        "cost_model": {
            name: {"mean": p, "low": 0.8 * p, "high": 1.25 * p, "n": 9}
            for name, p in PRICE.items()
        },
        "learning_curve": curve,
    }


def test_the_rest_is_spent_as_the_last_steps_were(document):
    found = forecast(document)["labels"]
    assert found["low"]["mean"] == pytest.approx(100 * 10 / 50)
    assert found["high"]["mean"] == pytest.approx(100 * 40 / 50 / 10)
    assert found["high"]["low"] == pytest.approx(8 / 1.25)
    assert found["high"]["high"] == pytest.approx(8 / 0.8)


def test_failed_labels_are_charged_to_those_that_came_back(document):
    plain = forecast(document)["labels"]["high"]["mean"]
    last = document["learning_curve"][-1]["spent_per_level"]
    for entry in document["learning_curve"]:  # a third of the attempts failed
        entry["spent_per_level"]["high"] *= 1.5
    found = forecast(document)["labels"]
    assert last["high"] == 15.0 * 20
    assert found["high"]["mean"] == pytest.approx(100 * 60 / 70 / 15)
    assert found["high"]["mean"] < plain


def test_no_level_is_bought_for_more_candidates_than_there_are(document):
    document["pool"] = {"candidates": 55, "validation_open": {}}
    found = forecast(document)["labels"]
    assert found["low"]["mean"] == pytest.approx(5)  # 50 of 55 have it
    assert found["high"]["mean"] == pytest.approx((100 - 5) / 10)
    document["pool"]["candidates"] = 24
    found = forecast(document)["labels"]
    assert set(found) == {"high"}
    assert found["high"]["mean"] == pytest.approx(4) == found["high"]["high"]


def test_a_power_law_is_continued(document):
    found = forecast(document)["errors"]
    assert found["forces"]["n_high"] == pytest.approx(28)
    assert found["forces"]["value"] == pytest.approx(1 / 28)
    assert found["energy"]["value"] == pytest.approx(4 / 28)
    assert found["forces"]["exponent"] == pytest.approx(1)
    assert found["forces"]["kind"] == "loo at_hand"


def test_the_interval_is_that_of_a_new_point_of_the_regression():
    n = np.array([4, 6, 9, 14, 20])
    errors = 2.0 * n**-0.6 * np.exp([0.05, -0.08, 0.02, 0.06, -0.05])
    found = extrapolated(list(map(float, n)), errors.tolist(), 40.0)
    x, y = np.log(n), np.log(errors)
    fit = linregress(x, y)
    s2 = np.square(y - fit.intercept - fit.slope * x).sum() / 3
    new = math.log(40)
    width = t.ppf(0.5 + CONFIDENCE / 2, 3) * math.sqrt(
        s2 * (1 + 1 / 5 + (new - x.mean()) ** 2 / np.square(x - x.mean()).sum())
    )
    centre = fit.intercept + fit.slope * new
    assert found["value"] == pytest.approx(math.exp(centre))
    assert found["low"] == pytest.approx(math.exp(centre - width))
    assert found["high"] == pytest.approx(math.exp(centre + width))


def test_nine_of_ten_new_points_lie_inside_the_interval():
    rng, hits, n = np.random.default_rng(0), 0, np.array([4.0, 8, 12, 16, 24, 32])
    for _ in range(400):
        errors = n**-0.7 * np.exp(0.1 * rng.standard_normal(6))
        found = extrapolated(n.tolist(), errors.tolist(), 64.0)
        new = 64**-0.7 * math.exp(0.1 * rng.standard_normal())
        hits += found["low"] <= new <= found["high"]
    assert 0.86 <= hits / 400 <= 0.94


def test_held_out_errors_are_preferred_to_left_out_ones(document):
    for entry in document["learning_curve"]:
        n = entry["n_labels"]["high"]
        entry["heldout"] = {"standalone": {"forces": {"mae": 3.0 * n**-0.5}}}
    found = forecast(document)
    assert found["errors"]["forces"]["kind"] == "heldout standalone"
    assert found["errors"]["forces"]["exponent"] == pytest.approx(0.5)
    assert any("held-out force error, standalone" in s for s in found["sentences"])


@pytest.mark.parametrize("kept", [0, 1, 3])
def test_too_few_steps_are_called_that(document, kept):
    document["learning_curve"] = document["learning_curve"][:kept]
    found = forecast(document)
    assert found["errors"] == {}
    assert any("too few steps" in sentence for sentence in found["sentences"])


def test_steps_with_the_same_number_of_labels_count_once():
    said = extrapolated([4.0] * 5 + [8.0], [1.0, 0.9, 1.1, 1.0, 1.0, 0.5], 20.0)
    assert "too few steps" in said


def test_errors_that_do_not_fall_are_not_extrapolated():
    said = extrapolated([4.0, 8.0, 12.0, 16.0], [1.0, 1.1, 0.9, 1.05], 40.0)
    assert "it has not fallen by more than it scatters" in said


def test_a_campaign_that_is_over_tells_what_twice_the_labels_would_reach(document):
    document["finished"] = True
    found = forecast(document)
    assert found["labels"] == {}
    assert found["errors"]["forces"]["value"] == pytest.approx(1 / 40)
    assert "The campaign is over" in found["sentences"][0]


def test_what_validation_takes_is_told_beside_the_budget(document):
    document["budget"]["outside"] = {"validation": 30.0}
    document["pool"] = {"candidates": 99, "validation_open": {"high": 2, "low": 5}}
    said = forecast(document)["sentences"][-1]
    assert "30 CPU s so far; about 25 more are reserved" in said


def test_the_document_is_left_as_it_was(document):
    before = copy.deepcopy(document)
    forecast(document)
    assert document == before
