import numpy as np
import pytest
from ase import Atoms
from ase.build import bulk

from mfal import Fidelity
from mfal.oracles import OracleError, build_oracle, examine, validate_specification

tblite_ase = pytest.importorskip("tblite.ase")


def level(method="GFN2-xTB", quantities=("energy", "forces"), **settings):
    charge = settings.pop("charge", 0)
    multiplicity = settings.pop("multiplicity", 1)
    specification = {"code": "tblite", "method": method, **settings}
    return Fidelity("xtb", specification, quantities, charge, multiplicity)


@pytest.mark.parametrize("method", ["GFN1-xTB", "GFN2-xTB"])
def test_values_are_those_of_the_codes_own_calculator(water, method):
    label = build_oracle(level(method))(water).label
    water.calc = tblite_ase.TBLite(method=method, verbosity=0)
    assert label.energy == pytest.approx(water.get_potential_energy(), abs=1e-6)
    np.testing.assert_allclose(label.forces, water.get_forces(), atol=1e-5)


def test_charge_and_multiplicity_reach_the_code():
    hydroxyl = Atoms("OH", [[0, 0, 0], [0, 0, 0.97]])
    neutral = build_oracle(level(multiplicity=2))(hydroxyl).label.energy
    quartet = build_oracle(level(multiplicity=4))(hydroxyl).label.energy
    anion = build_oracle(level(charge=-1))(hydroxyl).label.energy
    assert quartet > neutral + 1  # an excited state
    assert anion < neutral  # the electron is bound


def test_forces_are_the_derivatives_of_the_energy(water):
    examination = examine(level(), water)
    assert examination.passed, examination.verdict
    assert max(abs(a - b) for a, b in examination.forces) < 1e-3


def test_stress_of_a_crystal_is_the_derivative_of_the_energy():
    fidelity = level("GFN1-xTB", ("energy", "forces", "stress"))
    examination = examine(fidelity, bulk("Si", cubic=True), n_directions=2)
    assert examination.passed, examination.verdict
    assert max(abs(a - b) for a, b in examination.stresses) < 1e-4


def test_a_label_does_not_depend_on_the_labels_before_it(water):
    oracle = build_oracle(level())
    first = oracle(water).label
    water.positions[1] += 0.1
    oracle(water)
    water.positions[1] -= 0.1
    assert oracle(water).label.agrees_with(first)


@pytest.mark.faults
def test_an_unconverged_calculation_is_an_error(water):
    with pytest.raises(OracleError, match="not converged in 2 cycles") as failure:
        build_oracle(level(max_iterations=2))(water)
    assert failure.value.kind == "not_converged"


def test_a_second_attempt_finds_the_same_energy_with_other_settings(water):
    oracle = build_oracle(level())
    first, second = oracle(water).label, oracle(water, attempt=2).label
    assert first.energy != second.energy
    assert first.energy == pytest.approx(second.energy, abs=1e-4)


def test_the_code_writes_nothing_to_the_screen(water, capfd):
    build_oracle(level())(water)
    assert capfd.readouterr() == ("", "")


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"method": "GFN3-xTB"}, "GFN1-xTB and GFN2-xTB, got 'GFN3-xTB'"),
        ({"method": "gfn2-xtb"}, "did you mean 'GFN2-xTB'"),
        ({"electronic_temperature": 0.0}, "electronic_temperature' is above 0"),
        ({"max_iterations": 1.5}, "max_iterations' is of type int, got 1.5"),
        ({"max_iteration": 5}, "did you mean 'max_iterations'"),
    ],
)
def test_impossible_settings_are_refused(settings, message):
    with pytest.raises(ValueError, match=message):
        validate_specification(level(**settings), ["H"])


def test_an_element_without_parameters_is_refused():
    with pytest.raises(ValueError, match="up to Rn, not U"):
        validate_specification(level(), ["H", "U"])
