"""The unit of a level: what few values say of the spread of further ones."""

import pytest
import torch
from scipy.stats import norm, t

from mfal.models.autoregressive_checks import MOST_WIDENING, level_moments

LOW_X = torch.linspace(0, 1, 11, dtype=torch.float64).unsqueeze(-1)


def unit_of_high(places, low, high=(1.0, 1.5)):
    """The unit of two high values over Student's factor and their deviation."""
    x = torch.cat([LOW_X, torch.tensor(places, dtype=torch.float64).unsqueeze(-1)])
    y = torch.cat([low, torch.tensor(high, dtype=torch.float64)])
    level = torch.tensor([0] * len(low) + [1] * len(high))
    student = t.ppf(0.975, len(high) - 1) / norm.ppf(0.975)
    deviation = torch.tensor(high, dtype=torch.float64).std()
    return float(level_moments(x, y, level, 2)[1][1] / (student * deviation))


def test_values_where_the_level_below_is_alike_count_as_much_more_spread():
    low = LOW_X.squeeze(-1).square()
    there = low[[3, 4]].std()  # the inputs 0.31 and 0.42 are nearest to 0.3 and 0.4
    assert unit_of_high((0.31, 0.42), low) == pytest.approx(float(low.std() / there))


def test_values_where_the_level_below_varies_more_than_in_all_keep_their_unit():
    assert unit_of_high((0.0, 1.0), LOW_X.squeeze(-1)) == pytest.approx(1.0)


def test_the_widening_has_an_end():
    low = LOW_X.squeeze(-1).clone()
    low[4] = low[3]
    assert unit_of_high((0.3, 0.4), low) == pytest.approx(MOST_WIDENING)


def test_more_than_a_few_values_keep_their_unit():
    low = LOW_X.squeeze(-1).square()
    places, high = [0.30, 0.31, 0.32, 0.33, 0.34, 0.35], [1.0, 1.1, 1.2, 1.3, 1.4, 1.5]
    assert unit_of_high(places, low, high) == pytest.approx(1.0)
