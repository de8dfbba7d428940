"""The engine's benchmark: its script of faults, what it counts, and what it writes."""

import pytest

from benchmarks.campaign_engine import run, stored
from benchmarks.campaign_engine.busy import N_PILOT, shares, used
from benchmarks.campaign_engine.fake import HANG, TIMEOUT, Script, structure
from benchmarks.campaign_engine.figure import figure
from benchmarks.campaign_engine.labels import counted, labelled, spans
from mfal.campaign.store import CampaignStore
from mfal.data import Label


def test_the_script_has_the_share_of_each_fault_and_is_that_of_its_seed():
    script = Script.of(1000, 0, 2.0)
    assert script == Script.of(1000, 0, 2.0) != Script.of(1000, 1, 2.0)
    counts = {fault: script.faults.count(fault) for fault in set(script.faults)}
    assert counts == {None: 900, "killed": 50, "unconverged": 30, "hanging": 20}
    assert 0.1 <= min(script.durations) < max(script.durations) <= 10.0


def test_the_ideal_work_holds_what_each_fault_takes():
    script = Script(
        (1.0, 2.0, 3.0, 4.0), (None, "killed", "unconverged", "hanging"), 2.0
    )
    lost = 0.5 * 2.0 + 3.0
    assert script.work(kills=True) == pytest.approx(10.0 + lost + 2.0 * TIMEOUT)
    assert script.work(kills=False) == pytest.approx(6.0 + lost + 2.0 * HANG)


def note(what, label, attempt=1, time=0.0):
    return {"what": what, "label": label, "attempt": attempt, "time": time}


def test_a_lost_label_a_wrong_one_and_one_computed_twice_are_counted(tmp_path):
    script = Script((1.0,) * 4, (None, None, "killed", None), 1.0)
    notes = [note("begin", i) for i in range(4)]
    notes += [note("begin", 1, 2), note("begin", 2, 2), note("killed", 2)]
    notes += [note("end", 0), note("end", 1), note("end", 1, 2), note("end", 2, 2)]
    with CampaignStore(tmp_path / "campaign.sqlite") as store:
        store.add_structures([(structure(i), "candidate") for i in range(4)])
        ids = store.open_step(1, "x", {}, [(i, "a", "pilot") for i in range(4)])
        for label_id, energy in zip(ids, (0.0, 1.0, 7.0), strict=False):
            store.record(label_id, Label(energy), 1.0, 1.0, "here", {})
        found = counted(store, notes, script)
    assert (found["done"], found["lost"], found["wrong"]) == (3, 1, 1)
    assert (found["again"], found["completed_twice"]) == (1, 1)  # label 1, not label 2
    assert found["computations"] == 6


def test_computations_without_an_end_lasted_until_their_timeout():
    notes = [note("begin", 0, time=10.0), note("begin", 1, time=11.0)]
    notes += [note("end", 1, time=12.0)]
    assert spans(notes, 10.0, 9.0, 4.0) == [(0.0, 4.0, "hanging"), (1.0, 2.0, "end")]


@pytest.mark.faults
@pytest.mark.slow
def test_killed_hanging_and_unconverged_labels_cost_themselves_alone(tmp_path):
    found = labelled("pebble", tmp_path, n=50, workers=4, seed=0, scale=0.1)
    assert (found["done"], found["lost"], found["wrong"]) == (50, 0, 0)
    assert (found["again"], found["completed_twice"]) == (0, 0)
    faults = {"killed": 2, "hanging": 1, "unconverged": 2}
    assert found["faults"] == faults
    assert found["computations"] == found["attempts"] == 55
    assert found["events"] == {"retried": 5}
    figure({"pebble": found}).savefig(tmp_path / "figure.png")


def test_the_store_that_is_timed_is_a_campaign_that_status_reads(tmp_path):
    stored.build(tmp_path / "store", 80)
    for timed in (stored.document, stored.resume):
        assert set(timed(tmp_path / "store")) == {"seconds", "cpu_seconds"}
    with CampaignStore(tmp_path / "store" / "campaign.sqlite") as store:
        assert store.counts()["low"]["done"] == store.counts()["high"]["done"] == 40
        assert store.event_counts() == {"reset": 16}


def test_the_tables_say_which_aims_are_met():
    one = {"n": 9, "done": 9, "lost": 0, "wrong": 0, "again": 0, "completed_twice": 0}
    one |= {"workers": 2, "scale": 1.0, "timeout": 3.0, "computations": 9, "seed": 0}
    one |= {"ideal_seconds": 10.0, "machine": {}}
    document = {"labels": []}
    for name, wall in (("dask", 12.0), ("pebble", 11.0)):
        timed = {"executor": name, "wall_seconds": wall, "over_ideal": wall / 10 - 1}
        run.add_run(document, one | timed)
    assert [r["executor"] for r in document["labels"]] == ["pebble", "dask"]
    assert "is met by pebble." in run._labels(document["labels"])
    seconds = {"status": 0.9, "imports": 0.8, "document": 0.1, "resume": 11.0}
    times = {k: {"seconds": s, "cpu_seconds": s} for k, s in seconds.items()}
    assert "met: status." in run._store(times | {"n_labels": 10, "megabytes": 1.0})


def test_workers_are_busy_as_long_as_their_labels_take():
    pilot = [(0.0, 1.0)] * N_PILOT
    found = shares([*pilot, (1.0, 5.0), (1.0, 2.0), (2.5, 3.0), (4.0, 5.0)], 2)
    assert found["steady"] == pytest.approx((3.0 + 1.0 + 0.5) / 6.0)
    assert found["whole"] == pytest.approx((4.0 + 1.0 + 0.5 + 1.0) / 8.0)
    assert found["wall_seconds"] == 4.0


@pytest.mark.slow
@pytest.mark.parametrize("asynchronous", [False, True])
def test_a_campaign_of_sleeping_labels_is_measured(tmp_path, asynchronous):
    found = used(
        tmp_path, asynchronous=asynchronous, n=10, workers=2, scale=0.01, seed=0
    )
    assert 0.0 < found["whole"] <= 1.0 and 0.0 < found["steady"] <= 1.0
    assert 0.03 <= found["label_seconds"] < 5.0
    text = run._busy([found])
    assert ("label after label" in text) == asynchronous or "batch after" in text
