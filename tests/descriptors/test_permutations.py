"""Permutations of like atoms: those that the data reach, closed to a group."""

import itertools

import pytest
import torch
from ase.build import molecule

from mfal.descriptors import declared_group, find_group, identity


def elements(group):
    return {tuple(row) for row in group.tolist()}


def is_a_group(group):
    rows = elements(group)
    products = {tuple(p[i] for i in q) for p in rows for q in rows}
    return tuple(range(group.shape[1])) in rows and products == rows


def rattled(name, n, width=0.05):
    structures = []
    for seed in range(n):
        atoms = molecule(name)
        atoms.rattle(width, seed=seed)
        structures.append(atoms)
    return structures


def test_methyl_hydrogens_are_exchanged_the_hydroxyl_hydrogen_is_not(methanol):
    methyl = (2, 4, 5)
    expected = set()
    for images in itertools.permutations(methyl):
        row = list(range(6))
        for atom, image in zip(methyl, images, strict=True):
            row[atom] = image
        expected.add(tuple(row))
    group = find_group(methanol.structures)
    assert elements(group) == expected
    assert group[0].tolist() == list(range(6))


def test_the_hydrogens_of_water_are_exchanged():
    assert elements(find_group(rattled("H2O", 8))) == {(0, 1, 2), (0, 2, 1)}


def test_unlike_atoms_are_not_exchanged():
    assert elements(find_group(rattled("HCN", 8))) == {(0, 1, 2)}


def test_a_permutation_that_the_data_do_not_reach_is_left_out():
    """One O-H bond of the water is always the longer one: nothing swaps them."""
    structures = rattled("H2O", 8, width=0.01)
    for atoms in structures:
        atoms.positions[1] += 0.2 * (atoms.positions[1] - atoms.positions[0])
    assert elements(find_group(structures)) == {(0, 1, 2)}


def test_a_declared_group_is_closed():
    """Two exchanges generate all six permutations of three atoms."""
    generators = [[0, 2, 1, 3], [0, 1, 3, 2]]
    group = declared_group(generators, ["N", "H", "H", "H"])
    assert elements(group) == {(0, *p) for p in itertools.permutations((1, 2, 3))}
    assert is_a_group(group)
    assert group[0].tolist() == [0, 1, 2, 3]


def test_a_cycle_generates_its_powers_only():
    group = declared_group([[0, 2, 3, 1]], ["N", "H", "H", "H"])
    assert elements(group) == {(0, 1, 2, 3), (0, 2, 3, 1), (0, 3, 1, 2)}


def test_no_declared_permutation_is_the_identity():
    torch.testing.assert_close(declared_group([], ["O", "H", "H"]), identity(3))
    assert identity(3).tolist() == [[0, 1, 2]]


@pytest.mark.parametrize(
    ("row", "rule"),
    [
        ([0, 1], "each of the atoms 0 to 2 once"),
        ([0, 1, 1], "each of the atoms 0 to 2 once"),
        ([1, 0, 2], "like atoms only, .* puts H in the place of O"),
    ],
)
def test_what_is_not_a_permutation_of_like_atoms_is_refused(row, rule):
    with pytest.raises(ValueError, match=rule):
        declared_group([row], ["O", "H", "H"])


def test_too_large_a_group_is_refused():
    symbols = ["H"] * 7
    swap, turn = [1, 0, 2, 3, 4, 5, 6], [1, 2, 3, 4, 5, 6, 0]
    with pytest.raises(ValueError, match="more than 1000: declare fewer"):
        declared_group([swap, turn], symbols)


def test_a_bond_graph_with_too_many_permutations_asks_for_a_declaration():
    with pytest.raises(ValueError, match=r"more than 1000 permutations: declare"):
        find_group(rattled("isobutane", 3))
