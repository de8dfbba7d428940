"""The most probable hyperparameters of a multi-level model, one level after the other.

Level 0 is fitted to its own labels. Then, with everything below held, level l is fitted
to its labels and those of the same structures at the levels below: rho_l, the
discrepancy's lengthscale and scale, and the noise of level l. So the many cheap labels,
not the few dear ones, say how smooth the cheap level is, and a new label at the top
costs a fit of the top step alone.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
import torch
from jaxtyping import Float, Int
from torch import Tensor

from mfal.kernels import GramProducts
from mfal.models.evidence import Optimum, maximise_evidence, rho_standard_error
from mfal.models.hyperparameters import Hyperparameters, HyperPrior, default_prior
from mfal.models.observations import Observations

LABELS_FOR_KERNEL_CHOICE = 20
"""From so many labels of a level on its kernel is chosen by evidence."""

_COARSE_ROWS = 600
_PAIRED_ROWS = 1500
_KEEP_BELOW = 2**30


@dataclass(frozen=True)
class Fit:
    """Hyperparameters of all levels with the optimum of each level's evidence.

    `optima[l]` is `None` where level l was held or had no labels.
    """

    hyperparameters: Hyperparameters
    optima: tuple[Optimum | None, ...]
    rho_error: Float[Tensor, " steps"]

    @property
    def log_evidence(self) -> float:
        """Sum of the log evidences of the levels that were fitted, each on its subset."""
        return math.fsum(o.log_evidence for o in self.optima if o is not None)

    @property
    def converged(self) -> bool:
        """Whether every optimum is one."""
        return all(o.converged for o in self.optima if o is not None)


def fit_hyperparameters(
    observations: Observations,
    orders: Int[Tensor, "g d"],
    n_levels: int,
    *,
    kernel: str = "auto",
    start: Hyperparameters | None = None,
    hold_below: int = 0,
    seed: int = 0,
    evidence_rows: int = 2500,
    restarts: int = 1,
) -> Fit:
    """Fits every level from `hold_below` on; the levels below keep those of `start`.

    At most `evidence_rows` rows are used for level 0, and of these at most 1,500 for a
    step between levels. The search begins at `start`, or
    at the prior's mean and `restarts` draws from the prior on a small subset. With
    kernel "auto" a level takes the RBF or the Matern-5/2, whichever has the larger
    evidence, once it has 20 labels; Matern-5/2 before.

    Raises:
        ValueError: all structures are one geometry, or levels are held without start.
    """
    if hold_below and start is None:
        raise ValueError("to hold the lower levels their hyperparameters are needed")
    prior = default_prior(n_levels, typical_distance(observations))
    kernels = (
        ("matern52" if kernel == "auto" else kernel,) * n_levels
        if start is None
        else start.kernels
    )
    current = start or at_prior_mean(kernels, prior)
    optima: list[Optimum | None] = [None] * n_levels
    errors = torch.full((n_levels - 1,), float("nan"), dtype=torch.float64)
    for level in range(hold_below, n_levels):
        count = observations.level.count(level)
        if not count:
            continue
        held = _hold_all_but(prior, current, level)
        choices = [current.kernels[level]]
        if kernel == "auto" and count >= LABELS_FOR_KERNEL_CHOICE:
            choices = ["matern52", "rbf"]
        begin = current
        if start is None:
            coarse = _Subset(observations, orders, level, _COARSE_ROWS, seed)
            draws = _draws(current, held, restarts, seed + level)
            begin = coarse.maximise(held, [current, *draws]).hyperparameters
        largest = evidence_rows if level == 0 else min(evidence_rows, _PAIRED_ROWS)
        subset = _Subset(observations, orders, level, largest, seed)
        trials = [
            subset.maximise(
                held, [begin.with_kernels(_put(begin.kernels, level, name))]
            )
            for name in choices
        ]
        best = max(trials, key=lambda o: o.log_posterior)
        optima[level] = best
        current = _take_level(best.hyperparameters, current, level)
        if level:
            errors[level - 1] = rho_standard_error(
                current, subset.observations, subset.products, held
            )[level - 1]
    return Fit(current, tuple(optima), errors)


def at_prior_mean(kernels: Sequence[str], prior: HyperPrior) -> Hyperparameters:
    """The hyperparameters at the mean of their prior."""
    n = len(kernels)
    one = torch.ones(n, dtype=torch.float64)
    blank = Hyperparameters(tuple(kernels), one, one, one[1:], one.expand(3, n).T)
    return blank.from_vector(prior.mean)


def typical_distance(observations: Observations) -> float:
    """Median distance between the descriptors of two structures.

    Raises:
        ValueError: all structures are one geometry.
    """
    q = observations.rows.descriptor
    apart = torch.cdist(q, q) if len(q) <= 2000 else torch.cdist(q[:2000], q[:2000])
    apart = apart[apart > 1e-8 * q.abs().max()]
    if not len(apart):
        raise ValueError(
            "all structures are the same geometry: a fit needs at least two"
        )
    return float(apart.median())


class _Subset:
    """The labels that tell of one level: its own, and their pairs at the levels below.

    If some of its structures have no label below, other labels of the level below fill
    the subset, at random.
    """

    def __init__(
        self,
        observations: Observations,
        orders: Int[Tensor, "g d"],
        level: int,
        largest: int,
        seed: int,
    ) -> None:
        starts = observations.rows.starts
        order = np.random.default_rng([seed, level]).permutation(
            len(observations.structure)
        )
        where = list(zip(observations.structure, observations.level, strict=True))
        pairs: dict[int, list[int]] = {}
        for i, (structure, at) in enumerate(where):
            if at < level:
                pairs.setdefault(structure, []).append(i)
        chosen: set[int] = set()
        n_rows = 0
        mine = [i for i in order if where[i][1] == level]
        unpaired = any(where[i][0] not in pairs for i in mine) and level > 0
        others = [i for i in order if where[i][1] == level - 1] if unpaired else []
        for i in [*mine, *others]:
            family = {int(i), *pairs.get(where[i][0], [])} - chosen
            size = sum(starts[k + 1] - starts[k] for k in family)
            if n_rows + size > largest and chosen:
                continue
            chosen |= family
            n_rows += size
        self.observations = observations.blocks(sorted(chosen))
        keep = GramProducts.bytes_kept(n_rows, len(orders)) < _KEEP_BELOW
        self.products = GramProducts(self.observations.rows, orders=orders, keep=keep)

    def maximise(self, prior: HyperPrior, starts: list[Hyperparameters]) -> Optimum:
        return maximise_evidence(self.observations, self.products, prior, starts)


def _hold_all_but(
    prior: HyperPrior, current: Hyperparameters, level: int
) -> HyperPrior:
    """The prior with every entry that does not belong to the level held where it is."""
    n = current.n_levels
    mine = [level, n + level, *(3 * n - 1 + k * n + level for k in range(3))]
    if level:
        mine.append(2 * n + level - 1)
    free = torch.zeros(len(prior.mean), dtype=torch.bool)
    free[mine] = True
    value = current.to_vector()
    return replace(
        prior,
        low=torch.where(free, prior.low, value),
        high=torch.where(free, prior.high, value),
    )


def _take_level(
    found: Hyperparameters, current: Hyperparameters, level: int
) -> Hyperparameters:
    """`current` with what belongs to a level from `found`; the rest to the last bit."""
    mine = torch.arange(current.n_levels) == level
    return Hyperparameters(
        _put(current.kernels, level, found.kernels[level]),
        torch.where(mine, found.lengthscale, current.lengthscale),
        torch.where(mine, found.scale, current.scale),
        torch.where(mine[1:], found.rho, current.rho),
        torch.where(mine[:, None], found.noise, current.noise),
    )


def _draws(
    current: Hyperparameters, prior: HyperPrior, number: int, seed: int
) -> list[Hyperparameters]:
    generator = torch.Generator().manual_seed(seed)
    draws = []
    for _ in range(number):
        unit = torch.randn(len(prior.mean), generator=generator, dtype=torch.float64)
        vector = prior.mean + 0.7 * prior.deviation * unit
        draws.append(
            current.from_vector(
                torch.minimum(torch.maximum(vector, prior.low), prior.high)
            )
        )
    return draws


def _put(names: Sequence[str], position: int, name: str) -> tuple[str, ...]:
    return (*names[:position], name, *names[position + 1 :])
