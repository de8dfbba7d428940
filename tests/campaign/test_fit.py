"""A potential fitted to labelled files, and the record of it."""

import json
from dataclasses import replace

import numpy as np
import pytest
from small_cells import cell, emt_dataset

from mfal.campaign.fit import fit_potential, summary_lines, summary_table
from mfal.campaign.fit_config import FitConfig
from mfal.models.leave_out import calibrated

METHYL = ((0, 1, 4, 3, 5, 2), (0, 1, 4, 3, 2, 5))
QUICK = FitConfig(permutations=METHYL, evidence_rows=150, restarts=0)


@pytest.fixture(scope="module")
def fitted(methanol):
    return fit_potential(methanol.subset(range(6)), QUICK)


def test_the_record_tells_the_numbers_of_the_model(fitted):
    model, record = fitted
    found = model.hyperparameters
    assert record["levels"] == ["gfn2", "mp2"]
    assert record["n_labels"]["mp2"] == {"energy": 6, "forces": 6, "stress": 0}
    assert record["rho"] == found.rho.tolist()
    assert record["rho_standard_error"] == model.fitted.rho_error.tolist()
    assert record["noise"]["mp2"]["energy"] == float(found.noise[1, 0])
    assert record["noise"]["gfn2"]["forces"] == float(found.noise[0, 1])
    assert record["log_evidence"] == model.fitted.log_evidence
    assert record["n_permutations"] == 6
    assert json.loads(json.dumps(record, allow_nan=False)) == record


def test_the_record_tells_time_and_memory(fitted):
    _, record = fitted
    seconds = record["seconds"]
    assert set(seconds) >= {"descriptors", "features", "hyperparameters", "total"}
    assert 0 < seconds["descriptors"] < seconds["hyperparameters"] < seconds["total"]
    assert 50 < record["peak_memory_MB"] < 1e5


def test_sigmas_are_recalibrated_by_leave_one_out(fitted):
    model, record = fitted
    expected = calibrated(model.with_recalibrations({})).recalibrations
    assert model.recalibrations == expected
    assert record["recalibration"]["at_hand"]["forces"] == expected["at_hand"].forces


def test_four_labels_are_too_few_to_recalibrate(methanol):
    model, record = fit_potential(methanol.subset(range(4)), QUICK)
    assert record["recalibration"] == model.recalibrations == {}


def test_the_settings_of_the_configuration_are_used(methanol):
    one = methanol.subset(range(4)).at_levels(["mp2"])
    settings = {"permutations": "none", "kernel": "rbf", "restarts": 0}
    _, record = fit_potential(one, FitConfig(**settings))
    assert (record["n_permutations"], record["kernels"]) == (1, {"mp2": "rbf"})
    assert record["rho"] == record["rho_standard_error"] == []


def test_the_summary_has_a_line_per_level_and_step(fitted):
    _, record = fitted
    assert [row[0] for row in summary_table(record)] == ["level", "gfn2", "mp2"]
    rho, evidence = summary_lines(record)
    assert rho.startswith(f"rho, gfn2 to mp2: {record['rho'][0]:.4f} +- ")
    assert evidence.startswith("log evidence")
    unconverged = summary_lines({**record, "converged": False})
    assert "NOT converged" in unconverged[-1]


def test_a_label_in_other_units_is_named_by_its_left_out_error():
    structures = tuple(cell(seed, width=0.1) for seed in range(24))
    data = emt_dataset(structures)
    wrong = data.labels[7, "emt"]
    labels = {**data.labels, (7, "emt"): replace(wrong, energy=wrong.energy + 9.0)}
    sparse = {"n_inducing": 30, "zeta": 2, "cutoffs": [3.5], "max_radial": 3}
    config = FitConfig(kind="sparse", sparse={**sparse, "max_angular": 2})
    _, record = fit_potential(replace(data, labels=labels), config)
    first = record["suspects"][0]
    assert (first["structure"], first["quantity"]) == (7, "energy")
    said = " ".join(summary_lines(record))
    assert "look at structure 7 (from 0): without it, its energy is off by" in said
    _, sound = fit_potential(data, config)
    assert sound["suspects"] == []
    assert sound["kind"] == "sparse"
    assert set(sound["seconds"]) >= {"descriptors", "features", "hyperparameters"}


def test_pair_potentials_stand_beside_the_kernel():
    data = emt_dataset(tuple(cell(seed, width=0.1) for seed in range(8)))
    sparse = {"n_inducing": 12, "zeta": 2, "cutoffs": [3.5], "max_radial": 3}
    config = FitConfig(kind="sparse", sparse={**sparse, "pairs": True})
    model, record = fit_potential(data, config)
    assert [d["name"] for d in record["descriptors"]] == ["soap", "pair_distances"]
    assert len(record["scale"]["emt"]) == 2
    atoms = cell(30, width=0.1)
    found = model.predict([atoms])[0]
    bare = model.mean([atoms])[0]
    assert bare.energy == pytest.approx(found.energy, abs=1e-6)
    np.testing.assert_allclose(bare.forces, found.forces, atol=1e-7)
    np.testing.assert_allclose(bare.stress, found.stress, atol=1e-8)
