import numpy as np
import pytest
from ase import Atoms

from mfal import Fidelity
from mfal.oracles import OracleError, build_oracle, examine, validate_specification
from mfal.units import BOHR, HARTREE

pyscf = pytest.importorskip("pyscf")
for part in ("cc", "gto", "mp", "scf"):  # which pyscf alone need not import
    pytest.importorskip(f"pyscf.{part}")


def level(method="HF", basis="sto-3g", quantities=("energy", "forces"), **settings):
    charge = settings.pop("charge", 0)
    multiplicity = settings.pop("multiplicity", 1)
    specification = {"code": "pyscf", "method": method, "basis": basis, **settings}
    return Fidelity("dft", specification, quantities, charge, multiplicity)


def energy(atoms, **settings):
    return build_oracle(level(quantities=("energy",), **settings))(atoms).label.energy


@pytest.mark.parametrize(
    ("method", "settings"),
    [
        ("HF", {}),
        ("HF", {"density_fit": True}),
        ("PBE", {"density_fit": True}),
        ("MP2", {}),
        ("HF", {"charge": 1, "multiplicity": 2}),
        ("MP2", {"charge": 1, "multiplicity": 2}),
    ],
)
def test_forces_are_the_derivatives_of_the_energy(water, method, settings):
    examination = examine(level(method, **settings), water, n_directions=2)
    assert examination.passed, examination.verdict
    tolerance = 1e-3 if method == "PBE" else 1e-4  # an integration grid
    assert max(abs(a - b) for a, b in examination.forces) < tolerance


def test_energies_are_those_of_the_codes_own_interface(water):
    molecule = pyscf.gto.M(
        atom=list(zip(water.symbols, water.positions / BOHR, strict=True)),
        unit="Bohr",
        basis="sto-3g",
        verbose=0,
    )
    field = pyscf.scf.RHF(molecule).run()
    cluster = pyscf.cc.CCSD(field).run()
    expected = {
        "HF": field.e_tot,
        "MP2": pyscf.mp.MP2(field).run().e_tot,
        "CCSD": cluster.e_tot,
        "CCSD(T)": cluster.e_tot + cluster.ccsd_t(),
    }
    for method, value in expected.items():
        assert energy(water, method=method) == pytest.approx(value * HARTREE, abs=1e-5)


def test_density_fitting_changes_the_energy_a_little(water):
    exact, fitted = energy(water), energy(water, density_fit=True)
    assert 1e-6 < abs(exact - fitted) < 0.1


def test_an_effective_core_potential_comes_with_its_basis():
    iodine = Atoms("HI", [[0, 0, 0], [0, 0, 1.6]])
    # 25 + 1 electrons beside the core of 28; all 54 would be near -190,000 eV
    assert energy(iodine, basis="def2-svp") == pytest.approx(-8100, abs=100)


@pytest.mark.faults
@pytest.mark.parametrize(
    ("method", "max_cycle", "what"),
    [("HF", 2, "SCF"), ("PBE", 2, "SCF"), ("CCSD", 7, "CCSD")],
)
def test_an_unconverged_calculation_is_an_error(water, method, max_cycle, what):
    fidelity = level(method, quantities=("energy",), max_cycle=max_cycle)
    message = f"{what} not converged in {max_cycle} cycles"
    with pytest.raises(OracleError, match=message) as failure:
        build_oracle(fidelity)(water)
    assert failure.value.kind == "not_converged"


@pytest.mark.faults
@pytest.mark.parametrize("method", ["HF", "PBE"])
def test_a_later_attempt_solves_the_same_equations_in_another_way(water, method):
    stubborn = build_oracle(level(method, max_cycle=4))
    with pytest.raises(OracleError):
        stubborn(water)
    rescued = stubborn(water, attempt=2).label
    plain = build_oracle(level(method))(water).label
    assert rescued.energy == pytest.approx(plain.energy, abs=1e-5)
    np.testing.assert_allclose(rescued.forces, plain.forces, atol=1e-3)


def test_the_code_writes_nothing_to_the_screen(water, capfd):
    build_oracle(level("PBE"))(water)
    assert capfd.readouterr() == ("", "")


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"method": "CCSD(T)"}, r"CCSD\(T\) gives energy only, forces was asked for"),
        ({"method": "ccsd"}, "ccsd gives energy only"),
        ({"method": "MP2", "density_fit": True}, "MP2 with density_fit: true gives"),
        ({"quantities": ("energy", "stress")}, "stress was asked for"),
        ({"method": "PBEE"}, "nor a density functional .*did you mean 'PBE'"),
        ({"method": ""}, "nor a density functional"),
        ({"basis": "def2-svpp"}, "not known to PySCF .did you mean 'def2svp'"),
        ({"grid_level": 12}, "grid_level is from 0"),
        ({"conv_tol": 0.0}, "conv_tol' is above 0"),
        ({"density_fit": "yes"}, "density_fit' is of type bool, got 'yes'"),
        ({"functional": "PBE"}, "unknown option 'functional'; the options are"),
    ],
)
def test_impossible_settings_are_refused(settings, message):
    with pytest.raises(ValueError, match=message):
        validate_specification(level(**settings), ["O", "H"])


def test_an_element_that_the_basis_lacks_is_refused():
    with pytest.raises(ValueError, match="'def2-svp' does not hold U"):
        validate_specification(level(basis="def2-svp"), ["H", "U"])


def test_a_periodic_structure_is_refused(copper):
    with pytest.raises(OracleError, match="molecules only") as failure:
        build_oracle(level(basis="def2-svp"))(copper)
    assert failure.value.kind == "bad_specification"


@pytest.mark.skipif(
    __import__("importlib.util").util.find_spec("pyscf.dispersion") is not None,
    reason="the package is installed",
)
def test_a_missing_dispersion_package_is_named():
    with pytest.raises(ValueError, match="pip install pyscf-dispersion"):
        validate_specification(level("pbe-d3bj"), ["H"])
