"""A level is its settings, whatever it is called."""

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
    ],
)
def test_a_level_that_makes_no_sense_is_refused(arguments, message):
    with pytest.raises(ValueError, match=message):
        Fidelity(**arguments)
