"""Short names of reference methods."""

import pytest

from mfal import Fidelity
from mfal.oracles import build_oracle
from mfal.oracles.naming import (
    any_specification,
    example_structure,
    level_of,
    named_level,
    named_specification,
)


@pytest.mark.parametrize(
    ("name", "specification"),
    [
        ("gfn2", {"code": "tblite", "method": "GFN2-xTB"}),
        ("GFN1", {"code": "tblite", "method": "GFN1-xTB"}),
        ("emt", {"code": "emt"}),
        ("pbe/def2-svp", {"code": "pyscf", "method": "pbe", "basis": "def2-svp"}),
        (
            "ccsd(t)/def2-svp",
            {"code": "pyscf", "method": "ccsd(t)", "basis": "def2-svp"},
        ),
        (
            "pbe/def2-svp-DF",
            {
                "code": "pyscf",
                "method": "pbe",
                "basis": "def2-svp",
                "density_fit": True,
            },
        ),
    ],
)
def test_a_name_stands_for_a_specification_that_an_oracle_is_built_from(
    name, specification
):
    assert named_specification(name) == specification
    build_oracle(level_of("level", specification))


def test_density_fitting_can_be_asked_for_beside_the_name():
    beside = named_specification("pbe/def2-svp", density_fit=True)
    assert beside == named_specification("pbe/def2-svp-df")
    with pytest.raises(ValueError, match="no density fitting"):
        named_specification("gfn2", density_fit=True)


@pytest.mark.parametrize("name", ["gnf2", "pbe", "/def2-svp", "pbe/", ""])
def test_a_name_that_stands_for_nothing_is_refused(name):
    with pytest.raises(ValueError, match="an oracle is one of gfn1, gfn2, emt"):
        named_specification(name)


def test_the_nearest_name_is_proposed():
    with pytest.raises(ValueError, match="did you mean 'gfn2'"):
        named_specification("gnf2")
    with pytest.raises(ValueError, match="did you mean 'gfn2'"):
        any_specification("gnf2")


def test_a_name_of_no_code_may_stand_for_a_method_by_hand():
    assert any_specification("gfn2") == named_specification("gfn2")
    assert named_level("VASP PBE", ("energy",), 1, 2) == Fidelity(
        "vasp pbe", {"code": "manual", "name": "VASP PBE"}, ("energy",), 1, 2
    )


def test_the_specification_of_a_name_can_be_changed_without_changing_the_name():
    named_specification("gpaw-fine")["kpts"]["density"] = 0.1
    assert named_specification("gpaw-fine")["kpts"]["density"] == 5.0


@pytest.mark.parametrize(
    ("name", "quantities"),
    [
        ("gfn2", ("energy", "forces")),
        ("mp2/def2-svp", ("energy", "forces")),
        ("mp2/def2-svp-df", ("energy",)),
        ("ccsd(t)/def2-svp", ("energy",)),
    ],
)
def test_a_level_gives_forces_where_the_method_has_them(name, quantities):
    assert level_of("level", named_specification(name)).quantities == quantities


def test_quantities_that_are_asked_for_are_not_dropped():
    with pytest.raises(ValueError, match="gives energy only, forces was asked for"):
        level_of("level", named_specification("ccsd/sto-3g"), ("energy", "forces"))


def test_a_fault_of_the_specification_is_not_hidden():
    with pytest.raises(ValueError, match="unknown option 'mehtod'"):
        level_of("level", {"code": "tblite", "mehtod": "GFN2-xTB"})


def test_an_oracle_can_be_examined_on_its_example():
    assert example_structure(Fidelity("emt", {"code": "emt"})).pbc.all()
    assert not example_structure(Fidelity("gfn2", {"code": "tblite"})).pbc.any()
