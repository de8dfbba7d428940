import itertools

import numpy as np
import pytest

from mfal.report.timeline import draw_timeline, lanes, utilisation

DAY = 86_400.0


def bars(collections):
    """Begin and width of the bars of some collections, in order."""
    boxes = [path.get_extents() for c in collections for path in c.get_paths()]
    return sorted((box.x0, box.width) for box in boxes)


def test_no_two_labels_overlap_on_a_lane_and_no_lane_is_needless():
    rng = np.random.default_rng(0)
    starts = np.sort(rng.uniform(0, 100, 80))
    spans = [(s, s + rng.uniform(1, 20)) for s in starts.tolist()]
    found = lanes(spans, slack=0.0)
    for lane in set(found):
        mine = [s for s, at in zip(spans, found, strict=True) if at == lane]
        assert all(a[1] <= b[0] for a, b in itertools.pairwise(mine))
    at_once = max(sum(s <= t < e for s, e in spans) for t, _ in spans)
    assert max(found) + 1 == at_once


def test_a_bar_begins_and_ends_with_its_label(results):
    below = draw_timeline(results).figure.axes[1]
    labels = results["timeline"]["labels"]
    expected = sorted((x["start"], x["end"] - x["start"]) for x in labels)
    assert np.array(bars(below.collections)) == pytest.approx(np.array(expected))
    hatched = [c for c in below.collections if c.get_hatch()]
    assert bars(hatched) == [(120.0, 20.0)]


def test_what_had_been_spent_is_stacked_by_level(results):
    above = draw_timeline(results).figure.axes[0]
    labels = results["timeline"]["labels"]
    spent = {
        name: sum(x["cpu_seconds"] for x in labels if x["level"] == name)
        for name in ("gfn2", "pbe")
    }
    tops = [c.get_paths()[0].vertices[:, 1].max() for c in above.collections]
    assert tops == pytest.approx([spent["gfn2"], sum(spent.values())])
    assert "CPU s" in above.get_ylabel()


def test_validation_is_not_charged_to_the_budget(results):
    for label in results["timeline"]["labels"]:
        label["purpose"] = "validation"
    above = draw_timeline(results).figure.axes[0]
    assert all(c.get_paths()[0].vertices[:, 1].max() == 0 for c in above.collections)


def test_declared_costs_are_charged_by_the_attempt(results):
    results["budget"]["unit"] = "declared cost"
    results["cost_model"]["pbe"]["mean"] = 10.0
    labels = [x for x in results["timeline"]["labels"] if x["level"] == "pbe"][:2]
    labels[0]["attempts"] = 3
    results["timeline"]["labels"] = labels
    above = draw_timeline(results).figure.axes[0]
    assert above.collections[-1].get_paths()[0].vertices[:, 1].max() == pytest.approx(
        40
    )


def test_days_are_told_in_hours(results):
    for label in results["timeline"]["labels"]:
        label["start"] += DAY
        label["end"] += DAY
    assert "(h)" in draw_timeline(results).figure.axes[1].get_xlabel()


def test_the_share_of_labelling_is_that_of_all_workers(results):
    labels = [
        {"start": 0.0, "end": 10.0, "state": "done"},
        {"start": 0.0, "end": 5.0, "state": "done"},
    ]
    results["timeline"], results["execution"]["workers"] = {"labels": labels}, 2
    assert "2 workers were labelling 75\u00a0% of it" in utilisation(results)


def test_without_times_nothing_is_drawn_or_said(results):
    results["timeline"] = None
    assert draw_timeline(results) is None and utilisation(results) == ""
