import numpy as np
import pytest
from matplotlib.colors import to_rgba

from mfal.report.pool import draw_map_of_levels, draw_map_of_steps
from mfal.report.style import level_colours


def drawn(axes):
    """Places of the points by the words of their legend."""
    return {c.get_label().split(":")[0]: c for c in axes.collections}


def test_each_structure_has_the_colour_of_its_highest_level(results):
    groups = drawn(draw_map_of_levels(results).figure.axes[0])
    points = [p for p in results["map"]["points"] if p["role"] != "heldout"]
    colours = level_colours(["gfn2", "pbe"])
    for name, wanted in (
        ("pbe", [p for p in points if "pbe" in p["steps"]]),
        ("gfn2", [p for p in points if set(p["steps"]) == {"gfn2"}]),
        ("no label", [p for p in points if not p["steps"]]),
    ):
        assert groups[name].get_offsets().tolist() == [[p["x"], p["y"]] for p in wanted]
        if name in colours:
            assert tuple(groups[name].get_facecolor()[0]) == to_rgba(colours[name])
    assert len(groups["held out for validation"].get_offsets()) == 40


def test_steps_are_coloured_late_over_early(results):
    figure = draw_map_of_steps(results).figure
    shown = figure.axes[0].collections[-1]
    bought = [p for p in results["map"]["points"] if p["role"] != "heldout"]
    steps = sorted(p["steps"]["pbe"] for p in bought if "pbe" in p["steps"])
    assert shown.get_array().tolist() == steps
    assert "step of the pbe label" in figure.axes[1].get_ylabel()


def test_the_share_of_the_variance_stands_on_the_axes(results):
    axes = draw_map_of_levels(results).figure.axes[0]
    assert "61\u00a0%" in axes.get_xlabel() and "17\u00a0%" in axes.get_ylabel()


def test_without_a_label_of_the_campaign_no_steps_are_drawn(results):
    for point in results["map"]["points"]:
        point["steps"] = {}
    assert draw_map_of_steps(results) is None
    assert draw_map_of_levels(results) is not None


@pytest.mark.parametrize("lost", [None, {}, {"points": [{"x": None, "y": 1.0}]}])
def test_without_places_there_is_no_map(results, lost):
    results["map"] = lost
    assert draw_map_of_levels(results) is None and draw_map_of_steps(results) is None


def test_counts_are_told_in_words(results):
    alt = draw_map_of_levels(results).alt
    n = np.sum([not p["steps"] for p in results["map"]["points"]])
    assert f"{n} have no label" in alt and "40 are held out" in alt
