"""Lazy greedy is plain greedy; batches keep what the certificate promises."""

from itertools import chain, combinations
from math import e

import numpy as np
import pytest
from criteria import (
    ALL,
    DIMINISHING,
    SUBMODULAR,
    N,
    Problem,
    candidates,
    positions,
)
from gaussian_pools import random_pool
from hypothesis import given, settings
from hypothesis import strategies as st

from mfal.acquisition import (
    Candidate,
    MaximumVariance,
    ParameterInformation,
    select_batch,
    select_within_budget,
)
from mfal.acquisition.greedy import _largest

seeds = st.integers(0, 10**6)


def plainly(acquisition):
    """The same criterion, every gain worked out in every round."""
    acquisition.diminishing = False
    return acquisition


def textbook(make, problem, costs, size, budget=np.inf):
    """Plain greedy, each criterion built anew; the earlier of equal candidates wins."""
    taken = []
    while len(taken) < size:
        acquisition = make(problem)
        for block in taken:
            acquisition.condition_on(block)
        left = budget - sum(costs[taken])
        open_ = [i for i in range(N) if i not in taken and costs[i] <= left]
        if not open_:
            break
        scores = np.array([acquisition.value([i]) / costs[i] for i in open_])
        ties = scores >= scores.max() - 1e-9 * abs(scores.max())
        taken.append(open_[int(np.argmax(ties))])
    return taken


# --- lazy and plain


@pytest.mark.parametrize("twins", [False, True])
@pytest.mark.parametrize("name", ALL)
def test_a_batch_is_that_of_plain_greedy(name, twins):
    for seed in range(4):
        problem = Problem(seed, twins)
        costs = np.random.default_rng(seed).choice([1.0, 1.0, 1.7, 3.0], size=N)
        found = select_batch(ALL[name](problem), candidates(costs), 5, budget=8.0)
        assert positions(found) == textbook(ALL[name], problem, costs, 5, 8.0)


@settings(deadline=None, max_examples=25)
@given(seeds, st.sampled_from(list(DIMINISHING)), st.integers(1, N), st.booleans())
def test_lazy_evaluation_changes_nothing(seed, name, size, twins):
    problem = Problem(seed, twins)
    costs = np.random.default_rng(seed).uniform(0.5, 2.0, size=N)
    if twins:
        costs[-2:] = costs[:2]
    lazy = select_batch(DIMINISHING[name](problem), candidates(costs), size)
    plain = select_batch(plainly(DIMINISHING[name](problem)), candidates(costs), size)
    assert positions(lazy) == positions(plain)
    assert lazy.gains == pytest.approx(plain.gains, rel=1e-9)
    assert plain.evaluations_saved == 0
    assert lazy.evaluations + lazy.evaluations_saved == plain.evaluations
    assert lazy.evaluations <= plain.evaluations


def test_of_equal_labels_the_earlier_one_is_taken():
    for name in DIMINISHING:
        problem = Problem(1, twins=True)
        picks = positions(select_batch(DIMINISHING[name](problem), candidates(), N))
        for twin in (0, 1):
            assert picks.index(twin) < picks.index(twin + N - 2)


def test_lazy_evaluation_saves_most_of_the_work_in_a_pool_of_many():
    pool = random_pool([1] * 300, 0, n_features=40)
    some = [Candidate(i, "high", 1.0) for i in range(300)]
    batch = select_batch(ParameterInformation(pool), some, 15)
    assert batch.evaluations_saved > 0.8 * (batch.evaluations + batch.evaluations_saved)


# --- how good it is


@pytest.mark.parametrize("name", SUBMODULAR)
@settings(deadline=None, max_examples=8)
@given(seed=seeds, size=st.integers(1, 4))
def test_a_batch_is_within_1_minus_1_over_e_of_the_best_set(name, seed, size):
    problem = Problem(seed)
    make = SUBMODULAR[name]
    batch = select_batch(make(problem), candidates(), size)
    fresh = make(problem)
    best = max(fresh.value(s) for s in combinations(range(N), size))
    worth = sum(batch.gains)
    assert worth == pytest.approx(fresh.value(positions(batch)), rel=1e-9)
    assert worth >= (1 - 1 / e) * best - 1e-12
    assert batch.certificate.worth == pytest.approx(worth)
    assert batch.certificate.upper_bound >= best - 1e-9
    assert batch.certificate.fraction >= 1 - 1 / e
    if size == 1:
        assert worth == pytest.approx(best, rel=1e-9)
        assert batch.certificate.fraction == pytest.approx(1.0)


@pytest.mark.parametrize("name", SUBMODULAR)
@settings(deadline=None, max_examples=8)
@given(seed=seeds, budget=st.floats(0.3, 6.0))
def test_what_a_budget_buys_is_within_the_guarantee_and_the_bound(name, seed, budget):
    problem = Problem(seed)
    make = SUBMODULAR[name]
    costs = np.exp(np.random.default_rng(seed).normal(size=N))
    acquisition = make(problem)
    batch = select_within_budget(acquisition, candidates(costs), budget)
    fresh = make(problem)
    sets = chain.from_iterable(combinations(range(N), k) for k in range(1, N + 1))
    paid = [s for s in sets if costs[list(s)].sum() <= budget]
    assert acquisition.picked == ()
    if not paid:
        assert len(batch) == 0
        return
    best = max(fresh.value(s) for s in paid)
    assert batch.cost <= budget * (1 + 1e-12)
    assert batch.certificate.worth >= (1 - 1 / e) / 2 * best - 1e-12
    assert batch.certificate.upper_bound >= best - 1e-9
    by_cost = select_batch(make(problem), candidates(costs), N, budget=budget)
    assert batch.certificate.worth >= sum(by_cost.gains) - 1e-12
    assert by_cost.certificate.upper_bound >= best - 1e-9


