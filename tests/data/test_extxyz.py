"""What is written is read back; what is no label is refused by file and frame."""

import io
import logging

import ase.io
import numpy as np
import pytest
from ase import Atoms
from ase.build import bulk
from ase.calculators.emt import EMT
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from mfal.data import Fidelity, Label, LabelledDataset, canonical
from mfal.data.extxyz import DataFileError, read_extxyz, write_extxyz

FORCES = "REF_forces:R:3"


def frame(comment="", *, z=0.97, columns="", row=""):
    """Text of one OH frame."""
    properties = "Properties=species:S:1:pos:R:3" + (f":{columns}" if columns else "")
    rows = f"O 0 0 0 {row}\nH 0 0 {z} {row}\n"
    return f'2\n{properties} {comment} pbc="F F F"\n{rows}'


@pytest.fixture
def file(tmp_path):
    def written(*frames, name="data.extxyz"):
        path = tmp_path / name
        path.write_text("".join(frames))
        return path

    return written


# --- what is read ------------------------------------------------------------------


def test_a_frame_gives_its_label_at_its_level(file):
    path = file(
        frame(
            'mfal_fidelity=pbe REF_energy=-3 REF_stress="1 2 3 4 5 6" '
            "REF_energy_sigma=0.1 REF_forces_sigma=0.2 REF_stress_sigma=0.3",
            columns=FORCES,
            row="1 2 3",
        )
    )
    data = read_extxyz(path)
    label = data.label(0, "pbe")
    assert label.energy == -3.0
    np.testing.assert_array_equal(label.forces, [[1, 2, 3], [1, 2, 3]])
    np.testing.assert_array_equal(label.stress, [1, 2, 3, 4, 5, 6])
    assert label.sigma == {"energy": 0.1, "forces": 0.2, "stress": 0.3}
    assert data.fidelities == (
        Fidelity("pbe", quantities=("energy", "forces", "stress")),
    )


def test_a_stress_matrix_becomes_voigt_in_the_order_of_ase(file):
    path = file(frame('REF_stress="1 6 5 6 2 4 5 4 3"'))
    np.testing.assert_array_equal(
        read_extxyz(path).label(0, "reference").stress, [1, 2, 3, 4, 5, 6]
    )


def test_one_structure_at_two_levels_is_one_structure_with_two_labels(file):
    first = file(frame("head=low REF_energy=1", z=1.0), frame("head=low REF_energy=2"))
    second = file(frame("head=high REF_energy=3"), name="high.extxyz")
    data = read_extxyz([first, second])
    assert len(data) == 2 and data.levels == ("low", "high")
    assert data.paired("low", "high") == (1,)
    assert data.label(1, "high").energy == 3.0


def test_levels_stand_in_the_order_that_is_given(file):
    path = file(frame("head=high REF_energy=3"), frame("head=low REF_energy=3"))
    levels = (Fidelity("low"), Fidelity("middle"), Fidelity("high"))
    assert read_extxyz(path).levels == ("high", "low")
    assert read_extxyz(path, fidelities=levels).fidelities == levels


def test_a_frame_without_a_level_takes_the_one_that_is_given(file):
    path = file(frame("REF_energy=1"), frame("REF_energy=1 head=low", z=1.0))
    two = (Fidelity("low"), Fidelity("high"))
    data = read_extxyz(path, level="high", fidelities=two)
    assert set(data.labels) == {(0, "high"), (1, "low")}
    assert read_extxyz(path, fidelities=two[:1]).labelled("low") == (0, 1)


def test_other_keys_are_read_by_their_names_and_only_they(file):
    text = "mp2_energy=-7 mp2_energy_sigma=0.5 REF_energy=1"
    data = read_extxyz(file(frame(text)), level="mp2", keys={"energy": "mp2_energy"})
    label = data.label(0, "mp2")
    assert label.energy == -7.0 and label.quantities == ("energy",)
    assert label.sigma == {"energy": 0.5}


