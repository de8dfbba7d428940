"""Each species gets the factor that its own residuals ask for."""

import numpy as np
import pytest

from mfal.models.calibration import coverage_factor
from mfal.models.prediction import StructurePrediction
from mfal.models.residuals import Residuals
from mfal.models.species_factors import SpeciesFactors


@pytest.fixture
def residuals():
    rng = np.random.default_rng(0)
    structure = np.repeat(np.arange(30), 9)
    species = np.tile(np.repeat([29, 79, 1], 3), 30)
    structure[species == 1] %= 3  # hydrogen in three structures only
    truth = np.select([species == 29, species == 79], [0.5, 3.0], 9.0)
    sigma = rng.uniform(0.5, 2.0, size=270)
    error = truth * sigma * rng.normal(size=270)
    return Residuals("forces", "dft", error, sigma, structure, species)


def test_recalibrated_residuals_of_each_species_have_unit_mean_square(residuals):
    factors = SpeciesFactors.of(residuals)
    z = residuals.standardised / factors.per_atom(residuals.species)[:, 0]
    for number in (29, 79):
        assert np.mean(z[residuals.species == number] ** 2) == pytest.approx(1)
    assert factors.factors["Au"] == pytest.approx(3, rel=0.2)


def test_a_species_in_few_structures_keeps_its_sigma(residuals):
    factors = SpeciesFactors.of(residuals)
    assert set(factors.factors) == {"Cu", "Au"}
    assert factors.per_atom([1, 29])[0, 0] == 1.0


def test_another_way_to_a_factor_can_be_passed_in(residuals):
    factors = SpeciesFactors.of(residuals, factor=coverage_factor)
    copper = residuals.of_species()["Cu"]
    assert factors.factors["Cu"] == coverage_factor(copper.standardised)


def test_factors_multiply_what_is_uncertain_of_forces_and_nothing_else():
    prediction = StructurePrediction(
        *(1.0, np.ones((2, 3)), None, 0.5, 0.1), 0.2 * np.ones((2, 3)), np.ones((2, 3))
    )
    found = SpeciesFactors({"Au": 4.0}).scaled(prediction, [29, 79])
    np.testing.assert_allclose(found.forces_sigma[:, 0], [0.2, 0.8])
    np.testing.assert_allclose(found.forces_noise[:, 1], [1.0, 4.0])
    np.testing.assert_array_equal(found.forces, prediction.forces)
    assert found.energy_sigma == 0.5
    bare = StructurePrediction(1.0, np.ones((2, 3)))
    assert SpeciesFactors({"Au": 4.0}).scaled(bare, [29, 79]) is bare


@pytest.mark.parametrize("factors", [{"Xx": 1.0}, {"Cu": 0.0}, {"Cu": float("nan")}])
def test_what_is_no_factor_of_a_species_is_refused(factors):
    with pytest.raises(ValueError, match="positive and finite"):
        SpeciesFactors(factors)


def test_energies_have_no_species(residuals):
    zero = np.zeros(1, dtype=int)
    energy = Residuals("energy", "dft", np.ones(1), np.ones(1), zero, zero)
    with pytest.raises(ValueError, match="those of forces, got energy"):
        SpeciesFactors.of(energy)
