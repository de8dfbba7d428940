"""Inverse distances: right values and slopes, invariant, refused where undefined."""

import itertools

import laws
import numpy as np
import pytest
import textbook
import torch
from ase import Atoms
from ase.build import molecule
from torch.func import jacrev

from mfal.descriptors import InverseDistances

MOLECULES = {"H2": 0.0, "H2O": 0.05, "CO2": 0.0, "CH3OH": 0.1}


@pytest.fixture(params=MOLECULES)
def atoms(request):
    atoms = molecule(request.param)
    atoms.rattle(MOLECULES[request.param], seed=1)
    return atoms


@pytest.fixture
def descriptor(atoms):
    return InverseDistances(atoms.get_chemical_symbols())


def test_values_are_the_inverse_of_the_distances(atoms, descriptor):
    distances = atoms.get_all_distances()[np.triu_indices(len(atoms), 1)]
    np.testing.assert_allclose(descriptor(atoms).values[0].numpy(), 1 / distances)


def test_jacobian_is_that_of_autodiff(atoms, descriptor):
    positions = torch.tensor(atoms.positions)
    expected = jacrev(textbook.inverse_distances)(positions).flatten(1).T
    torch.testing.assert_close(descriptor(atoms).jacobian(0), expected)


def test_jacobian_is_the_derivative_by_finite_differences(atoms, descriptor):
    laws.jacobian_is_the_derivative(descriptor, atoms)


def test_many_geometries_at_once_are_the_same_as_each_alone(atoms, descriptor):
    positions = torch.stack(
        [torch.tensor(atoms.positions) * s for s in (0.9, 1.0, 1.2)]
    )
    values, jacobian = descriptor.values_and_jacobian(positions)
    for k, geometry in enumerate(positions):
        alone = descriptor(Atoms(atoms.numbers, geometry.numpy()))
        torch.testing.assert_close(values[k], alone.values[0])
        torch.testing.assert_close(jacobian[k], alone.jacobian(0))


def test_the_molecule_is_one_environment_of_all_atoms(atoms, descriptor):
    environments = descriptor(atoms)
    assert environments.n_atoms == len(atoms)
    assert environments.species.tolist() == [0]
    assert environments.pair_atom.tolist() == list(range(len(atoms)))
    assert environments.pair_environment.tolist() == [0] * len(atoms)


@pytest.mark.parametrize("move", ["rotated", "translated", "mirrored"])
def test_values_do_not_change_when_the_molecule_moves(atoms, descriptor, move):
    moved = {
        "rotated": lambda: laws.rotated(atoms)[0],
        "translated": lambda: laws.translated(atoms),
        "mirrored": lambda: Atoms(atoms.numbers, -atoms.positions),
    }[move]()
    laws.descriptor_is_invariant(descriptor(atoms).values, descriptor(moved).values)


def test_orders_permute_the_entries_as_permuting_the_atoms_does():
    atoms = molecule("CH4")
    atoms.rattle(0.1, seed=2)
    descriptor = InverseDistances(atoms.get_chemical_symbols())
    group = [(0, *p) for p in itertools.permutations(range(1, 5))]
    orders = descriptor.orders(torch.tensor(group))
    q = descriptor(atoms).values[0]
    for permutation, order in zip(group, orders, strict=True):
        moved = laws.permuted(atoms, permutation)
        torch.testing.assert_close(q[order], descriptor(moved).values[0])


def test_specification_builds_the_descriptor_again(atoms, descriptor):
    specification = descriptor.specification()
    assert specification.pop("name") == "inverse_distances"
    again = InverseDistances(**specification)
    torch.testing.assert_close(again(atoms).values, descriptor(atoms).values)


def coincident():
    return Atoms("OH2", [[0, 0, 0], [0.9, 0, 0], [0.9, 0, 0]])


def lost():
    return Atoms("OH2", [[0, 0, 0], [0.9, 0, 0], [np.nan, 0, 0]])


@pytest.mark.parametrize(
    ("atoms", "rule"),
    [
        (molecule("H2O")[[1, 0, 2]], r"molecule OHH .*in that order, got HOH: reorder"),
        (molecule("CO2"), "got COO"),
        (molecule("H2O")[[0, 1]], "got OH"),
        (Atoms("OH2", molecule("H2O").positions, cell=[9] * 3, pbc=True), "switch pbc"),
        (coincident(), "two atoms stand at one place"),
        (lost(), "not finite"),
    ],
)
def test_what_is_not_this_isolated_molecule_is_refused(atoms, rule):
    with pytest.raises(ValueError, match=rule):
        InverseDistances(["O", "H", "H"])(atoms)


def test_a_single_atom_has_no_distances():
    with pytest.raises(ValueError, match="at least two atoms"):
        InverseDistances(["H"])
