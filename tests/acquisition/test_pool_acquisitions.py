"""What holds of every criterion over a pool: picks, sets, BoTorch, and what it promises."""

from itertools import combinations

import numpy as np
import pytest
import torch
from botorch.acquisition import AcquisitionFunction
from botorch.optim import optimize_acqf_discrete
from criteria import ALL, DIMINISHING, SEEDED, SUBMODULAR, N, Problem, candidates
from criteria import positions as of

from mfal.acquisition import select_batch

EVERY = {**ALL, **SEEDED}


@pytest.fixture(params=range(2))
def problem(request):
    return Problem(request.param)


@pytest.fixture(params=EVERY)
def make(request):
    return EVERY[request.param]


def positions(*sets):
    return torch.tensor(sets, dtype=torch.float64).unsqueeze(-1)


def test_values_of_many_labels_are_those_of_each(problem, make):
    acquisition = make(problem)
    for pick in (None, 2, 5):
        if pick is not None:
            acquisition.condition_on(pick)
        blocks = [6, 0, 3, 1, 4, 7]
        expected = [acquisition.value([b]) for b in blocks]
        np.testing.assert_allclose(
            acquisition.values(blocks), expected, rtol=1e-9, atol=1e-12
        )


def test_few_labels_at_once_have_the_values_of_all_at_once(problem, make, monkeypatch):
    acquisition = make(problem)
    acquisition.condition_on(3)
    whole = acquisition.values(range(N))
    monkeypatch.setattr("mfal.acquisition.conditioned._ELEMENTS", 1)
    monkeypatch.setattr("mfal.acquisition.diversity._AT_ONCE", 1)
    parts = acquisition.values(range(N))
    torch.testing.assert_close(parts, whole, rtol=1e-10, atol=1e-12)


def test_forward_takes_positions_as_floats(problem, make):
    acquisition = make(problem)
    assert isinstance(acquisition, AcquisitionFunction)
    for sets in (positions([0, 2], [3, 1]), positions([4], [0], [2])):
        expected = [acquisition.value(s) for s in sets.long().squeeze(-1).tolist()]
        np.testing.assert_allclose(acquisition(sets), expected, rtol=1e-9)


@pytest.mark.parametrize("pending", [[3, 0], [3], [2, 0], [], [1]])
def test_pending_labels_take_the_place_of_those_before(problem, make, pending):
    acquisition, anew = make(problem), make(problem)
    acquisition.set_X_pending(positions([3, 0, 2]).squeeze(0))
    for block in pending:
        anew.condition_on(block)
    acquisition.set_X_pending(positions(pending).squeeze(0) if pending else None)
    assert acquisition.picked == tuple(pending)
    found, expected = (a.values(range(N)) for a in (acquisition, anew))
    torch.testing.assert_close(found, expected, rtol=1e-9, atol=1e-12)


def test_discrete_optimisation_of_botorch_picks_the_greedy_batch(problem, make):
    acquisition = make(problem)
    acquisition.condition_on(1)
    choices = positions(*([i] for i in range(N) if i != 1)).squeeze(-1)
    found, values = optimize_acqf_discrete(acquisition, q=3, choices=choices)
    picks = select_batch(make(problem), candidates(), 3, pending=[1])
    assert found.flatten().tolist() == of(picks)
    assert values.tolist() == pytest.approx([p.gain for p in picks], rel=1e-9)
    assert acquisition.picked == (1,)  # what was pending stays so


@pytest.mark.parametrize("name", ALL)
def test_the_order_of_the_pool_does_not_change_the_batch(problem, name):
    order = np.random.default_rng(1).permutation(N)
    costs = np.random.default_rng(2).uniform(0.5, 2.0, size=N)
    plain = select_batch(ALL[name](problem), candidates(costs), 4)
    moved = select_batch(
        ALL[name](problem.permuted(order)), [candidates(costs)[i] for i in order], 4
    )
    assert [p.candidate for p in moved] == [p.candidate for p in plain]


@pytest.mark.parametrize("name", [*DIMINISHING, *SEEDED])
def test_what_says_so_never_gains_value_as_labels_are_picked(problem, name):
    acquisition = EVERY[name](problem)
    assert acquisition.diminishing
    before = acquisition.values(range(N))
    for pick in (4, 0, 6, 1):
        acquisition.condition_on(pick)
        after = acquisition.values(range(N))
        assert (after <= before + 1e-9).all()
        before = after


def test_what_does_not_diminish_does_not_say_so():
    flags = {name: make(Problem(0)).diminishing for name, make in ALL.items()}
    assert {name for name, flag in flags.items() if flag} == set(DIMINISHING)
    flags = {name: make(Problem(0)).submodular for name, make in ALL.items()}
    assert {name for name, flag in flags.items() if flag} == set(SUBMODULAR)


@pytest.mark.parametrize("name", [*SUBMODULAR, *SEEDED])
def test_values_of_what_is_submodular_are_those_of_a_monotone_set_function(
    problem, name
):
    """Gains one by one add up to the value of the set, in any order; none is negative."""
    for some in combinations(range(N), 3):
        together = EVERY[name](problem).value(some)
        acquisition, total = EVERY[name](problem), 0.0
        for block in some[::-1]:
            gain = acquisition.value([block])
            assert gain >= -1e-12
            total += gain
            acquisition.condition_on(block)
        assert total == pytest.approx(together, rel=1e-9)


@pytest.mark.parametrize("name", ["targets", "one target", "integrated"])
def test_information_of_targets_obeys_the_chain_rule(problem, name):
    acquisition = ALL[name](problem)
    together, one_by_one = acquisition.value([0, 3, 2]), 0.0
    for block in (0, 3, 2):
        one_by_one += acquisition.value([block])
        acquisition.condition_on(block)
    assert one_by_one == pytest.approx(together, rel=1e-9)
