"""What is learned goes into the record and comes back the same."""

import json

import numpy as np
import pytest
import torch
from small_campaigns import LEVELS, morse, water

from mfal import Fidelity, Label, LabelledDataset
from mfal.campaign.learning import (
    HeldOut,
    fit_from_record,
    fit_record,
    heldout_errors,
    heldout_predictions,
    learn,
    recalibrated,
)
from mfal.models.evaluation import evaluation
from mfal.models.evidence import Optimum
from mfal.models.exact import ExactPotential
from mfal.models.fitting import Fit
from mfal.models.hyperparameters import Hyperparameters

NAMES = ("low", "high")


def labelled(structures, missing=()):
    labels = {
        (k, name): Label(*morse(water(i), *LEVELS[name][:3]))
        for k, i in enumerate(structures)
        for name in NAMES
        if (i, name) not in missing
    }
    return LabelledDataset(
        tuple(water(i) for i in structures), tuple(map(Fidelity, NAMES)), labels
    )


@pytest.fixture
def fit():
    h = Hyperparameters(
        ("matern52", "rbf"),
        *(
            torch.tensor(v, dtype=torch.float64)
            for v in ([0.9, 1 / 3], [1.4, 0.3], [1.3])
        ),
        torch.full((2, 3), 0.02, dtype=torch.float64),
    )
    optima = tuple(Optimum(h, 1.0, 2.0 / 3, True, 9, 20) for _ in NAMES)
    return Fit(h, optima, torch.tensor([0.1 / 3], dtype=torch.float64))


@pytest.fixture
def model(fit):
    data = labelled(range(8), missing={(6, "high"), (7, "high")})
    return ExactPotential.with_fit(data, fit, permutations="none")


@pytest.fixture
def heldout():
    """One structure of the four lacks its high label, one its low label."""
    return HeldOut(labelled(range(20, 24), missing={(21, "high"), (22, "low")}))


@pytest.mark.parametrize("error", [0.1 / 3, float("nan")])
def test_a_fit_comes_back_from_json_to_the_last_bit(fit, error):
    known = Fit(fit.hyperparameters, fit.optima, torch.tensor([error]).double())
    text = json.dumps(fit_record(known), allow_nan=False)
    assert json.loads(text)["log_evidence"] == known.log_evidence == 4.0 / 3
    assert json.loads(text)["converged"]
    back = fit_from_record(json.loads(text))
    assert back.hyperparameters.kernels == fit.hyperparameters.kernels
    for name in ("lengthscale", "scale", "rho", "noise"):
        assert torch.equal(
            getattr(back.hyperparameters, name), getattr(fit.hyperparameters, name)
        )
    torch.testing.assert_close(
        back.rho_error, known.rho_error, rtol=0, atol=0, equal_nan=True
    )


def test_held_out_structures_are_those_with_a_label_at_every_level(heldout):
    assert [a.positions[0, 0] for a in heldout.structures] == [
        water(i).positions[0, 0] for i in (20, 23)
    ]
    for name in NAMES:
        energies = [morse(water(i), *LEVELS[name][:3])[0] for i in (20, 23)]
        assert [label.energy for label in heldout.labels(name)] == energies


def test_what_was_learned_is_plain_json_and_gives_the_model_back(model, heldout, fit):
    learned, record = learn(model, heldout)
    record = json.loads(json.dumps(record, allow_nan=False))
    again = recalibrated(
        ExactPotential.with_fit(model.dataset, fit, permutations="none"), record
    )
    assert set(record["recalibration"]) == {"standalone", "at_hand"}
    assert record["loo_mode"] == "at_hand"
    assert record["jitter"] == 0
    at_hand = [Label(*morse(water(20), *LEVELS["low"][:3]))]
    for arguments in ({}, {"at_hand": at_hand}):
        one, other = (m.predict([water(20)], **arguments) for m in (learned, again))
        np.testing.assert_allclose(other.forces_sigma, one.forces_sigma, rtol=1e-12)
        plain = model.predict([water(20)], **arguments)
        mode = "at_hand" if arguments else "standalone"
        factor = record["recalibration"][mode]["forces"]
        np.testing.assert_allclose(one.forces_sigma, factor * plain.forces_sigma)


def test_one_level_is_learned_standalone_and_without_held_out_labels(model):
    high = model.dataset.at_levels(["high"]).subset(range(6))
    one = model.hyperparameters
    h = Hyperparameters(
        one.kernels[1:], one.lengthscale[1:], one.scale[1:], one.rho[:0], one.noise[1:]
    )
    fit = Fit(h, (None,), torch.zeros(0, dtype=torch.float64))
    _, record = learn(ExactPotential.with_fit(high, fit, permutations="none"), None)
    assert record["loo_mode"] == "standalone"
    assert record["heldout"] is None
    assert record["loo"]["forces_mae"] > 0


def test_held_out_errors_are_those_of_both_ways_of_deployment(model, heldout):
    learned, record = learn(model, heldout)
    low, high = heldout.labels("low"), heldout.labels("high")
    expected = {
        "standalone": evaluation(learned.predict(heldout.structures), high),
        "at_hand": evaluation(learned.predict(heldout.structures, at_hand=low), high),
    }
    assert record["heldout"] == heldout_errors(learned, heldout) == expected
    raw = heldout_predictions(learned, heldout, calibrated=False)["at_hand"]
    plain = model.predict(heldout.structures, at_hand=low)
    np.testing.assert_allclose(raw.forces_sigma, plain.forces_sigma)
