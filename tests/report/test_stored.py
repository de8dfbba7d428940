import json
from datetime import datetime

import pytest
from stored_campaign import finished as stored_finished
from stored_campaign import pool

from mfal.report import stored, structures
from mfal.report.stored import stored_parts, timeline


@pytest.fixture
def campaign(tmp_path, monkeypatch):
    """A store beside the page, and no chemiscope."""
    monkeypatch.setattr(structures, "find_spec", lambda name: None)
    store = stored_finished(tmp_path / stored.STORE)
    store.start(5)
    store.record_failure(5, "crashed", "no", 30.0, 7.0, retry=False)
    labels = store.labels()
    store.close()
    return tmp_path, labels


def test_the_map_holds_the_pool_with_the_steps_of_its_labels(campaign):
    found = stored_parts(campaign[0])["map"]
    assert [p["structure"] for p in found["points"]] == list(range(len(pool())))
    assert [p["role"] for p in found["points"]] == [role for _, role in pool()]
    steps = {p["structure"]: p["steps"] for p in found["points"] if p["steps"]}
    low = {"low": 0}
    assert steps == {5: {"low": 0, "high": 1}, 0: low, 7: low, 8: {"high": 1}}


def test_a_label_ends_when_it_was_stored_and_begins_its_wall_time_before(campaign):
    labels = {x.id: x for x in campaign[1]}
    found = stored_parts(campaign[0])["timeline"]
    failed = next(x for x in found["labels"] if x["state"] == "quarantined")
    assert failed["end"] - failed["start"] == pytest.approx(30.0)
    first = datetime.fromisoformat(found["first"]).timestamp()
    ended = datetime.fromisoformat(labels[5].finished_at).timestamp()
    assert first + failed["end"] == pytest.approx(ended)
    assert min(x["start"] for x in found["labels"]) == 0
    assert len(found["labels"]) == sum(x.wall_seconds > 0 for x in labels.values())


def test_labels_that_took_no_time_have_no_timeline(campaign):
    assert timeline([]) is None


def test_what_a_forecast_asks_of_the_pool_is_counted(campaign):
    found = stored_parts(campaign[0])
    candidates = sum(role == "candidate" for _, role in pool())
    assert found["pool"] == {"candidates": candidates, "validation_open": {}}
    assert found["structures"] is None
    json.dumps(found, allow_nan=False)


def test_without_a_store_there_is_nothing(tmp_path):
    assert stored_parts(tmp_path) == {}
    assert list(tmp_path.iterdir()) == []
