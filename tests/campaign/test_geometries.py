"""The pool is what the file or the dynamics give, of the molecule that was asked for."""

import ase.io
import numpy as np
import pytest
from small_campaigns import small_config, water, write_labels

from mfal.campaign.config import ConfigError
from mfal.campaign.geometries import pool_from_dynamics, pool_from_file
from mfal.data import structure_key
from mfal.data.frames import DataFileError

POOL = {"sampler": "file", "path": "pool.extxyz", "size": 16}


def test_the_first_structures_of_the_file_are_the_pool(tmp_path):
    write_labels(tmp_path)
    config = small_config(tmp_path, pool={**POOL, "size": 12})
    found = [structure_key(a) for a in pool_from_file(config)]
    assert found == [structure_key(water(i)) for i in range(12)]


def periodic(atoms):
    atoms.set_cell([9, 9, 9])
    atoms.pbc = True


def reordered(atoms):
    atoms.numbers = atoms.numbers[[1, 0, 2]]


def collapsed(atoms):
    atoms.positions[1] = atoms.positions[0]


@pytest.mark.parametrize(
    ("fault", "message"),
    [
        (periodic, "structure 15 of .*periodic boundaries"),
        (reordered, "structure 15 of .*atoms in that order, got HOH"),
        (collapsed, "structure 15 of .*two atoms stand at one place"),
    ],
)
def test_a_structure_that_is_not_the_molecule_is_named(tmp_path, fault, message):
    pool = [water(i) for i in range(16)]
    fault(pool[15])
    write_labels(tmp_path)
    ase.io.write(tmp_path / "pool.extxyz", pool)
    with pytest.raises(ConfigError, match=message):
        pool_from_file(small_config(tmp_path))
    few = small_config(tmp_path, pool={**POOL, "size": 15})
    assert len(pool_from_file(few)) == 15  # only what is used is looked at


def test_another_molecule_and_too_few_structures_are_refused(tmp_path):
    write_labels(tmp_path)
    with pytest.raises(ConfigError, match="holds H2O, the system is H2O2"):
        pool_from_file(small_config(tmp_path, system={"molecule": "H2O2"}))
    with pytest.raises(ConfigError, match="holds 16 structures, 17 are wanted"):
        pool_from_file(small_config(tmp_path, pool={**POOL, "size": 17}))


def test_a_broken_file_is_refused(tmp_path):
    write_labels(tmp_path)
    path = tmp_path / "pool.extxyz"
    path.write_text(path.read_text()[:-20])
    with pytest.raises(DataFileError, match=r"pool.extxyz"):
        pool_from_file(small_config(tmp_path))


def test_dynamics_give_geometries_of_the_seed(tmp_path):
    write_labels(tmp_path)
    pool = {"size": 16, "interval": 5, "equilibration": 10}
    told, counted = [], []

    def drawn(seed):
        config = small_config(tmp_path, oracle={"code": "emt"}, pool=pool, seed=seed)
        level = config.fidelities()[0]
        found = pool_from_dynamics(config, level, told.append, counted.append)
        return np.array([atoms.positions for atoms in found])

    first = drawn(0)
    assert first.shape == (16, 3, 3)
    np.testing.assert_array_equal(first, drawn(0))
    assert np.abs(first - drawn(1)).max() > 1e-3
    assert told[0] == "drawing 16 geometries by low dynamics at 500 K"
    assert counted[:16] == list(range(1, 17))