def test_results_of_a_calculator_written_by_ase_are_read(tmp_path, caplog):
    atoms = bulk("Cu", cubic=True)
    atoms.rattle(0.1, seed=1)
    atoms.cell[0, 1] += 0.3
    atoms.calc = EMT()
    atoms.get_stress()
    path = tmp_path / "cu.extxyz"
    ase.io.write(path, [atoms], format="extxyz")
    with caplog.at_level(logging.INFO):
        label = read_extxyz(path).label(0, "reference")
    np.testing.assert_allclose(label.energy, atoms.get_potential_energy(), rtol=1e-12)
    np.testing.assert_allclose(label.forces, atoms.get_forces(), atol=1e-8)
    np.testing.assert_allclose(label.stress, atoms.get_stress(), atol=1e-12)
    assert [r.message.startswith(str(path)) for r in caplog.records] == [True]


def test_plain_keys_are_left_alone_where_a_reference_key_stands(file):
    data = read_extxyz(file(frame("energy=-7 REF_stress_note=none REF_energy=1")))
    assert data.label(0, "reference").energy == 1.0


def test_structures_without_labels_are_read_where_they_are_expected(file):
    path = file(frame(), frame("head=low REF_energy=1", z=1.0))
    data = read_extxyz(path, labels_required=False)
    assert len(data) == 2 and set(data.labels) == {(1, "low")}


# --- what is refused ---------------------------------------------------------------

GOOD = frame("head=low REF_energy=1", z=1.1)


@pytest.mark.faults
@pytest.mark.parametrize(
    ("bad", "message"),
    [
        (frame("head=low"), "no label under REF_energy, REF_forces, REF_stress"),
        (frame("head=low REF_energy=nan"), "energy holds a value that is not finite"),
        (frame("head=low REF_energy=-inf"), "energy holds a value that is not finite"),
        (frame("head=low REF_energy=T"), "REF_energy has to be numbers"),
        (frame("head=low REF_energy=low"), "REF_energy has to be numbers"),
        (frame('head=low REF_energy="1 2"'), "energy needs ()"),
        (frame("head=low REF_energy"), "REF_energy has to be numbers"),
        (frame('head=low REF_forces="1 2 3 4 5 6"'), "has to stand in columns"),
        (frame("head=low", columns="REF_energy:R:1", row="1"), "in the comment line"),
        (frame("head=low", columns="REF_forces:R:2", row="1 2"), "forces needs (2, 3)"),
        (frame("head=low", columns="REF_forces:S:3", row="1 2 3"), "to be numbers"),
        (frame("head=low", columns=FORCES, row="1 nan 3"), "forces holds a value"),
        (frame('head=low REF_stress="1 2 3"'), "stress needs (6,)"),
        (frame('head=low REF_stress="1 2 3 4 5 inf"'), "stress holds a value"),
        (frame('head=low REF_stress="1 9 5 6 2 4 5 4 3"'), "not a symmetric matrix"),
        (frame('head=low REF_stress="1 nan 5 nan 2 4 5 4 3"'), "stress holds a value"),
        (
            frame("head=low REF_energy=1 REF_energy_sigma=-1"),
            "sigma is a finite number",
        ),
        (frame("head=low REF_energy=1 REF_forces_sigma=1"), "REF_forces is not"),
        (frame("REF_energy=1"), "no level is named"),
        (frame("head=low mfal_fidelity=high REF_energy=1"), "two levels are named"),
        (frame("head=3 REF_energy=1"), "has to be the name of a level"),
        (frame("head=other REF_energy=1"), "the levels known are ['low', 'high']"),
        (
            frame("head=low REF_energy=2", z=1.1),
            "frame 0 already with a label of level",
        ),
        (frame("head=low REF_energy=2").replace("H", "Hx"), "unknown species 'Hx'"),
    ],
)
def test_a_frame_that_is_no_label_is_named_and_nothing_is_taken(file, bad, message):
    path = file(GOOD, bad)
    with pytest.raises(DataFileError) as caught:
        read_extxyz(path, fidelities=(Fidelity("low"), Fidelity("high")))
    assert str(caught.value).startswith(f"{path}, frame 1 (from 0): ")
    assert message in str(caught.value)
    assert "\n" not in str(caught.value)


def test_frames_with_and_without_a_level_do_not_mix(file):
    with pytest.raises(DataFileError, match=r"frame 0 .* no level is named, unlike"):
        read_extxyz([file(frame("REF_energy=1")), file(GOOD, name="b.extxyz")])


