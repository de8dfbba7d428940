"""Batches: greedy choice with exact conditioning on what is picked or running."""

from collections.abc import Sequence
from dataclasses import dataclass

from mfal.acquisition.candidates import Candidate
from mfal.acquisition.information import PoolAcquisition


@dataclass(frozen=True)
class Pick:
    """A chosen candidate: its position in the pool, its gain and its gain per cost."""

    position: int
    candidate: Candidate
    gain: float
    gain_per_cost: float


def select_batch(
    acquisition: PoolAcquisition,
    candidates: Sequence[Candidate],
    size: int,
    *,
    budget: float | None = None,
    pending: Sequence[int] = (),
) -> list[Pick]:
    """The best labels per cost, one after the other, each given those before it.

    `candidates[i]` is block i of the acquisition's pool (blocks beyond, such as targets,
    are never chosen). `pending` are blocks whose labels are running. With a `budget`
    candidates that would overrun it are passed over. Ties go to the earlier candidate,
    so the same pool gives the same batch. For a monotone submodular criterion at equal
    costs the batch is within 1 - 1/e of the best one.

    Source: Nemhauser, Wolsey, Fisher (1978), Math. Program. 14, 265.

    Raises:
        ValueError: a batch smaller than one.
    """
    if size < 1:
        raise ValueError(f"a batch has at least one label, got {size}")
    for block in pending:
        acquisition.condition_on(block)
    taken = set(pending)
    picks: list[Pick] = []
    left = budget
    while len(picks) < size:
        best: Pick | None = None
        for position, candidate in enumerate(candidates):
            if position in taken or (left is not None and candidate.cost > left):
                continue
            gain = acquisition.value([position])
            pick = Pick(position, candidate, gain, gain / candidate.cost)
            if best is None or pick.gain_per_cost > best.gain_per_cost:
                best = pick
        if best is None:
            break
        picks.append(best)
        taken.add(best.position)
        if left is not None:
            left -= best.candidate.cost
        if len(picks) < size:
            acquisition.condition_on(best.position)
    return picks
