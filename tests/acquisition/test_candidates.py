"""A candidate has a cost."""

import pytest

from mfal.acquisition import Candidate


@pytest.mark.parametrize("cost", [0.0, -1.0, float("nan")])
def test_a_cost_that_is_not_positive_is_refused(cost):
    with pytest.raises(ValueError, match=r"positive, got .* structure 3 at 'pbe'"):
        Candidate(3, "pbe", cost)
