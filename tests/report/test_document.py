import math

import numpy as np
import pytest

from mfal.report.document import cost_scale, mae_standard_error, steps


def test_the_standard_error_is_that_of_the_mean_over_structures():
    rng = np.random.default_rng(3)
    error = rng.standard_normal((5, 6))  # 5 structures of 2 atoms
    rows = {"reference": [0.0] * 30, "predicted": error.ravel().tolist()}
    document = {
        "system": {"n_atoms": 2},
        "evaluation": {"n_structures": 5, "standalone": {"parity": {"forces": rows}}},
    }
    means = [np.mean([abs(x) for x in structure]) for structure in error]
    variance = sum((m - sum(means) / 5) ** 2 for m in means) / 4
    expected = math.sqrt(variance / 5)
    assert mae_standard_error(document, "standalone", "forces") == pytest.approx(
        expected, rel=1e-12
    )


def test_rows_that_do_not_stand_by_structure_have_no_standard_error(results):
    forces = results["evaluation"]["standalone"]["parity"]["forces"]
    for key in forces:
        forces[key] = forces[key][:-1]
    assert mae_standard_error(results, "standalone", "forces") is None


def test_large_costs_are_told_in_hours():
    small = {"budget": {"unit": "CPU s", "total": 220.0, "spent": 215.0}}
    large = {"budget": {"unit": "CPU s", "total": 1.8e6, "spent": 0.0}}
    other = {"budget": {"unit": "labels", "total": 1.8e6}}
    assert cost_scale(small) == (1.0, "CPU s")
    assert cost_scale(large) == (3600.0, "CPU h")
    assert cost_scale(other) == (1.0, "labels")


def test_steps_without_rising_numbers_are_counted():
    records = [{"step": 1, "cost": 1.0}, {"step": 1, "cost": 2.0}]
    assert steps({"learning_curve": records}).tolist() == [1, 2]
    records[1]["step"] = 4
    assert steps({"learning_curve": records}).tolist() == [1, 4]
