"""Errors of structures add up to those of `evaluation`; intervals hold the truth."""

import numpy as np
import pytest
from ase.build import molecule

from mfal.campaign.paired_errors import (
    StructureErrors,
    joined,
    maes,
    ratios,
    structure_errors,
)
from mfal.data import Label
from mfal.models.prediction import StructurePrediction, StructurePredictions


def rows(rng, n):
    names = [
        f"{q}{kind}" for q in ("energy", "forces") for kind in ("", "_sigma", "_noise")
    ]
    return {x: rng.normal(size=3 * n if "forces" in x else 1) for x in names}


@pytest.fixture
def predicted_and_labels():
    rng = np.random.default_rng(0)
    sizes = [len(molecule(name)) for name in ("H2O", "CH4", "H2O")]
    labels = [Label(rng.normal(), rng.normal(size=(n, 3))) for n in sizes]
    parts = [StructurePrediction.from_rows(rows(rng, n), n) for n in sizes]
    return StructurePredictions(parts), labels


def test_errors_are_the_mean_over_all_rows_of_all_structures(predicted_and_labels):
    prediction, labels = predicted_and_labels
    found = structure_errors(prediction, labels)
    pairs = list(zip(prediction.forces, labels, strict=True))
    errors = np.concatenate([np.ravel(f - x.forces) for f, x in pairs])
    assert found["forces"].mae == pytest.approx(np.abs(errors).mean())
    per_atom = [
        1e3 * abs(e - x.energy) / len(x.forces)
        for e, x in zip(prediction.energy, labels, strict=True)
    ]
    assert found["energy"].mae == pytest.approx(np.mean(per_atom))


def test_labels_without_a_quantity_do_not_count(predicted_and_labels):
    prediction, labels = predicted_and_labels
    some = [Label(forces=x.forces) for x in labels[:2]]
    found = structure_errors(prediction[:2], some)
    assert set(found) == {"forces"}
    assert maes(found, seed=0)["energy_mae"] is None


def errors(values):
    return {"forces": StructureErrors(np.array(values, float), np.ones(len(values)))}


def test_parts_are_put_at_their_places():
    found = joined([errors([1, 2]), errors([3])], [2, 0, 1])
    assert found["forces"].sums.tolist() == [2, 3, 1]


def test_a_ratio_of_proportional_errors_is_known_exactly():
    rng = np.random.default_rng(1)
    mine = rng.exponential(size=20)
    found = ratios(errors(mine), errors(3 * mine), seed=0)
    for key in ("forces_ratio", "forces_ratio_low", "forces_ratio_high"):
        assert found[key] == pytest.approx(3)  # paired: the structures' luck cancels


def test_intervals_of_the_mean_are_about_those_of_the_normal_law():
    values = np.random.default_rng(2).normal(5, 1, size=200)
    found = maes(errors(values), seed=0)
    half = 1.96 * values.std() / np.sqrt(200)
    assert found["forces_mae_high"] - found["forces_mae"] == pytest.approx(
        half, rel=0.15
    )
    assert found["forces_mae"] - found["forces_mae_low"] == pytest.approx(
        half, rel=0.15
    )
