"""The pool of a sparse model: what a label would tell, before it is known."""

import dataclasses

import numpy as np
import pytest
import torch
from small_cells import hyperparameters, small_map, water

from mfal import Fidelity, Label, LabelledDataset
from mfal.models.pool import PoolEntry
from mfal.models.sparse import SparsePotential
from mfal.models.weight_fit import WeightFit
from mfal.models.weight_pool import WeightPool

NAMES = ("low", "middle", "high")
STRUCTURES = tuple(water(seed) for seed in range(6))


def label(seed):
    rng = np.random.default_rng(seed)
    return Label(energy=float(rng.normal()), forces=rng.normal(size=(3, 3)))


def fitted_to(asked, n_levels, feature_map):
    """The model of labels at (structure, level), hyperparameters given."""
    labels = {(i, NAMES[k]): label(10 * i + k) for i, k in asked}
    data = LabelledDataset(
        STRUCTURES, tuple(Fidelity(n) for n in NAMES[:n_levels]), labels
    )
    errors = torch.full((n_levels - 1,), torch.nan).double()
    fit = WeightFit(hyperparameters(n_levels), errors, 0.0, True, None, 0)
    return SparsePotential.with_fit(data, feature_map, fit)


@pytest.fixture(scope="module")
def feature_map():
    return small_map(STRUCTURES, 6)


# what is known, the label that is asked for, the label it is to tell of
CASES = {
    "one level": (1, [(0, 0), (1, 0)], (2, 0), (3, 0)),
    "a high label, its low one known": (
        2,
        [(0, 0), (1, 0), (2, 0), (3, 0), (0, 1)],
        (2, 1),
        (3, 1),
    ),
    "a high label, nothing known": (2, [(0, 0), (1, 0), (0, 1)], (2, 1), (3, 1)),
    "a low label of another structure": (2, [(0, 0), (0, 1)], (2, 0), (3, 1)),
    "a low label of the same structure": (2, [(0, 0), (0, 1)], (3, 0), (3, 1)),
    "a middle label of the same structure, its low one known": (
        3,
        [(0, 0), (0, 1), (0, 2), (3, 0)],
        (3, 1),
        (3, 2),
    ),
}


@pytest.mark.parametrize("case", CASES)
def test_what_a_label_tells_is_what_a_fit_with_it_knows(case, feature_map):
    """Variance of a label, noise included, with the other label known: both ways."""
    n_levels, known, candidate, target = CASES[case]
    model = fitted_to(known, n_levels, feature_map)
    entries = [PoolEntry(STRUCTURES[i], NAMES[k], structure=i) for i, k in
               (candidate, target)]  # fmt: skip
    pool = WeightPool(model, entries)
    told = pool.covariance(0) + pool.noise(0).diag()
    cross = pool.cross([0])[:, pool.slices[1]]
    before = pool.covariance(1) + pool.noise(1).diag()
    after = before - cross.mT @ torch.linalg.solve(told, cross)
    fitted = fitted_to([*known, candidate], n_levels, feature_map)
    again = WeightPool(fitted, entries[1:])
    torch.testing.assert_close(
        after, again.covariance(0) + again.noise(0).diag(), rtol=1e-7, atol=1e-10
    )


def test_the_mean_of_a_structure_unknown_is_its_prediction(feature_map):
    model = fitted_to([(0, 0), (0, 1), (1, 0)], 2, feature_map)
    pool = WeightPool(model, [PoolEntry(STRUCTURES[4], "middle")])
    found = model.predict([STRUCTURES[4]], calibrated=False)[0]
    zero = float(model.training.reference[1] @ model.feature_map.counts(STRUCTURES[4]))
    assert float(pool.mean[0]) == pytest.approx(found.energy - zero, rel=1e-9)
    np.testing.assert_allclose(pool.mean[1:].numpy(), found.forces.ravel(), rtol=1e-9)
    sigma = pool.covariance(0).diagonal()[1:].sqrt().numpy()
    misfit = pool.noise(0)[1:]
    total = np.hypot(found.forces_sigma, found.forces_noise).ravel()
    np.testing.assert_allclose(np.hypot(sigma, misfit.sqrt().numpy()), total, rtol=1e-9)


def test_a_model_without_its_data_knows_no_label_below(feature_map):
    model = fitted_to([(0, 0), (0, 1), (3, 0)], 2, feature_map)
    loaded = SparsePotential(
        model.feature_map, model.training, model.statistics, model.fitted
    )
    entry = PoolEntry(STRUCTURES[3], "middle", structure=3)
    assert WeightPool(loaded, [entry]).blocks[0].below == -1
    assert WeightPool(model, [entry]).blocks[0].below == 0
    unknown = dataclasses.replace(entry, structure=6)
    assert WeightPool(model, [unknown]).blocks[0].below == -1
