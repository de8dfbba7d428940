"""The pool is what the file or the dynamics give, of the molecule that was asked for."""

import ase.io
import numpy as np
import pytest
from ase.build import bulk
from small_campaigns import small_config, water, write_labels

from mfal.campaign.config import ConfigError
from mfal.campaign.geometries import (
    draw_pool,
    pool_from_dynamics,
    pool_from_file,
    unphysical,
)
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


SPARSE_POOL = {"sampler": "file", "path": "crystals.extxyz", "size": 4}


def crystals(folder, *structures):
    """A sparse campaign of copper cubes whose pool is in a file."""
    cube = bulk("Cu", "fcc", a=3.6, cubic=True)
    cube.write(folder / "copper.xyz")
    pool = [cube.copy() for _ in range(4)]
    for seed, atoms in enumerate(pool):
        atoms.rattle(0.05, seed=seed)
        atoms.set_cell(atoms.cell * (1 + 0.01 * seed), scale_atoms=True)
    ase.io.write(
        folder / "crystals.extxyz", [*pool[: 4 - len(structures)], *structures]
    )
    return small_config(
        folder,
        system={"file": "copper.xyz"},
        oracle={"code": "emt"},
        pool=SPARSE_POOL,
        model="sparse",
        targets=1,
        validation=0,
    )


def test_a_sparse_model_takes_cells_of_any_shape(tmp_path):
    found = pool_from_file(crystals(tmp_path))
    assert len({round(a.get_volume(), 6) for a in found}) == 4


def test_a_sparse_model_takes_atoms_in_any_order(tmp_path):
    write_labels(tmp_path)
    pool = [water(i) for i in range(16)]
    pool[15] = pool[15][[1, 0, 2]]
    ase.io.write(tmp_path / "pool.extxyz", pool)
    assert len(pool_from_file(small_config(tmp_path, model="sparse"))) == 16


def test_crystals_that_cannot_be_labelled_or_have_other_atoms_are_named(tmp_path):
    flat = bulk("Cu", "fcc", a=3.6, cubic=True)
    flat.positions[1] = flat.positions[0]
    with pytest.raises(ConfigError, match=r"structure 3 of .*apart"):
        pool_from_file(crystals(tmp_path, flat))
    larger = bulk("Cu", "fcc", a=3.6, cubic=True) * (1, 1, 2)
    with pytest.raises(
        ConfigError, match=r"structure 3 of .*it is Cu8, the first .*Cu4"
    ):
        pool_from_file(crystals(tmp_path, larger))


def test_a_rattled_pool_has_the_size_and_the_seed_of_the_campaign(tmp_path):
    def drawn(seed):
        config = small_config(
            tmp_path,
            oracle={"code": "emt"},
            pool={"sampler": "rattle", "size": 16, "rattle": 0.03},
            seed=seed,
        )
        return {structure_key(a) for a in draw_pool(config, print, print)}

    assert len(drawn(0)) == 16
    assert drawn(0) == drawn(0)
    assert not drawn(0) & drawn(1)


def test_rattling_that_gives_no_structures_is_a_fault_of_the_configuration(tmp_path):
    crystal = crystals(tmp_path)
    pool = crystal.pool.model_copy(
        update={"sampler": "rattle", "rattle": 3.0, "supercell": (2, 2, 2)}
    )
    with pytest.raises(ConfigError, match=r"pool: 100 copies in a row.*lower rattle"):
        draw_pool(crystal.model_copy(update={"pool": pool}), print, print)


def test_electrons_are_counted_where_a_level_has_any(tmp_path):
    write_labels(tmp_path)
    atoms = water(0)[:2]  # O and H: nine electrons
    assert unphysical(small_config(tmp_path), atoms) is None
    levels = [{"name": "high", "oracle": {"code": "tblite", "method": "GFN2-xTB"}}]
    config = small_config(tmp_path)
    quantum = config.model_validate(
        {
            "system": {"molecule": "H2O"},
            "levels": levels,
            "budget": {"highest_labels": 9},
        }
    )
    assert "9 electrons" in unphysical(quantum, atoms)
