"""Thresholds hold for a further value like those that they were taken from."""

import logging
import math

import numpy as np
import pytest

from mfal.calculators.thresholds import Threshold, threshold


def test_a_threshold_is_the_value_of_the_rank_of_the_finite_sample(caplog):
    values = [float(k) for k in range(1, 100)]
    found = threshold(values, 0.95, name="x")
    assert found == Threshold(95.0, 0.95, 99)
    assert threshold(values[::-1], 0.95, name="x") == found
    assert not caplog.records


def test_a_further_value_exceeds_it_as_rarely_as_stated():
    rng = np.random.default_rng(0)
    exceeded = [
        rng.lognormal() > threshold(list(rng.lognormal(size=19)), 0.9, name="x").value
        for _ in range(4000)
    ]
    assert np.mean(exceeded) == pytest.approx(0.1, abs=0.015)


def test_too_few_values_give_their_largest_and_say_so(caplog):
    with caplog.at_level(logging.WARNING):
        found = threshold([1.0, 3.0, 2.0], 0.95, name="sigma")
    assert found == Threshold(3.0, 0.75, 3)
    assert "threshold of the sigma is the largest of 3" in caplog.text
    assert "takes 19 structures" in caplog.text


@pytest.mark.parametrize("quantile", [0.0, 1.0, 1.5, -0.1, math.nan])
def test_what_is_no_quantile_is_refused(quantile):
    with pytest.raises(ValueError, match="between 0 and 1, got"):
        threshold([1.0], quantile, name="x")


def test_no_values_set_no_threshold():
    with pytest.raises(ValueError, match="no left-out sigma"):
        threshold([], 0.9, name="sigma")


@pytest.mark.parametrize("value", [0.0, -1.0, math.nan])
def test_a_threshold_that_is_not_positive_is_refused(value):
    with pytest.raises(ValueError, match="positive number"):
        Threshold(value)
