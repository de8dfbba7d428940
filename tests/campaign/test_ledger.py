"""The budget: every attempt is charged, validation is not, nothing is charged twice."""

from dataclasses import replace

import pytest
from small_campaigns import DECLARED, small_config, write_labels
from stored_campaign import pool, result

from mfal.campaign.config import ConfigError
from mfal.campaign.ledger import Ledger
from mfal.campaign.store import CampaignStore


@pytest.fixture
def ledger(tmp_path):
    """Makes the ledger of a store with labels of two steps and a given budget."""
    write_labels(tmp_path)
    store = CampaignStore(tmp_path / "campaign.sqlite")
    store.add_structures(pool())
    first = [(0, "low", "pilot"), (0, "high", "pilot"), (1, "high", "pilot")]
    second = [
        (2, "low", "acquired"),
        (8, "high", "validation"),
        (3, "high", "acquired"),
    ]
    for step, requests in ((1, first), (2, second)):
        store.open_step(step, "pilot", {}, requests)
    for label_id, seconds in ((1, 2.0), (2, 30.0), (4, 4.0), (5, 50.0)):
        store.start(label_id)
        store.record(label_id, result(label_id), 1.0, seconds, "here", {})

    def make(**budget):
        config = small_config(tmp_path, budget=budget)
        return Ledger(config, store)

    make.store = store
    yield make
    store.close()


def fail(store, label_id, seconds, retry):
    store.start(label_id)
    store.record_failure(label_id, "crashed", "x", 1.0, seconds, retry=retry)


def test_measured_seconds_are_charged_and_those_of_validation_are_not(ledger):
    found = ledger(highest_labels=7)
    assert found.unit == "CPU s"
    assert found.spent() == 36.0
    assert (found.spent("low"), found.spent("high")) == (6.0, 30.0)
    assert found.spent(up_to_step=1) == 32.0
    assert found.spent(purposes=("validation",)) == 50.0


def test_declared_costs_take_the_place_of_seconds(ledger):
    found = ledger(highest_labels=7, costs=DECLARED)
    assert found.unit == "declared cost"
    assert found.spent() == 1.0 + 10.0 + 1.0
    assert found.spent(purposes=("validation",)) == 10.0


@pytest.mark.parametrize("costs", [None, DECLARED], ids=["measured", "declared"])
def test_what_was_spent_by_each_step_is_told_from_one_look(ledger, costs):
    found = ledger(highest_labels=7, costs=costs)
    steps = [0, 1, 1, 2, 5]
    wanted = [
        {name: found.spent(name, up_to_step=step) for name in ("low", "high")}
        for step in steps
    ]
    assert found.spent_by_step(steps) == wanted
    assert wanted[1] != wanted[3]


@pytest.mark.parametrize("costs", [None, DECLARED], ids=["measured", "declared"])
def test_tallies_tell_what_the_store_tells(ledger, costs):
    found = ledger(highest_labels=7, costs=costs)
    fail(ledger.store, 3, 33.0, retry=True)
    ledger.store.start(6)  # runs: its attempt is not charged yet
    added_up = replace(found, store=ledger.store.tallies())
    for ask in (
        lambda x: x.spent(),
        lambda x: x.spent("low"),
        lambda x: x.spent(purposes=("validation",)),
        lambda x: x.spent(up_to_step=1),
        lambda x: x.spent_by_step([0, 1, 2]),
        lambda x: x.estimates(),
        lambda x: x.estimates(up_to_step=1),
    ):
        assert ask(added_up) == ask(found)


@pytest.mark.parametrize("retry", [True, False])
def test_every_attempt_that_ended_is_charged_and_one_that_runs_is_not(ledger, retry):
    measured, declared = (
        ledger(highest_labels=7),
        ledger(highest_labels=7, costs=DECLARED),
    )
    before = measured.spent(), declared.spent()
    fail(ledger.store, 3, 33.0, retry=True)
    assert (measured.spent(), declared.spent()) == (before[0] + 33, before[1] + 10)
    ledger.store.start(3)
    assert (measured.spent(), declared.spent()) == (before[0] + 33, before[1] + 10)
    ledger.store.record_failure(3, "crashed", "x", 1.0, 7.0, retry=retry)
    assert (measured.spent(), declared.spent()) == (before[0] + 40, before[1] + 20)


def test_an_attempt_that_was_interrupted_is_not_charged(ledger):
    declared = ledger(highest_labels=7, costs=DECLARED)
    before = declared.spent()
    ledger.store.start(3)
    ledger.store.reset_running()
    assert declared.spent() == before


def test_expected_costs_are_means_of_what_was_paid_up_to_a_step(ledger):
    found = ledger(highest_labels=7).estimates()
    assert (found["low"].mean, found["low"].n) == (3.0, 2)
    assert (found["high"].mean, found["high"].n) == (40.0, 2)  # of validation, too
    early = ledger(highest_labels=7).estimates(up_to_step=1)
    assert (early["low"].mean, early["high"].mean) == (2.0, 30.0)


def test_a_level_without_labels_has_no_expected_cost(ledger):
    assert ledger(highest_labels=7).estimates(up_to_step=0) == {}


def test_declared_costs_are_taken_as_they_are(ledger):
    found = ledger(highest_labels=7, costs=DECLARED).estimates(up_to_step=0)
    assert {name: c.mean for name, c in found.items()} == DECLARED
    assert found["high"].low == found["high"].high == 10.0


def test_labels_without_a_cost_ask_for_declared_ones(ledger):
    ledger.store.start(3)
    ledger.store.record(3, result(3), 1.0, 0.0, "here", {})
    with pytest.raises(ConfigError, match="level 'high' carry no cost: declare"):
        ledger(highest_labels=7).estimates()


@pytest.mark.parametrize(
    ("budget", "total"),
    [
        ({"highest_labels": 7}, 280.0),
        ({"highest_labels": 7, "costs": DECLARED}, 70.0),
        ({"cpu_seconds": 500}, 500.0),
        ({"cost": 123.0, "costs": DECLARED}, 123.0),
    ],
)
def test_the_whole_budget_is_in_the_unit_of_the_ledger(ledger, budget, total):
    found = ledger(**budget)
    assert found.total(found.estimates()) == total