def test_the_same_unlabelled_structure_twice_is_refused(file):
    with pytest.raises(DataFileError, match="the same structure stands at"):
        read_extxyz(file(frame(), frame()), labels_required=False)


@pytest.mark.parametrize("keys", [{}, {"dipole": "mp2_dipole"}])
def test_keys_of_no_known_quantity_are_refused(file, keys):
    with pytest.raises(ValueError, match="keys maps some of"):
        read_extxyz(file(GOOD), keys=keys)


def test_a_level_that_is_not_among_the_given_ones_is_refused(file):
    with pytest.raises(ValueError, match="'high' is not one of the levels"):
        read_extxyz(file(GOOD), level="high", fidelities=(Fidelity("low"),))


# --- what is written ---------------------------------------------------------------

numbers = st.floats(-1e6, 1e6)
any_number = st.floats(allow_nan=False, allow_infinity=False)
names = st.text(
    st.characters(exclude_categories=["Cs"]), min_size=1, max_size=8
).filter(lambda name: name == name.strip())


@st.composite
def structures_and_labels(draw):
    """Up to 3 different structures, 1 or 2 levels, any labels with any sigma."""
    levels = draw(st.lists(names, min_size=1, max_size=2, unique=True))
    structures, labels = [], {}
    for i in range(draw(st.integers(1, 3))):
        n_atoms = draw(st.integers(1, 3))
        species = st.lists(st.integers(1, 118), min_size=n_atoms, max_size=n_atoms)
        atoms = Atoms(
            numbers=draw(species),
            positions=draw(arrays(float, (n_atoms, 3), elements=numbers)),
            cell=draw(st.none() | arrays(float, (3, 3), elements=numbers)),
            pbc=draw(arrays(bool, 3)),
        )
        atoms.positions[0, 0] = i  # no structure twice
        structures.append(atoms)
        for level in levels:
            values = {
                "energy": draw(st.none() | any_number),
                "forces": draw(
                    st.none() | arrays(float, (n_atoms, 3), elements=any_number)
                ),
                "stress": draw(st.none() | arrays(float, 6, elements=any_number)),
            }
            values = {q: value for q, value in values.items() if value is not None}
            sigma = {q: draw(st.floats(0, 1e3)) for q in list(values)[:2]}
            if values:
                labels[i, level] = {**values, "sigma": sigma}
    return structures, levels, labels


@given(drawn=structures_and_labels())
@settings(
    suppress_health_check=[HealthCheck.function_scoped_fixture],
    max_examples=100,
    deadline=None,
)
def test_what_is_written_is_read_back_to_the_last_bit(tmp_path, drawn):
    structures, levels, labels = drawn
    dataset = LabelledDataset(
        tuple(canonical(atoms) for atoms in structures),
        tuple(Fidelity(name) for name in levels),
        {place: Label(**values) for place, values in labels.items()},
    )
    path = tmp_path / "data.extxyz"
    write_extxyz(path, dataset)
    back = read_extxyz(path, fidelities=dataset.fidelities, labels_required=False)
    assert back.fidelities == dataset.fidelities
    assert list(back.structures) == list(dataset.structures)
    assert set(back.labels) == set(dataset.labels)
    for place, label in dataset.labels.items():
        assert back.labels[place].agrees_with(label)
        assert back.labels[place].sigma == label.sigma


@pytest.fixture
def dataset():
    atoms = bulk("Cu", cubic=True)
    atoms.rattle(0.1, seed=1)
    forces = np.random.default_rng(0).normal(size=(4, 3))
    label = Label(-1 / 3, forces, np.arange(6) / 7)
    return LabelledDataset((atoms,), (Fidelity("pbe"),), {(0, "pbe"): label})


def test_other_programs_read_what_is_written(tmp_path, dataset):
    write_extxyz(tmp_path / "data.extxyz", dataset)
    atoms = ase.io.read(
        io.StringIO((tmp_path / "data.extxyz").read_text()), format="extxyz"
    )
    assert atoms.info["REF_energy"] == -1 / 3
    assert atoms.info["mfal_fidelity"] == "pbe"
    np.testing.assert_array_equal(
        atoms.arrays["REF_forces"], dataset.label(0, "pbe").forces
    )
    np.testing.assert_array_equal(atoms.cell, dataset.structures[0].cell)
    assert atoms.pbc.all()


