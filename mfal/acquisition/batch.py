"""Batches: greedy choice with exact conditioning on what is picked or running."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import overload

from mfal.acquisition.candidates import Candidate
from mfal.acquisition.greedy import Pick, Trace, gain_alone, greedy, per_cost
from mfal.acquisition.pool import PoolAcquisition

GREEDY = 1 - 1 / math.e
"""Share of the best value that a greedy batch of equal costs reaches at least."""


@dataclass(frozen=True)
class Certificate:
    """How good a batch is at least: its value, and no set of labels is worth more than
    `upper_bound`. For a submodular criterion, in its unit."""

    worth: float
    upper_bound: float

    @property
    def fraction(self) -> float:
        """Share of the best value that is reached at least."""
        return self.worth / self.upper_bound if self.upper_bound > 0 else 1.0


@dataclass(frozen=True)
class Batch(Sequence[Pick]):
    """The picks in their order, and a report of how they were found.

    `evaluations` gains were worked out and `evaluations_saved` more would have been by
    plain greedy. `certificate` is `None` where the criterion is not submodular.
    """

    picks: tuple[Pick, ...]
    evaluations: int
    evaluations_saved: int
    certificate: Certificate | None

    @property
    def gains(self) -> list[float]:
        """The marginal gain of each pick, given those before it."""
        return [pick.gain for pick in self.picks]

    @property
    def cost(self) -> float:
        """What the picks cost together."""
        return math.fsum(pick.candidate.cost for pick in self.picks)

    @overload
    def __getitem__(self, index: int) -> Pick: ...
    @overload
    def __getitem__(self, index: slice) -> tuple[Pick, ...]: ...
    def __getitem__(self, index: int | slice) -> Pick | tuple[Pick, ...]:
        return self.picks[index]

    def __len__(self) -> int:
        return len(self.picks)


def select_batch(
    acquisition: PoolAcquisition,
    candidates: Sequence[Candidate],
    size: int,
    *,
    budget: float | None = None,
    pending: Sequence[int] = (),
) -> Batch:
    """The best labels per cost, one after the other, each given those before it.

    `candidates[i]` is block i of the acquisition's pool (blocks beyond, such as targets,
    are never chosen). `pending` are blocks whose labels are running. With a `budget`
    candidates that would overrun it are passed over, and so is a label that one already
    picked subsumes (its energy alone). Of candidates equal to nine digits the earlier
    one wins, so the same pool gives the same batch. Evaluated lazily where that is exact
    (`PoolAcquisition.diminishing`). For a monotone submodular criterion at equal costs
    the batch is within 1 - 1/e of the best one.

    Source: Nemhauser, Wolsey, Fisher (1978), Math. Program. 14, 265.

    Raises:
        ValueError: a batch smaller than one.
    """
    if size < 1:
        raise ValueError(f"a batch has at least one label, got {size}")
    for block in pending:
        acquisition.condition_on(block)
    trace = greedy(
        acquisition, candidates, size, budget=budget, score=per_cost, taken=set(pending)
    )
    equal = budget is None and len({c.cost for c in candidates}) == 1
    return _batch([trace], GREEDY if equal and len(trace.picks) == size else 0.0)


def select_within_budget(
    acquisition: PoolAcquisition,
    candidates: Sequence[Candidate],
    budget: float,
    *,
    pending: Sequence[int] = (),
) -> Batch:
    """The labels that tell most for a budget, however many they are.

    The better of two greedy batches: by gain per cost, and by gain alone (whose first
    pick is the best single label). Either by itself can be arbitrarily bad at unequal
    costs; the better one reaches (1 - 1/e) / 2 of the best set for a monotone
    submodular criterion. The acquisition is left as it was.

    Source: Leskovec et al. (2007), KDD, theorem 3; Khuller, Moss, Naor (1999), Inf.
    Process. Lett. 70, 39.

    Raises:
        ValueError: a budget that is not positive.
    """
    if not budget > 0:
        raise ValueError(f"a budget must be positive, got {budget}")
    before = acquisition.X_pending
    traces = []
    for score in (per_cost, gain_alone):
        for block in pending:
            acquisition.condition_on(block)
        traces.append(
            greedy(
                acquisition,
                candidates,
                len(candidates),
                budget=budget,
                score=score,
                taken=set(pending),
            )
        )
        acquisition.set_X_pending(before)
    return _batch(traces, GREEDY / 2)


def _batch(traces: Sequence[Trace], guaranteed: float) -> Batch:
    """The best of several searches, with the bound that all of them together give."""
    best = max(traces, key=lambda t: t.worth)  # the first of equal ones
    bound = min(t.upper_bound for t in traces)
    certificate = None
    if math.isfinite(bound):
        if guaranteed:
            bound = min(bound, best.worth / guaranteed)
        certificate = Certificate(best.worth, max(bound, best.worth))
    made = sum(t.evaluations for t in traces)
    plain = sum(t.plain_evaluations for t in traces)
    return Batch(best.picks, made, plain - made, certificate)
