import numpy as np
import pytest

from mfal.report.errors import MAX_POINTS, draw_calibration, draw_parity, parity_points


def segments(axes):
    return np.array(axes.containers[0].lines[2][0].get_segments())


def test_parity_of_energies_is_in_meV_per_atom_with_error_bars(results):
    above, below = draw_parity(results, "at_hand", "energy").figure.axes
    rows = results["evaluation"]["at_hand"]["parity"]["energy"]
    x, y, sigma = (
        1000 * np.array(rows[k]) for k in ("reference", "predicted", "sigma")
    )
    order = np.argsort(x)
    bars = segments(above)
    assert bars[:, 0, 0] == pytest.approx(x[order])
    assert bars[:, 0, 1] == pytest.approx((y - sigma)[order])
    assert bars[:, 1, 1] == pytest.approx((y + sigma)[order])
    assert segments(below).mean(axis=1)[:, 1] == pytest.approx((y - x)[order])
    assert "meV/atom" in above.get_ylabel() and "meV/atom" in below.get_xlabel()


def test_many_forces_are_thinned_evenly_from_least_to_largest(results):
    reference, predicted, sigma = parity_points(results, "standalone", "forces")
    rows = results["evaluation"]["standalone"]["parity"]["forces"]
    assert len(reference) == MAX_POINTS < len(rows["reference"])
    assert reference[0] == min(rows["reference"])
    assert reference[-1] == max(rows["reference"])
    triples = set(
        zip(*(rows[k] for k in ("reference", "predicted", "sigma")), strict=True)
    )
    assert set(zip(reference, predicted, sigma, strict=True)) <= triples


def test_parity_without_sigma_has_points_without_bars(results):
    results["evaluation"]["standalone"]["parity"]["energy"]["sigma"] = None
    above, _ = draw_parity(results, "standalone", "energy").figure.axes
    assert np.ptp(segments(above)[:, :, 1], axis=1) == pytest.approx(0)


def test_calibration_shows_raw_and_calibrated_of_both_deployments(results):
    axes = draw_calibration(results, "forces").figure.axes[0]
    shown = {line.get_label(): line.get_ydata() for line in axes.lines[1:]}
    curves = results["evaluation"]["at_hand"]["calibration"]["forces"]
    assert set(shown) == {
        f"{mode}, {kind}"
        for mode in ("standalone", "with gfn2 at hand")
        for kind in ("raw", "calibrated")
    }
    assert shown["with gfn2 at hand, raw"] == pytest.approx(curves["empirical_raw"])
    assert shown["with gfn2 at hand, calibrated"] == pytest.approx(curves["empirical"])


@pytest.mark.parametrize("lost", ["reference", "predicted"])
def test_no_parity_without_both_sides(results, lost):
    results["evaluation"]["standalone"]["parity"]["forces"][lost] = None
    assert draw_parity(results, "standalone", "forces") is None
