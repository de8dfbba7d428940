"""The strategies: what is paid for, what is learned from it, what is asked next."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from benchmarks.strategies.learners import Label, View
from benchmarks.strategies.systems import System
from mfal.acquisition import Candidate, PoolAcquisition, select_batch

STEP = 0.25
"""A step spends this share of what was spent, or the price of one high label;"""
MOST = 24
"""and buys at most so many labels by a criterion."""

ONE, DIFFERENCE, ALL = "one level", "difference", "all levels"

Criterion = Callable[[View], PoolAcquisition]


@dataclass(frozen=True)
class Strategy:
    """A name, what is learned from, and the criterion; without one choice is random.

    `ratio` low labels are bought for each high one, whatever they tell. `planned`
    strategies do with the levels what a campaign does: leave those that tell nothing,
    by the pilot or later, and label the pool first at those that are cheap enough.
    `given`: targets come with their label of the lowest level, and each high label that
    is chosen is bought with the low one of its structure. `energies`: high labels are
    energies alone. `useless`: low labels are of other geometries.
    """

    name: str
    learns: str
    criterion: Criterion | None = None
    ratio: int = 0
    planned: bool = False
    given: bool = False
    energies: bool = False
    useless: bool = False


def maximum_variance(view: View) -> PoolAcquisition:
    """Mean posterior variance of the rows of a label."""
    return view.maximum_variance()


def parameter_information(view: View) -> PoolAcquisition:
    """Information about the latent functions."""
    return view.parameter_information()


def target_information(view: View) -> PoolAcquisition:
    """Information about the high level on the targets."""
    return view.target_information()


def integrated_variance(view: View) -> PoolAcquisition:
    """Fall of the variance of the targets."""
    return view.integrated_variance()


RANDOM = Strategy("one level: random", ONE)
ACTIVE = (
    Strategy("one level: maximum variance", ONE, maximum_variance),
    Strategy("one level: target information", ONE, target_information),
)
DELTA = Strategy("difference, low level at hand: random", DIFFERENCE)
FIXED = tuple(
    Strategy(f"fixed ratio {ratio}: random", ALL, ratio=ratio) for ratio in (2, 5, 20)
)
JOINT = Strategy("joint: random", ALL)
OURS = Strategy(
    "joint: target information per cost (ours)", ALL, target_information, planned=True
)
AT_HAND = Strategy(
    "low level at hand: target information (ours)",
    ALL,
    target_information,
    planned=True,
    given=True,
)
OTHERS = (
    Strategy(
        "joint: parameter information per cost",
        ALL,
        parameter_information,
        planned=True,
    ),
    Strategy(
        "joint: integrated variance per cost", ALL, integrated_variance, planned=True
    ),
)
ENERGIES = Strategy(
    "low forces, high energies: ours",
    ALL,
    target_information,
    planned=True,
    energies=True,
)
USELESS = Strategy(
    "useless low level: ours", ALL, target_information, planned=True, useless=True
)
UNGUARDED = Strategy(
    "useless low level: ours without the guard", ALL, target_information, useless=True
)
STRATEGIES: tuple[Strategy, ...] = (
    RANDOM,
    OURS,
    *ACTIVE,
    DELTA,
    AT_HAND,
    *FIXED,
    JOINT,
    *OTHERS,
    ENERGIES,
    USELESS,
    UNGUARDED,
)


def strategies_of(system: System) -> tuple[Strategy, ...]:
    """Those that mean something.

    A ratio, a difference and the low labels of other geometries are of two levels;
    where the high level is energies alone, leaving out its forces is no strategy. What
    the guard saves is looked at for molecules alone, to save time.
    """
    two = len(system.levels) == 2
    found = [
        s
        for s in STRATEGIES
        if two
        or not (s.ratio or s.learns == DIFFERENCE or s.given or s.energies or s.useless)
    ]
    if system.measure != "forces_rmse":
        found.remove(ENERGIES)
    if not system.molecular:
        found.remove(UNGUARDED)
    return tuple(found)


@dataclass(frozen=True)
class State:
    """What a step may look at.

    `wanted` are the labels that can be bought, `left` what may be spent, `spent` what
    was, `view` shows the pool if it is asked for, and `seed` is of this step.
    """

    wanted: Sequence[Label]
    costs: Mapping[str, float]
    left: float
    spent: float
    view: Callable[[], View]
    seed: int


def choose(strategy: Strategy, state: State, high: str) -> list[Label]:
    """The labels of the next step, none if what is left pays for no high one."""
    costs = state.costs
    dear = [label for label in state.wanted if label[1] == high]
    if state.left < costs[high] or not dear:
        return []
    step = min(state.left, max(costs[high], STEP * state.spent)) * (1 + 1e-9)
    rng = np.random.default_rng(state.seed)
    if strategy.ratio:
        return _fixed_ratio(strategy.ratio, state, step, high, rng)
    if strategy.learns == DIFFERENCE:
        low = next(name for name in costs if name != high)
        price = costs[high] + costs[low]
        n = max(int(step / price), 1) if state.left >= price else 0
        return _with_low(_shuffled(dear, rng)[:n], low, state.wanted)
    if strategy.criterion is None:
        return _within(_shuffled(state.wanted, rng), costs, step)
    if strategy.given and len(costs) > 1:
        return _at_hand(strategy.criterion, state, step, high)
    candidates = [Candidate(i, level, costs[level]) for i, level in state.wanted]
    picks = select_batch(
        strategy.criterion(state.view()), candidates, MOST, budget=step
    )
    return [(p.candidate.structure, p.candidate.level) for p in picks]


def _at_hand(criterion: Criterion, state: State, step: float, high: str) -> list[Label]:
    """High labels by a criterion, each with the low one of its structure."""
    costs = state.costs
    low = next(name for name in costs if name != high)
    missing = {i for i, level in state.wanted if level == low}
    # the wanted labels are blocks of the pool: low ones stay, too dear to be chosen
    candidates = [
        Candidate(i, level, costs[high] + costs[low] * (i in missing))
        if level == high
        else Candidate(i, level, 2 * state.left)
        for i, level in state.wanted
    ]
    room = max(step, costs[high] + costs[low])
    if room > state.left * (1 + 1e-9):
        return []
    picks = select_batch(criterion(state.view()), candidates, MOST, budget=room)
    chosen = [(p.candidate.structure, p.candidate.level) for p in picks]
    return _with_low(chosen, low, state.wanted)


def _with_low(
    chosen: Sequence[Label], low: str, wanted: Sequence[Label]
) -> list[Label]:
    """High labels, and the low ones of their structures that are not bought yet."""
    own = [(i, low) for i, _ in chosen if (i, low) in wanted]
    return [*chosen, *own]


def _fixed_ratio(
    ratio: int, state: State, step: float, high: str, rng: np.random.Generator
) -> list[Label]:
    """High labels at random, each with its low one and `ratio` - 1 others at random."""
    costs = state.costs
    low = next(name for name in costs if name != high)
    price = costs[high] + ratio * costs[low]
    dear = [label for label in state.wanted if label[1] == high]
    cheap = [label for label in state.wanted if label[1] == low]
    n = max(int(step / price), 1) if state.left >= price else 0
    chosen = _shuffled(dear, rng)[:n]
    own = [(i, low) for i, _ in chosen if (i, low) in cheap]
    others = _shuffled([label for label in cheap if label not in own], rng)
    return [*chosen, *own, *others[: ratio * len(chosen) - len(own)]]


def _within(
    labels: Sequence[Label], costs: Mapping[str, float], budget: float
) -> list[Label]:
    """The first labels that a budget pays for, up to the first that it does not."""
    spent, found = 0.0, []
    for label in labels:
        spent += costs[label[1]]
        if spent > budget:
            break
        found.append(label)
    return found


def _shuffled(labels: Sequence[Label], rng: np.random.Generator) -> list[Label]:
    return [labels[i] for i in rng.permutation(len(labels))]


def step_seed(seed: int, step: int) -> int:
    """The seed of a step of a campaign: the same for all strategies."""
    return int(np.random.default_rng([seed, 2, step]).integers(2**31))
