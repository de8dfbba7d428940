import matplotlib
import numpy as np
import pytest

from mfal.report.progress import draw_learning_curve, draw_rho, draw_spending


def line(axes, label):
    return next(found for found in axes.lines if label in str(found.get_label()))


def test_the_learning_curve_shows_errors_against_cost(results):
    axes = draw_learning_curve(results, "forces").figure.axes[0]
    curve = line(axes, "leave-one-out")
    records = results["learning_curve"]
    assert curve.get_xdata() == pytest.approx([r["cost"] for r in records])
    assert curve.get_ydata() == pytest.approx([r["loo"]["forces_mae"] for r in records])
    assert (axes.get_xscale(), axes.get_yscale()) == ("log", "log")
    assert "CPU s" in axes.get_xlabel() and "eV/Å" in axes.get_ylabel()


def test_held_out_errors_stand_where_they_were_measured(results):
    axes = draw_learning_curve(results, "forces").figure.axes[0]
    measured = [r for r in results["learning_curve"] if r["heldout"]]
    for mode, label in (("standalone", "standalone"), ("at_hand", "gfn2 at hand")):
        errors = [r["heldout"][mode]["forces"]["mae"] for r in measured]
        assert line(axes, label).get_ydata() == pytest.approx(errors)


def test_the_final_evaluation_is_the_last_point_if_the_step_has_none(results):
    results["learning_curve"][-1]["heldout"] = None
    axes = draw_learning_curve(results, "energy").figure.axes[0]
    expected = results["evaluation"]["standalone"]["energy"]["mae"]
    assert line(axes, "standalone").get_ydata()[-1] == pytest.approx(expected)


def test_the_band_holds_the_leave_one_out_curve(results):
    axes = draw_learning_curve(results, "forces").figure.axes[0]
    outline = axes.collections[0].get_paths()[0].vertices
    loo = [r["loo"] for r in results["learning_curve"]]
    assert outline[:, 1].max() == pytest.approx(max(e["forces_mae_high"] for e in loo))
    assert outline[:, 1].min() == pytest.approx(min(e["forces_mae_low"] for e in loo))


def test_labels_per_level_stand_above_the_curve(results):
    drawing = draw_learning_curve(results, "forces")
    top = drawing.figure.axes[0].child_axes[0]
    texts = [tick.get_text() for tick in top.get_xticklabels()]
    assert texts[-1] == "360\n35" and 2 <= len(texts) <= 5


def test_spending_is_stacked_by_level(results):
    axes = draw_spending(results).figure.axes[0]
    last = results["learning_curve"][-1]["spent_per_level"]
    bars = [container.patches[-1] for container in axes.containers]
    assert [bar.get_height() for bar in bars] == pytest.approx(list(last.values()))
    assert bars[1].get_y() == pytest.approx(last["gfn2"])


def test_rho_has_its_standard_error(results):
    axes = draw_rho(results).figure.axes[0]
    bars = axes.containers[0].lines[2][0].get_segments()
    for segment, record in zip(bars, results["learning_curve"], strict=True):
        (rho,), (error,) = record["rho"], record["rho_standard_error"]
        assert segment[:, 1] == pytest.approx([rho - error, rho + error])


@pytest.mark.parametrize("draw", [draw_spending, draw_rho])
def test_nothing_is_drawn_of_nothing(draw, results):
    results["learning_curve"] = []
    assert draw(results) is None


def test_drawing_leaves_the_settings_of_matplotlib_alone(results):
    before = dict(matplotlib.rcParams)
    draw_learning_curve(results, "forces")
    assert dict(matplotlib.rcParams) == before


def test_an_error_of_zero_does_not_break_the_logarithmic_axis(results):
    for record in results["learning_curve"]:
        record["cost"] = 0.0 if record["step"] == 1 else record["cost"]
        record["loo"]["forces_mae"] = 0.0
    figure = draw_learning_curve(results, "forces").figure
    figure.draw_without_rendering()
    assert np.isfinite(figure.axes[0].get_ylim()).all()


def test_costs_that_are_alike_get_few_ticks(results):
    results["learning_curve"] = results["learning_curve"][:2]
    axes = draw_learning_curve(results, "forces").figure.axes[0]
    assert axes.get_xscale() == "linear"
    assert len(axes.get_xticks()) <= 6
    top = axes.child_axes[0]
    assert [tick.get_text() for tick in top.get_xticklabels()] == ["360\n8"]


def test_left_out_errors_say_which_way_of_deployment_they_are_of(results):
    def legend():
        figure = draw_learning_curve(results, "forces").figure
        return [t.get_text() for t in figure.legends[0].get_texts()]

    results["learning_curve"][-1]["loo_mode"] = "at_hand"
    assert "leave-one-out with gfn2 at hand, with its band" in legend()
    results["learning_curve"][-1]["loo_mode"] = "standalone"
    assert "leave-one-out standalone, with its band" in legend()
