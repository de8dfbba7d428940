"""The posterior of a pool is the dense Gaussian's, misfits shared with the data too."""

from types import SimpleNamespace

import numpy as np
import psutil
import pytest
import textbook
import torch
from small_models import (
    BOTH,
    MIXED,
    SWAP,
    E,
    F,
    as_molecule,
    hyperparameters,
    orders_of,
    potential,
    water,
    water_dataset,
)

from mfal.models.memory import TooLargeError
from mfal.models.pool import ExactPool, PoolEntry

LEVELS = ("low", "middle", "high")
# level, quantities, structure of the data set (or a new one)
ENTRIES = [
    ("high", BOTH, 1),
    ("middle", F, 1),
    ("high", BOTH, 9),
    ("low", E, 9),
    ("middle", BOTH, None),
    ("high", F, 2),
]


@pytest.fixture(params=[("rbf", "matern52", "rbf"), ("matern52", "rbf", "matern52")])
def case(request):
    h = hyperparameters(*request.param)
    dataset = water_dataset(MIXED[3])
    model = potential(dataset, h, SWAP)
    entries = [
        PoolEntry(water(20 if s is None else s), level, quantities, s)
        for level, quantities, s in ENTRIES
    ]
    return SimpleNamespace(
        h=h, model=model, entries=entries, pool=ExactPool(model, entries)
    )


def rows_of(case):
    """The rows of the pool in the form of the textbook."""
    parts = []
    for entry, block in zip(case.entries, case.pool.blocks, strict=True):
        name = "new" if entry.structure is None else entry.structure
        seen = {0: 0, 1: 0}
        observable = []
        for q in block.quantity.tolist():
            observable.append((name, q, seen[q]))
            seen[q] += 1
        parts.append((block, observable))
    rows = case.pool.rows
    e = rows.environment
    return textbook.Molecule(
        rows.weight,
        rows.direction,
        rows.descriptor[e],
        rows.level[e],
        rows.counts[e],
        torch.full((len(rows),), 3),
        [name for _, observable in parts for name in observable],
    )


def dense(case):
    """Posterior mean and covariance of the rows, misfits of the own level left out."""
    pool, data = rows_of(case), as_molecule(case.model.observations)
    orders = orders_of(["O", "H", "H"], SWAP)

    def covariance(rows1, rows2):
        labels = textbook.white(case.h, rows1, rows2)
        without = textbook.white(case.h, rows1, rows2, own1=False, own2=False)
        one_level = rows1.level[:, None] == rows2.level
        smooth = textbook.smooth(case.h, rows1, rows2, orders)
        return (smooth + torch.where(one_level, without, labels)).numpy()

    observed = textbook.smooth(case.h, data, data, orders)
    observed = observed + textbook.white(case.h, data, data)
    return textbook.conditioned(
        covariance(pool, pool),
        covariance(pool, data),
        observed.numpy(),
        case.model.observations.values.numpy(),
    )


def test_means_and_covariances_are_those_of_the_dense_gaussian(case):
    mean, covariance = dense(case)
    np.testing.assert_allclose(case.pool.mean, mean, atol=1e-8)
    every = range(len(case.entries))
    np.testing.assert_allclose(case.pool.cross(every), covariance, atol=1e-8)
    for k, part in enumerate(case.pool.slices):
        np.testing.assert_allclose(
            case.pool.covariance(k), covariance[part, part], atol=1e-8
        )


def test_cross_covariances_of_some_blocks_are_those_lines(case):
    whole = case.pool.cross(range(len(case.entries)))
    lines = torch.cat([whole[case.pool.slices[b]] for b in (4, 1)])
    torch.testing.assert_close(case.pool.cross([4, 1]), lines)


def test_noise_is_the_misfit_of_the_own_level_alone(case):
    for k, (level, quantities, _) in enumerate(ENTRIES):
        energy, force, _ = case.h.noise[LEVELS.index(level)].square()
        expected = ([3 * energy] if "energy" in quantities else []) + (
            [force] * 3 if "forces" in quantities else []
        )
        torch.testing.assert_close(case.pool.noise(k), torch.stack(expected))


@pytest.mark.parametrize("levels", [("low", "middle"), ("middle", "low")])
def test_a_label_given_another_of_its_structure_is_what_the_model_then_says(levels):
    """Structure 9 is new to the data: its label at one level tells of that at another."""
    known, wanted = (PoolEntry(water(9), level, BOTH, 9) for level in levels)
    h = hyperparameters("rbf", "matern52")
    pool = ExactPool(potential(water_dataset(MIXED[2]), h, SWAP), [wanted, known])
    mine, other = pool.slices
    labels = pool.cross([0, 1]) + torch.cat([pool.noise(0), pool.noise(1)]).diag()
    explained = labels[mine, other] @ torch.linalg.solve(
        labels[other, other], labels[other, mine]
    )
    asked = [*MIXED[2], (9, LEVELS.index(known.level), BOTH)]
    after = ExactPool(potential(water_dataset(asked), h, SWAP), [wanted])
    torch.testing.assert_close(
        labels[mine, mine] - explained,
        after.covariance(0) + after.noise(0).diag(),
        rtol=1e-8,
        atol=1e-9,
    )


def test_slices_follow_each_other(case):
    assert [(s.start, s.stop) for s in case.pool.slices] == [
        *((0, 4), (4, 7), (7, 11), (11, 12), (12, 16), (16, 19))
    ]


@pytest.mark.faults
def test_too_large_a_pool_is_refused_with_its_estimate(case, monkeypatch):
    free = SimpleNamespace(available=1000)
    monkeypatch.setattr(psutil, "virtual_memory", lambda: free)
    with pytest.raises(TooLargeError, match="posterior of the pool"):
        ExactPool(case.model, case.entries)
