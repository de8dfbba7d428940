"""Pools as dense Gaussians, their entropies the long way, and pools of real models."""

import numpy as np
import torch
from ase.build import molecule

from mfal import Fidelity, Label, LabelledDataset
from mfal.models.exact import ExactPotential
from mfal.models.fitting import Fit
from mfal.models.hyperparameters import Hyperparameters
from mfal.models.pool import ExactPool, PoolEntry

LEVELS = (Fidelity("low"), Fidelity("high"))


class DensePool:
    """A pool with any covariance: `slices`, `noise`, `covariance` and `cross` of it."""

    def __init__(self, covariance, noise, sizes):
        stops = np.cumsum(sizes).tolist()
        self.slices = [slice(b - n, b) for n, b in zip(sizes, stops, strict=True)]
        self.full, self.variance = np.asarray(covariance), np.asarray(noise)

    def rows(self, blocks):
        return np.concatenate(
            [np.arange(len(self.full))[self.slices[b]] for b in blocks]
        )

    def noise(self, block):
        return torch.tensor(self.variance[self.slices[block]])

    def covariance(self, block):
        return torch.tensor(self.full[self.slices[block], self.slices[block]])

    def cross(self, blocks):
        return torch.tensor(self.full[self.rows(blocks)])

    def permuted(self, order):
        """The pool with its blocks in another order."""
        rows = self.rows(order)
        sizes = [self.slices[b].stop - self.slices[b].start for b in order]
        return DensePool(self.full[np.ix_(rows, rows)], self.variance[rows], sizes)

    def given(self, blocks):
        """The pool once labels of these blocks are known: no factor, a solve."""
        rows = self.rows(blocks)
        observed = self.full[np.ix_(rows, rows)] + np.diag(self.variance[rows])
        gain = self.full[:, rows] @ np.linalg.solve(observed, self.full[rows])
        sizes = [s.stop - s.start for s in self.slices]
        return DensePool(self.full - gain, self.variance, sizes)


def random_pool(sizes, seed=0, n_features=None):
    """A pool of rows that all have something to do with each other."""
    rng = np.random.default_rng(seed)
    n = sum(sizes)
    features = rng.normal(size=(n, n_features or n))
    covariance = features @ features.T / features.shape[1] + 1e-3 * np.eye(n)
    return DensePool(covariance, rng.uniform(0.05, 0.5, size=n), sizes)


def dense(pool):
    """The dense twin of a model's pool."""
    every = range(len(pool.slices))
    return DensePool(
        pool.cross(every).numpy(),
        torch.cat([pool.noise(b) for b in every]).numpy(),
        [s.stop - s.start for s in pool.slices],
    )


def entropy(covariance):
    """Differential entropy of a Gaussian, in nats."""
    sign, log_det = np.linalg.slogdet(2 * np.pi * np.e * covariance)
    assert sign == 1
    return 0.5 * log_det


def mutual_information(first, second, cross):
    """I(a; b) = H(a) + H(b) - H(a, b)."""
    joint = np.block([[first, cross], [cross.T, second]])
    return entropy(first) + entropy(second) - entropy(joint)


def water(seed):
    atoms = molecule("H2O")
    atoms.rattle(0.08, seed=seed)
    return atoms


def water_model(low, high, *, rho=0.9, noise=0.02, seed=0, values=1.0):
    """Water labelled at random: `low` and `high` are the structures of each level."""
    rng = np.random.default_rng(seed)
    structures = tuple(water(i) for i in range(max([*low, *high]) + 1))
    labels = {
        (i, level.name): Label(
            -2000.0 + values * rng.normal(), values * rng.normal(size=(3, 3))
        )
        for level, some in zip(LEVELS, (low, high), strict=True)
        for i in some
    }
    h = Hyperparameters(
        ("rbf", "matern52"),
        *(
            torch.tensor(v, dtype=torch.float64)
            for v in ([0.9, 0.6], [1.4, 0.7], [rho])
        ),
        torch.full((2, 3), noise, dtype=torch.float64),
    )
    fit = Fit(h, (None, None), torch.tensor([float("nan")], dtype=torch.float64))
    return ExactPotential.with_fit(
        LabelledDataset(structures, LEVELS, labels), fit, permutations="none"
    )


def water_pool(model, asked):
    """The pool of (structure, level); a structure is the same as that of the data."""
    return ExactPool(model, [PoolEntry(water(i), n, structure=i) for i, n in asked])
