"""The force sigma of an atom, and of training structures without their own labels."""

import dataclasses

import numpy as np
import pytest
from ase.calculators.emt import EMT
from small_cells import cell, emt_dataset

from mfal.calculators import ForceSigmaMonitor, MfalCalculator
from mfal.calculators.force_sigma import force_sigma, left_out_force_sigma
from mfal.models import SparsePotential, calibrated_weights
from mfal.models.exact import ExactPotential
from mfal.models.observations import observe
from mfal.models.species_factors import SpeciesFactors


def norms(sigma):
    return np.linalg.norm(sigma, axis=1)


def test_it_is_the_root_of_the_sum_of_the_variances_of_the_components(copper):
    atoms = cell(60)
    calculator = MfalCalculator(copper)
    expected = norms(copper.predict([atoms])[0].forces_sigma)
    np.testing.assert_allclose(force_sigma(atoms, calculator), expected)
    verdict = ForceSigmaMonitor(calculator)(atoms)
    assert verdict.grade == pytest.approx(expected.max())
    assert verdict.findings[0].atom == expected.argmax()
    np.testing.assert_allclose(verdict.per_atom, expected)


def test_the_calculator_of_the_atoms_is_asked_if_none_is_given(copper):
    atoms = cell(60)
    atoms.calc = MfalCalculator(copper)
    expected = ForceSigmaMonitor(MfalCalculator(copper))(atoms).grade
    assert ForceSigmaMonitor()(atoms).grade == expected


def test_a_calculator_that_does_not_know_its_uncertainty_is_refused(copper):
    for calculator in (EMT(), MfalCalculator(copper, uncertainties=False)):
        with pytest.raises(ValueError, match="forces and forces_uncertainty, got"):
            force_sigma(cell(60), calculator)


@pytest.mark.parametrize("noise", [False, True])
def test_left_out_is_the_sigma_of_a_potential_without_the_structure(copper, noise):
    data = copper.dataset
    found = left_out_force_sigma(MfalCalculator(copper, noise=noise))
    assert sorted(found) == list(range(len(data)))
    for i in (0, 17):
        others = SparsePotential.with_fit(
            data.subset([k for k in range(len(data)) if k != i]),
            copper.feature_map,
            copper.fitted,
        ).with_recalibrations(copper.recalibrations)
        part = others.predict([data.structures[i]])[0]
        sigma = part.total_sigma("forces") if noise else part.forces_sigma
        assert found[i] == pytest.approx(norms(sigma).max(), rel=1e-6)


@pytest.mark.parametrize("noise", [False, True])
@pytest.mark.parametrize("at_hand", [False, True])
def test_of_a_molecule_it_is_that_of_the_way_it_is_deployed(potential, noise, at_hand):
    data, i = potential.dataset, 3
    low = MfalCalculator(potential, level="gfn2") if at_hand else None
    calculator = MfalCalculator(potential, low_level=low, noise=noise)
    found = left_out_force_sigma(calculator)
    assert sorted(found) == list(range(8))
    # its low label is left out with the high one, or at hand and not in the data
    labels = {k: v for k, v in data.labels.items() if k[0] != i}
    rest = dataclasses.replace(data, labels=labels)
    others = ExactPotential(
        rest,
        potential.builder,
        potential.permutations,
        observe(rest, potential.builder),
        potential.fitted,
        potential.recalibrations,
    )
    label = [data.labels[i, "gfn2"]] if at_hand else None
    part = others.predict([data.structures[i]], at_hand=label)
    sigma = part.total_sigma("forces") if noise else part.forces_sigma
    assert found[i] == pytest.approx(norms(sigma[0]).max(), rel=1e-5)


def test_factors_of_species_are_those_of_the_calculator(copper, potential):
    twice = SpeciesFactors({"Cu": 2.0, "C": 3.0})
    atoms = cell(60)
    plain, scaled = (
        MfalCalculator(copper),
        MfalCalculator(copper, species_factors=twice),
    )
    np.testing.assert_allclose(
        force_sigma(atoms, scaled), 2 * force_sigma(atoms, plain)
    )
    one, two = left_out_force_sigma(plain), left_out_force_sigma(scaled)
    assert two == pytest.approx({k: 2 * v for k, v in one.items()})
    query = potential.structures[0]
    plain = MfalCalculator(potential)
    scaled = MfalCalculator(potential, species_factors=twice)
    ratio = force_sigma(query, scaled) / force_sigma(query, plain)
    np.testing.assert_allclose(ratio, [3, 1, 1, 1, 1, 1])
    one, two = left_out_force_sigma(plain), left_out_force_sigma(scaled)
    assert all(0.999 * one[k] <= two[k] <= 3.001 * one[k] for k in one)
    assert max(two[k] / one[k] for k in one) > 1.1


def test_labels_without_forces_leave_no_force_sigma():
    structures = tuple(cell(seed, width=0.1) for seed in range(6))
    data = emt_dataset(structures)
    bare = {k: label.only(["energy"]) for k, label in data.labels.items()}
    model = SparsePotential.fit(
        dataclasses.replace(data, labels=bare), n_inducing=8, cutoffs=(3.5,)
    )
    with pytest.raises(ValueError, match="no left-out forces at level 'emt'"):
        left_out_force_sigma(MfalCalculator(calibrated_weights(model)))


def test_a_loaded_potential_has_no_left_out_forces(copper):
    loaded = SparsePotential(
        copper.feature_map, copper.training, copper.statistics, copper.fitted
    )
    with pytest.raises(ValueError, match="is not saved with it"):
        left_out_force_sigma(MfalCalculator(loaded))
