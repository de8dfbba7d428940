"""Every criterion over a small pool, in any order of the pool."""

import numpy as np
import torch
from gaussian_pools import random_pool

from mfal.acquisition import (
    Candidate,
    Coverage,
    EnsembleInformation,
    ExtrapolationGrade,
    IntegratedVariance,
    KernelVolume,
    MaximumVariance,
    MinimumDistance,
    ParameterInformation,
    Product,
    Random,
    Schedule,
    SquaredExponential,
    TargetInformation,
    WeightedSum,
)

N = 8
SIZES = (3, 1, 4, 2, 3, 1, 4, 2)
TARGETS = (3, 2)
KERNEL = SquaredExponential(0.7)


class Problem:
    """Eight labels and all that criteria may ask of them; targets stand after them.

    With `twins` the last two labels are copies of the first two.
    """

    def __init__(self, seed, twins=False):
        rng = np.random.default_rng(seed)
        pool = random_pool((*SIZES, *TARGETS), seed, n_features=6)
        self.order = list(range(N))
        if twins:
            self.order[-2:] = [0, 1]
        self.pool = pool.permuted([*self.order, N, N + 1]) if twins else pool
        if twins:  # the same latent values, measured twice
            self.pool.full += 1e-9 * np.eye(len(self.pool.full))
        points = rng.normal(size=(N, 2))[self.order]
        self.descriptors = torch.tensor(points)
        self.known = torch.tensor(rng.normal(size=(2, 2)))
        spread = [rng.normal(size=(5, n)) for n in SIZES]
        noise = [rng.uniform(0.1, 1.0, size=n) for n in SIZES]
        features = [rng.normal(size=(n, 4)) for n in SIZES]
        self.predictions = [torch.tensor(spread[i]) for i in self.order]
        self.noise = [torch.tensor(noise[i]) for i in self.order]
        self.features = [torch.tensor(features[i]) for i in self.order]
        self.known_rows = torch.tensor(rng.normal(size=(6, 4)))

    def permuted(self, order):
        """The same labels in another order; targets stay behind them."""
        other = object.__new__(Problem)
        other.pool = self.pool.permuted([*order, N, N + 1])
        other.descriptors = self.descriptors[list(order)]
        other.known, other.known_rows = self.known, self.known_rows
        for name in ("predictions", "noise", "features"):
            setattr(other, name, [getattr(self, name)[i] for i in order])
        return other

    @property
    def tolerance(self):
        return torch.linspace(0.1, 0.3, sum(TARGETS), dtype=torch.float64)


def targets(p):
    return TargetInformation(p.pool, (N, N + 1), p.tolerance)


SUBMODULAR = {
    "parameters": lambda p: ParameterInformation(p.pool),
    "ensemble": lambda p: EnsembleInformation(p.predictions, p.noise),
    "volume": lambda p: KernelVolume(p.descriptors, KERNEL, p.known, noise=0.05),
    "coverage": lambda p: Coverage(p.descriptors, KERNEL, p.known),
    "sum": lambda p: WeightedSum(
        [ParameterInformation(p.pool), Coverage(p.descriptors, KERNEL)], [1.0, 2.0]
    ),
}
DIMINISHING = {
    **SUBMODULAR,
    "variance": lambda p: MaximumVariance(p.pool),
    "distance": lambda p: MinimumDistance(p.descriptors, p.known),
    "product": lambda p: Product(
        [MaximumVariance(p.pool), MinimumDistance(p.descriptors, p.known)]
    ),
}
ALL = {
    **DIMINISHING,
    "targets": targets,
    "one target": lambda p: TargetInformation(p.pool, (N + 1,), p.tolerance[3:]),
    "integrated": lambda p: IntegratedVariance(p.pool, (N, N + 1)),
    "grade": lambda p: ExtrapolationGrade(p.features, p.known_rows),
    "schedule": lambda p: Schedule([Coverage(p.descriptors, KERNEL), targets(p)], [2]),
}
SEEDED = {"random": lambda p: Random(p.pool, 3)}
"""Its values belong to places of the pool, not to labels."""


def candidates(costs=None):
    costs = np.ones(N) if costs is None else costs
    return [Candidate(10 + i, "high", float(c)) for i, c in enumerate(costs)]


def positions(picks):
    return [p.position for p in picks]
