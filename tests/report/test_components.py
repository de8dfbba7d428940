import numpy as np
import pytest
from ase import Atoms
from ase.build import bulk, molecule

from mfal.report.components import MOST, components, described, pool_map

SWAP = [[0, 1, 2], [0, 2, 1]]  # the hydrogens of water


def water(seed):
    atoms = molecule("H2O")
    atoms.rattle(0.1, seed=seed)
    return atoms


def test_components_are_those_of_the_covariance():
    rows = np.random.default_rng(0).normal(size=(30, 5)) * [5, 3, 1, 1, 1]
    found, shares = components(rows)
    values, vectors = np.linalg.eigh(np.cov(rows.T))
    assert shares == pytest.approx(values[::-1][:2] / values.sum())
    projected = (rows - rows.mean(0)) @ vectors[:, ::-1][:, :2]
    for mine, theirs in zip(found.T, projected.T, strict=True):
        assert min(np.abs(mine - theirs).max(), np.abs(mine + theirs).max()) < 1e-12


@pytest.mark.parametrize("rows", [np.ones((4, 3)), np.arange(4.0).reshape(4, 1)])
def test_a_pool_that_does_not_vary_has_places_all_the_same(rows):
    found, shares = components(rows)
    assert np.isfinite(found).all() and shares[1] == 0


def test_like_atoms_that_change_places_do_not_move_a_molecule():
    one = water(1)
    pool = [water(0), one, one[[0, 2, 1]]]
    rows, name = described(pool, SWAP)
    assert rows[1] == pytest.approx(rows[2]) and name == "inverse distances"
    assert np.abs(rows[0] - rows[1]).max() > 1e-3
    plain, _ = described(pool)
    assert np.abs(plain[1] - plain[2]).max() > 1e-3


def test_crystals_do_not_move_with_the_order_or_the_number_of_their_atoms():
    cell = bulk("NaCl", "rocksalt", 5.6)
    turned = cell[[1, 0]]
    other = bulk("NaCl", "rocksalt", 5.3)
    rows, name = described([cell, turned, cell * (2, 1, 1), other])
    assert rows[1] == pytest.approx(rows[0]) and rows[2] == pytest.approx(rows[0])
    assert np.abs(rows[3] - rows[0]).max() > 1e-3
    assert "power spectra" in name


def test_labelled_structures_are_shown_before_others():
    pool = [(i, water(i), "candidate") for i in range(MOST + 60)]
    found = pool_map(pool, {i: {"low": 1} for i in range(MOST, MOST + 60)}, SWAP)
    shown = [p["structure"] for p in found["points"]]
    assert len(shown) == MOST and found["n_structures"] == MOST + 60
    assert set(range(MOST, MOST + 60)) <= set(shown)
    assert found["points"][-1]["steps"] == {"low": 1}


def test_two_structures_make_no_map():
    assert pool_map([(0, Atoms("H2O"), "target")] * 2, {}, None) is None
