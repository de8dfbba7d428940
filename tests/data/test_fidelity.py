"""A level is its settings, whatever it is called."""

import json

import pytest

from mfal.data import Fidelity

GFN2 = {"code": "tblite", "method": "GFN2-xTB"}


def test_levels_with_the_same_settings_have_one_identity():
    reordered = dict(reversed(GFN2.items()))
    one, two = Fidelity("gfn2", GFN2), Fidelity("xtb", reordered, ("energy",))
    assert one.identity == two.identity


@pytest.mark.parametrize(
    "other",
    [
        Fidelity("gfn2", {**GFN2, "method": "GFN1-xTB"}),
        Fidelity("gfn2", GFN2, charge=1),
        Fidelity("gfn2", GFN2, multiplicity=3),
    ],
    ids=["method", "charge", "multiplicity"],
)
def test_any_other_setting_is_another_identity(other):
    assert other.identity != Fidelity("gfn2", GFN2).identity


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"name": ""}, "needs a name"),
        ({"name": " pbe"}, "without blanks"),
        ({"name": "pbe", "quantities": ("energy", "dipole")}, "dipole"),
        ({"name": "pbe", "quantities": ("energy", "energy")}, "once"),
        ({"name": "pbe", "multiplicity": 0}, "at least 1"),
        ({"name": "pbe", "oracle": {"code": object()}}, "plain JSON"),
        ({"name": "pbe", "largest_force": 0.0}, "is positive"),
        ({"name": "pbe", "energy_window": (2.0, 1.0)}, "got 2 and 1"),
    ],
)
def test_a_level_that_makes_no_sense_is_refused(arguments, message):
    with pytest.raises(ValueError, match=message):
        Fidelity(**arguments)


def test_what_is_believed_of_a_level_is_no_part_of_it_but_is_kept():
    level = Fidelity("gfn2", GFN2)
    bounded = Fidelity("gfn2", GFN2, largest_force=30.0, energy_window=(-9.0, -8.0))
    assert bounded == level
    assert bounded.identity == level.identity
    again = Fidelity.from_dict(json.loads(json.dumps(bounded.to_dict())))
    assert again == bounded
    assert (again.largest_force, again.energy_window) == (30.0, (-9.0, -8.0))
    # what has no bounds is written as it was before there were any
    assert set(level.to_dict()) == {
        *("name", "oracle", "quantities", "charge", "multiplicity")
    }
