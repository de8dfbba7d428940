"""What ASE does with a calculator works with a potential: tested against EMT, its labels,
and against conservation laws."""

import numpy as np
import pytest
from ase import units
from ase.build import bulk
from ase.calculators.calculator import PropertyNotImplementedError
from ase.calculators.emt import EMT
from ase.calculators.fd import calculate_numerical_forces, calculate_numerical_stress
from ase.constraints import FixAtoms
from ase.eos import EquationOfState
from ase.filters import FrechetCellFilter
from ase.io import read, write
from ase.md.nose_hoover_chain import IsotropicMTKNPT
from ase.mep import NEB
from ase.optimize import BFGS
from ase.phonons import Phonons
from small_cells import cell, emt_dataset, small_map

from mfal.calculators import MfalCalculator, freeze
from mfal.models import SparsePotential


@pytest.fixture(scope="module")
def crystal():
    """Perfect and distorted cells at several volumes: lattice, elasticity, phonons."""
    structures = []
    for seed in range(40):
        atoms = bulk("Cu", "fcc", a=3.6 + 0.01 * (seed % 5 - 2), cubic=True)
        rng = np.random.default_rng(seed)
        strain = np.eye(3) + 0.02 * rng.normal(size=(3, 3)) * (seed % 4 > 0)
        atoms.set_cell(atoms.cell.array @ strain, scale_atoms=True)
        atoms.positions += 0.06 * rng.normal(size=(4, 3)) * (seed % 4 > 0)
        structures.append(atoms)
    return SparsePotential.fit(
        emt_dataset(tuple(structures)), small_map(tuple(structures), 40)
    )


def bare(model, **options):
    return MfalCalculator(model, uncertainties=False, **options)


@pytest.fixture
def atoms(copper):
    atoms = cell(5, width=0.05)
    atoms.calc = MfalCalculator(copper)
    return atoms


def test_forces_and_stress_are_those_of_finite_differences(atoms):
    forces, stress = atoms.get_forces(), atoms.get_stress()
    np.testing.assert_allclose(
        calculate_numerical_forces(atoms, eps=1e-4), forces, atol=1e-5
    )
    np.testing.assert_allclose(
        calculate_numerical_stress(atoms, eps=1e-5), stress, atol=1e-6
    )


def test_the_energy_is_consistent_with_the_forces_asked_either_way(atoms):
    assert atoms.get_potential_energy(force_consistent=True) == (
        atoms.get_potential_energy()
    )


def test_properties_that_ase_names_are_exported(atoms):
    found = atoms.get_properties(["energy", "forces", "stress"])
    assert found["energy"] == atoms.get_potential_energy()
    np.testing.assert_array_equal(found["stress"], atoms.get_stress())
    assert "forces_uncertainty" in atoms.calc.results


def test_what_it_does_not_have_is_refused_as_ase_expects(atoms):
    for ask in (atoms.get_potential_energies, atoms.get_magnetic_moments):
        with pytest.raises(PropertyNotImplementedError):
            ask()


def test_results_are_computed_once_and_anew_when_atoms_move(atoms, monkeypatch):
    calls = []
    predict = type(atoms.calc.model).predict

    def counted(*args, **kwargs):
        calls.append(1)
        return predict(*args, **kwargs)

    monkeypatch.setattr(type(atoms.calc.model), "predict", counted)
    first = atoms.get_potential_energy()
    atoms.get_forces()
    atoms.get_stress()
    atoms.calc.get_property("forces_uncertainty", atoms)
    assert len(calls) == 1
    atoms.positions[0] += 0.05
    assert atoms.get_potential_energy() != first
    atoms.set_cell(1.01 * atoms.cell, scale_atoms=True)
    atoms.get_potential_energy()
    assert len(calls) == 3


def test_what_is_done_to_results_does_not_change_them(atoms):
    forces = atoms.get_forces()
    kept = forces.copy()
    forces += 1.0
    np.testing.assert_array_equal(atoms.get_forces(), kept)


def test_a_trajectory_keeps_energy_forces_and_stress(atoms, tmp_path):
    atoms.get_stress()
    write(tmp_path / "one.traj", atoms)
    found = read(tmp_path / "one.traj")
    assert found.get_potential_energy() == atoms.get_potential_energy()
    np.testing.assert_array_equal(found.get_stress(), atoms.get_stress())


def test_fixed_atoms_stay_and_the_others_relax(crystal):
    atoms = cell(5, width=0.05)
    atoms.set_constraint(FixAtoms([0]))
    atoms.calc = bare(crystal)
    before = atoms.positions[0].copy()
    assert BFGS(atoms, logfile=None).run(fmax=0.01, steps=60)
    np.testing.assert_array_equal(atoms.positions[0], before)


