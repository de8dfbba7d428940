"""Rattled and strained copies: how far they go, and what is refused."""

import numpy as np
import pytest
from ase import Atoms
from ase.build import bulk, molecule

from mfal.calculators.rattling import rattled
from mfal.data import structure_key
from mfal.data.checks import check_structure

CUBE = bulk("Cu", "fcc", a=3.6, cubic=True)


def strains(copies, supercell=(1, 1, 1)):
    rest = np.asarray(CUBE.cell) * np.array(supercell)[:, None]
    return np.array(
        [np.linalg.solve(rest, np.asarray(c.cell)) for c in copies]
    ) - np.eye(3)


def test_displacements_have_the_width_that_was_asked_for():
    copies = rattled(CUBE, 300, rattle=0.08)
    moved = np.array([c.positions - CUBE.positions for c in copies])
    assert moved.std() == pytest.approx(0.08, rel=0.03)
    assert moved.mean() == pytest.approx(0.0, abs=4 * 0.08 / moved.size**0.5)
    assert all(np.array_equal(c.cell, CUBE.cell) for c in copies)


def test_strains_are_symmetric_and_fill_their_interval():
    found = strains(rattled(CUBE, 300, rattle=0.02, strain=0.05))
    np.testing.assert_allclose(found, found.transpose(0, 2, 1), atol=1e-7)
    assert 0.049 < np.abs(found).max() <= 0.05 + 1e-7
    assert found.std() == pytest.approx(0.05 / 3**0.5, rel=0.06)


def test_atoms_follow_the_strain():
    for copy in rattled(CUBE, 5, rattle=0.0, strain=0.1):
        whole = [a.get_scaled_positions(wrap=False) for a in (copy, CUBE)]
        np.testing.assert_allclose(*whole, atol=1e-7)


def test_a_supercell_holds_so_many_cells():
    copies = rattled(CUBE, 3, rattle=0.02, strain=0.01, supercell=(2, 1, 3))
    assert [len(c) for c in copies] == [24] * 3
    assert np.abs(strains(copies, (2, 1, 3))).max() < 0.011


def test_the_seed_gives_the_same_copies_and_another_seed_others():
    keys = [
        {structure_key(a) for a in rattled(CUBE, 4, rattle=0.1, seed=seed)}
        for seed in (0, 0, 1)
    ]
    assert keys[0] == keys[1]
    assert not keys[0] & keys[2]


def test_copies_that_cannot_be_labelled_are_drawn_again():
    pair = Atoms("Cu2", [[0, 0, 0], [0, 0, 1.5]])
    copies = rattled(pair, 40, rattle=0.25)
    assert all(check_structure(c, multiplicity=None) is None for c in copies)
    closest = min(c.get_distance(0, 1) for c in copies)
    assert closest < 1.4  # near the limit of 1.32 A: some were refused


@pytest.mark.parametrize(
    ("atoms", "options", "message"),
    [
        (CUBE, {"rattle": -0.1}, "rattle >= 0"),
        (CUBE, {"rattle": 0.0}, "one of them above"),
        (CUBE, {"strain": 1.0}, "strain in"),
        (molecule("H2O"), {"strain": 0.1}, "periodic in all directions"),
        (molecule("H2O"), {"supercell": (2, 1, 1)}, "periodic in all directions"),
        (Atoms("Cu2", [[0, 0, 0], [0, 0, 0.5]]), {}, "start cannot be labelled"),
        (CUBE * (2, 2, 2), {"rattle": 3.0}, "100 copies in a row"),
        (molecule("CH3"), {"multiplicity": 1}, "9 electrons"),
    ],
)
def test_what_gives_no_copies_is_refused(atoms, options, message):
    with pytest.raises(ValueError, match=message):
        rattled(atoms, 3, **options)
