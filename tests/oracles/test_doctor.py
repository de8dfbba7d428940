import pytest
from ase.build import bulk
from faulty_codes import ALLOWED

from mfal import Fidelity
from mfal.oracles import OracleError, examine

ALL = ("energy", "forces", "stress")


def failures(fidelity, atoms):
    examination = examine(fidelity, atoms, allowed_modules=ALLOWED)
    assert examination.passed == (not examination.failures)
    word = "trusted" if examination.passed else "REFUSED"
    assert word in examination.verdict
    return " ".join(examination.failures)


def test_a_sound_oracle_is_trusted_and_measured(copper):
    examination = examine(Fidelity("emt", {"code": "emt"}, ALL), copper)
    assert examination.passed, examination.verdict
    assert (examination.converged, examination.repeat) == (True, 0.0)
    assert len(examination.forces) == len(examination.stresses) == 3
    assert 0 < examination.seconds < 5
    assert "against finite differences" in examination.verdict


@pytest.mark.faults
def test_forces_of_the_wrong_sign_are_refused(copper, faulty):
    assert "forces" in failures(faulty("Flipped"), copper)


@pytest.mark.faults
def test_forces_of_the_wrong_sign_are_refused_even_at_a_minimum(faulty):
    assert "forces" in failures(faulty("Flipped"), bulk("Cu", cubic=True))


@pytest.mark.faults
def test_stress_in_another_unit_and_order_is_refused(copper, faulty):
    found = failures(faulty("WrongStress", ALL), copper)
    assert "stress" in found
    assert "forces" not in found


def test_labels_that_do_not_repeat_are_refused(copper, faulty):
    found = failures(faulty("Restless", ("energy",)), copper)
    assert "two labels of one structure differ" in found


def test_an_oracle_that_does_not_report_convergence_is_refused(copper):
    specification = {"code": "python", "factory": "ase.calculators.emt:EMT"}
    found = failures(Fidelity("silent", specification), copper)
    assert "does not say whether it converged" in found


def test_an_oracle_that_did_not_converge_is_refused(copper, faulty):
    assert "did not converge" in failures(faulty("Unconverged"), copper)


def test_energies_alone_can_be_examined(copper):
    examination = examine(Fidelity("emt", {"code": "emt"}, ("energy",)), copper)
    assert examination.passed
    assert examination.forces == examination.stresses == ()


def test_an_oracle_that_gives_no_label_is_an_error(copper, faulty):
    level = faulty("NotFinite", quantity="energy", value="nan")
    with pytest.raises(OracleError, match="energy holds a value that is not finite"):
        examine(level, copper, allowed_modules=ALLOWED)


def test_a_structure_that_cannot_be_labelled_is_refused(copper):
    copper.positions[1] = copper.positions[0]
    with pytest.raises(ValueError, match="cannot be labelled"):
        examine(Fidelity("emt", {"code": "emt"}), copper)
