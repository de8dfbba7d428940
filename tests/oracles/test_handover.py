"""Structures handed over to any code, and their results taken back."""

import json
import re

import ase.io
import numpy as np
import pytest
from ase.build import molecule
from code_outputs import orca

from mfal import Fidelity, Label, LabelledDataset, read_extxyz, write_extxyz
from mfal.data import canonical, structure_key
from mfal.oracles import OracleError, build_oracle, hand_over, take_back
from mfal.oracles.handover import HandoverError, merged, read_batch

LEVEL = Fidelity(
    "dft",
    {"code": "manual", "name": "ORCA PBE", "settings": {"basis": "def2-SVP"}},
    charge=1,
    multiplicity=2,
)


def water(seed):
    atoms = molecule("H2O")
    atoms.rattle(0.05, seed=seed)
    return canonical(atoms)


WATERS = {f"w{seed}": water(seed) for seed in range(5)}


def label_of(name):
    forces = np.random.default_rng(int(name[1:])).normal(size=(3, 3))
    return Label(energy=-76.0 - int(name[1:]), forces=forces)


def answer(folder, name, label=None, atoms=None):
    """A result as someone else would write it: with ASE, from the exported file."""
    label = label or label_of(name)
    atoms = atoms or ase.io.read(folder / name / "structure.extxyz")
    atoms.info["REF_energy"] = label.energy
    atoms.arrays["REF_forces"] = label.forces
    ase.io.write(folder / name / "result.extxyz", atoms)


@pytest.fixture
def folder(tmp_path):
    hand_over(tmp_path / "batch", LEVEL, WATERS)
    return tmp_path / "batch"


def test_the_manifest_says_what_is_wanted_of_which_structure(folder):
    manifest = json.loads((folder / "manifest.json").read_text())
    assert (manifest["charge"], manifest["multiplicity"]) == (1, 2)
    assert manifest["unpaired_electrons"] == 1
    assert manifest["quantities"] == ["energy", "forces"]
    assert manifest["identity"] == LEVEL.identity
    assert manifest["level"]["oracle"] == dict(LEVEL.oracle)
    for entry in manifest["structures"]:
        atoms = ase.io.read(folder / entry["file"])
        assert (
            structure_key(atoms)
            == entry["hash"]
            == structure_key(WATERS[entry["name"]])
        )
    assert read_batch(folder).fidelity == LEVEL


def test_a_part_of_the_results_can_be_taken_and_the_rest_later(folder, tmp_path):
    for name in ("w1", "w3"):
        answer(folder, name)
    first = take_back(read_batch(folder))
    assert set(first.results) == {"w1", "w3"}
    assert first.missing == ("w0", "w2", "w4")
    assert first.summary == "2 of 5 labels of dft are back, 0 refused, 3 missing"
    dataset, n_new = merged(first, tmp_path / "out.extxyz")
    assert (len(dataset), n_new) == (2, 2)
    write_extxyz(tmp_path / "out.extxyz", dataset)
    answer(folder, "w0")
    dataset, n_new = merged(take_back(read_batch(folder)), tmp_path / "out.extxyz")
    assert (len(dataset), n_new) == (3, 1)
    for i, name in enumerate(("w0", "w1", "w3")):
        assert structure_key(dataset.structures[i]) == structure_key(WATERS[name])
        assert dataset.labels[i, "dft"].energy == label_of(name).energy
        forces = dataset.labels[i, "dft"].forces
        np.testing.assert_allclose(forces, label_of(name).forces, atol=1e-8)


def test_taking_the_same_results_twice_changes_nothing(folder, tmp_path):
    answer(folder, "w1")
    output = tmp_path / "out.extxyz"
    write_extxyz(output, merged(take_back(read_batch(folder)), output)[0])
    before = read_extxyz(output)
    dataset, n_new = merged(take_back(read_batch(folder)), output)
    assert n_new == 0
    assert dataset.labels[0, "dft"].agrees_with(before.labels[0, "dft"])


def test_what_was_taken_is_not_lost_if_its_file_is_gone(folder, tmp_path):
    answer(folder, "w1")
    answer(folder, "w2")
    output = tmp_path / "out.extxyz"
    write_extxyz(output, merged(take_back(read_batch(folder)), output)[0])
    (folder / "w1" / "result.extxyz").unlink()
    dataset, n_new = merged(take_back(read_batch(folder)), output)
    assert (len(dataset), n_new) == (2, 0)