def test_gain_per_cost_alone_can_be_arbitrarily_bad_and_the_budget_form_is_not():
    """A tiny label that is good per cost blocks the one that the budget was for."""
    pool = random_pool([1, 1], 0)
    pool.full[:] = np.diag([0.02, 100.0])
    pool.variance[:] = 1.0
    some = [Candidate(0, "high", 0.001), Candidate(1, "high", 10.0)]
    per_cost = select_batch(ParameterInformation(pool), some, 2, budget=10.0)
    best = select_within_budget(ParameterInformation(pool), some, 10.0)
    assert (positions(per_cost), positions(best)) == ([0], [1])


def test_labels_that_are_running_are_not_bought_for_the_budget_again():
    problem = Problem(3)
    acquisition = ParameterInformation(problem.pool)
    acquisition.condition_on(4)
    batch = select_within_budget(acquisition, candidates(), 3.0, pending=[2, 5])
    assert acquisition.picked == (4,)
    assert not {2, 5} & set(positions(batch))
    alone = ParameterInformation(problem.pool)
    expected = select_batch(alone, candidates(), 3, pending=[4, 2, 5])
    assert batch.gains[0] == pytest.approx(expected.gains[0], rel=1e-9)


def test_the_bound_is_the_best_that_gains_and_budget_allow():
    """Of gains 3, 2, 2 at costs 3, 1, 1: both of the cheap, then a share of the dear."""
    gains, costs = np.array([3.0, 2.0, 2.0]), np.array([3.0, 1.0, 1.0])
    assert _largest(gains, costs, 2, None) == 5
    assert _largest(gains, costs, 3, 3.5) == pytest.approx(4 + 1.5)
    assert _largest(gains, costs, 3, 2.0) == pytest.approx(4)
    assert _largest(-gains, costs, 2, None) == 0


def test_of_independent_labels_the_bound_is_the_value_of_the_best_set():
    """The batch per cost takes the cheap ones; the bound says what they fall short of."""
    pool = random_pool([1] * 4, 0)
    pool.full[:] = np.diag([1.0, 2.0, 30.0, 40.0])
    pool.variance[:] = 1.0
    some = [Candidate(i, "high", cost) for i, cost in enumerate([0.1, 0.1, 9.0, 9.0])]
    batch = select_batch(ParameterInformation(pool), some, 2)
    assert sorted(positions(batch)) == [0, 1]
    best = ParameterInformation(pool).value([2, 3])
    assert batch.certificate.upper_bound == pytest.approx(best, rel=1e-12)
    worth = ParameterInformation(pool).value([0, 1])
    assert batch.certificate.fraction == pytest.approx(worth / best)


def test_what_is_not_submodular_has_no_certificate():
    batch = select_batch(MaximumVariance(Problem(0).pool), candidates(), 3)
    assert batch.certificate is None


def test_what_falls_below_zero_has_no_certificate():
    """Not monotone there: a lower label after a higher one that inherited its misfit."""
    pool = random_pool([1, 1], 0)
    pool.full[:] = [[1.0, 1.9], [1.9, 2.0]]  # labels: 2 and 2.01, nearly the same
    pool.variance[:] = [1.0, 0.01]
    some = [Candidate(0, "low", 1.0), Candidate(1, "high", 1.0)]
    batch = select_batch(ParameterInformation(pool), some, 2)
    assert positions(batch) == [1, 0]
    assert batch.gains[1] < 0
    assert batch.certificate is None


# --- the report, and what is refused


def test_a_batch_is_the_sequence_of_its_picks():
    batch = select_batch(ParameterInformation(Problem(0).pool), candidates(), 3)
    assert list(batch) == list(batch.picks) and len(batch) == 3
    assert batch[1:] == batch.picks[1:] and batch[0] is batch.picks[0]
    assert batch.cost == 3.0
    assert batch.gains == [p.gain for p in batch]


def test_a_budget_that_is_not_positive_is_refused():
    with pytest.raises(ValueError, match="budget must be positive, got 0"):
        select_within_budget(
            ParameterInformation(random_pool([1] * N)), candidates(), 0.0
        )


# --- forms of a label


def form(structure, quantities, cost=1.0, level="high"):
    return Candidate(structure, level, cost, quantities)


E, EF = ("energy",), ("energy", "forces")


def test_a_label_picked_takes_the_place_of_its_energy_alone():
    pool = random_pool([4, 1, 1, 1], 0)
    some = [form(0, EF), form(0, E), form(0, E, level="low"), form(1, E)]
    assert sorted(positions(select_batch(ParameterInformation(pool), some, 4))) == [
        *(0, 2, 3)
    ]
    pending = select_batch(ParameterInformation(pool), some, 4, pending=[0])
    assert sorted(positions(pending)) == [2, 3]


def test_forces_can_follow_an_energy():
    pool = random_pool([4, 1], 0)
    some = [form(0, EF, 50.0), form(0, E, 1.0)]
    assert positions(select_batch(ParameterInformation(pool), some, 2)) == [1, 0]


def test_the_form_of_a_label_follows_its_price():
    """Energy and forces at the price of an energy are taken; at a hundred times, not."""
    pool = random_pool([4, 1], 0)
    for price, expected in ((1.0, 0), (100.0, 1)):
        some = [form(0, EF, price), form(0, E, 1.0)]
        (pick,) = select_batch(ParameterInformation(pool), some, 1)
        assert pick.position == expected
