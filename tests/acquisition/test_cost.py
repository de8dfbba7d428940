"""What a label costs is the mean of what was paid, with the spread of single labels."""

import numpy as np
import pytest
import torch

from mfal.acquisition import LevelCostModel, cost_ratio, estimate_cost


def test_the_expected_cost_adds_up_to_what_was_paid():
    costs = [1.0, 8.0, 3.0]
    found = estimate_cost(costs)
    assert found.n * found.mean == pytest.approx(sum(costs))
    assert found.low < found.mean < found.high


@pytest.mark.parametrize("n", [8, 30])
def test_68_percent_of_new_labels_cost_what_the_interval_says(n):
    rng = np.random.default_rng(n)
    costs = np.exp(2 + 0.3 * rng.normal(size=(4000, n + 1)))
    intervals = [estimate_cost(row.tolist()) for row in costs[:, :-1]]
    inside = [
        i.low <= c <= i.high for i, c in zip(intervals, costs[:, -1], strict=True)
    ]
    assert np.mean(inside) == pytest.approx(0.68, abs=0.05)


def test_one_label_already_gives_a_spread():
    found = estimate_cost([10.0])
    assert found.low < 7.5 and found.high > 13
    assert found.low * found.high == pytest.approx(100)


def test_the_estimate_scales_with_the_unit():
    one, other = estimate_cost([1.0, 2.0, 4.0]), estimate_cost([60.0, 120.0, 240.0])
    for name in ("mean", "low", "high"):
        assert getattr(other, name) == pytest.approx(60 * getattr(one, name))


@pytest.mark.parametrize("costs", [[], [1.0, 0.0], [-1.0], [float("inf")]])
def test_costs_that_are_no_costs_are_refused(costs):
    with pytest.raises(ValueError, match="costs must be positive and at least one"):
        estimate_cost(costs)


def test_the_ratio_is_that_of_the_expected_costs():
    estimates = {"low": estimate_cost([1.0, 3.0]), "high": estimate_cost([40.0])}
    assert cost_ratio(estimates, "low", "high") == pytest.approx(20)


@pytest.mark.parametrize("column", [0, -1])
def test_the_cost_of_a_label_is_that_of_its_level(column):
    X = torch.rand(2, 4, 3, dtype=torch.float64)
    X[..., column] = torch.tensor([0.0, 2.0, 1.0, 0.5])
    model = LevelCostModel([1.0, 5.0, 40.0], fidelity_column=column)
    expected = torch.tensor([1.0, 40.0, 5.0, 3.0], dtype=torch.float64)
    assert torch.equal(model.posterior(X).mean, expected.expand(2, 4)[..., None])


def test_a_single_level_has_a_cost_too():
    assert LevelCostModel([3.0])(torch.zeros(2, 1)).flatten().tolist() == [3.0, 3.0]


@pytest.mark.parametrize("costs", [[], [1.0, 0.0], [float("nan")]])
def test_levels_without_a_cost_are_refused(costs):
    with pytest.raises(ValueError, match="costs must be positive, one per level"):
        LevelCostModel(costs)
    with pytest.raises(ValueError, match="levels from 0 to 1 have a cost, got 0 to 2"):
        LevelCostModel([1.0, 2.0])(torch.tensor([[0.0], [2.0]]))
