"""The biased surface: E - tau sigma, and the forces and the stress that belong to it."""

import numpy as np
import pytest
import torch
from ase.calculators.calculator import PropertyNotImplementedError
from ase.calculators.emt import EMT
from ase.calculators.fd import calculate_numerical_forces, calculate_numerical_stress
from small_cells import (
    APART,
    NESTED,
    alloy,
    cell,
    hyperparameters,
    random_dataset,
    small_map,
)

from mfal.calculators import BiasedCalculator, MfalCalculator
from mfal.calculators.biased import RelativeTau, energy_sigma, relative_tau
from mfal.models import gathering
from mfal.models.calibration import Recalibration
from mfal.models.committee import Committee
from mfal.models.sparse import SparsePotential
from mfal.models.weight_fit import WeightFit

TAU = 3.0


@pytest.fixture
def molecule(methanol):
    return methanol.structures[20].copy()


def biased(model, atoms, **options):
    atoms.calc = BiasedCalculator(model, TAU, **options)
    return atoms


def of_a_potential(model, atoms, level=None):
    """Energy and sigma as the potential itself gives them."""
    plain = MfalCalculator(model, level=level)
    return tuple(
        plain.get_property(name, atoms) for name in ("energy", "energy_uncertainty")
    )


@pytest.mark.parametrize("level", ["gfn2", "mp2"])
def test_forces_on_a_molecule_are_minus_the_slope(potential, molecule, level):
    atoms = biased(potential, molecule, level=level)
    numerical = calculate_numerical_forces(atoms, eps=1e-4)
    np.testing.assert_allclose(atoms.get_forces(), numerical, atol=2e-5)


def test_forces_and_stress_of_a_crystal_are_slopes(copper):
    atoms = biased(copper, cell(60, width=0.2))
    numerical = calculate_numerical_forces(atoms, eps=1e-4)
    np.testing.assert_allclose(atoms.get_forces(), numerical, atol=1e-5)
    stress = calculate_numerical_stress(atoms, eps=1e-5)
    np.testing.assert_allclose(atoms.get_stress(), stress, atol=1e-5)


def test_the_bias_is_not_lost_in_the_tolerance_of_these_tests(
    copper, potential, molecule
):
    for model, atoms in ((copper, cell(60, width=0.2)), (potential, molecule)):
        pull = energy_sigma(model, atoms)
        assert np.abs(TAU * pull.forces).max() > 1e-2
    assert np.abs(TAU * energy_sigma(copper, cell(60)).stress).max() > 1e-3


@pytest.mark.parametrize("designs", [NESTED, APART])
def test_several_levels_species_and_the_part_no_feature_carries(designs):
    dataset = random_dataset(designs[3], n_levels=3)
    fit = WeightFit(
        hyperparameters(3), torch.zeros(2).double(), 0.0, True, None, evaluations=0
    )
    feature_map = small_map(dataset.structures, 6)
    model = SparsePotential.with_fit(dataset, feature_map, fit)
    atoms = alloy(77)
    for share in (0.0, 1.0, 2.5):
        factor = Recalibration(energy=1.7, unexplained=share)
        one = model.with_recalibrations({"standalone": factor})
        biased(one, atoms)
        numerical = calculate_numerical_forces(atoms, eps=1e-4)
        np.testing.assert_allclose(atoms.get_forces(), numerical, atol=1e-4)
        _, sigma = of_a_potential(one, atoms)
        assert energy_sigma(one, atoms).value == pytest.approx(sigma, rel=1e-9)


def test_with_few_points_for_the_error_bars_the_slope_is_that_of_these(
    copper, monkeypatch
):
    monkeypatch.setattr(gathering, "BAR_POINTS", 8)
    few = copper.with_recalibrations(copper.recalibrations)
    few.__dict__.pop("bars", None)
    assert few.bars is not None
    atoms = biased(few, cell(60, width=0.2))
    numerical = calculate_numerical_forces(atoms, eps=1e-4)
    np.testing.assert_allclose(atoms.get_forces(), numerical, atol=1e-5)


