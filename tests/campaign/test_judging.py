"""Errors for the stopping rule: values by their formulas, intervals that hold."""

import dataclasses

import numpy as np
import pytest
from small_campaigns import water
from test_learning import fit, heldout, labelled, model  # noqa: F401 (fixtures)

from mfal.campaign.judging import (
    judged,
    judgements,
    label_sigmas,
    predicted_errors,
)
from mfal.campaign.learning import heldout_predictions, learn
from mfal.campaign.stopping_config import StoppingConfig
from mfal.models.calibration import metrics
from mfal.models.evaluation import residuals as of_labels
from mfal.models.residuals import Residuals, left_out_residuals


def residuals(n, *, spread=0.0, seed=0, n_atoms=4):
    """Energies and forces of n configurations whose forces err together by `spread`."""
    rng = np.random.default_rng(seed)
    owner = np.repeat(np.arange(n), 3 * n_atoms)
    size = np.exp(spread * rng.standard_normal(n))[owner]
    return {
        "energy": Residuals(
            "energy",
            "high",
            0.002 * rng.standard_normal(n),
            np.full(n, 0.002),
            np.arange(n),
            np.zeros(n, int),
        ),
        "forces": Residuals(
            "forces",
            "high",
            0.1 * size * rng.standard_normal(len(owner)),
            np.full(len(owner), 0.1),
            owner,
            np.full(len(owner), 6),
        ),
    }


def found(parts, confidence=0.5, seed=1):
    return judged(parts, rng=np.random.default_rng(seed), confidence=confidence)


def test_errors_are_those_of_the_formulas():
    parts = residuals(12, spread=0.5)
    energy, forces = (
        metrics(parts[q].residual, parts[q].sigma) for q in ("energy", "forces")
    )
    got = found(parts)
    assert got["n"] == 12
    assert got["energy_mae"]["value"] == pytest.approx(energy["mae"])
    assert got["forces_rmse"]["value"] == pytest.approx(forces["rmse"])
    assert got["ece_energy"]["value"] == pytest.approx(energy["ece"])
    assert got["ece_forces"]["value"] == pytest.approx(forces["ece"])
    z = [np.abs(p.residual / p.sigma).max() for p in parts.values()]
    assert got["largest_residual"]["value"] == pytest.approx(max(z))


def test_intervals_hold_the_error_of_the_population_two_times_in_three():
    """Configurations with errors of very different sizes: rows alone would not do."""
    true = 0.1 * np.exp(0.5**2)  # E[size^2]^1/2 of log-normal sizes
    inside = [
        x["low"] <= true <= x["high"]
        for x in (
            found(residuals(40, spread=0.5, seed=k))["forces_rmse"] for k in range(100)
        )
    ]
    assert 0.55 < np.mean(inside) < 0.8


def test_the_mae_of_energies_has_the_interval_of_its_standard_error():
    parts = residuals(60)
    error = np.abs(parts["energy"].residual)
    half = error.std() / np.sqrt(len(error))
    got = found(parts)["energy_mae"]
    assert 0.5 * (got["high"] - got["low"]) == pytest.approx(0.994 * half, rel=0.1)


def test_the_bound_grows_with_the_confidence_from_the_value_itself():
    parts = residuals(20, spread=0.5)
    bounds = [found(parts, c)["forces_rmse"]["bound"] for c in (0.5, 0.84, 0.95)]
    assert bounds == sorted(bounds) and len(set(bounds)) == 3
    assert bounds[0] == found(parts)["forces_rmse"]["value"]
    assert bounds[1] == found(parts)["forces_rmse"]["high"]


def test_the_same_seed_gives_the_same_numbers():
    parts = residuals(10)
    assert found(parts) == found(parts) != found(parts, seed=2)


def test_what_vanishes_by_symmetry_is_no_residual():
    parts = residuals(6)
    forces = parts["forces"]
    forces.residual[::3], forces.sigma[::3] = 0.0, 0.0
    assert np.isfinite(found(parts)["largest_residual"]["value"])


def test_nothing_is_said_of_no_labels():
    assert found({}) == {"n": 0}


# --- of a model


def test_left_out_errors_are_those_of_the_learning_curve(model, heldout):  # noqa: F811
    model, record = learn(model, heldout)
    section = StoppingConfig(forces_rmse=0.1, deployment="at_hand")
    got = judgements(model, heldout, [section], seed=[0])[section.source]
    assert got["n"] == 6
    loo = record["loo"]
    assert got["forces_rmse"]["value"] == pytest.approx(loo["forces_rmse"])
    assert 1e3 * got["energy_mae"]["value"] == pytest.approx(loo["energy_mae"])


