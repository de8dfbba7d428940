r"""Greedy choice, lazily where the criterion allows it, and how good it is at least.

Of the labels that are left the one of the largest score is taken, each given those
before it. If the value of a label can only fall as others are picked, one that was
worked out earlier is an upper bound: only labels whose bound reaches the best score of
this round are worked out again (lazy evaluation), and the same labels are chosen.

For a monotone submodular F, any S and the best set O of at most q labels,

.. math:: F(O) \le F(S) + \sum_{c \in O} F(c | S),

so F(S) and the q largest gains (bounds of them will do) bound the optimum; with a
budget, the largest gains per cost that it pays for, the last one in part.

Source: Minoux (1978), Lect. Notes Control Inf. Sci. 7, 234; Leskovec et al. (2007),
KDD, section 3.2 (the bound) and 3.1 (CELF).
"""

import math
from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass
from heapq import heapify, heappop, heappush

import numpy as np

from mfal.acquisition.candidates import Candidate
from mfal.acquisition.pool import PoolAcquisition

Score = Callable[[float, float], float]
"""From gain and cost to what is compared."""

_AT_ONCE = 64
"""Gains that are worked out again at once; it begins with one and doubles."""

TIE = 1e-9
"""Scores that differ by less than this share are the same: rounding picks no label."""


def per_cost(gain: float, cost: float) -> float:
    """Gain per cost."""
    return gain / cost


def gain_alone(gain: float, cost: float) -> float:
    """The gain, whatever the cost."""
    del cost
    return gain


@dataclass(frozen=True)
class Pick:
    """A chosen candidate: its position in the pool, its gain and its gain per cost.

    The gain is given the picks before it, in the unit of the criterion (nats for
    information); the cost in the unit of the candidates.
    """

    position: int
    candidate: Candidate
    gain: float
    gain_per_cost: float


@dataclass(frozen=True)
class Trace:
    """Picks in order, gains that were worked out, those that plain greedy would have
    worked out, and an upper bound of the value of the best set (infinite if unknown)."""

    picks: tuple[Pick, ...]
    evaluations: int
    plain_evaluations: int
    upper_bound: float

    @property
    def worth(self) -> float:
        """The gains together: the value of the batch for a submodular criterion."""
        return math.fsum(p.gain for p in self.picks)


def greedy(
    acquisition: PoolAcquisition,
    candidates: Sequence[Candidate],
    size: int,
    *,
    budget: float | None,
    score: Score,
    taken: Collection[int],
) -> Trace:
    """At most `size` labels that the budget pays for, by the largest score.

    The earlier of equal candidates wins. A label that a picked (or taken) one subsumes
    is passed over. The acquisition ends up conditioned on all picks but the last.
    """
    costs = np.array([c.cost for c in candidates])
    queue = _Queue(acquisition, candidates, score)
    left, bound, worth, plain = budget, math.inf, 0.0, 0
    picks: list[Pick] = []
    known = [candidates[i] for i in taken if i < len(candidates)]
    untaken = [i for i in range(len(candidates)) if i not in taken]
    free = open_ = _open(candidates, untaken, known, left)
    while open_ and len(picks) < size:
        plain += len(open_)
        if not picks or not acquisition.diminishing:
            queue.fill(open_)
        position = queue.best(set(open_))
        if acquisition.submodular:
            rest = _largest(queue.gains[free], costs[free], size, budget)
            bound = min(bound, worth + rest)
        gain, chosen = float(queue.gains[position]), candidates[position]
        picks.append(Pick(position, chosen, gain, gain / chosen.cost))
        worth += gain
        left = None if left is None else left - chosen.cost
        free = [i for i in free if i != position]
        open_ = _open(candidates, [i for i in open_ if i != position], [chosen], left)
        if open_ and len(picks) < size:
            acquisition.condition_on(position)
            queue.fresh.clear()
    if (queue.gains[np.isfinite(queue.gains)] < -TIE).any():
        bound = math.inf  # it is not monotone here: no bound
    return Trace(tuple(picks), queue.evaluations, plain, float(bound))


class _Queue:
    """Candidates in the order of their scores, as far as these are known.

    `gains` are those worked out last, and `fresh` holds the positions of those that are
    of this round; the others are upper bounds.
    """

    def __init__(
        self,
        acquisition: PoolAcquisition,
        candidates: Sequence[Candidate],
        score: Score,
    ) -> None:
        self._acquisition, self._candidates = acquisition, candidates
        self._score = score
        self._heap: list[tuple[float, int]] = []
        self.gains = np.full(len(candidates), np.inf)
        self.fresh: set[int] = set()
        self.evaluations = 0

    def fill(self, positions: Sequence[int]) -> None:
        """Works out all of these and forgets the others."""
        self._work_out(positions)
        self._heap = [self._entry(i) for i in positions]
        heapify(self._heap)

    def best(self, allowed: Collection[int]) -> int:
        """The position of the largest score; only what can reach it is worked out."""
        looked_at: list[tuple[float, int]] = []
        best, width = -math.inf, 1
        while self._reaches(best):
            some: list[int] = []
            while len(some) < width and self._reaches(best):
                some.append(heappop(self._heap)[1])
            some = [i for i in some if i in allowed]
            self._work_out([i for i in some if i not in self.fresh])
            looked_at += [self._entry(i) for i in some]
            best = max([best, *(-self._entry(i)[0] for i in some)])
            width = min(2 * width, _AT_ONCE)
        for entry in looked_at:
            heappush(self._heap, entry)
        return min(i for least, i in looked_at if -least >= best - TIE * abs(best))

    def _reaches(self, best: float) -> bool:
        return bool(self._heap) and -self._heap[0][0] >= best - TIE * abs(best)

    def _entry(self, i: int) -> tuple[float, int]:
        return -float(self._score(self.gains[i], self._candidates[i].cost)), i

    def _work_out(self, positions: Sequence[int]) -> None:
        if positions:
            self.gains[list(positions)] = self._acquisition.values(positions).numpy()
            self.evaluations += len(positions)
            self.fresh.update(positions)


def _open(
    candidates: Sequence[Candidate],
    positions: Sequence[int],
    known: Sequence[Candidate],
    left: float | None,
) -> list[int]:
    """Positions that what is left pays for and no known label subsumes."""
    forms: dict[tuple[int, str], list[Candidate]] = {}
    for one in known:
        forms.setdefault((one.structure, one.level), []).append(one)
    found = []
    for i in positions:
        c = candidates[i]
        if left is not None and c.cost > left:
            continue
        if not any(k.subsumes(c) for k in forms.get((c.structure, c.level), [])):
            found.append(i)
    return found


def _largest(
    gains: np.ndarray, costs: np.ndarray, size: int, budget: float | None
) -> float:
    """An upper bound of the sum of gains of at most `size` labels within a budget."""
    if budget is not None:
        gains, costs = gains[costs <= budget], costs[costs <= budget]
    gains = np.maximum(gains, 0.0)
    found = float(np.sort(gains)[::-1][:size].sum())
    if budget is None or not len(gains):
        return found
    order = np.argsort(-gains / costs)
    before = np.concatenate([[0.0], np.cumsum(costs[order])[:-1]])
    share = np.clip((budget - before) / costs[order], 0.0, 1.0)
    return min(found, float(share @ gains[order]))