def test_a_relaxed_cell_is_the_minimum_of_energy_over_volume_and_that_of_emt(crystal):
    found = []
    for calculator in (bare(crystal), EMT()):
        atoms = bulk("Cu", "fcc", a=3.65, cubic=True)
        atoms.calc = calculator
        assert BFGS(FrechetCellFilter(atoms), logfile=None).run(fmax=1e-3, steps=80)
        assert np.abs(atoms.get_stress()).max() < 1e-3
        found.append(atoms.cell.volume)
        volumes, energies = [], []
        for scale in np.linspace(0.98, 1.02, 7):
            strained = bulk("Cu", "fcc", a=3.6 * scale, cubic=True)
            strained.calc = calculator
            volumes.append(strained.cell.volume)
            energies.append(strained.get_potential_energy())
        minimum = EquationOfState(volumes, energies).fit()[0]
        assert atoms.cell.volume == pytest.approx(minimum, rel=2e-3)
    assert found[0] == pytest.approx(found[1], rel=5e-3)


def test_phonons_are_those_of_emt(crystal, tmp_path):
    path = np.array([[0.0, 0.25, 0.25], [0.0, 0.5, 0.5], [0.5, 0.5, 0.5]])
    bands = []
    for name, calculator in (("mfal", bare(crystal)), ("emt", EMT())):
        atoms = bulk("Cu", "fcc", a=3.6)
        phonons = Phonons(
            atoms, calculator, supercell=(3, 3, 3), delta=0.03, name=tmp_path / name
        )
        phonons.run()
        phonons.read(acoustic=True)
        bands.append(phonons.band_structure(path, verbose=False))
        phonons.clean()
    assert np.min(bands[0]) > 0
    np.testing.assert_allclose(bands[0], bands[1], rtol=0.2)


def test_at_constant_pressure_the_conserved_energy_is_conserved(crystal):
    """Which it is only if the stress is the slope of the energy in strain."""
    atoms = bulk("Cu", "fcc", a=3.62, cubic=True)
    atoms.calc = bare(crystal)
    rng = np.random.default_rng(2)
    momenta = np.sqrt(units.kB * 200 * atoms.get_masses())[:, None]
    momenta = momenta * rng.normal(size=(4, 3))
    atoms.set_momenta(momenta - momenta.mean(axis=0))
    dynamics = IsotropicMTKNPT(
        atoms,
        2 * units.fs,
        temperature_K=100,
        pressure_au=0.0,
        tdamp=50 * units.fs,
        pdamp=100 * units.fs,
    )
    start, work = dynamics.get_conserved_energy(), []
    volumes = []
    for _ in range(60):
        dynamics.run(1)
        work.append(abs(dynamics.get_conserved_energy() - start))
        volumes.append(atoms.cell.volume)
    assert np.ptp(volumes) > 0.1
    assert max(work) < 0.02 * atoms.get_kinetic_energy() + 2e-3


@pytest.fixture(scope="module")
def hop():
    """A vacancy of copper: both ends of a hop, and what EMT says along the way."""
    start = bulk("Cu", "fcc", a=3.6, cubic=True)
    vacant, end = start.positions[1].copy(), start.copy()
    end.positions[0] = vacant
    del start[1], end[1]
    training = []
    for seed in range(36):
        share, rng = seed / 35, np.random.default_rng(seed)
        between = start.copy()
        between.positions += share * (end.positions - start.positions)
        between.positions += 0.04 * rng.normal(size=(3, 3))
        training.append(between)
    model = SparsePotential.fit(
        emt_dataset(tuple(training)), small_map(tuple(training), 40)
    )
    return model, start, end


def test_the_barrier_of_a_nudged_elastic_band_is_that_of_emt(hop):
    model, start, end = hop
    barriers = []
    for calculator in (bare(model), EMT()):
        images = [start.copy() for _ in range(4)] + [end.copy()]
        for image in images:
            image.calc = calculator
        band = NEB(
            images, climb=True, allow_shared_calculator=True, method="improvedtangent"
        )
        band.interpolate()
        assert BFGS(band, logfile=None).run(fmax=0.05, steps=60)
        energies = [image.get_potential_energy() for image in images]
        barriers.append(max(energies) - energies[0])
    assert barriers[0] == pytest.approx(barriers[1], abs=0.05)
    assert barriers[1] > 0.2


def test_frozen_images_keep_their_uncertainties(hop):
    model, start, _ = hop
    image = start.copy()
    image.calc = MfalCalculator(model)
    image.get_forces()
    assert freeze(image).info["mfal_energy_uncertainty"] > 0