@pytest.mark.parametrize("deployment", ["standalone", "at_hand"])
def test_held_out_errors_are_those_of_the_held_out_labels(
    model,  # noqa: F811
    heldout,  # noqa: F811
    deployment,
):
    model, record = learn(model, heldout)
    section = StoppingConfig(
        forces_rmse=0.1, errors="validation", deployment=deployment
    )
    got = judgements(model, heldout, [section], seed=[0])[section.source]
    expected = record["heldout"][deployment]
    assert got["n"] == len(heldout.structures)
    assert got["forces_rmse"]["value"] == pytest.approx(expected["forces"]["rmse"])
    assert 1e3 * got["energy_mae"]["value"] == pytest.approx(expected["energy"]["mae"])
    assert got["ece_forces"]["value"] == pytest.approx(expected["forces"]["ece"])
    prediction = heldout_predictions(model, heldout)[deployment]
    pairs = of_labels(prediction, heldout.labels("high")).values()
    z = max(np.abs(r / s).max() for r, s in pairs)
    assert got["largest_residual"]["value"] == pytest.approx(z)


def test_a_model_of_one_level_stands_alone(model):  # noqa: F811
    alone, _ = learn(model, None)
    section = StoppingConfig(forces_rmse=0.1, errors="validation")
    assert judgements(alone, None, [section], seed=[0])[section.source] == {"n": 0}


# --- predicted at probes


def test_predicted_errors_are_those_of_labels_drawn_with_the_sigmas():
    """Sigmas too small by 2: left-out labels say so, and errors at probes are doubled."""
    rng = np.random.default_rng(3)
    parts = residuals(400, seed=3)
    wrong = {
        q: dataclasses.replace(part, sigma=0.5 * part.sigma)
        for q, part in parts.items()
    }
    sigmas = {
        "energy": [np.array([s]) for s in rng.uniform(0.001, 0.003, 50)],
        "forces": [rng.uniform(0.05, 0.2, 12) for _ in range(50)],
    }
    drawn = {
        q: np.concatenate(
            [2 * s * rng.standard_normal((4000, len(s))) for s in some], 1
        )
        for q, some in sigmas.items()
    }
    got = predicted_errors(wrong, sigmas, rng=rng)
    assert got["n_probes"] == 50
    mae, rmse = got["energy_mae"], got["forces_rmse"]
    assert mae["value"] == pytest.approx(np.abs(drawn["energy"]).mean(), rel=0.08)
    expected = np.sqrt(np.square(drawn["forces"]).mean())
    assert rmse["value"] == pytest.approx(expected, rel=0.04)
    for one in (mae, rmse):
        assert one["low"] < one["value"] < one["high"] and one["bound"] == one["value"]


def test_the_interval_of_predicted_errors_knows_of_few_left_out_labels():
    sigmas = {"energy": [np.array([0.002])] * 30}
    width = {}
    for n in (10, 40):
        one = {"energy": residuals(n, seed=5)["energy"]}
        got = predicted_errors(one, sigmas, rng=np.random.default_rng(0))["energy_mae"]
        width[n] = (got["high"] - got["low"]) / got["value"]
    # z is the root of a mean of n squares: relative error 1 / sqrt(2 n), both sides
    assert width[10] == pytest.approx(2 / np.sqrt(20), rel=0.5)
    assert width[40] == pytest.approx(2 / np.sqrt(80), rel=0.5)


def test_probes_are_judged_where_they_are_not_where_labels_are(model):  # noqa: F811
    """Far from all labels a predicted error is larger than among them."""
    model, _ = learn(model, None)
    section = StoppingConfig(forces_rmse=0.1, errors="predicted")
    near = [water(i) for i in range(6)]
    far = [atoms.copy() for atoms in near]
    for atoms in far:
        atoms.positions *= 1.3
    found = {
        name: judgements(model, None, [section], seed=[0], probes=probes)
        for name, probes in (("near", near), ("far", far))
    }
    errors = {name: one[section.source] for name, one in found.items()}
    assert (
        errors["far"]["forces_rmse"]["value"] > errors["near"]["forces_rmse"]["value"]
    )
    sigmas = label_sigmas(model.predict(far), far)
    left = left_out_residuals(model)
    rng = np.random.default_rng(0)
    same = predicted_errors(left, sigmas, rng=rng)
    for name in ("energy_mae", "forces_rmse"):
        assert errors["far"][name]["value"] == pytest.approx(same[name]["value"])
    assert errors["far"]["n"] == 6 and "ece_forces" in errors["far"]


def test_without_left_out_labels_nothing_is_predicted():
    sigmas = {"forces": [np.full(6, 0.1)]}
    got = predicted_errors({}, sigmas, rng=np.random.default_rng(0))
    assert got == {"n_probes": 1}
