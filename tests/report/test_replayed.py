import pytest

from mfal.report.replayed import draw_strategies, random_labels_needed, strategies


def test_joint_strategies_pay_for_the_lower_level_and_single_ones_do_not(results):
    price = 206.5 / 35  # spent on pbe, done
    for strategy in strategies(results):
        below = 0.0 if strategy.kind == "alone" else 1.2
        expected = [n * price + below for n in (8, 16, 32)]
        assert strategy.costs == pytest.approx(expected)


def test_every_strategy_is_a_curve_with_its_intervals(results):
    axes = draw_strategies(results, "forces").figure.axes[0]
    assert [c.get_label() for c in axes.containers] == [
        *("pbe alone, random", "pbe alone, chosen"),
        *("joint, standalone, random", "joint, standalone, chosen"),
        *("joint, gfn2 at hand, random", "joint, gfn2 at hand, chosen"),
    ]
    curve = results["comparison"][0]["curve"]
    line, _, (bar,) = axes.containers[0].lines
    assert line.get_ydata() == pytest.approx([p["forces_mae"] for p in curve])
    ends = [segment[:, 1].tolist() for segment in bar.get_segments()]
    expected = [[p["forces_mae_low"], p["forces_mae_high"]] for p in curve]
    for found, wanted in zip(ends, expected, strict=True):
        assert found == pytest.approx(wanted)
    assert (axes.get_xscale(), axes.get_yscale()) == ("log", "log")


def at_hand(results, labels, errors):
    name = f"joint, gfn2 at hand, {labels} labels"
    row = next(r for r in results["comparison"] if r["name"] == name)
    for point, error in zip(row["curve"], errors, strict=True):
        point["forces_mae"] = error


def test_the_random_labels_that_would_do_are_read_off_their_curve(results):
    at_hand(results, "random", [0.4, 0.2, 0.1])  # falls as 1 / n
    at_hand(results, "chosen", [0.3, 0.2, 0.16])
    assert random_labels_needed(results) == (
        "The force error of 32 chosen pbe labels with gfn2 at hand takes about 20 "
        "random ones."
    )


def test_nothing_is_read_beyond_the_ends_of_the_curve(results):
    at_hand(results, "random", [0.4, 0.2, 0.1])
    at_hand(results, "chosen", [0.3, 0.2, 0.05])
    assert "is not reached by 32 random ones" in random_labels_needed(results)
    at_hand(results, "chosen", [0.9, 0.9, 0.9])
    assert "is reached by fewer than 8 random ones" in random_labels_needed(results)


def test_rows_of_campaigns_without_curves_are_no_figure(results):
    for row in results["comparison"]:
        row.pop("curve", None)
    assert draw_strategies(results, "forces") is None
    assert random_labels_needed(results) == ""
