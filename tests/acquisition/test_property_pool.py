"""Blocks of properties are part of the joint Gaussian, and labels are bought for them."""

import numpy as np
import pytest
import torch
from gaussian_pools import mutual_information
from two_engines import DATA, ENGINES, LEVELS, mixed, structures

from mfal.acquisition import (
    Candidate,
    IntegratedVariance,
    TargetInformation,
    WithProperties,
    barrier,
    property_entries,
    property_posterior,
    select_batch,
)
from mfal.models.calibration import Recalibration
from mfal.models.pool import PoolEntry


@pytest.fixture(params=ENGINES, ids=[e.__name__ for e in ENGINES])
def engine(request):
    return request.param


def pool_with(engine, properties, levels=2):
    model = engine.model(DATA if levels == 2 else DATA[:4], levels=levels)
    asked = [(4, 0), (2, levels - 1), (5, 0)]
    entries = [PoolEntry(engine.structure(i), LEVELS[k], structure=i) for i, k in asked]
    high = LEVELS[levels - 1]
    entries += property_entries(properties, high)
    return model, WithProperties(engine.pool(model, entries), properties, high)


def test_a_pool_knows_the_variance_that_the_posterior_says(engine):
    """One level: nothing is inherited, and what no feature carries is left out."""
    properties = [mixed(engine), barrier("b", *structures(engine))]
    model, pool = pool_with(engine, properties, levels=1)
    bare = model.with_recalibrations({"standalone": Recalibration(unexplained=0.0)})
    for block, one in zip(pool.property_blocks, properties, strict=True):
        error = property_posterior(bare, one).error
        assert float(pool.covariance(block)) ** 0.5 == pytest.approx(error, rel=1e-6)


def test_blocks_of_properties_are_consistent_with_each_other(engine):
    properties = [mixed(engine), barrier("b", *structures(engine))]
    _, pool = pool_with(engine, properties)
    whole = pool.cross(range(len(pool.slices)))
    torch.testing.assert_close(whole, whole.mT)
    for block in pool.property_blocks:
        where = pool.slices[block]
        torch.testing.assert_close(whole[where, where], pool.covariance(block))
    assert torch.linalg.eigvalsh(whole)[0] > -1e-8


def test_target_information_of_a_property_is_that_of_the_dense_gaussian(engine):
    _, pool = pool_with(engine, [mixed(engine)])
    (target,) = pool.property_blocks
    tolerance = torch.tensor([0.02**2], dtype=torch.float64)
    acquisition = TargetInformation(pool, [target], tolerance)
    whole = pool.cross(range(len(pool.slices))).numpy()
    row = pool.slices[target]
    known = whole[row, row] + tolerance.numpy()
    for block in range(3):
        own = pool.slices[block]
        label = whole[own, own] + np.diag(pool.noise(block).numpy())
        expected = mutual_information(label, known, whole[own, row])
        assert acquisition.value([block]) == pytest.approx(expected, rel=1e-6)


def test_a_label_sharpens_a_property_by_what_the_pool_says(engine):
    """The error of a model that has the label, whatever its values."""
    one = barrier("b", *structures(engine))
    model, pool = pool_with(engine, [one], levels=1)
    fall = IntegratedVariance(pool, list(pool.property_blocks))
    off = {"standalone": Recalibration(unexplained=0.0)}
    before = property_posterior(model.with_recalibrations(off), one)
    for seed in (1, 2):
        bought = engine.model([*DATA[:4], (4, 0)], seed, levels=1)
        after = property_posterior(bought.with_recalibrations(off), one)
        expected = before.error**2 - after.error**2
        assert fall.value([0]) == pytest.approx(expected, rel=1e-4, abs=1e-10)


def test_the_label_bought_for_a_property_is_that_of_its_structures(engine):
    a, b = structures(engine)
    one = barrier("b", a, b)
    model = engine.model(DATA)
    asked = [engine.structure(3), a, engine.structure(2)]
    entries = [PoolEntry(atoms, "middle") for atoms in asked]
    entries += property_entries([one], "middle")
    pool = WithProperties(engine.pool(model, entries), [one], "middle")
    tolerance = torch.tensor([1e-4], dtype=torch.float64)
    acquisition = TargetInformation(pool, list(pool.property_blocks), tolerance)
    candidates = [Candidate(i, "middle", 1.0) for i in range(3)]
    (pick,) = select_batch(acquisition, candidates, 1)
    assert pick.position == 1


def test_a_pool_names_the_rows_of_labels_as_before(engine):
    _, pool = pool_with(engine, [mixed(engine)])
    assert pool.n_atoms(0) == len(engine.structure(4))
    assert torch.equal(pool.quantity(0), pool.pool.quantity(0))
    assert torch.equal(pool.force_basis(0), pool.pool.force_basis(0))
    assert torch.equal(pool.noise(0), pool.pool.noise(0))


def test_each_structure_of_the_properties_is_one_entry(engine):
    a, b = structures(engine)
    entries = property_entries([mixed(engine), barrier("b", b, a)], "middle")
    assert [(e.atoms, e.level, e.quantities) for e in entries] == [
        (a, "middle", ("energy",)),
        (b, "middle", ("energy", "forces")),
    ]


def test_a_property_is_no_label(engine):
    _, pool = pool_with(engine, [mixed(engine)])
    with pytest.raises(ValueError, match="'mixed' is no label"):
        pool.noise(pool.property_blocks[0])


def test_a_property_that_the_pool_does_not_hold_is_refused(engine):
    model = engine.model(DATA)
    entries = [PoolEntry(engine.structure(4), "middle")]
    pool = engine.pool(model, entries)
    with pytest.raises(ValueError, match="add `property_entries"):
        WithProperties(pool, [barrier("b", *structures(engine))], "middle")
