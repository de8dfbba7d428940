"""Greedy batches: near the best set, per cost, within the budget, whatever the order."""

from itertools import combinations
from math import e

import numpy as np
import pytest
from gaussian_pools import random_pool
from hypothesis import given, settings
from hypothesis import strategies as st

from mfal.acquisition import Candidate, ParameterInformation, Random, select_batch

SIZES = (3, 1, 4, 2, 3, 1, 4)


def candidates(costs=None, n=7):
    return [
        Candidate(10 + i, "high", 1.0 if costs is None else costs[i]) for i in range(n)
    ]


def positions(picks):
    return [p.position for p in picks]


@pytest.mark.parametrize("seed", range(3))
def test_a_batch_of_one_is_the_best_label_per_cost(seed):
    pool = random_pool(SIZES, seed)
    costs = np.random.default_rng(seed).uniform(0.5, 2.0, size=len(SIZES))
    (pick,) = select_batch(ParameterInformation(pool), candidates(costs), 1)
    per_cost = [
        ParameterInformation(pool).value([i]) / costs[i] for i in range(len(SIZES))
    ]
    assert pick.position == np.argmax(per_cost)
    assert pick.candidate == candidates(costs)[pick.position]
    assert pick.gain_per_cost == pytest.approx(max(per_cost))
    assert pick.gain == pytest.approx(pick.gain_per_cost * pick.candidate.cost)


@settings(deadline=None, max_examples=15)
@given(st.integers(0, 10**6), st.integers(1, 4), st.integers(2, 20))
def test_a_batch_is_worth_at_least_1_minus_1_over_e_of_the_best(seed, size, n_features):
    pool = random_pool(SIZES, seed, n_features)
    picks = select_batch(ParameterInformation(pool), candidates(), size)
    plain = ParameterInformation(pool)
    best = max(plain.value(list(s)) for s in combinations(range(len(SIZES)), size))
    worth = sum(p.gain for p in picks)
    assert worth == pytest.approx(plain.value(positions(picks)), rel=1e-8)
    assert worth >= (1 - 1 / e) * best - 1e-9


@pytest.mark.parametrize("seed", range(3))
def test_each_pick_is_the_best_given_those_before(seed):
    pool = random_pool(SIZES, seed, n_features=4)
    picks = select_batch(ParameterInformation(pool), candidates(), 4)
    taken = []
    for pick in picks:
        now = ParameterInformation(pool.given(taken) if taken else pool)
        left = [i for i in range(len(SIZES)) if i not in taken]
        values = {i: now.value([i]) for i in left}
        assert pick.position == max(values, key=values.get)
        assert pick.gain == pytest.approx(values[pick.position], rel=1e-8)
        taken.append(pick.position)


def test_the_order_of_the_pool_does_not_change_the_batch():
    pool = random_pool(SIZES, 3)
    order = np.random.default_rng(0).permutation(len(SIZES))
    costs = np.linspace(1, 2, len(SIZES))
    plain = select_batch(ParameterInformation(pool), candidates(costs), 3)
    moved = select_batch(
        ParameterInformation(pool.permuted(order)),
        [candidates(costs)[i] for i in order],
        3,
    )
    assert [p.candidate for p in moved] == [p.candidate for p in plain]
    assert [p.gain for p in moved] == pytest.approx([p.gain for p in plain])


def test_the_unit_of_cost_does_not_matter():
    pool = random_pool(SIZES, 4)
    costs = np.linspace(1, 3, len(SIZES))
    seconds = select_batch(ParameterInformation(pool), candidates(costs), 3, budget=6.0)
    hours = select_batch(
        ParameterInformation(pool), candidates(costs / 3600), 3, budget=6 / 3600
    )
    assert positions(hours) == positions(seconds)
    for one, other in zip(seconds, hours, strict=True):
        assert other.gain_per_cost == pytest.approx(3600 * one.gain_per_cost)


def test_a_label_that_costs_enough_is_left_for_cheaper_ones():
    pool = random_pool(SIZES, 5)
    (best,) = select_batch(ParameterInformation(pool), candidates(), 1)
    costs = np.ones(len(SIZES))
    costs[best.position] = 100.0
    picks = select_batch(ParameterInformation(pool), candidates(costs), len(SIZES) - 1)
    assert best.position not in positions(picks)


@pytest.mark.parametrize("budget", [0.5, 1.0, 2.5, 4.0, 100.0])
def test_the_budget_is_never_overrun(budget):
    costs = [2.0, 1.0, 3.0, 1.5, 2.0, 1.0, 2.5]
    picks = select_batch(
        ParameterInformation(random_pool(SIZES, 6)), candidates(costs), 7, budget=budget
    )
    spent = sum(p.candidate.cost for p in picks)
    assert spent <= budget
    rest = [c for i, c in enumerate(costs) if i not in positions(picks)]
    assert all(spent + c > budget for c in rest)  # it is used up, too


def test_pending_labels_are_conditioned_on_and_not_picked_again():
    pool = random_pool(SIZES, 7)
    picks = select_batch(ParameterInformation(pool), candidates(), 3)
    pending, rest = positions(picks)[:1], picks[1:]
    later = select_batch(ParameterInformation(pool), candidates(), 2, pending=pending)
    assert positions(later) == positions(rest)
    assert [p.gain for p in later] == pytest.approx([p.gain for p in rest])


def test_blocks_beyond_the_candidates_are_never_picked():
    picks = select_batch(
        ParameterInformation(random_pool(SIZES, 8)), candidates(n=4), len(SIZES)
    )
    assert sorted(positions(picks)) == [0, 1, 2, 3]


def test_a_random_batch_is_that_of_its_seed():
    pool = random_pool(SIZES, 0)
    batches = {
        tuple(positions(select_batch(Random(pool, seed), candidates(), 3)))
        for seed in (0, 0, 1, 2, 3, 4)
    }
    assert len(batches) == 5


def test_a_batch_without_labels_is_refused():
    with pytest.raises(ValueError, match="at least one label, got 0"):
        select_batch(ParameterInformation(random_pool(SIZES)), candidates(), 0)
