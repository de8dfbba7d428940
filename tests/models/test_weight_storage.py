"""Sparse and linear potentials come back from disk as they were."""

import json
from copy import copy
from dataclasses import replace

import numpy as np
import pytest
from small_cells import alloy, cell, emt_dataset, small_map, small_soap

from mfal.data.artefact import ArtefactError, load_artefact, save_artefact
from mfal.models import LinearPotential, SparsePotential, calibrated_weights
from mfal.models.storage import load_potential, save_potential

STRUCTURES = tuple(alloy(seed) for seed in range(6))


@pytest.fixture(scope="module")
def dataset():
    return emt_dataset(STRUCTURES)


@pytest.fixture(scope="module", params=["sparse", "linear"])
def model(request, dataset):
    if request.param == "linear":
        found = LinearPotential.fit(dataset, small_soap("Cu", "Au"))
    else:
        found = SparsePotential.fit(dataset, small_map(STRUCTURES))
    return calibrated_weights(found)


def test_predictions_come_back_to_the_last_bits(model, tmp_path):
    save_potential(model, tmp_path / "m")
    loaded = load_potential(tmp_path / "m")
    assert type(loaded) is type(model)
    atoms = alloy(11)
    one, other = (m.predict([atoms])[0] for m in (model, loaded))
    assert other.energy == pytest.approx(one.energy, abs=1e-10)
    for name in ("forces", "stress", "forces_sigma", "stress_noise"):
        np.testing.assert_allclose(getattr(other, name), getattr(one, name), rtol=1e-9)
    assert loaded.recalibrations == model.recalibrations
    assert loaded.fitted.to_json() == model.fitted.to_json()


def test_labels_can_be_added_to_what_was_loaded(model, tmp_path):
    save_potential(model, tmp_path / "m")
    more = emt_dataset((alloy(20), alloy(21)))
    atoms = alloy(11)
    one, other = (
        m.with_labels(more).predict([atoms])[0]
        for m in (model, load_potential(tmp_path / "m"))
    )
    assert other.energy == pytest.approx(one.energy, abs=1e-9)
    assert len(load_potential(tmp_path / "m").with_labels(more).seen("emt")) == 8


def test_structures_that_the_model_knows_are_not_added_again(model, dataset):
    with pytest.raises(ValueError, match="has a label in the model already"):
        model.with_labels(dataset)


def test_another_version_and_an_unknown_descriptor_are_refused(model, tmp_path):
    save_potential(model, tmp_path / "m")
    header, arrays = load_artefact(tmp_path / "m")
    save_artefact(tmp_path / "v", {**header, "version": 99}, arrays)
    with pytest.raises(ArtefactError, match="upgrade mfal"):
        load_potential(tmp_path / "v")
    mine = json.loads(json.dumps(header))
    mine["descriptors"][0]["name"] = "mine"
    save_artefact(tmp_path / "d", mine, arrays)
    with pytest.raises(ArtefactError, match="descriptor 'mine'"):
        load_potential(tmp_path / "d")


def test_features_of_an_unknown_kind_are_not_saved(model, tmp_path):
    class Own:
        size = 1
        rows = energies = slopes = unexplained = lambda self, *arguments: None

    other = copy(model)
    parts = ((small_soap("Cu", "Au"), Own()),)
    other.feature_map = replace(model.feature_map, parts=parts)
    with pytest.raises(ArtefactError, match="Own cannot be saved"):
        save_potential(other, tmp_path / "m")


def test_a_cell_smaller_than_the_cutoff_is_no_trouble(dataset, tmp_path):
    model = SparsePotential.fit(dataset, small_map(STRUCTURES))
    save_potential(model, tmp_path / "m")
    found = load_potential(tmp_path / "m").predict([cell(3)])[0]
    assert np.isfinite(found.energy)
