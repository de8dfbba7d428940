"""Environments are measured per species, and left out with their structure."""

import numpy as np
import pytest
import torch
from small_cells import alloy, cell, emt_dataset, small_map

from mfal.models import SparsePotential
from mfal.models.environment_rows import WHOLE, EnvironmentDescriber
from mfal.models.exact import ExactPotential
from mfal.models.training_environments import MEASURES, TrainingEnvironments

METHYL = [[0, 1, 4, 3, 5, 2], [0, 1, 4, 3, 2, 5]]


@pytest.fixture(scope="module")
def structures():
    return tuple(cell(i, width=0.1) if i % 2 else alloy(i) for i in range(20))


@pytest.fixture(scope="module")
def model(structures):
    return SparsePotential.fit(emt_dataset(structures), small_map(structures, 16))


@pytest.fixture(scope="module")
def environments(model, structures):
    return TrainingEnvironments(model, structures)


@pytest.fixture(scope="module")
def molecule(methanol):
    return ExactPotential.fit(
        methanol.subset(range(8)), permutations=METHYL, evidence_rows=100, restarts=0
    )


def test_a_crystal_has_one_environment_per_atom(model, structures):
    rows = EnvironmentDescriber(model)(structures[0])
    assert rows.atom.tolist() == [0, 1, 2]
    assert rows.species.tolist() == structures[0].numbers.tolist()
    torch.testing.assert_close(
        rows.descriptor.norm(dim=1), torch.ones(3, dtype=torch.float64)
    )
    expected = model.feature_map.rows(structures[0]).energy[:-2]
    torch.testing.assert_close(rows.features.sum(0), expected)


def test_a_molecule_is_one_environment_in_every_order_of_its_like_atoms(molecule):
    describe = EnvironmentDescriber(molecule)
    atoms = molecule.structures[0]
    every = describe.of_training(atoms)
    assert len(every.species) == len(molecule.permutations) > 1
    assert describe(atoms).atom.tolist() == [WHOLE]
    swapped = describe(atoms[[0, 1, 4, 3, 2, 5]]).descriptor[0]
    apart = (every.descriptor - swapped).abs().amax(dim=1)
    assert float(apart.min()) < 1e-12


def test_what_is_measured_does_not_change_with_the_order_of_like_atoms(molecule):
    environments = TrainingEnvironments(molecule, molecule.structures)
    atoms = molecule.structures[0].copy()
    atoms.rattle(0.1, seed=4)
    one = environments.measures(atoms)
    other = environments.measures(atoms[[0, 1, 4, 3, 2, 5]])
    for name in ("mahalanobis", "leverage"):
        np.testing.assert_allclose(other[name], one[name], rtol=1e-6)
        assert one[name].shape == (1,)


def test_each_atom_is_measured_among_its_own_species(environments, model, structures):
    mixed = structures[0]
    found = environments.measures(mixed)
    describe = EnvironmentDescriber(model)
    for z in (29, 79):
        known = [describe(a) for a in structures]
        known = [r.chosen(r.species == z) for r in known]
        x = torch.cat([r.descriptor for r in known]).numpy()
        own = describe(mixed)
        own = own.chosen(own.species == z).descriptor.numpy()
        centred = x - x.mean(0)
        scatter = centred.T @ centred
        ridge = 1e-6 * np.trace(scatter) / x.shape[1]
        inverse = np.linalg.inv(scatter + ridge * np.eye(x.shape[1]))
        off = own - x.mean(0)
        squares = len(x) * np.einsum("ki,ij,kj->k", off, inverse, off)
        np.testing.assert_allclose(
            found["mahalanobis"][mixed.numbers == z], np.sqrt(squares), rtol=1e-2
        )


def test_left_out_is_as_if_the_structure_had_not_been_there(
    environments, model, structures
):
    others = TrainingEnvironments(model, structures[:4] + structures[5:])
    found, expected = environments.left_out(4), others.measures(structures[4])
    # the ridge is a share of a scatter that lacks one structure
    for name in ("mahalanobis", "leverage"):
        assert found[name] == pytest.approx(expected[name].max(), rel=0.3)
    assert found["grade"] > 0


def test_what_lies_beyond_is_far_by_every_measure(environments):
    near = environments.measures(cell(70, width=0.05))
    far = environments.measures(cell(70, width=0.5))
    for name in MEASURES:
        assert far[name].max() > 3 * near[name].max()


def test_a_species_that_is_not_in_the_training_set_is_refused(environments):
    with pytest.raises(ValueError, match="knows nothing of Ni"):
        environments.measures(cell(1, symbol="Ni"))


def test_a_species_without_training_environments_is_refused(model, structures):
    copper = TrainingEnvironments(model, structures[1::2])
    with pytest.raises(ValueError, match="no environment of atomic number 79"):
        copper.measures(structures[0])


def test_a_potential_without_its_data_has_no_training_environments(model):
    with pytest.raises(ValueError, match="at least two: got 0"):
        TrainingEnvironments(model, ())