def test_another_result_of_a_structure_that_was_taken_is_refused(folder, tmp_path):
    answer(folder, "w1")
    output = tmp_path / "out.extxyz"
    write_extxyz(output, merged(take_back(read_batch(folder)), output)[0])
    answer(folder, "w1", label_of("w9"))
    with pytest.raises(HandoverError, match="w1 holds another label than"):
        merged(take_back(read_batch(folder)), output)


def test_a_file_with_other_labels_is_not_written_over(folder, tmp_path):
    answer(folder, "w1")
    output = tmp_path / "out.extxyz"
    other = LabelledDataset((water(9),), (LEVEL,), {(0, "dft"): label_of("w9")})
    write_extxyz(output, other)
    with pytest.raises(HandoverError, match="more than labels of this batch"):
        merged(take_back(read_batch(folder)), output)


@pytest.mark.faults
def test_one_bad_result_is_named_and_the_others_are_taken(folder):
    answer(folder, "w0")
    answer(folder, "w1", atoms=water(2))  # swapped with another structure
    text = orca(WATERS["w2"], -76.0, label_of("w2").forces, charge=1, multiplicity=2)
    (folder / "w2" / "orca.out").write_text(text.replace("SCF CONVERGED", "SCF"))
    (folder / "w3" / "result.extxyz").write_text("3\nREF_energy=nan\nO 0 0 0\n")
    returned = take_back(read_batch(folder))
    assert set(returned.results) == {"w0"}
    assert returned.missing == ("w4",)
    kinds = {name: r.error.kind for name, r in returned.refused.items()}
    assert kinds == {"w1": "wrong_result", "w2": "not_converged", "w3": "code_error"}
    assert "w1/result.extxyz: wrong_result" in str(returned.refused["w1"])
    assert len(returned.results) + len(returned.refused) + len(returned.missing) == 5


@pytest.mark.faults
def test_a_structure_that_was_changed_after_the_export_is_refused(folder):
    path = folder / "w0" / "structure.extxyz"
    path.write_text(path.read_text().replace("0.", "0.1", 1))
    answer(folder, "w0")
    (refusal,) = take_back(read_batch(folder)).refused.values()
    assert "not the structure that was handed over" in refusal.error.message


def test_a_batch_grows_but_holds_one_level_and_one_structure_per_name(folder):
    stamp = (folder / "w0" / "structure.extxyz").stat().st_mtime_ns
    hand_over(folder, LEVEL, {"w7": water(7)})
    assert list(read_batch(folder).keys) == [*WATERS, "w7"]
    assert (folder / "w0" / "structure.extxyz").stat().st_mtime_ns == stamp
    other = Fidelity("dft", {**LEVEL.oracle, "settings": {}}, charge=1, multiplicity=2)
    with pytest.raises(HandoverError, match="with other settings"):
        hand_over(folder, other, WATERS)
    with pytest.raises(HandoverError, match="w0 holds another structure"):
        hand_over(folder, LEVEL, {"w0": water(8)})


@pytest.mark.faults
@pytest.mark.parametrize(
    "spoil",
    [
        lambda text: text[: len(text) // 2],
        lambda text: text.replace('"name": "w0"', '"name": "../w0"'),
        lambda text: text.replace('"format": 1', '"format": 2'),
        lambda text: text.replace('"hash"', '"hush"'),
        lambda text: "[]",
    ],
)
def test_a_spoiled_manifest_is_refused(folder, spoil):
    path = folder / "manifest.json"
    path.write_text(spoil(path.read_text()))
    with pytest.raises(HandoverError, match=r"manifest\.json"):
        read_batch(folder)


def test_a_folder_without_a_manifest_is_refused(tmp_path):
    with pytest.raises(HandoverError, match="give the folder that"):
        read_batch(tmp_path)


@pytest.mark.parametrize("name", ["", "a/b", "..", ".hidden"])
def test_a_name_that_is_no_file_name_is_refused(tmp_path, name):
    with pytest.raises(ValueError, match="named like a file"):
        hand_over(tmp_path, LEVEL, {name: water(0)})


def test_a_level_by_hand_cannot_be_run_here_and_says_how(water):
    with pytest.raises(OracleError, match=re.escape("--export FOLDER")) as failure:
        build_oracle(LEVEL)(water)
    assert failure.value.kind == "bad_specification"
    with pytest.raises(ValueError, match="'name' says what is run"):
        build_oracle(Fidelity("dft", {"code": "manual", "name": " "}))


def test_settings_by_hand_are_part_of_the_identity_of_the_level():
    specification = {"code": "manual", "name": "VASP"}
    one = Fidelity("dft", {**specification, "settings": {"ENCUT": 400}})
    other = Fidelity("dft", {**specification, "settings": {"ENCUT": 520}})
    assert one.identity != other.identity
