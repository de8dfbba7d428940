import dataclasses
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from ase import Atoms
from ase.build import bulk, molecule
from faulty_codes import ALLOWED
from hypothesis import given, settings
from hypothesis import strategies as st

from mfal import Fidelity
from mfal.oracles import LabelRequest, build_oracle, label_structure

ALL = ("energy", "forces", "stress")
EMT = Fidelity("emt", {"code": "emt"}, ALL)


def test_the_label_is_that_of_the_oracle(request_of):
    request = request_of(EMT)
    result = label_structure(request)
    assert result.label.agrees_with(build_oracle(EMT)(request.atoms).label)
    assert (result.error, result.converged, result.attempt) == (None, True, 1)
    assert result.task == request.task
    assert "ase" in result.versions
    assert 0 < result.cpu_seconds < 10
    assert 0 < result.wall_seconds < 10


def failure(request):
    result = label_structure(request)
    assert result.label is None
    return result.error.kind, result.error.message


@pytest.mark.faults
@pytest.mark.parametrize(
    "spoil",
    [
        lambda atoms: atoms.positions.__setitem__(1, atoms.positions[0]),
        lambda atoms: atoms.positions.__setitem__(1, atoms.positions[0] + [0, 0, 0.5]),
        lambda atoms: atoms.set_cell(atoms.cell[[1, 0, 2]]),
        lambda atoms: atoms.positions.__setitem__((0, 0), np.inf),
    ],
    ids=["coincident", "close", "inverted", "infinite"],
)
def test_an_unphysical_structure_is_refused_before_the_code_runs(
    request_of, copper, faulty, tmp_path, spoil
):
    spoil(copper)
    fidelity = faulty("Slow", note=tmp_path / "note", seconds=0)
    kind, _ = failure(request_of(fidelity, atoms=copper))
    assert kind == "unphysical_structure"
    assert not Path(tmp_path / "note").exists()


@pytest.mark.faults
def test_a_short_bond_that_the_code_would_accept_is_refused(request_of):
    pytest.importorskip("tblite")
    water = molecule("H2O")
    water.set_distance(0, 1, 0.1, fix=0)
    fidelity = Fidelity("xtb", {"code": "tblite", "method": "GFN2-xTB"})
    assert build_oracle(fidelity)(water).converged
    kind, message = failure(request_of(fidelity, atoms=water))
    assert kind == "unphysical_structure"
    assert "0.100 A apart" in message


@pytest.mark.faults
@pytest.mark.parametrize("value", ["nan", "inf", "-inf"])
@pytest.mark.parametrize("quantity", ALL)
def test_a_value_that_is_not_finite_is_refused(request_of, faulty, quantity, value):
    fidelity = faulty("NotFinite", ALL, quantity=quantity, value=value)
    kind, message = failure(request_of(fidelity))
    assert kind == "unphysical_label"
    assert message == f"{quantity} holds a value that is not finite"


@pytest.mark.faults
@given(
    quantity=st.sampled_from(ALL),
    place=st.integers(0, 11),
    value=st.sampled_from(["nan", "inf", "-inf"]),
)
@settings(max_examples=30, deadline=None)
def test_one_value_that_is_not_finite_anywhere_is_enough(quantity, place, value):
    """Row 3, whichever of the numbers of a label it is."""
    arguments = {"quantity": quantity, "value": value, "place": place}
    specification = {"code": "python", "factory": "faulty_codes:NotFinite"}
    fidelity = Fidelity("bad", {**specification, "arguments": arguments}, ALL)
    request = LabelRequest.of("a", bulk("Cu", cubic=True), fidelity)
    kind, message = failure(dataclasses.replace(request, allowed_modules=ALLOWED))
    assert kind == "unphysical_label"
    assert message == f"{quantity} holds a value that is not finite"


@pytest.mark.faults
def test_a_force_beyond_physics_is_refused(request_of, faulty):
    fidelity = faulty("NotFinite", quantity="forces", value=1e4)
    kind, message = failure(request_of(fidelity))
    assert kind == "unphysical_label"
    assert "atom 3" in message


@pytest.mark.faults
def test_a_calculation_that_did_not_converge_is_refused(request_of, faulty):
    assert failure(request_of(faulty("Unconverged")))[0] == "not_converged"


@pytest.mark.faults
def test_a_code_that_does_not_report_convergence_is_refused(request_of):
    specification = {"code": "python", "factory": "ase.calculators.emt:EMT"}
    kind, message = failure(request_of(Fidelity("silent", specification)))
    assert kind == "not_converged"
    assert "raises_if_unconverged" in message


@pytest.mark.faults
def test_whatever_a_code_raises_fails_its_label_only(request_of, faulty):
    kind, message = failure(request_of(faulty("Raises")))
    assert (kind, message) == ("code_error", "ZeroDivisionError: deep inside")


def test_a_level_that_cannot_be_built_fails_the_label(request_of):
    kind, message = failure(request_of(Fidelity("none", {"code": "abacus"})))
    assert kind == "bad_specification"
    assert "got 'abacus'" in message


def test_charge_and_spin_do_not_matter_to_a_method_without_electrons(request_of):
    trimer = Atoms("Cu3", [[0, 0, 0], [2.4, 0, 0], [0, 2.4, 0]])  # 87 electrons
    level = Fidelity("emt", {"code": "emt"})
    assert label_structure(request_of(level, atoms=trimer)).label is not None


def test_a_radical_without_its_multiplicity_is_refused(request_of):
    pytest.importorskip("tblite")
    fidelity = Fidelity("xtb", {"code": "tblite", "method": "GFN2-xTB"})
    hydroxyl = Atoms("OH", [[0, 0, 0], [0, 0, 0.97]])
    kind, message = failure(request_of(fidelity, atoms=hydroxyl))
    assert kind == "unphysical_structure"
    assert "multiplicity" in message


def test_the_cost_of_a_label_does_not_hold_the_loading_of_its_code(tmp_path):
    pytest.importorskip("tblite")
    program = """if True:
        from ase.build import molecule
        from mfal import Fidelity
        from mfal.oracles import LabelRequest, label_structure
        level = Fidelity("xtb", {"code": "tblite", "method": "GFN2-xTB"})
        costs = [
            label_structure(LabelRequest.of("a", molecule("H2O"), level)).cpu_seconds
            for _ in range(5)
        ]
        assert costs[0] < 10 * max(costs[1:]), costs
        """
    subprocess.run([sys.executable, "-c", program], check=True)