def test_a_compressed_file_is_read_back(tmp_path, dataset):
    write_extxyz(tmp_path / "data.extxyz.xz", dataset)
    assert (tmp_path / "data.extxyz.xz").read_bytes()[:6] == b"\xfd7zXZ\x00"
    back = read_extxyz(tmp_path / "data.extxyz.xz")
    assert back.label(0, "pbe").agrees_with(dataset.label(0, "pbe"))


def test_a_structure_that_stands_twice_is_not_written(tmp_path, dataset):
    twice = dataset.subset([0, 0])
    with pytest.raises(ValueError, match="structures 0 and 1 are the same"):
        write_extxyz(tmp_path / "data.extxyz", twice)
    assert list(tmp_path.iterdir()) == []


def test_a_failed_write_leaves_the_file_as_it_was(tmp_path, dataset, monkeypatch):
    path = tmp_path / "data.extxyz"
    path.write_text(GOOD)

    def full(_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("os.fsync", full)
    with pytest.raises(OSError, match="No space left"):
        write_extxyz(path, dataset)
    assert path.read_text() == GOOD
    assert list(tmp_path.iterdir()) == [path]


def test_who_reads_the_old_file_is_not_disturbed_by_a_new_one(tmp_path, dataset):
    path = tmp_path / "data.extxyz"
    path.write_text(GOOD)
    with path.open() as reader:
        write_extxyz(path, dataset)
        assert reader.read() == GOOD
    assert read_extxyz(path).levels == ("pbe",)


@pytest.mark.parametrize(
    "name",
    [
        "PBE/def2-SVP",
        "a b",
        "T",
        "1",
        "1,2",
        "nan",
        "=",
        "a=",
        "\\",
        '"',
        "{",
        "é",
        "_JSON 1",
    ],
)
def test_any_name_of_a_level_is_read_back(tmp_path, dataset, name):
    path = tmp_path / "data.extxyz"
    label = Label(-1.0, sigma={"energy": 0.1})
    write_extxyz(
        path, LabelledDataset(dataset.structures, (Fidelity(name),), {(0, name): label})
    )
    assert read_extxyz(path).label(0, name).sigma == {"energy": 0.1}


# --- units


@pytest.mark.faults
def test_declared_units_are_those_of_the_house_once_read(tmp_path):
    """Row 19: the same label, written in eV and in what quantum chemistry writes."""
    path, atoms = tmp_path / "a.extxyz", bulk("Cu", cubic=True)
    atoms.info = {"REF_energy": -1.5, "REF_energy_sigma": 0.2}
    atoms.info["REF_stress"] = [1.0, 2.0, 3.0, 0.0, 0.0, 0.5]
    atoms.arrays["REF_forces"] = np.arange(12.0).reshape(4, 3)
    ase.io.write(path, atoms, format="extxyz")
    plain = read_extxyz(path).labels[0, "reference"]
    units = {"energy": "Hartree", "forces": "Hartree/Bohr", "stress": "GPa"}
    read = read_extxyz(path, units=units).labels[0, "reference"]
    hartree, bohr, gpa = 27.211386, 0.529177, 1 / 160.21766
    assert read.energy == pytest.approx(plain.energy * hartree, rel=1e-6)
    assert read.sigma["energy"] == pytest.approx(0.2 * hartree, rel=1e-6)
    np.testing.assert_allclose(read.forces, plain.forces * hartree / bohr, rtol=1e-6)
    np.testing.assert_allclose(read.stress, plain.stress * gpa, rtol=1e-6)
    only = read_extxyz(path, units={"energy": "kcal/mol"}).labels[0, "reference"]
    assert only.energy == pytest.approx(-1.5 / 23.0605, rel=1e-5)
    assert (only.forces == plain.forces).all()


@pytest.mark.parametrize(
    ("units", "message"),
    [
        ({"energy": "Hartrees"}, "'Hartrees' is no unit of energy.*kcal/mol"),
        ({"forces": "eV"}, "'eV' is no unit of forces.*Hartree/Bohr"),
        ({"dipole": "Debye"}, "not of 'dipole'"),
    ],
)
def test_a_unit_that_is_not_known_is_refused(tmp_path, units, message):
    with pytest.raises(ValueError, match=message):
        read_extxyz(tmp_path / "none.extxyz", units=units)
