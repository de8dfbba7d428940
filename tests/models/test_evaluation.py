"""Errors and calibration of predictions against labels, in the units of reports."""

import numpy as np
import pytest

from mfal import Label
from mfal.models.calibration import metrics
from mfal.models.evaluation import (
    calibration_curves,
    evaluation,
    left_out_summary,
    parity,
    residuals,
)
from mfal.models.leave_out import LeftOut
from mfal.models.prediction import Prediction

N, ATOMS = 6, 4


@pytest.fixture
def rng():
    return np.random.default_rng(0)


@pytest.fixture
def labels(rng):
    """One label without forces, one without an energy."""
    labels = [Label(-100 + rng.normal(), rng.normal(size=(ATOMS, 3))) for _ in range(N)]
    labels[1], labels[2] = labels[1].only(["energy"]), labels[2].only(["forces"])
    return labels


@pytest.fixture
def prediction(rng):
    shapes = {"energy": (N,), "forces": (N, ATOMS, 3)}
    values = {q: rng.normal(size=shape) for q, shape in shapes.items()}
    values["energy"] -= 100
    for q, shape in shapes.items():
        for kind in ("sigma", "noise"):
            values[f"{q}_{kind}"] = rng.uniform(0.5, 1.5, size=shape)
    return Prediction(**values)


def test_energies_are_judged_per_atom_in_meV_and_forces_in_eV_per_A(prediction, labels):
    found = evaluation(prediction, labels)
    have = [0, 1, 3, 4, 5]
    error = prediction.energy[have] - [labels[i].energy for i in have]
    sigma = np.hypot(prediction.energy_sigma, prediction.energy_noise)[have]
    assert found["energy"] == metrics(250 * error, 250 * sigma)
    have = [0, 2, 3, 4, 5]
    error = prediction.forces[have] - [labels[i].forces for i in have]
    sigma = np.hypot(prediction.forces_sigma, prediction.forces_noise)[have]
    assert found["forces"] == metrics(error.ravel(), sigma.ravel())


def test_a_quantity_that_no_label_has_is_left_out(prediction, labels):
    energies = [Label(0.0)] * N
    assert set(evaluation(prediction, energies)) == {"energy"}
    assert set(residuals(prediction, [Label(forces=np.zeros((4, 3)))] * N)) == {
        "forces"
    }


def test_parity_holds_both_sides_from_the_same_zero(prediction, rng):
    labels = [Label(-100 + rng.normal(), rng.normal(size=(ATOMS, 3))) for _ in range(N)]
    found = parity(prediction, labels)
    energies = np.array([label.energy for label in labels])
    assert np.mean(found["energy"]["reference"]) == pytest.approx(0, abs=1e-12)
    difference = np.subtract(found["energy"]["predicted"], found["energy"]["reference"])
    np.testing.assert_allclose(difference, (prediction.energy - energies) / ATOMS)
    np.testing.assert_allclose(
        found["energy"]["sigma"], prediction.total_sigma("energy") / ATOMS
    )
    np.testing.assert_array_equal(
        found["forces"]["reference"], np.ravel([label.forces for label in labels])
    )
    np.testing.assert_array_equal(
        found["forces"]["predicted"], prediction.forces.ravel()
    )
    np.testing.assert_array_equal(
        found["forces"]["sigma"], prediction.total_sigma("forces").ravel()
    )


def test_calibration_curves_stand_beside_those_without_recalibration(
    prediction, labels, rng
):
    wide = Prediction(
        **{
            name: value * (3 if name.endswith(("sigma", "noise")) else 1)
            for name, value in vars(prediction).items()
        }
    )
    found = calibration_curves(wide, prediction, labels)
    for quantity in ("energy", "forces"):
        curve = found[quantity]
        assert curve["nominal"] == pytest.approx([k / 20 for k in range(1, 20)])
        assert all(
            w >= r
            for w, r in zip(curve["empirical"], curve["empirical_raw"], strict=True)
        )
        _, sigma = residuals(prediction, labels)[quantity]
        assert sum(curve["empirical"]) > sum(curve["empirical_raw"])
        assert len(curve["empirical"]) == 19 and len(sigma) > 4


def test_left_out_errors_have_a_band_of_their_standard_error(rng):
    left = LeftOut(
        rng.normal(size=N),
        np.ones(N),
        rng.normal(size=(N, ATOMS, 3)),
        np.full((N, ATOMS, 3), 0.5),
    )
    found = left_out_summary(left, {"energy": 1.0, "forces": 2.0}, ATOMS)
    energy = 250 * np.abs(left.energy)
    forces = np.abs(left.forces).mean(axis=(1, 2))
    for name, errors in (("energy_mae", energy), ("forces_mae", forces)):
        band = np.std(errors, ddof=1) / N**0.5
        assert found[name] == pytest.approx(np.mean(errors))
        assert found[f"{name}_low"] == pytest.approx(np.mean(errors) - band)
        assert found[f"{name}_high"] == pytest.approx(np.mean(errors) + band)
    assert found["forces_rmse"] == pytest.approx(np.sqrt(np.mean(left.forces**2)))
    inside = np.abs(left.forces) < 0.994458  # the central 68 % of a unit normal
    assert found["coverage_68"] == pytest.approx(np.mean(inside))


def test_what_was_not_left_out_is_not_summarised(rng):
    left = LeftOut(
        rng.normal(size=1), np.ones(1), np.zeros((0, ATOMS, 3)), np.zeros((0, ATOMS, 3))
    )
    found = left_out_summary(left, {"energy": 1.0, "forces": 1.0}, ATOMS)
    assert set(found) == {"energy_mae", "energy_mae_low", "energy_mae_high"}
    assert found["energy_mae_low"] == found["energy_mae_high"] == found["energy_mae"]
