"""Plane waves by GPAW: the mapping of settings, and the code itself where it is."""

import sys
from importlib.util import find_spec
from types import ModuleType

import numpy as np
import pytest
from ase.build import bulk, molecule
from ase.calculators.emt import EMT

from mfal import Fidelity
from mfal.oracles import OracleError, build_oracle, examine, validate_specification
from mfal.oracles.naming import named_specification

SETTINGS = {
    "code": "gpaw",
    "cutoff": 300,
    "kpts": {"size": [2, 2, 2], "gamma": True},
    "xc": "PBE",
    "smearing": 0.1,
    "setups": "paw",
}


def level(quantities=("energy", "forces"), *, charge=0, multiplicity=1, **changes):
    return Fidelity("dft", {**SETTINGS, **changes}, quantities, charge, multiplicity)


# --- the mapping, with a stub in the place of the code


@pytest.fixture
def stub(monkeypatch):
    """A module named gpaw that writes down what it is called with."""
    gpaw = ModuleType("gpaw")

    class ConvergenceError(Exception):
        """As in GPAW."""

    class Calculator(EMT):
        def __init__(self, **parameters):
            super().__init__()
            gpaw.parameters = parameters

        def get_property(self, name, atoms):
            gpaw.atoms = atoms
            if gpaw.parameters["maxiter"] < 3:
                raise ConvergenceError
            value = super().get_property(name, atoms)
            return value - 1.5 if name == "free_energy" else value

    gpaw.ConvergenceError, gpaw.GPAW, gpaw.__version__ = (
        ConvergenceError,
        Calculator,
        "0",
    )
    monkeypatch.setitem(sys.modules, "gpaw", gpaw)
    monkeypatch.setitem(sys.modules, "gpaw_data", None)
    return gpaw


def test_every_setting_reaches_the_code(stub):
    oracle = build_oracle(level(charge=1, energy_tolerance=1e-5, max_iterations=50))
    oracle(bulk("Cu", cubic=True))
    assert stub.parameters == {
        "mode": {"name": "pw", "ecut": 300.0},
        "kpts": {"size": (2, 2, 2), "gamma": True},
        "xc": "PBE",
        "setups": "paw",
        "charge": 1,
        "spinpol": False,
        "occupations": {"name": "fermi-dirac", "width": 0.1},
        "convergence": {"energy": 1e-5, "density": 1e-4},
        "maxiter": 50,
        "txt": None,
    }


def test_a_mesh_by_density_reaches_the_code(stub):
    build_oracle(level(kpts={"density": 3.5}))(bulk("Cu"))
    assert stub.parameters["kpts"] == {"density": 3.5, "gamma": False}


def test_a_later_attempt_only_mixes_in_another_way_and_goes_on_longer(stub):
    oracle = build_oracle(level())
    first, second = (oracle.parameters(bulk("Cu"), n) for n in (1, 2))
    assert second.pop("mixer")["beta"] < 0.05
    assert second.pop("maxiter") == 4 * first.pop("maxiter")
    assert first == second


def test_the_energy_is_the_one_that_forces_belong_to(stub, copper):
    label = build_oracle(level(("energy", "forces", "stress")))(copper).label
    copper.calc = EMT()
    assert label.energy == pytest.approx(copper.get_potential_energy() - 1.5)
    np.testing.assert_allclose(label.stress, copper.get_stress(), atol=1e-9)


def test_a_calculation_that_did_not_converge_is_an_error(stub, copper):
    with pytest.raises(OracleError, match="ConvergenceError") as failure:
        build_oracle(level(max_iterations=2))(copper)
    assert failure.value.kind == "not_converged"


def test_the_box_of_a_molecule_is_the_same_for_every_geometry(stub):
    oracle = build_oracle(level(box=8.0))
    for shift in (0.0, 0.4):
        atoms = molecule("CO")
        atoms.positions += [shift, 2 * shift, -shift]
        atoms.positions[0, 2] -= shift
        oracle(atoms)
        assert stub.atoms.cell.lengths().tolist() == [8.0] * 3
        np.testing.assert_allclose(stub.atoms.positions.mean(axis=0), [4.0] * 3)
    assert atoms.cell.rank == 0  # what came in is left alone


@pytest.mark.parametrize(
    ("box", "message"),
    [(0.0, "raise `box`"), (0.5, "does not fit into a box of 0.5 A")],
)
def test_a_molecule_without_its_box_is_refused(stub, box, message):
    with pytest.raises(OracleError, match=message) as failure:
        build_oracle(level(box=box))(molecule("CO"))
    assert failure.value.kind == "bad_specification"


def test_the_spin_of_a_molecule_is_that_of_its_level(stub):
    build_oracle(level(multiplicity=3, spin=True, box=8.0, smearing=0.0))(
        molecule("O2")
    )
    assert stub.parameters["spinpol"] is True
    assert stub.parameters["occupations"]["fixmagmom"] is True
    assert stub.atoms.get_initial_magnetic_moments().sum() == 2
    build_oracle(level(spin=True, moment=2.3))(bulk("Ni"))
    assert "fixmagmom" not in stub.parameters["occupations"]
    assert stub.atoms.get_initial_magnetic_moments().tolist() == [2.3]


