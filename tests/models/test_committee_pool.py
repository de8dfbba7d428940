"""A committee's pool is the Gaussian of its members' spread."""

import numpy as np
import pytest
import torch
from ase.calculators.lj import LennardJones
from small_cells import cell, cluster

from mfal.models.calibration import Recalibration
from mfal.models.committee import Committee
from mfal.models.committee_pool import CommitteePool
from mfal.models.pool import PoolEntry
from mfal.models.posterior import LabelPool, PoolPosterior, log_det

NOISE = {"energy": 0.01, "forces": 0.1, "stress": 0.02}
ALL = ("energy", "forces", "stress")


@pytest.fixture
def committee():
    pairs = [LennardJones(epsilon=e, sigma=2.3, rc=5.0) for e in (0.1, 0.2, 0.4, 0.5)]
    return Committee(pairs)


@pytest.fixture
def entries():
    return [
        PoolEntry(cell(1), "lj", ALL),
        PoolEntry(cluster(2), "lj"),
        PoolEntry(cell(3), "lj", ("energy",)),
    ]


@pytest.fixture
def pool(committee, entries):
    return CommitteePool(committee, entries, noise=NOISE)


def rows(committee, entry):
    return np.array(
        [
            np.concatenate([np.ravel(getattr(m, q)) for q in entry.quantities])
            for m in committee.predictions(entry.atoms)
        ]
    )


def test_it_is_a_pool_as_acquisitions_know_them(pool):
    assert isinstance(pool, PoolPosterior)
    assert isinstance(pool, LabelPool)
    assert [s.stop - s.start for s in pool.slices] == [1 + 12 + 6, 1 + 6, 1]
    assert pool.quantity(1).tolist() == [0] + [1] * 6
    assert pool.n_atoms(1) == 2
    torch.testing.assert_close(pool.force_basis(1), torch.eye(6, dtype=torch.float64))


def test_the_covariance_is_that_of_numpy(pool, committee, entries):
    every = np.concatenate([rows(committee, e) for e in entries], axis=1)
    expected = np.cov(every.T)
    np.testing.assert_allclose(pool.mean, every.mean(axis=0))
    np.testing.assert_allclose(pool.cross([0, 1, 2]), expected, atol=1e-12)
    np.testing.assert_allclose(
        pool.cross([2, 1]),
        np.concatenate([expected[pool.slices[b]] for b in (2, 1)]),
        atol=1e-12,
    )
    for block, part in enumerate(pool.slices):
        np.testing.assert_allclose(
            pool.covariance(block), expected[part, part], atol=1e-12
        )


def test_the_noise_of_an_energy_grows_with_the_atoms(pool):
    assert pool.noise(0).tolist() == pytest.approx(
        [4 * 0.01**2] + [0.1**2] * 12 + [0.02**2] * 6
    )


def test_factors_multiply_the_spread_of_each_quantity(committee, entries, pool):
    committee.recalibration = Recalibration(energy=2.0, forces=3.0)
    scaled = CommitteePool(committee, entries, noise=NOISE)
    ratio = scaled.covariance(1) / pool.covariance(1)
    assert float(ratio[0, 0]) == pytest.approx(4)
    assert float(ratio[0, 1]) == pytest.approx(6)
    assert float(ratio[2, 2]) == pytest.approx(9)


def test_its_information_is_that_of_the_ensemble(pool):
    """1/2 log det(1 + N^-1/2 S N^-1/2) is that of the K x K form on the predictions."""
    covariance, noise = pool.covariance(0), pool.noise(0)
    unit = torch.eye(len(noise), dtype=torch.float64)
    direct = log_det(unit + covariance / (noise.outer(noise)).sqrt())
    p = pool.predictions[0]
    w = (p - p.mean(0)) / (noise * 3).sqrt()
    members = log_det(torch.eye(4, dtype=torch.float64) + w @ w.mT)
    assert float(direct) == pytest.approx(float(members))


@pytest.mark.parametrize("noise", [{}, {"energy": 0.01}, NOISE | {"forces": 0.0}])
def test_a_label_without_noise_is_refused(committee, entries, noise):
    with pytest.raises(ValueError, match="a positive noise"):
        CommitteePool(committee, entries, noise=noise)


def test_a_quantity_that_members_lack_is_refused(committee):
    with pytest.raises(ValueError, match="gives the stress of this structure"):
        CommitteePool(committee, [PoolEntry(cluster(1), "lj", ALL)], noise=NOISE)
    with pytest.raises(ValueError, match="no entries"):
        CommitteePool(committee, [], noise=NOISE)
