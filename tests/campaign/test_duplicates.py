"""Row 11: the same label twice, and structures that are others over again."""

import ase.io
import numpy as np
import pytest
from ase import Atoms
from ase.build import bulk, fcc111, molecule
from small_campaigns import small_config, water, write_labels
from small_cells import cell, emt_dataset, small_map
from small_models import SWAP, water_dataset
from stored_campaign import VERSIONS, pool, result

from mfal.calculators.exploring import Flagged
from mfal.campaign.config import ConfigError
from mfal.campaign.database import StoreError
from mfal.campaign.geometries import pool_from_file
from mfal.campaign.sifting import sift
from mfal.campaign.store import CampaignStore
from mfal.data import structure_key
from mfal.data.copies import find_copies, is_copy
from mfal.models.environment_rows import EnvironmentDescriber
from mfal.models.exact import ExactPotential
from mfal.models.sparse import SparsePotential

pytestmark = pytest.mark.faults

ETHANOL = molecule("CH3CH2OH")
ALLOY = bulk("Cu", "fcc", a=3.6, cubic=True) * (2, 2, 1)
ALLOY.symbols[[1, 4, 5]] = "Au"
SLAB = fcc111("Cu", (2, 2, 3), vacuum=6.0)


def rattled(atoms, seed=0):
    atoms = atoms.copy()
    atoms.rattle(0.1, seed=seed)
    return atoms


def permuted(atoms):
    """Like atoms in another order."""
    order = np.arange(len(atoms))
    for z in np.unique(atoms.numbers):
        order[atoms.numbers == z] = np.roll(np.flatnonzero(atoms.numbers == z), 1)
    return atoms[order]


def reordered(atoms):
    """All atoms in another order, whatever they are."""
    return atoms[np.random.default_rng(1).permutation(len(atoms))]


def wrapped(atoms):
    """Each atom in another cell."""
    atoms = atoms.copy()
    steps = np.random.default_rng(2).integers(-2, 3, size=(len(atoms), 3))
    atoms.positions += (steps * atoms.pbc) @ np.asarray(atoms.cell)
    return atoms


def moved(atoms):
    atoms = atoms.copy()
    atoms.positions += [0.37, -1.21, 2.02]
    return atoms


def turned(atoms):
    atoms = atoms.copy()
    atoms.rotate(37, (1, 2, 3))
    return atoms


def mirrored(atoms):
    atoms = atoms.copy()
    atoms.positions *= [1, 1, -1]
    return atoms


@pytest.mark.parametrize("made", [permuted, reordered, moved, turned, mirrored])
def test_a_molecule_over_again_is_a_copy(made):
    atoms = rattled(ETHANOL)
    assert is_copy(atoms, made(atoms))
    assert structure_key(atoms) != structure_key(made(atoms))  # forces go by atom


@pytest.mark.parametrize("crystal", [ALLOY, SLAB, bulk("Si")], ids=str)
@pytest.mark.parametrize("made", [permuted, reordered, wrapped, moved])
def test_a_crystal_over_again_is_a_copy(crystal, made):
    atoms = rattled(crystal)
    assert is_copy(atoms, made(atoms))
    assert is_copy(atoms, moved(wrapped(permuted(atoms))))


def nudged(atoms):
    atoms = atoms.copy()
    atoms.positions[-1, 0] += 1e-3
    return atoms


def exchanged(atoms):
    """Two unlike atoms change places."""
    atoms = atoms.copy()
    other = int(np.flatnonzero(atoms.numbers != atoms.numbers[0])[0])
    atoms.numbers[[0, other]] = atoms.numbers[[other, 0]]
    return atoms


def stretched(atoms):
    atoms = atoms.copy()
    atoms.set_cell(atoms.cell * 1.001, scale_atoms=False)
    return atoms


def without_periodicity(atoms):
    atoms = atoms.copy()
    atoms.pbc = False
    return atoms


@pytest.mark.parametrize("made", [nudged, exchanged, stretched, without_periodicity])
def test_a_crystal_that_differs_is_no_copy(made):
    atoms = rattled(ALLOY)
    assert not is_copy(atoms, made(atoms))


@pytest.mark.parametrize("made", [nudged, exchanged, lambda a: a[:-1]])
def test_a_molecule_that_differs_is_no_copy(made):
    atoms = rattled(ETHANOL)
    assert not is_copy(atoms, made(atoms))


