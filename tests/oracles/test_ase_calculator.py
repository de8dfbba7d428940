import numpy as np
import pytest
from ase.calculators.emt import EMT
from faulty_codes import ALLOWED

from mfal import Fidelity
from mfal.oracles import OracleError, build_oracle

ALL = ("energy", "forces", "stress")


def python(factory, **options):
    return Fidelity("mine", {"code": "python", "factory": factory, **options})


def test_emt_gives_what_ase_gives(copper):
    label = build_oracle(Fidelity("emt", {"code": "emt"}, ALL))(copper).label
    copper.calc = EMT()
    assert label.energy == copper.get_potential_energy()
    np.testing.assert_array_equal(label.forces, copper.get_forces())
    np.testing.assert_array_equal(label.stress, copper.get_stress())


def test_a_factory_gets_its_arguments(copper):
    weak = python("ase.calculators.lj:LennardJones", arguments={"epsilon": 0.1})
    strong = python("ase.calculators.lj:LennardJones", arguments={"epsilon": 0.2})
    energies = [build_oracle(f)(copper).label.energy for f in (weak, strong)]
    assert energies[1] == pytest.approx(2 * energies[0])


def test_only_the_quantities_of_the_level_are_given(copper):
    fidelity = Fidelity("emt", {"code": "emt"}, ("forces",))
    assert build_oracle(fidelity)(copper).label.quantities == ("forces",)


@pytest.mark.faults
@pytest.mark.parametrize(
    "factory", ["os:system", "subprocess:run", "ase.calculators.vasp:Vasp", "asev:x"]
)
def test_a_factory_outside_the_allowed_modules_is_refused(factory):
    with pytest.raises(ValueError, match="not in an allowed module"):
        build_oracle(python(factory))


@pytest.mark.faults
@pytest.mark.parametrize(
    "factory", ["ase", "ase.calculators.emt:", ":EMT", "a.__b__:c", "a:b.c", "a:_b"]
)
def test_a_path_that_is_not_that_of_a_name_in_a_module_is_refused(factory):
    with pytest.raises(ValueError, match=r"written 'package\.module:name'"):
        build_oracle(python(factory), allowed_modules=["ase", "a"])


@pytest.mark.faults
def test_what_an_allowed_module_only_imported_is_refused():
    oracle = build_oracle(python("ase.calculators.emt:NeighborList"))
    with pytest.raises(ValueError, match="is not a function or class of"):
        oracle.check(["Cu"])


@pytest.mark.parametrize(
    ("factory", "options", "message"),
    [
        ("faulty_codes:number", {}, "gives a int, not an ASE calculator"),
        ("faulty_codes:nothing", {}, "has no attribute 'nothing'"),
        ("faulty_codes:NotFinite", {}, "missing 2 required positional arguments"),
        ("faulty_codes.more:Sound", {}, "No module named"),
    ],
)
def test_a_factory_that_gives_no_calculator_is_refused(factory, options, message):
    oracle = build_oracle(python(factory, **options), allowed_modules=ALLOWED)
    with pytest.raises(ValueError, match=message):
        oracle.check(["Cu"])


def test_convergence_is_what_the_calculator_says(copper, faulty):
    said = {
        name: build_oracle(faulty(name), allowed_modules=ALLOWED)(copper).converged
        for name in ("Sound", "Unconverged")
    }
    assert said == {"Sound": True, "Unconverged": False}


def test_a_calculator_that_says_nothing_has_not_converged_unless_declared(copper):
    silent = python("ase.calculators.emt:EMT")
    declared = python("ase.calculators.emt:EMT", raises_if_unconverged=True)
    assert build_oracle(silent)(copper).converged is None
    assert build_oracle(declared)(copper).converged is True


def test_a_quantity_that_the_calculator_lacks_is_an_error(copper):
    specification = {"code": "python", "factory": "ase.calculators.tip3p:TIP3P"}
    fidelity = Fidelity("mine", specification, ("stress",))
    with pytest.raises(OracleError, match="does not give all of") as failure:
        build_oracle(fidelity)(copper)
    assert failure.value.kind == "bad_specification"


def test_a_calculator_is_loaded_for_each_label_unless_it_is_kept(copper, tmp_path):
    """A universal potential takes seconds to load, and its labels milliseconds."""
    loads = {}
    for keep in (False, True):
        note = tmp_path / str(keep)
        options = {"arguments": {"note": str(note)}, "keep_loaded": keep}
        oracle = build_oracle(python("faulty_codes:Loads", **options), ALLOWED)
        oracle.check(["Cu"])
        for seed in range(3):
            copper.rattle(0.02, seed=seed)
            label = oracle(copper).label
            fresh = build_oracle(Fidelity("emt", {"code": "emt"}))(copper).label
            np.testing.assert_allclose(label.forces, fresh.forces, atol=1e-9)
        loads[keep] = len(note.read_text().splitlines())
    assert loads == {False: 4, True: 1}
