"""The strategies: which levels are paid for, in which order, and what is asked next."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from types import SimpleNamespace

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from benchmarks.strategies_small.learners import Label, View
from mfal.acquisition import (
    Candidate,
    KernelVolume,
    MinimumDistance,
    PoolAcquisition,
    Random,
    SquaredExponential,
    WeightedSum,
    select_batch,
)

BATCH = 4
"""A step buys at most so many labels of the high level,"""
MOST = 16
"""and at most so many of both."""

HIGH_ONLY, BOTH, SWEEP = "high only", "both levels", "sweep, then high"


@dataclass(frozen=True)
class State:
    """What a strategy may look at: a view of the model if it asks for one.

    `wanted` are the labels that can be bought, `descriptors` those of all structures,
    `known` the structures with a high label, and `seed` is of this step.
    """

    wanted: Sequence[Label]
    view: Callable[[], View]
    descriptors: Float[Tensor, "n d"]
    known: Sequence[int]
    seed: int


Criterion = Callable[[State], PoolAcquisition]


@dataclass(frozen=True)
class Strategy:
    """A name, the levels it uses, its criterion, and the random one it is held against.

    With `ratio` structures are drawn at random for the high level, each with its low
    label and so many more that there are `ratio` low labels for each high one.
    """

    name: str
    levels: str
    criterion: Criterion
    random: str
    ratio: int = 0


def random(state: State) -> PoolAcquisition:
    """The honest baseline."""
    return Random(SimpleNamespace(slices=range(len(state.wanted))), state.seed)


def maximum_variance(state: State) -> PoolAcquisition:
    """Mean posterior variance of the rows of a label."""
    return state.view().maximum_variance()


def parameter_information(state: State) -> PoolAcquisition:
    """Information about the latent functions."""
    return state.view().parameter_information()


def target_information(state: State) -> PoolAcquisition:
    """Information about the high level on the targets."""
    return state.view().target_information()


def integrated_variance(state: State) -> PoolAcquisition:
    """Fall of the variance of the targets."""
    return state.view().integrated_variance()


def kernel_volume(state: State) -> PoolAcquisition:
    """Volume in a squared exponential kernel, at the median distance of descriptors."""
    apart = torch.pdist(state.descriptors)
    kernel = SquaredExponential(float(apart.median()))
    known = state.descriptors[list(state.known)]
    return KernelVolume(_descriptors(state), kernel, known)


def minimum_distance(state: State) -> PoolAcquisition:
    """Distance to the nearest structure with a high label."""
    return MinimumDistance(_descriptors(state), state.descriptors[list(state.known)])


def hybrid(state: State) -> PoolAcquisition:
    """Target information and kernel volume, a nat of one for a nat of the other."""
    return WeightedSum([target_information(state), kernel_volume(state)], [1.0, 1.0])


STRATEGIES: tuple[Strategy, ...] = (
    Strategy("high: random", HIGH_ONLY, random, ""),
    Strategy("high: maximum variance", HIGH_ONLY, maximum_variance, "high: random"),
    Strategy(
        "high: parameter information",
        HIGH_ONLY,
        parameter_information,
        "high: random",
    ),
    Strategy("both: random, 2 low per high", BOTH, random, "high: random", 2),
    Strategy("both: random, 5 low per high", BOTH, random, "high: random", 5),
    Strategy(
        "both: parameter information per cost",
        BOTH,
        parameter_information,
        "both: random, 5 low per high",
    ),
    Strategy(
        "both: target information per cost",
        BOTH,
        target_information,
        "both: random, 5 low per high",
    ),
    Strategy(
        "both: integrated variance per cost",
        BOTH,
        integrated_variance,
        "both: random, 5 low per high",
    ),
    Strategy("sweep: random", SWEEP, random, "high: random"),
    Strategy("sweep: kernel volume", SWEEP, kernel_volume, "sweep: random"),
    Strategy("sweep: minimum distance", SWEEP, minimum_distance, "sweep: random"),
    Strategy("sweep: target information", SWEEP, target_information, "sweep: random"),
    Strategy("sweep: target information + volume", SWEEP, hybrid, "sweep: random"),
)


def choose(
    strategy: Strategy, state: State, costs: dict[str, float], left: float, high: str
) -> list[Label]:
    """The labels of the next step, none if what is left pays for no high one."""
    if left < costs[high]:
        return []
    if strategy.ratio:
        return _fixed_ratio(strategy.ratio, state, costs, left, high)
    candidates = [Candidate(i, level, costs[level]) for i, level in state.wanted]
    if not any(level == high for _, level in state.wanted):
        return []
    size = BATCH if strategy.levels != BOTH else MOST
    step = min(left, BATCH * costs[high] + (MOST - BATCH) * min(costs.values()))
    picks = select_batch(
        strategy.criterion(state), candidates, size, budget=step * (1 + 1e-9)
    )
    return [(p.candidate.structure, p.candidate.level) for p in picks]


def _fixed_ratio(
    ratio: int, state: State, costs: dict[str, float], left: float, high: str
) -> list[Label]:
    """High labels at random, each with its low one and `ratio` - 1 others at random."""
    (low,) = {level for level in costs if level != high}
    dear = [label for label in state.wanted if label[1] == high]
    cheap = [label for label in state.wanted if label[1] == low]
    size = min(BATCH, int(left / (costs[high] + ratio * costs[low])))
    if not size or not dear:
        return []
    chosen = _random_of(dear, size, state.seed)
    own = [(i, low) for i, _ in chosen if (i, low) in cheap]
    others = [label for label in cheap if label not in own]
    n_others = ratio * len(chosen) - len(own)
    return [*chosen, *own, *_random_of(others, n_others, state.seed + 1)]


def _random_of(labels: Sequence[Label], size: int, seed: int) -> list[Label]:
    if not labels or size < 1:
        return []
    candidates = [Candidate(i, level, 1.0) for i, level in labels]
    acquisition = Random(SimpleNamespace(slices=range(len(labels))), seed)
    picks = select_batch(acquisition, candidates, size)
    return [(p.candidate.structure, p.candidate.level) for p in picks]


def _descriptors(state: State) -> Float[Tensor, "n d"]:
    return state.descriptors[[i for i, _ in state.wanted]]


def step_seed(seed: int, step: int) -> int:
    """The seed of a step of a campaign: the same for all strategies."""
    return int(np.random.default_rng([seed, 2, step]).integers(2**31))