def test_the_same_distances_between_other_pairs_are_not_enough():
    """Two sets of points with the same 15 distances, of which no motion makes one."""
    marks = ([0, 1, 4, 10, 12, 17], [0, 1, 8, 11, 13, 17])
    one, other = (Atoms("H6", [[x, 0, 0] for x in xs]) for xs in marks)
    apart = [np.sort(a.get_all_distances().ravel()) for a in (one, other)]
    np.testing.assert_allclose(*apart, atol=1e-12)
    assert find_copies([one, other, turned(mirrored(other))]) == {2: 1}


def test_the_copies_in_a_pool_are_found_with_the_first_of_their_kind():
    crystals = [rattled(ALLOY, seed) for seed in range(20)]
    molecules = [rattled(ETHANOL, seed) for seed in range(20)]
    both = [*crystals, *molecules]
    assert find_copies(both) == {}
    made = [wrapped(crystals[3]), permuted(molecules[7]), moved(wrapped(crystals[3]))]
    assert find_copies([*both, *made]) == {40: 3, 41: 27, 42: 3}


def test_perfect_crystals_are_compared_atom_by_atom():
    """Their marks are all zero."""
    cube = bulk("Cu", "fcc", a=3.6, cubic=True)
    assert find_copies([cube, stretched(cube), wrapped(cube)]) == {2: 0}


def test_a_pool_with_a_copy_is_refused_and_both_are_named(tmp_path):
    write_labels(tmp_path)
    pool = [*(water(i) for i in range(15)), water(4)[[0, 2, 1]]]
    ase.io.write(tmp_path / "pool.extxyz", pool)
    auto = {"kernel": "matern52", "permutations": "auto"}
    with pytest.raises(ConfigError, match=r"structure 15 of .* is structure 4 over"):
        pool_from_file(small_config(tmp_path, model=auto))
    assert len(pool_from_file(small_config(tmp_path))) == 16  # without permutations


def test_the_same_structure_is_taken_into_a_pool_once(tmp_path):
    with CampaignStore(tmp_path / "campaign.sqlite") as store:
        twice = [*pool(), pool()[0]]
        with pytest.raises(StoreError, match="0 and 10 of the pool are the same"):
            store.add_structures(twice)
        assert store.structures() == []


def test_the_same_label_twice_is_taken_once_and_another_one_is_a_conflict(tmp_path):
    with CampaignStore(tmp_path / "campaign.sqlite") as store:
        store.add_structures(pool())
        (label_id,) = store.open_step(1, "pilot", {}, [(0, "a", "pilot")])
        store.start(label_id)
        record = (1.0, 2.0, "here", VERSIONS)
        assert store.record(label_id, result(1), *record)
        once = store.label(label_id)
        assert not store.record(label_id, result(1), *record)
        assert store.event_counts() == {}
        assert store.label(label_id).cpu_seconds == once.cpu_seconds == 2.0
        assert not store.record(label_id, result(2), *record)
        assert store.event_counts() == {"conflict": 1}
        assert store.label(label_id).result.agrees_with(result(1))
        with pytest.raises(StoreError, match="a label is asked for once"):
            store.open_step(2, "acquired", {}, [(0, "a", "acquired")])


def left_out(model, structures, copy):
    """Whether exploring would leave out a copy of what is in the pool."""
    found = sift(
        [Flagged(copy, 1.0)],
        structures,
        EnvironmentDescriber(model).of_training,
        lambda atoms: None,
        closest=0.1,
        most=5,
    )
    return found.kept == [] and found.refused["alike"] == 1


def test_exploring_leaves_out_a_permuted_copy_of_a_molecule():
    asked = [(i, 0, ("energy", "forces")) for i in range(6)]
    dataset = water_dataset(asked)
    model = ExactPotential.fit(dataset, permutations=SWAP, restarts=0)
    water = list(dataset.structures)
    assert left_out(model, water, water[2][[0, 2, 1]])
    assert not left_out(model, water, rattled(molecule("H2O"), 77))


def test_exploring_leaves_out_a_wrapped_and_permuted_copy_of_a_crystal():
    structures = [cell(seed) for seed in range(6)]
    model = SparsePotential.fit(
        emt_dataset(tuple(structures)), small_map(structures, 12)
    )
    assert left_out(model, structures, wrapped(permuted(structures[4])))
    assert not left_out(model, structures, cell(77))
