import re

import pytest

from mfal import Fidelity
from mfal.oracles import CODES, build_oracle, validate_specification
from mfal.oracles.pyscf import Pyscf
from mfal.oracles.specification import nearest


def test_an_oracle_knows_its_level():
    fidelity = Fidelity("emt", {"code": "emt"})
    assert build_oracle(fidelity).fidelity is fidelity


@pytest.mark.parametrize(
    ("specification", "message"),
    [
        ({}, "one of tblite, pyscf, gpaw, emt, replay, python, manual, got None"),
        ({"code": "pyscff"}, "got 'pyscff' (did you mean 'pyscf'?)"),
        ({"code": 3}, "got 3"),
        ({"code": "pyscf", "method": "HF"}, "option 'basis' is missing"),
        (
            {"code": "pyscf", "method": "HF", "bases": "sto-3g"},
            "unknown option 'bases' (did you mean 'basis'?)",
        ),
        (
            {"code": "pyscf", "method": "HF", "basis": "sto-3g", "max_cycle": True},
            "option 'max_cycle' is of type int, got True",
        ),
        ({"code": "emt", "fidelity": "x"}, "unknown option 'fidelity'"),
    ],
)
def test_a_wrong_specification_is_named(specification, message):
    fidelity = Fidelity("some", specification)
    with pytest.raises(ValueError, match=re.escape(message)) as failure:
        validate_specification(fidelity, ["H"])
    assert "level 'some'" in str(failure.value)


def test_a_whole_number_is_taken_for_a_real_one():
    specification = {"code": "pyscf", "method": "HF", "basis": "sto-3g", "conv_tol": 1}
    assert build_oracle(Fidelity("some", specification)).conv_tol == 1


@pytest.mark.parametrize(
    ("code", "package", "command"),
    [
        ("tblite", "tblite", "pip install 'mfal[xtb]'"),
        ("pyscf", "pyscf", "pip install 'mfal[pyscf]'"),
    ],
)
def test_a_missing_package_is_named_with_its_command(
    monkeypatch, code, package, command
):
    def not_installed(name):
        raise ModuleNotFoundError(f"No module named {package!r}", name=package)

    monkeypatch.setattr("importlib.import_module", not_installed)
    options = {"method": "GFN2-xTB"} if code == "tblite" else {"method": "HF"}
    options |= {"basis": "sto-3g"} if CODES[code] is Pyscf else {}
    with pytest.raises(ValueError, match=re.escape(command)) as failure:
        validate_specification(Fidelity("some", {"code": code, **options}), ["H"])
    assert "is not installed" in str(failure.value)


def test_emt_names_the_elements_that_it_knows():
    emt = Fidelity("emt", {"code": "emt"})
    with pytest.raises(ValueError, match=r"EMT knows Al, Cu, .*not Fe"):
        validate_specification(emt, ["Cu", "Fe"])
    validate_specification(emt, ["Cu", "Au"])


def test_nothing_is_suggested_where_nothing_is_near():
    assert nearest("xyzzy", ["method", "basis"]) == ""
