"""A candidate has a cost."""

import pytest

from mfal.acquisition import Candidate


@pytest.mark.parametrize("cost", [0.0, -1.0, float("nan")])
def test_a_cost_that_is_not_positive_is_refused(cost):
    with pytest.raises(ValueError, match=r"positive, got .* structure 3 at 'pbe'"):
        Candidate(3, "pbe", cost)


@pytest.mark.parametrize("quantities", [(), ("energy", "charge")])
def test_quantities_that_are_none_are_refused(quantities):
    with pytest.raises(ValueError, match="some of the quantities"):
        Candidate(3, "pbe", 1.0, quantities)


def test_a_label_subsumes_its_own_energy_and_no_other():
    whole = Candidate(3, "pbe", 5.0)
    energy = Candidate(3, "pbe", 1.0, ("energy",))
    assert whole.subsumes(energy) and whole.subsumes(whole)
    assert not energy.subsumes(whole)
    assert not whole.subsumes(Candidate(3, "gfn2", 1.0, ("energy",)))
    assert not whole.subsumes(Candidate(4, "pbe", 1.0, ("energy",)))
