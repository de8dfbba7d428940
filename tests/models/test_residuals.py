"""Residuals know their structure and species, judged on labels or left out."""

import numpy as np
import pytest
from small_cells import alloy, cell, emt_dataset, small_map

from mfal.models import SparsePotential, calibrated_weights, metrics
from mfal.models.calibration import Recalibration
from mfal.models.exact import ExactPotential
from mfal.models.leave_out import calibrated, leave_one_out
from mfal.models.observations import observe
from mfal.models.residuals import (
    Residuals,
    left_out_residuals,
    left_out_structures,
    residuals_of,
)

METHYL = [[0, 1, 4, 3, 5, 2], [0, 1, 4, 3, 2, 5]]


@pytest.fixture(scope="module")
def data():
    return emt_dataset(tuple(alloy(i) if i % 2 else cell(i) for i in range(12)))


@pytest.fixture(scope="module")
def model(data):
    return calibrated_weights(
        SparsePotential.fit(data, small_map(data.structures, 12))
    ).with_recalibrations({"standalone": Recalibration(2.0, 3.0, 4.0, 1.5, 0.5)})


@pytest.fixture(scope="module")
def molecule(methanol):
    return calibrated(
        ExactPotential.fit(
            methanol.subset(range(8)),
            permutations=METHYL,
            evidence_rows=100,
            restarts=0,
        )
    )


def test_residuals_are_label_minus_prediction_with_the_sigma_of_labels(model):
    held_out = emt_dataset((cell(50), alloy(51)))
    labels = [held_out.labels[i, "emt"] for i in range(2)]
    predicted = model.predict(held_out.structures)
    found = residuals_of(predicted, labels, held_out.structures, "emt")
    energy = [(labels[i].energy - predicted[i].energy) / n for i, n in ((0, 4), (1, 3))]
    np.testing.assert_allclose(found["energy"].residual, energy)
    sigma = [predicted[i].total_sigma("energy") / n for i, n in ((0, 4), (1, 3))]
    np.testing.assert_allclose(found["energy"].sigma, sigma)
    forces = found["forces"]
    np.testing.assert_allclose(
        forces.residual[12:], (labels[1].forces - predicted[1].forces).ravel()
    )
    np.testing.assert_allclose(
        forces.sigma[12:], predicted[1].total_sigma("forces").ravel()
    )
    assert forces.structure.tolist() == [0] * 12 + [1] * 9
    assert forces.species.tolist() == [29] * 15 + [79] * 3 + [29] * 3
    assert found["stress"].species.tolist() == [0] * 12
    with pytest.raises(ValueError, match="one label per structure"):
        residuals_of(predicted, labels[:1], held_out.structures, "emt")


@pytest.mark.parametrize("i", [0, 5])
def test_left_out_residuals_are_those_of_a_potential_without_the_structure(
    model, data, i
):
    found = left_out_residuals(model)
    others = SparsePotential.with_fit(
        data.subset([k for k in range(12) if k != i]), model.feature_map, model.fitted
    ).with_recalibrations(model.recalibrations)
    predicted = others.predict([data.structures[i]])
    expected = residuals_of(
        predicted, [data.labels[i, "emt"]], [data.structures[i]], "emt"
    )
    for quantity, residuals in found.items():
        part = residuals.chosen(residuals.structure == i)
        np.testing.assert_allclose(part.sigma, expected[quantity].sigma, rtol=1e-5)
        # energies of reference are fitted to one structure less
        np.testing.assert_allclose(
            part.residual, expected[quantity].residual, rtol=1e-2, atol=2e-3
        )
        assert part.species.tolist() == expected[quantity].species.tolist()


@pytest.mark.parametrize("mode", ["standalone", "at_hand"])
def test_of_a_molecule_they_are_those_of_leave_one_out(molecule, mode):
    found = left_out_residuals(molecule, mode=mode)
    left, factor = leave_one_out(molecule, mode=mode), molecule.recalibrations[mode]
    np.testing.assert_allclose(found["energy"].residual, left.energy / 6)
    np.testing.assert_allclose(
        found["energy"].sigma, factor.energy * left.energy_sigma / 6
    )
    np.testing.assert_allclose(found["forces"].residual, left.forces.ravel())
    assert np.mean(found["forces"].standardised ** 2) == pytest.approx(1)
    assert found["forces"].structure.tolist() == np.repeat(range(8), 18).tolist()
    assert found["forces"].species[:9].tolist() == [6, 6, 6, 8, 8, 8, 1, 1, 1]


def test_left_out_structures_come_in_the_order_of_the_residuals(molecule, methanol):
    few = methanol.subset(range(4))
    labels = {k: v for k, v in few.labels.items() if k not in {(1, "gfn2"), (2, "mp2")}}
    labels[3, "mp2"] = labels[3, "mp2"].only(["energy"])
    few = type(few)(few.structures, few.fidelities, labels)
    model = ExactPotential(
        few,
        molecule.builder,
        molecule.permutations,
        observe(few, molecule.builder),
        molecule.fitted,
    )
    asked = [(0, "standalone"), (0, "at_hand"), (1, "standalone"), (1, "at_hand")]
    found = [left_out_structures(model, None, q, mode=m) for q, m in asked]
    assert found == [[0, 1, 3], [0, 3], [0, 1], [0]]
    assert len(leave_one_out(model, mode="at_hand").energy) == 2
    assert len(leave_one_out(model, mode="standalone").forces) == 2


def test_the_summary_is_of_all_of_each_species_and_of_each_group(model):
    residuals = left_out_residuals(model)["forces"]
    found = residuals.summary({"cells": range(0, 12, 2), "none": [99]})
    assert found["level"] == "emt"
    everything = metrics(residuals.residual, residuals.sigma)
    assert everything.items() <= found["all"].items()
    gold = residuals.species == 79
    assert found["species"]["Au"]["rmse"] == pytest.approx(
        np.sqrt(np.mean(residuals.residual[gold] ** 2))
    )
    assert set(found["species"]) == {"Cu", "Au"}
    cells = residuals.structure % 2 == 0
    assert set(found["groups"]) == {"cells"}
    assert found["groups"]["cells"]["n"] == cells.sum()
    energies = left_out_residuals(model)["energy"].summary()
    assert energies["species"] == {}


def test_a_loaded_potential_leaves_nothing_out(model):
    loaded = SparsePotential(
        model.feature_map, model.training, model.statistics, model.fitted
    )
    with pytest.raises(ValueError, match="no label can be left out"):
        left_out_residuals(loaded)


def test_arrays_of_different_lengths_are_refused():
    one, two = np.ones(1), np.ones(2)
    with pytest.raises(ValueError, match="arrays of"):
        Residuals("energy", "emt", one, two, one.astype(int), one.astype(int))
