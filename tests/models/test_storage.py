"""Potentials on disk."""

import dataclasses
import json

import numpy as np
import pytest
import torch
from small_models import MIXED, SWAP, hyperparameters, potential, water, water_dataset

from mfal import Fidelity, LabelledDataset
from mfal.data.artefact import ArtefactError, load_artefact, save_artefact
from mfal.models.calibration import Recalibration
from mfal.models.evidence import Optimum
from mfal.models.exact import ExactPotential
from mfal.models.fitting import Fit
from mfal.models.storage import load_potential, save_potential


@pytest.fixture
def model():
    """Three levels, quantities missing here and there, labels with sigmas of their own."""
    dataset = water_dataset(MIXED[3])
    labels = dict(dataset.labels)
    for key, sigma in (((0, "low"), {"forces": 0.1}), ((1, "high"), {"energy": 0.3})):
        labels[key] = dataclasses.replace(labels[key], sigma=sigma)
    fidelities = (
        Fidelity("low", {"code": "tblite", "method": "GFN2-xTB"}),
        Fidelity("middle", quantities=("forces", "energy")),
        Fidelity("high", {"code": "replay", "file": "x"}, charge=-2, multiplicity=3),
    )
    dataset = LabelledDataset(dataset.structures, fidelities, labels)
    h = hyperparameters("rbf", "matern52", "rbf")
    plain = potential(dataset, h, permutations=SWAP)
    optimum = Optimum(h, -3.0, 1 / 3, True, 7, 40, 0.01)
    errors = torch.tensor([0.1, float("nan")], dtype=torch.float64)
    fit = Fit(h, (optimum, None, dataclasses.replace(optimum, gradient=np.nan)), errors)
    return ExactPotential(
        dataset,
        plain.builder,
        plain.permutations,
        plain.observations,
        fit,
        {"standalone": Recalibration(1.3, 0.7), "at_hand": Recalibration(0.9, 1.1)},
    )


@pytest.fixture
def loaded(model, tmp_path):
    save_potential(model, tmp_path / "model")
    return load_potential(tmp_path / "model")


@pytest.mark.parametrize("level", ["low", "middle", "high"])
def test_a_loaded_potential_predicts_what_the_saved_one_did(model, loaded, level):
    queries = [water(31), model.structures[1]]
    before, after = model.predict(queries, level), loaded.predict(queries, level)
    for field in dataclasses.fields(before):
        np.testing.assert_allclose(
            getattr(after, field.name), getattr(before, field.name), rtol=1e-12
        )


def test_a_loaded_potential_predicts_the_same_with_a_label_at_hand(model, loaded):
    query, label = [model.structures[3]], [model.dataset.labels[3, "low"]]
    before = model.predict(query, at_hand=label)
    after = loaded.predict(query, at_hand=label)
    for field in dataclasses.fields(before):
        np.testing.assert_allclose(
            getattr(after, field.name), getattr(before, field.name), rtol=1e-12
        )


def test_every_label_and_level_comes_back(model, loaded):
    before, after = model.dataset, loaded.dataset
    assert after.fidelities == before.fidelities
    assert after.labels.keys() == before.labels.keys()
    for key, label in before.labels.items():
        assert after.labels[key].agrees_with(label)
        assert after.labels[key].sigma == label.sigma
    for one, other in zip(before.structures, after.structures, strict=True):
        assert one == other


def test_hyperparameters_and_their_history_come_back_to_the_last_bit(model, loaded):
    assert torch.equal(
        loaded.hyperparameters.to_vector(), model.hyperparameters.to_vector()
    )
    assert loaded.hyperparameters.kernels == model.hyperparameters.kernels
    assert torch.equal(loaded.permutations, model.permutations)
    assert loaded.recalibrations == model.recalibrations
    np.testing.assert_array_equal(loaded.fitted.rho_error, model.fitted.rho_error)
    first, held, last = loaded.fitted.optima
    assert held is None
    assert loaded.fitted.log_evidence == model.fitted.log_evidence
    assert (first.evaluations, first.n_rows, first.gradient) == (7, 40, 0.01)
    assert np.isnan(last.gradient)


def test_the_factor_is_not_stored(model, tmp_path):
    save_potential(model, tmp_path / "model")
    _, arrays = load_artefact(tmp_path / "model")
    assert max(a.size for a in arrays.values()) < len(model.observations) ** 2


def test_a_damaged_file_falls_back_to_the_generation_before(model, tmp_path, caplog):
    directory = tmp_path / "model"
    save_potential(model, directory)
    save_potential(model.with_recalibrations({}), directory)
    newest = directory / "generation-000002" / "arrays.npz"
    newest.write_bytes(newest.read_bytes()[:-20])
    assert load_potential(directory).recalibrations == model.recalibrations
    assert "the previous generation is tried" in caplog.text


@pytest.mark.parametrize(
    ("changes", "words"),
    [({"kind": "magic"}, "holds no potential"), ({"version": 99}, "upgrade mfal")],
)
def test_what_is_no_potential_of_this_version_is_refused(
    model, tmp_path, changes, words
):
    save_potential(model, tmp_path / "model")
    header, arrays = load_artefact(tmp_path / "model")
    save_artefact(tmp_path / "other", json.loads(json.dumps(header | changes)), arrays)
    with pytest.raises(ArtefactError, match=words):
        load_potential(tmp_path / "other")
