"""Results of codes that ran elsewhere: read as they are, or refused with a reason."""

from pathlib import Path

import ase.io
import numpy as np
import pytest
from ase import Atoms
from ase.build import bulk, molecule
from code_outputs import espresso, orca, outcar, vasprun

from mfal import Fidelity, Label, LabelledDataset, write_extxyz
from mfal.data import canonical
from mfal.oracles import OracleError
from mfal.oracles.outputs import read_result, result_file

ALL = ("energy", "forces", "stress")
LEVEL = Fidelity("dft", {"code": "manual", "name": "any"}, ALL)
MOLECULAR = Fidelity("dft", {"code": "manual", "name": "any"})
FORCES = np.random.default_rng(0).normal(size=(8, 3))
STRESS = np.array([0.011, 0.012, 0.013, 0.004, 0.005, 0.006])
ENERGY = -123.456789


@pytest.fixture
def salt():
    atoms = bulk("NaCl", "rocksalt", a=5.64, cubic=True)
    atoms = atoms[np.argsort(atoms.numbers, kind="stable")]
    atoms.rattle(0.1, seed=1)
    return canonical(atoms)


@pytest.fixture
def water():
    atoms = molecule("H2O")
    atoms.rattle(0.05, seed=3)
    return canonical(atoms)


def put(folder, name, text):
    folder.mkdir(exist_ok=True)
    (folder / name).write_text(text)
    return result_file(folder)


WRITERS = {"OUTCAR": outcar, "vasprun.xml": vasprun, "pw.out": espresso}


@pytest.mark.parametrize("name", WRITERS)
def test_a_result_of_a_periodic_code_is_its_label(tmp_path, salt, name):
    text = WRITERS[name](salt, ENERGY, FORCES, STRESS)
    found = read_result(put(tmp_path / "a", name, text), salt, LEVEL)
    assert found.converged
    # VASP's energy at zero smearing is another: forces belong to the free energy
    assert found.label.energy == pytest.approx(ENERGY, rel=2e-7)  # CODATA of its year
    np.testing.assert_allclose(found.label.forces, FORCES, atol=2e-6)
    np.testing.assert_allclose(found.label.stress, STRESS, atol=1e-5)


def test_a_result_of_orca_is_its_label(tmp_path, water):
    path = put(tmp_path / "a", "job.out", orca(water, ENERGY, FORCES[:3]))
    label = read_result(path, water, MOLECULAR).label
    assert label.energy == pytest.approx(ENERGY, abs=1e-8)
    np.testing.assert_allclose(label.forces, FORCES[:3], atol=1e-6)


def test_an_extxyz_result_is_its_label_with_its_cost(tmp_path, salt):
    label = Label(energy=ENERGY, forces=FORCES, stress=STRESS)
    (tmp_path / "a").mkdir()
    path = tmp_path / "a" / "result.extxyz"
    write_extxyz(path, LabelledDataset((salt,), (LEVEL,), {(0, "dft"): label}))
    text = path.read_text().replace("Properties", "mfal_cpu_seconds=12.5 Properties")
    found = read_result(put(tmp_path / "a", path.name, text), salt, LEVEL)
    assert found.label.agrees_with(label)
    assert found.cpu_seconds == 12.5


UNCONVERGED = {
    "OUTCAR": lambda a: outcar(a, ENERGY, FORCES, STRESS, converged=False),
    "vasprun.xml": lambda a: vasprun(a, ENERGY, FORCES, STRESS, steps=60),
    "pw.out": lambda a: espresso(a, ENERGY, FORCES, STRESS, converged=False),
    "orca.out": lambda a: orca(a, ENERGY, FORCES, converged=False),
    "result.extxyz": lambda a: extxyz(a, converged="F"),
}


def extxyz(atoms, **entries):
    frame = atoms.copy()
    frame.arrays["REF_forces"] = FORCES[: len(atoms)]
    text = ase_text(frame)
    words = {"REF_energy": ENERGY, "REF_stress": '"1 2 3 4 5 6"', **entries}
    extra = " ".join(f"{k}={v}" for k, v in words.items() if v is not None)
    return text.replace("Properties", f"{extra} Properties", 1)


def ase_text(atoms):
    from io import StringIO

    file = StringIO()
    ase.io.write(
        file, atoms, format="extxyz", columns=["symbols", "positions", "REF_forces"]
    )
    return file.getvalue()


def refused(path, atoms, level=LEVEL):
    with pytest.raises(OracleError) as failure:
        read_result(path, atoms, level)
    return failure.value.kind, failure.value.message


@pytest.mark.faults
@pytest.mark.parametrize("name", UNCONVERGED)
def test_an_unconverged_result_is_refused(tmp_path, salt, name):
    path = put(tmp_path / "a", name, UNCONVERGED[name](salt))
    level = MOLECULAR if name == "orca.out" else LEVEL
    salt.pbc = name != "orca.out"
    assert refused(path, salt, level)[0] == "not_converged"


@pytest.mark.faults
@pytest.mark.parametrize("name", WRITERS)
@pytest.mark.parametrize("share", [0.3, 0.7, 0.97])
def test_an_output_that_was_cut_is_refused(tmp_path, salt, name, share):
    text = WRITERS[name](salt, ENERGY, FORCES, STRESS)
    path = put(tmp_path / "a", name, text[: int(share * len(text))])
    kinds = ("code_error", "not_converged", "incomplete_label", "wrong_result")
    assert refused(path, salt)[0] in kinds