def test_the_energy_is_that_of_the_potential_less_tau_sigma(
    copper, potential, molecule
):
    for model, atoms in ((copper, cell(61)), (potential, molecule)):
        energy, sigma = of_a_potential(model, atoms)
        biased(model, atoms)
        assert atoms.get_potential_energy() == pytest.approx(energy - TAU * sigma)
        results = atoms.calc.results
        assert results["free_energy"] == results["energy"]
        assert results["energy_uncertainty"] == sigma


def test_without_tau_nothing_is_changed(copper):
    atoms, plain = cell(61), cell(61)
    atoms.calc, plain.calc = BiasedCalculator(copper, 0.0), MfalCalculator(copper)
    np.testing.assert_array_equal(atoms.get_forces(), plain.get_forces())
    np.testing.assert_array_equal(atoms.get_stress(), plain.get_stress())


def test_the_relative_tau_gives_a_bias_of_that_share(copper):
    structures = [cell(seed) for seed in range(60, 64)]
    tau = relative_tau(copper, structures, 0.25)
    bias, force = [], []
    for atoms in structures:
        atoms.calc = MfalCalculator(copper)
        plain = atoms.get_forces()
        atoms.calc = BiasedCalculator(copper, tau)
        bias += list(np.linalg.norm(atoms.get_forces() - plain, axis=1))
        force += list(np.linalg.norm(plain, axis=1))
    assert np.mean(bias) / np.mean(force) == pytest.approx(0.25, rel=1e-6)


def test_the_tau_of_a_run_is_share_times_forces_over_slopes_in_running_means():
    tau = RelativeTau(0.2, memory=4)
    force, pull = np.full((2, 3), 3**-0.5), np.full((2, 3), 3**-0.5)
    assert tau(6 * force, 2 * pull) == pytest.approx(0.2 * 3)
    assert tau(10 * force, 6 * pull) == pytest.approx(0.2 * 7 / 3)
    assert RelativeTau(0.2)(force, 0 * pull) == 0.0


def test_a_relative_tau_keeps_the_bias_at_its_share_far_from_the_data(copper):
    near, far = cell(0, width=0.02), cell(90, width=0.3)
    fixed = relative_tau(copper, [near], 0.1)
    shares = {}
    for tau in (fixed, RelativeTau(0.1, memory=1)):
        plain = MfalCalculator(copper).get_property("forces", far)
        calculator = BiasedCalculator(copper, tau)
        bias = calculator.get_property("forces", far) - plain
        size = [np.linalg.norm(x, axis=1).mean() for x in (bias, plain)]
        shares[type(tau)] = size[0] / size[1]
        assert calculator.results["tau"] > 0
    assert shares[RelativeTau] == pytest.approx(0.1)
    assert shares[float] > 0.2


@pytest.mark.parametrize("options", [(-0.1, 1), (float("nan"), 1), (0.1, 0)])
def test_a_share_or_a_memory_that_makes_no_sense_is_refused(options):
    with pytest.raises(ValueError, match="share is a finite number"):
        RelativeTau(options[0], memory=options[1])


def test_a_model_that_has_no_slope_of_sigma_is_refused(copper):
    committee = Committee([EMT(), EMT()])
    for wrong in (committee, EMT()):
        with pytest.raises(TypeError, match=r"knows its slope|Type-check"):
            BiasedCalculator(wrong, 1.0)


@pytest.mark.parametrize("tau", [-1.0, float("nan"), float("inf")])
def test_a_tau_that_is_no_number_of_use_is_refused(copper, tau):
    with pytest.raises(ValueError, match="tau is a finite number >= 0, got"):
        BiasedCalculator(copper, tau)


def test_a_negative_share_or_no_structure_is_refused(copper):
    for share, structures in ((-0.1, [cell(1)]), (0.1, [])):
        with pytest.raises(ValueError, match="share >= 0"):
            relative_tau(copper, structures, share)


def test_a_molecule_has_no_stress(potential, molecule):
    with pytest.raises(PropertyNotImplementedError, match="isolated molecule"):
        biased(potential, molecule).get_stress()
