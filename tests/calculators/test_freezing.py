"""Results and their uncertainties survive their calculator, and a file."""

import numpy as np
import pytest
from ase.calculators.emt import EMT
from ase.io import read, write
from small_cells import cell

from mfal.calculators import MfalCalculator, freeze


@pytest.fixture
def atoms(copper):
    atoms = cell(60)
    atoms.calc = MfalCalculator(copper)
    atoms.get_forces()
    return atoms


def test_a_frozen_copy_keeps_every_result(atoms):
    results = dict(atoms.calc.results)
    frozen = freeze(atoms)
    atoms.positions += 1.0
    assert frozen.get_potential_energy() == results["energy"]
    np.testing.assert_array_equal(frozen.get_forces(), results["forces"])
    np.testing.assert_array_equal(frozen.get_stress(), results["stress"])
    assert frozen.info["mfal_energy_uncertainty"] == results["energy_uncertainty"]
    np.testing.assert_array_equal(
        frozen.arrays["mfal_forces_uncertainty"], results["forces_uncertainty"]
    )


def test_an_extxyz_file_gives_them_back(atoms, tmp_path):
    results = atoms.calc.results
    write(tmp_path / "frozen.extxyz", [freeze(atoms)] * 2)
    for found in read(tmp_path / "frozen.extxyz", ":"):
        assert found.get_potential_energy() == pytest.approx(results["energy"])
        np.testing.assert_allclose(found.get_forces(), results["forces"], atol=1e-7)
        np.testing.assert_allclose(found.get_stress(), results["stress"], atol=1e-7)
        for name in ("energy", "stress"):
            np.testing.assert_allclose(
                found.info[f"mfal_{name}_uncertainty"],
                results[f"{name}_uncertainty"],
                rtol=1e-6,
            )
        np.testing.assert_allclose(
            found.arrays["mfal_forces_uncertainty"],
            results["forces_uncertainty"],
            atol=1e-7,
        )


def test_a_stress_of_six_atoms_is_not_taken_for_theirs(potential, methanol, copper):
    six = cell(60).repeat((2, 1, 1))[:6]
    six.calc = MfalCalculator(copper)
    six.get_stress()
    frozen = freeze(six)
    assert "mfal_stress_uncertainty" in frozen.info
    assert "mfal_stress_uncertainty" not in frozen.arrays
    molecule = methanol.structures[20].copy()
    molecule.calc = MfalCalculator(potential)
    molecule.get_forces()
    assert freeze(molecule).arrays["mfal_forces_uncertainty"].shape == (6, 3)


def test_other_calculators_freeze_without_uncertainties():
    atoms = cell(60)
    atoms.calc = EMT()
    energy = atoms.get_potential_energy()
    assert freeze(atoms).get_potential_energy() == energy


def test_what_has_no_results_of_this_structure_is_refused(atoms):
    with pytest.raises(ValueError, match=r"set atoms\.calc first"):
        freeze(cell(60))
    atoms.positions[0] += 0.1
    with pytest.raises(ValueError, match="no results of this structure"):
        freeze(atoms)
