"""`mfal label --export` and `--import`: labels by any queue or code."""

import json
import os
from pathlib import Path

import pytest
from command_line import command, refused

from mfal import LabelledDataset, read_extxyz, write_extxyz

METHANOL = Path(__file__).parent / "files" / "methanol_gfn2_mp2.extxyz"


@pytest.fixture
def mfal(tmp_path, monkeypatch):
    """Runs the command line in a folder with three structures."""
    monkeypatch.chdir(tmp_path)
    known = read_extxyz(METHANOL).subset([0, 1, 2])
    write_extxyz("in.extxyz", LabelledDataset(known.structures, ()))
    return command


def folders():
    manifest = json.loads(Path("batch/manifest.json").read_text())
    return [Path("batch") / entry["name"] for entry in manifest["structures"]]


def answer(folder, number):
    """The MP2 label of a structure, as someone else computed it."""
    known = read_extxyz(METHANOL).at_levels(["mp2"]).subset([number])
    write_extxyz(folder / "result.extxyz", known)


EXPORT = ("label", "in.extxyz", "--oracle", "MP2", "--export", "batch")
IMPORT = ("label", "--import", "batch", "--output", "out.extxyz")


def test_labels_come_back_as_they_are_in_as_many_goes_as_it_takes(mfal):
    result = mfal(*EXPORT)
    assert result.exit_code == 0, result.output
    assert (
        "3 structures for mp2 (energy, forces; charge 0, multiplicity 1)"
        in result.stdout
    )
    assert "mfal label --import batch --output FILE" in result.stdout
    result = mfal(*IMPORT)
    assert (
        "0 of 3 labels of mp2 are back, 0 refused, 3 missing: no label" in result.stdout
    )
    assert not Path("out.extxyz").exists()
    one, two, three = folders()
    answer(one, 0)
    answer(three, 2)
    result = mfal(*IMPORT)
    assert result.exit_code == 0, result.output
    assert f"missing, {two.name}" in result.stdout
    assert "out.extxyz holds 2 (2 new)" in result.stdout
    answer(two, 1)
    assert "out.extxyz holds 3 (1 new)" in mfal(*IMPORT).stdout
    stamp = os.stat("out.extxyz").st_mtime_ns
    assert "out.extxyz holds 3 (0 new)" in mfal(*IMPORT).stdout  # no-op
    assert os.stat("out.extxyz").st_mtime_ns == stamp
    back, known = read_extxyz("out.extxyz"), read_extxyz(METHANOL)
    for i in range(3):
        assert back.labels[i, "mp2"].agrees_with(known.labels[i, "mp2"])


def test_refused_results_are_named_and_the_others_are_written(mfal):
    mfal(*EXPORT)
    one, two, three = folders()
    answer(one, 0)
    answer(two, 0)  # of another structure
    answer(three, 2)
    text = (three / "result.extxyz").read_text()
    (three / "result.extxyz").write_text(
        text.replace("REF_energy", "converged=F REF_energy")
    )
    result = mfal(*IMPORT)
    assert result.exit_code == 4, result.output
    assert "1 of 3 labels of mp2 are back, 2 refused, 0 missing" in result.stdout
    assert f"refused, {two.name}/result.extxyz: wrong_result" in result.stdout
    assert f"refused, {three.name}/result.extxyz: not_converged" in result.stdout
    assert len(read_extxyz("out.extxyz")) == 1


def test_charge_spin_and_quantities_are_in_the_manifest(mfal):
    words = ("--charge", 1, "--multiplicity", 2, "--quantities", "energy")
    assert mfal(*EXPORT, *words).exit_code == 0
    manifest = json.loads(Path("batch/manifest.json").read_text())
    found = [manifest[k] for k in ("charge", "multiplicity", "quantities")]
    assert found == [1, 2, ["energy"]]
    assert manifest["level"]["oracle"] == {"code": "manual", "name": "MP2"}


def test_a_known_name_and_a_yaml_file_keep_their_specification(mfal):
    Path("vasp.yaml").write_text("{code: manual, name: VASP, settings: {ENCUT: 520}}")
    for oracle, expected in (
        ("pbe/def2-svp", {"code": "pyscf", "method": "pbe", "basis": "def2-svp"}),
        ("vasp.yaml", {"code": "manual", "name": "VASP", "settings": {"ENCUT": 520}}),
    ):
        words = ("label", "in.extxyz", "--oracle", oracle, "--export", f"b/{oracle}")
        assert mfal(*words).exit_code == 0
        manifest = json.loads(Path(f"b/{oracle}/manifest.json").read_text())
        assert manifest["level"]["oracle"] == expected


@pytest.mark.parametrize(
    ("words", "said"),
    [
        ((*EXPORT, "--output", "x"), "--export writes no labels: leave --output out"),
        ((*IMPORT, "--oracle", "gfn2"), "leave --oracle out"),
        (("label", "in.extxyz", *IMPORT[1:]), "leave DATA out"),
        (("label", "--import", "batch"), "--output FILE is missing"),
        (("label", "in.extxyz", "--output", "x"), "--oracle NAME is missing"),
        (("label", "--oracle", "gfn2", "--output", "x"), "DATA is missing"),
        (("label", "in.extxyz", "--oracle", "gfn2"), "--output FILE is missing"),
        (("label", "--import", "none", "--output", "x"), "none holds no manifest.json"),
        (("label", "in.extxyz", "--oracle", "gnf2", "--export", "b"), "'gfn2'"),
    ],
)
def test_words_that_do_not_go_together_are_refused_and_nothing_is_written(
    mfal, words, said
):
    refused(mfal(*words), said)
    assert os.listdir() == ["in.extxyz"]


def test_an_oracle_by_hand_is_not_run(mfal):
    Path("vasp.yaml").write_text("{code: manual, name: VASP}")
    words = ("label", "in.extxyz", "--oracle", "vasp.yaml", "--output", "out.extxyz")
    result = mfal(*words)
    assert result.exit_code == 4
    assert "is labelled by hand" in result.stdout
