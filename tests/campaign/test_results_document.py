"""results.json is complete, plain JSON, and its numbers agree with each other."""

import json
import math

import pytest
from stored_campaign import POOL, pool, result

from mfal.campaign.document import FORMAT, results_document
from mfal.campaign.store import CampaignStore

KEYS = {
    "format",
    "pool",
    "forecast",
    "mfal_version",
    "name",
    "finished",
    "stopping_reason",
    "started",
    "updated",
    "system",
    "levels",
    "plan",
    "budget",
    "n_labels",
    "n_labels_outside",
    "cost_model",
    "cost_ratio",
    "diagnosis",
    "model",
    "learning_curve",
    "levels_left",
    "batches",
    "explorations",
    "stopping",
    "evaluation",
    "comparison",
    "compared_after",
    "verdict",
    "rho",
    "rho_standard_error",
    "failures",
    "events",
    "notices",
    "bought",
    "execution",
}


def refuse(constant):
    raise AssertionError(f"{constant} is not JSON")


@pytest.fixture(scope="module")
def document(swept):
    text = (swept.directory / "results.json").read_text()
    return json.loads(text, parse_constant=refuse)


def test_a_finished_campaign_leaves_nothing_open(document, swept):
    assert set(document) == KEYS
    assert document["format"] == FORMAT
    assert document["finished"]
    assert document["name"] == "water"
    assert document["system"] == {"formula": "H2O", "n_atoms": 3}
    missing = [k for k, v in document.items() if v is None]
    assert missing == []
    with CampaignStore(swept.directory / "campaign.sqlite", read_only=True) as store:
        now = results_document(swept.config, store)
    assert {**now, "updated": None} == {**document, "updated": None}


def test_what_was_spent_adds_up(document):
    budget = document["budget"]
    assert budget["unit"] == "CPU s"
    charged = [b for b in document["bought"] if b["purpose"] != "validation"]
    for level in ("low", "high"):
        mine = math.fsum(b["cost"] for b in charged if b["level"] == level)
        assert budget["spent_per_level"][level] == pytest.approx(mine)
    assert sum(budget["spent_per_level"].values()) == pytest.approx(budget["spent"])
    costs = document["cost_model"]
    assert budget["total"] == pytest.approx(6 * 100, rel=0.2)
    assert document["cost_ratio"] == pytest.approx(
        costs["high"]["mean"] / costs["low"]["mean"]
    )


def test_the_learning_curve_goes_through_every_fit(document):
    curve = document["learning_curve"]
    assert [p["phase"] for p in curve][:3] == ["pilot", "sweep", "acquired"]
    costs = [p["cost"] for p in curve]
    assert costs == sorted(costs)
    assert costs[-1] == pytest.approx(document["budget"]["spent"])
    assert curve[0]["n_labels"] == {"low": 3, "high": 3}
    assert curve[1]["n_labels"] == {"low": 13, "high": 3}
    assert curve[0]["heldout"] is None  # validation is bought after the pilot
    for point in curve[1:]:
        assert set(point["heldout"]) == {"standalone", "at_hand"}
    for point in curve:
        loo = point["loo"]
        assert loo["forces_mae_low"] <= loo["forces_mae"] <= loo["forces_mae_high"]
    assert curve[-1]["rho"] == document["rho"]
    gains = [b["gain_per_cost"] for b in document["bought"] if b["gain"] is not None]
    assert max(p["gain_per_cost"] or 0 for p in curve) == max(gains)


def test_labels_are_counted_by_level_and_state(document):
    assert document["n_labels"]["low"]["done"] == 16
    assert document["n_labels_outside"] == {"low": 3, "high": 3}
    done = sum(x["done"] for x in document["n_labels"].values())
    assert done == len(document["bought"])
    assert document["failures"] == []


def test_the_evaluation_holds_what_the_figures_need(document):
    evaluation = document["evaluation"]
    assert evaluation["n_structures"] == 3
    for mode in ("standalone", "at_hand"):
        found = evaluation[mode]
        assert len(found["parity"]["energy"]["reference"]) == 3
        assert len(found["parity"]["forces"]["predicted"]) == 27
        assert len(found["calibration"]["forces"]["empirical"]) == 19
        assert found["forces"]["mae"] < found["forces"]["rmse"] < found["forces"]["max"]
    assert [row["name"] for row in document["comparison"]] == [
        "joint, standalone, this campaign",
        "joint, low at hand, this campaign",
    ]


def test_the_model_is_told_in_the_units_of_reports(document):
    model = document["model"]
    assert model["levels"] == ["low", "high"]
    assert set(model["noise"]["high"]) == {"energy", "forces"}
    assert model["rho"] == document["rho"]
    assert model["repairs"] == {"jitter_raised": 0, "fits_not_converged": 0}


def test_before_anything_is_learned_what_is_not_known_is_null(swept, tmp_path):
    with CampaignStore(tmp_path / "campaign.sqlite") as store:
        empty = results_document(swept.config, store)
        store.add_structures(pool())
        store.open_step(1, "pilot", {}, [(i, "low", "pilot") for i, _ in POOL[:3]])
        store.start(1)
        store.record(1, result(1), 1.0, 2.0, "here", {})
        store.start(2)
        store.record_failure(2, "crashed", "x", 1.0, 3.0, retry=False)
        begun = results_document(swept.config, store)
    for document in (empty, begun):
        json.dumps(document, allow_nan=False)
        assert set(document) == KEYS
        assert not document["finished"]
        for key in ("model", "evaluation", "diagnosis", "rho", "cost_ratio"):
            assert document[key] is None
        assert document["budget"]["total"] is None
        assert document["learning_curve"] == []
    assert empty["started"] is None and begun["started"] is not None
    assert begun["budget"]["spent"] == 5.0
    assert begun["n_labels"]["low"]["pending"] == 1
    (failure,) = begun["failures"]
    assert failure == {
        "structure": 1,
        "level": "low",
        "state": "quarantined",
        "kind": "crashed",
        "message": "x",
        "attempts": 1,
        "cost": 3.0,
    }
