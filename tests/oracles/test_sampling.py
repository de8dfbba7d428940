import numpy as np
import pytest
from ase import Atoms, units
from ase.build import bulk, molecule

from mfal import Fidelity
from mfal.data import canonical, structure_key
from mfal.oracles import SamplingError, build_oracle, sample_md

EMT = Fidelity("emt", {"code": "emt"})
SETTINGS = {"size": 5, "temperature": 300.0, "interval": 5, "equilibration": 5}


def keys(samples):
    return [structure_key(atoms) for atoms in samples]


def test_a_seed_gives_the_same_structures_and_another_one_others(copper):
    first = keys(sample_md(copper, EMT, **SETTINGS, seed=1))
    assert first == keys(sample_md(copper, EMT, **SETTINGS, seed=1))
    assert not set(first) & set(keys(sample_md(copper, EMT, **SETTINGS, seed=2)))


def test_the_structures_are_different_bare_and_rounded(copper):
    samples = sample_md(copper, EMT, **SETTINGS)
    assert len(set(keys(samples))) == 5
    for atoms in samples:
        assert atoms.calc is None
        assert not atoms.constraints
        assert set(atoms.arrays) == {"numbers", "positions"}
        np.testing.assert_array_equal(atoms.positions, canonical(atoms).positions)


def test_the_start_is_left_as_it_was(copper):
    before = copper.positions.copy()
    sample_md(copper, EMT, **SETTINGS)
    np.testing.assert_array_equal(copper.positions, before)
    assert copper.calc is None


def test_the_centre_of_mass_rests(copper):
    centre = canonical(copper).get_center_of_mass()
    for atoms in sample_md(copper, EMT, **SETTINGS):
        np.testing.assert_allclose(atoms.get_center_of_mass(), centre, atol=1e-7)


def test_the_potential_energy_is_that_of_the_temperature():
    """Equipartition: nearly harmonic, each of the 3 n - 3 modes holds kT / 2."""
    start = bulk("Cu", cubic=True) * (2, 1, 1)
    temperature = 150.0
    samples = sample_md(
        start,
        EMT,
        size=40,
        temperature=temperature,
        timestep=5.0,
        interval=10,
        equilibration=100,
        friction=0.02,
    )
    oracle = build_oracle(EMT)
    ground = oracle(start).label.energy
    energies = [oracle(atoms).label.energy - ground for atoms in samples]
    expected = 0.5 * (3 * len(start) - 3) * units.kB * temperature
    assert np.mean(energies) == pytest.approx(expected, rel=0.25)


@pytest.mark.parametrize(("timestep", "n_steps"), [(0.5, 2), (1.0, 60)])
def test_free_atoms_move_as_the_langevin_equation_says(timestep, n_steps):
    """<x^2> = 2 kT / (m g^2) (g t - 1 + exp(-g t)): ballistic first, then diffusive."""
    grid = 25.0 * np.indices((8, 8, 8)).reshape(3, -1).T
    start = Atoms("Cu512", positions=grid)
    friction, temperature = 0.05, 300.0
    factory = {"code": "python", "factory": "ase.calculators.lj:LennardJones"}
    free = Fidelity("free", {**factory, "raises_if_unconverged": True})
    (end,) = sample_md(
        start,
        free,
        size=1,
        temperature=temperature,
        timestep=timestep,
        interval=n_steps,
        equilibration=0,
        friction=friction,
    )
    gt, g = friction * timestep * n_steps, friction / units.fs
    width = units.kB * temperature / (start.get_masses()[0] * g**2)
    expected = 2 * width * (gt - 1 + np.exp(-gt))
    moved = end.positions - start.positions
    assert np.mean(moved**2) == pytest.approx(expected, rel=0.12)


def test_progress_counts_the_structures(copper):
    counts = []
    sample_md(copper, EMT, **SETTINGS, progress=counts.append)
    assert counts == [1, 2, 3, 4, 5]


def test_a_dynamics_that_explodes_is_an_error_that_says_what_to_change(copper):
    with pytest.raises(SamplingError, match=r"failed at step \d+: .*timestep below 80"):
        sample_md(copper, EMT, **{**SETTINGS, "size": 200}, timestep=80.0)


def test_a_level_that_fails_on_the_way_is_an_error_with_its_reason():
    pytest.importorskip("tblite")
    xtb = Fidelity("x", {"code": "tblite", "method": "GFN2-xTB", "max_iterations": 2})
    with pytest.raises(SamplingError, match="not_converged: tblite: SCF not converged"):
        sample_md(molecule("H2O"), xtb, **SETTINGS)


@pytest.mark.parametrize(
    "wrong", [{"size": 0}, {"temperature": 0.0}, {"timestep": -1.0}, {"interval": 0}]
)
def test_arguments_out_of_range_are_refused(copper, wrong):
    with pytest.raises(ValueError, match=f"{next(iter(wrong))} is above 0"):
        sample_md(copper, EMT, **{**SETTINGS, **wrong})


def test_a_level_without_forces_and_an_impossible_start_are_refused(copper):
    with pytest.raises(ValueError, match="needs a level with forces"):
        sample_md(copper, Fidelity("e", {"code": "emt"}, ("energy",)), **SETTINGS)
    copper.positions[1] = copper.positions[0]
    with pytest.raises(ValueError, match="the structure at the start"):
        sample_md(copper, EMT, **SETTINGS)
