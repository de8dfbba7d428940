"""Partitioned greedy: the parts pick, their picks compete, nothing else is looked at."""

import pickle
from concurrent.futures import Executor, Future, ThreadPoolExecutor
from dataclasses import dataclass
from itertools import combinations
from math import sqrt

import numpy as np
import pytest
from gaussian_pools import random_pool

from mfal.acquisition import (
    Candidate,
    ParameterInformation,
    select_batch,
    select_partitioned,
)

N, SIZE = 12, 3


@dataclass(frozen=True)
class OfPart:
    """Information about a part of a pool that is made anew wherever it is needed."""

    seed: int

    def __call__(self, part):
        pool = random_pool([2] * N, self.seed, n_features=5)
        return ParameterInformation(pool.permuted(list(part)))


class Elsewhere(Executor):
    """What is submitted goes through pickle, as to another process."""

    def submit(self, function, /, *args, **kwargs):
        future = Future()
        there = pickle.loads(pickle.dumps((function, args, kwargs)))  # noqa: S301
        future.set_result(pickle.loads(pickle.dumps(there[0](*there[1], **there[2]))))  # noqa: S301
        return future


def candidates(costs=None):
    costs = np.ones(N) if costs is None else costs
    return [Candidate(i, "high", float(c)) for i, c in enumerate(costs)]


def run(seed, n_parts, executor, costs=None, deal=0):
    return select_partitioned(
        OfPart(seed), candidates(costs), SIZE, executor, n_parts=n_parts, seed=deal
    )


def positions(batch):
    return [p.position for p in batch]


def test_one_part_is_the_greedy_batch():
    plain = select_batch(OfPart(0)(range(N)), candidates(), SIZE)
    found = run(0, 1, Elsewhere())
    assert positions(found) == positions(plain)
    assert found.gains == pytest.approx(plain.gains, rel=1e-9)


@pytest.mark.parametrize("n_parts", [2, 3, 4])
@pytest.mark.parametrize("seed", range(3))
def test_the_batch_of_parts_is_worth_what_is_promised_and_mostly_all(seed, n_parts):
    found = run(seed, n_parts, Elsewhere())
    whole = OfPart(seed)(range(N))
    best = max(whole.value(s) for s in combinations(range(N), SIZE))
    worth = whole.value(positions(found))
    assert sum(found.gains) == pytest.approx(worth, rel=1e-9)
    assert worth >= (1 - 1 / np.e) / min(sqrt(SIZE), n_parts) * best
    assert worth >= 0.9 * best


def test_picks_name_the_candidates_of_the_whole_pool():
    costs = np.linspace(1, 2, N)
    for pick in run(1, 3, Elsewhere(), costs):
        assert pick.candidate == candidates(costs)[pick.position]
        assert pick.gain_per_cost == pytest.approx(pick.gain / costs[pick.position])


def test_threads_and_processes_give_the_same_batch():
    with ThreadPoolExecutor(2) as threads:
        assert positions(run(2, 3, threads)) == positions(run(2, 3, Elsewhere()))


def test_the_pool_is_dealt_out_by_the_seed():
    looked_at = []

    class Watching(Elsewhere):
        def submit(self, function, /, *args, **kwargs):
            looked_at.append(tuple(args[1]))
            return super().submit(function, *args, **kwargs)

    for deal in (0, 0, 1):
        run(0, 3, Watching(), deal=deal)
    first, again, other = (looked_at[k : k + 3] for k in (0, 3, 6))
    assert first == again != other
    for deal in (first, other):
        assert sorted(sum(deal, ())) == list(range(N))


@pytest.mark.parametrize("n_parts", [0, N + 1])
def test_parts_that_cannot_be_dealt_are_refused(n_parts):
    with pytest.raises(ValueError, match=f"1 to as many parts, got {n_parts}"):
        run(0, n_parts, Elsewhere())