@pytest.mark.faults
@pytest.mark.parametrize("value", ["nan", "inf"])
def test_a_value_that_is_not_finite_is_refused(tmp_path, salt, value):
    text = extxyz(salt, REF_energy=value)
    kind, message = refused(put(tmp_path / "a", "r.extxyz", text), salt)
    assert kind == "unphysical_label"
    assert "not finite" in message


def test_a_missing_quantity_is_named(tmp_path, salt, water):
    path = put(tmp_path / "a", "r.extxyz", extxyz(salt, REF_stress=None))
    assert refused(path, salt) == ("incomplete_label", "it holds no stress")
    path = put(tmp_path / "b", "job.out", orca(water, ENERGY, FORCES[:3]))
    assert refused(path, water)[0] == "incomplete_label"


MOVED = {
    "an atom": lambda a: a.positions.__setitem__((2, 1), a.positions[2, 1] + 1e-3),
    "a species": lambda a: a.numbers.__setitem__(0, 19),
    "the cell": lambda a: a.cell.__setitem__((0, 0), a.cell[0, 0] + 1e-3),
}


@pytest.mark.faults
@pytest.mark.parametrize("what", MOVED)
@pytest.mark.parametrize("name", [*WRITERS, "r.extxyz"])
def test_a_result_of_another_structure_is_refused(tmp_path, salt, name, what):
    other = salt.copy()
    MOVED[what](other)
    write = WRITERS.get(name)
    text = write(other, ENERGY, FORCES, STRESS) if write else extxyz(other)
    assert refused(put(tmp_path / "a", name, text), salt)[0] == "wrong_result"


def test_atoms_grouped_by_species_get_their_own_forces(tmp_path):
    atoms = bulk("NaCl", "rocksalt", a=5.64, cubic=True)  # Na Cl Na Cl ...
    atoms.rattle(0.1, seed=1)
    atoms = canonical(atoms)
    order = np.argsort(atoms.numbers, kind="stable")
    text = outcar(atoms[order], ENERGY, FORCES[order], STRESS)
    label = read_result(put(tmp_path / "a", "OUTCAR", text), atoms, LEVEL).label
    np.testing.assert_allclose(label.forces, FORCES, atol=1e-6)


def test_a_molecule_may_be_shifted_and_wrapped_into_the_box_of_its_code(
    tmp_path, water
):
    boxed = water.copy()
    boxed.set_cell([9.0] * 3)
    boxed.pbc = True
    boxed.positions += 8.9
    boxed.wrap()
    text = espresso(boxed, ENERGY, FORCES[:3], STRESS)
    label = read_result(put(tmp_path / "a", "pw.out", text), water, MOLECULAR).label
    np.testing.assert_allclose(label.forces, FORCES[:3], atol=1e-6)


def test_a_result_at_another_charge_multiplicity_or_level_is_refused(tmp_path, water):
    for name, settings in (
        ("charge", {"charge": 1}),
        ("multiplicity", {"multiplicity": 3}),
    ):
        text = orca(water, ENERGY, FORCES[:3], **settings)
        kind, message = refused(put(tmp_path / name, "a.out", text), water, MOLECULAR)
        assert kind == "wrong_result"
        assert name in message
    path = put(tmp_path / "b", "r.extxyz", extxyz(water, mfal_fidelity="hf"))
    assert refused(path, water)[1] == "it is of level 'hf', wanted is 'dft'"


def test_a_force_beyond_physics_is_refused(tmp_path, salt):
    text = outcar(salt, ENERGY, 1000 * FORCES, STRESS)
    kind, message = refused(put(tmp_path / "a", "OUTCAR", text), salt)
    assert kind == "unphysical_label"
    assert "eV/A, more than" in message


@pytest.mark.faults
def test_xml_with_entities_is_refused(tmp_path, salt):
    text = vasprun(salt, ENERGY, FORCES, STRESS)
    bomb = text.replace("<modeling>", '<!DOCTYPE m [<!ENTITY a "b">]><modeling>', 1)
    kind, message = refused(put(tmp_path / "a", "vasprun.xml", bomb), salt)
    assert kind == "code_error"
    assert "entities" in message


def test_a_note_that_there_will_be_none_is_told(tmp_path, salt):
    path = put(tmp_path / "a", "failed.txt", "the node\nburned down\n")
    assert refused(path, salt) == (
        "code_error",
        "given up by hand: the node burned down",
    )


def test_of_vasp_the_file_with_more_digits_is_read_and_other_pairs_are_refused(
    tmp_path,
):
    for name in ("OUTCAR", "vasprun.xml", "slurm-12.out", "structure.extxyz"):
        (tmp_path / name).write_text("x")
    assert result_file(tmp_path).name == "vasprun.xml"
    (tmp_path / "result.extxyz").write_text("x")
    with pytest.raises(OracleError, match=r"result.extxyz and vasprun.xml are results"):
        result_file(tmp_path)


def test_outputs_that_vasp_wrote_are_read_as_its_own_reader_does(tmp_path):
    data = Path(pytest.importorskip("ase.test").__file__).parent / "testdata" / "vasp"
    if not data.is_dir():
        pytest.skip("ASE came without its test data")
    for name, source in (
        ("OUTCAR", data / "OUTCAR_example_1"),
        ("vasprun.xml", data / "vasprun_pstress.xml"),
    ):
        path = put(tmp_path / name, name, source.read_text())
        image = ase.io.read(source, format={"O": "vasp-out", "v": "vasp-xml"}[name[0]])
        bare = Atoms(image.symbols, image.positions, cell=image.cell, pbc=True)
        found = read_result(path, bare, LEVEL)
        assert found.converged
        assert found.label.energy == image.calc.results["free_energy"]
        np.testing.assert_array_equal(found.label.forces, image.calc.results["forces"])