CHANGES = {
    "cutoff": 400,
    "kpts": {"size": [4, 4, 4], "gamma": True},
    "xc": "RPBE",
    "smearing": 0.05,
    "setups": "sg15",
    "box": 9.0,
    "spin": True,
    "energy_tolerance": 1e-6,
}


@pytest.mark.parametrize("name", CHANGES)
def test_whatever_changes_the_energy_changes_the_identity_of_the_level(name):
    assert level(**{name: CHANGES[name]}).identity != level().identity


@pytest.mark.parametrize("name", ["cutoff", "kpts", "xc", "smearing", "setups"])
def test_what_changes_the_energy_of_a_crystal_has_to_be_named(name):
    settings = {k: v for k, v in SETTINGS.items() if k != name}
    with pytest.raises(ValueError, match=f"option '{name}' is missing"):
        build_oracle(Fidelity("dft", settings))


def test_the_short_names_are_a_ladder_of_two_levels():
    coarse, fine = (named_specification(f"gpaw-{end}") for end in ("coarse", "fine"))
    assert coarse["cutoff"] < fine["cutoff"]
    assert coarse["kpts"]["density"] < fine["kpts"]["density"]
    for specification in (coarse, fine):
        build_oracle(Fidelity("dft", specification, ("energy", "forces", "stress")))


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"kpts": {}}, "either"),
        ({"kpts": {"size": [2, 2, 2], "density": 2}}, "either"),
        ({"kpts": {"size": [2, 2]}}, "three numbers from 1"),
        ({"kpts": {"size": [2, 2, 0]}}, "three numbers from 1"),
        ({"kpts": {"size": [2, 2, True]}}, "three numbers from 1"),
        ({"kpts": {"density": 0}}, "density is above 0"),
        ({"kpts": {"density": float("nan")}}, "density is above 0"),
        ({"kpts": {"dens": 3}}, "did you mean 'density'"),
        ({"kpts": {"density": 3, "gamma": 1}}, "gamma is true or false"),
        ({"cutoff": 0}, "'cutoff' is above 0"),
        ({"smearing": -0.1}, "'smearing' is at least 0"),
        ({"moment": 1.0}, "needs `spin: true`"),
        ({"multiplicity": 2}, "needs `spin: true`"),
        ({"functional": "PBE"}, "unknown option 'functional'"),
    ],
)
def test_settings_that_cannot_be_are_refused(changes, message):
    with pytest.raises(ValueError, match=message):
        build_oracle(level(**changes))


@pytest.mark.skipif(find_spec("gpaw") is not None, reason="the package is installed")
def test_a_missing_package_is_named_with_its_command():
    with pytest.raises(ValueError, match=r"pip install 'mfal\[gpaw\]'"):
        validate_specification(level(), ["Al"])


# --- the code itself


@pytest.fixture
def gpaw():
    return pytest.importorskip("gpaw", reason="needs mfal[gpaw]")


@pytest.fixture
def aluminium():
    atoms = bulk("Al")
    atoms.rattle(0.05, seed=1)
    return atoms


@pytest.mark.slow
def test_forces_and_stress_are_the_derivatives_of_the_energy(gpaw, aluminium):
    settings = {"density_tolerance": 1e-6, "kpts": {"size": [2, 2, 2], "gamma": True}}
    hydrogen = level(cutoff=400, box=5.0, smearing=0.0, kpts={"size": [1, 1, 1]})
    for fidelity, atoms in (
        (level(("energy", "forces", "stress"), **settings), bulk("Al", cubic=True)),
        (hydrogen, molecule("H2")),
    ):
        examination = examine(fidelity, atoms, n_directions=1)
        assert examination.passed, examination.verdict


@pytest.mark.slow
def test_the_settings_are_a_ladder(gpaw, aluminium):
    energies = [
        build_oracle(level(cutoff=cutoff, kpts={"size": [n] * 3}))(
            aluminium
        ).label.energy
        for cutoff, n in ((200, 1), (300, 4), (400, 4))
    ]
    assert abs(energies[1] - energies[2]) < 0.1 * abs(energies[0] - energies[2])


def test_the_code_that_did_not_converge_is_heard(gpaw, aluminium):
    with pytest.raises(OracleError) as failure:
        build_oracle(level(max_iterations=2))(aluminium)
    assert failure.value.kind == "not_converged"


def test_a_later_attempt_finds_the_same_energy(gpaw, aluminium):
    oracle = build_oracle(level())
    first, second = (oracle(aluminium, n).label.energy for n in (1, 2))
    assert second == pytest.approx(first, abs=1e-3)


def test_an_unknown_functional_and_a_missing_data_set_are_named(gpaw):
    with pytest.raises(ValueError, match="knows no functional 'PBEE'"):
        validate_specification(level(xc="PBEE"), ["Al"])
    with pytest.raises(ValueError, match=r"no PAW data set Al\.PBEsol"):
        validate_specification(level(xc="PBEsol"), ["Al"])
    validate_specification(level(xc="PBE0"), ["Al", "O"])
