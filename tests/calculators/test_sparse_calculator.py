"""Sparse potentials as ASE calculators."""

import numpy as np
import pytest
from ase import units
from ase.calculators.emt import EMT
from ase.calculators.fd import calculate_numerical_stress
from ase.filters import FrechetCellFilter
from ase.md.verlet import VelocityVerlet
from ase.optimize import BFGS
from small_cells import cell, emt_dataset, small_map

from mfal.calculators import MfalCalculator
from mfal.models import SparsePotential


@pytest.fixture(scope="module")
def model():
    structures = tuple(cell(seed, width=0.1) for seed in range(16))
    return SparsePotential.fit(emt_dataset(structures), small_map(structures, 24))


@pytest.fixture
def atoms(model):
    atoms = cell(40, width=0.1)
    atoms.calc = MfalCalculator(model)
    return atoms


def test_the_stress_is_the_slope_of_the_energy_in_strain(atoms):
    stress = atoms.get_stress()
    np.testing.assert_allclose(
        stress, calculate_numerical_stress(atoms, eps=1e-5), atol=1e-5
    )


def test_every_result_has_its_uncertainty(atoms):
    atoms.get_potential_energy()
    results = atoms.calc.results
    for name in ("energy", "forces", "stress"):
        sigma = np.asarray(results[f"{name}_uncertainty"])
        assert sigma.shape == np.shape(results[name])
        assert (sigma > 0).all()
    assert results["free_energy"] == results["energy"]


def test_without_uncertainties_the_numbers_are_the_same(model, atoms):
    quick = atoms.copy()
    quick.calc = MfalCalculator(model, uncertainties=False)
    assert quick.get_potential_energy() == pytest.approx(
        atoms.get_potential_energy(), abs=1e-6
    )
    np.testing.assert_allclose(quick.get_forces(), atoms.get_forces(), atol=1e-7)
    np.testing.assert_allclose(quick.get_stress(), atoms.get_stress(), atol=1e-8)


def test_a_cell_relaxes_and_dynamics_keep_the_energy(model):
    atoms = cell(41, width=0.05)
    atoms.calc = MfalCalculator(model, uncertainties=False)
    BFGS(FrechetCellFilter(atoms), logfile=None).run(fmax=0.05, steps=60)
    reference = atoms.copy()
    reference.calc = EMT()
    assert np.abs(reference.get_forces()).max() < 0.3
    atoms.set_momenta(0.3 * np.random.default_rng(0).normal(size=(4, 3)))
    dynamics = VelocityVerlet(atoms, 2 * units.fs)
    before = atoms.get_total_energy()
    dynamics.run(20)
    assert atoms.get_total_energy() == pytest.approx(before, abs=2e-3)
