"""The command line: what each verb does, and how it says no."""

import errno
import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from ase.build import bulk
from command_line import command, command_in_process, refused

from mfal import LabelledDataset, read_extxyz, write_extxyz
from mfal.campaign.lock import CampaignLocked
from mfal.cli import Stopped, verdict
from mfal.data.artefact import load_artefact

METHANOL = Path(__file__).parent / "files" / "methanol_gfn2_mp2.extxyz"
QUICK = """\
permutations: [[0, 1, 4, 3, 5, 2], [0, 1, 4, 3, 2, 5]]
evidence_rows: 150
restarts: 0
"""


@pytest.fixture
def mfal(tmp_path, monkeypatch):
    """Runs the command line in an empty folder."""
    monkeypatch.chdir(tmp_path)
    return command


@pytest.fixture(scope="module")
def fitted(tmp_path_factory):
    """The folder of a model fitted to twelve geometries, and its other twelve."""
    folder = tmp_path_factory.mktemp("fitted")
    text = METHANOL.read_text().splitlines(keepends=True)
    (folder / "train.extxyz").write_text("".join(text[: 24 * 8]))
    (folder / "test.extxyz").write_text("".join(text[24 * 8 :]))
    (folder / "fit.yaml").write_text(QUICK)
    words = ["fit", "train.extxyz", "--levels", "gfn2,mp2", "--config", "fit.yaml"]
    words += ["--output", "out/model", "--json", "out/fit.json"]
    completed = command_in_process(*words, cwd=folder)
    assert completed.returncode == 0, completed.stderr
    return folder, completed


# --- fit and evaluate


def test_fit_saves_a_model_and_its_numbers(fitted):
    folder, completed = fitted
    header, _ = load_artefact(folder / "out" / "model")
    record = json.loads((folder / "out" / "fit.json").read_text())
    assert header["kind"] == record["kind"] == "exact"
    assert record["levels"] == ["gfn2", "mp2"]
    assert record["n_labels"]["gfn2"]["forces"] == 12
    assert completed.stderr == ""
    for words in ("gfn2", "mp2", "rho, gfn2 to mp2", "log evidence"):
        assert words in completed.stdout


def test_evaluate_judges_a_fitted_model_in_both_ways_of_deployment(fitted, mfal):
    folder, _ = fitted
    model, data = folder / "out" / "model", folder / "test.extxyz"
    found = {}
    for name, words in (("alone", ()), ("at_hand", ("--at-hand", "gfn2"))):
        result = mfal("evaluate", model, data, *words, "--json", "sub/e.json")
        assert result.exit_code == 0, result.output
        assert "forces (eV/A)" in result.stdout
        found[name] = json.loads(Path("sub/e.json").read_text())
        assert found[name]["n_structures"] == 12
        assert found[name]["n_seen"] == 0
    assert found["at_hand"]["at_hand"] == "gfn2"
    assert found["at_hand"]["forces"]["mae"] < 0.5 * found["alone"]["forces"]["mae"]
    assert set(found["alone"]["forces"]) == {
        *("mae", "rmse", "max", "nll", "coverage_68", "coverage_95", "ece", "z_std"),
    }


def test_evaluate_takes_the_level_that_is_asked_for(fitted, mfal):
    folder, _ = fitted
    words = (folder / "out" / "model", folder / "test.extxyz", "--json", "e.json")
    assert mfal("evaluate", *words, "--level", "gfn2").exit_code == 0
    assert json.loads(Path("e.json").read_text())["level"] == "gfn2"
    refused(mfal("evaluate", *words, "--level", "hf"), "no level 'hf'")


BAD_DATA = {
    "a force that is not finite": (
        lambda lines: [
            *lines[:2],
            lines[2].rsplit(maxsplit=1)[0] + " nan\n",
            *lines[3:],
        ],
        "frame 0",
    ),
    "an unknown element": (
        lambda lines: [*lines[:2], lines[2].replace("C ", "Xx", 1), *lines[3:]],
        "frame 0",
    ),
    "another molecule": (
        lambda lines: [*lines[:-6], lines[-6].replace("C ", "N ", 1), *lines[-5:]],
        "the first is COHHHH",
    ),
    "half a frame": (lambda lines: lines[:-2], "truncated"),
}


@pytest.mark.parametrize("fault", BAD_DATA)
def test_bad_data_are_refused_and_nothing_is_written(mfal, fault):
    change, words = BAD_DATA[fault]
    lines = METHANOL.read_text().splitlines(keepends=True)
    Path("bad.extxyz").write_text("".join(change(lines)))
    words_of_fit = ("--levels", "gfn2,mp2", "--output", "m/x", "--json", "j/y.json")
    refused(mfal("fit", "bad.extxyz", *words_of_fit), words)
    assert os.listdir() == ["bad.extxyz"]


@pytest.mark.parametrize(
    ("words", "said"),
    [
        ((), "say their order, low to high"),
        (("--levels", "gfn2,gfn2"), "level 'gfn2' is listed twice"),
        (("--levels", "gfn2,mp3"), "did you mean 'mp2'?"),
        (("--model", "magic"), "'magic'"),
        (("--config", "none.yaml"), "none.yaml"),
        (("--leves", "gfn2,mp2"), "--levels"),
    ],
)
def test_a_fit_that_cannot_be_is_refused_and_nothing_is_written(mfal, words, said):
    refused(mfal("fit", METHANOL, "--output", "model", *words), said)
    assert os.listdir() == []


def test_a_missing_file_is_named(mfal):
    refused(mfal("fit", "none.extxyz", "--output", "model"), "none.extxyz")
    refused(mfal("evaluate", "model", METHANOL), "model holds no saved artefact")


def test_an_output_that_cannot_be_is_refused_before_the_work(mfal):
    Path("file").touch()
    words = ("fit", METHANOL, "--levels", "gfn2,mp2", "--output")
    refused(mfal(*words, "file"), "is a file")
    refused(mfal(*words, "file/model"), "not a directory")


def test_a_verb_that_does_not_exist_names_the_nearest(mfal):
    refused(mfal("evalute", "model"), "'evaluate'")


def test_without_a_verb_the_help_is_shown(mfal):
    result = mfal()
    assert result.exit_code == 0
    for verb in (
        "run",
        "status",
        "report",
        "fit",
        "evaluate",
        "label",
        "doctor",
        "init",
    ):
        assert verb in result.stdout


# --- label and doctor


def test_label_writes_what_the_oracle_gives(mfal):
    result = mfal("label", METHANOL, "--oracle", "gfn2", "--output", "sub/out.extxyz")
    assert result.exit_code == 0, result.output
    again, before = read_extxyz("sub/out.extxyz"), read_extxyz(METHANOL)
    assert again.levels == ("gfn2",)
    for i in range(24):
        label, known = again.labels[i, "gfn2"], before.labels[i, "gfn2"]
        assert label.energy == pytest.approx(known.energy, abs=1e-5)
        assert label.forces == pytest.approx(known.forces, abs=1e-5)
    assert os.listdir("sub") == ["out.extxyz"]
    words = ("label", METHANOL, "--oracle", "gfn2", "--output", "sub/out.extxyz")
    refused(mfal(*words), "is there already")


def test_label_takes_a_yaml_file_and_a_name_of_the_level(mfal):
    Path("tight.yaml").write_text("{code: tblite, method: GFN2-xTB, accuracy: 0.1}")
    words = ("--oracle", "tight.yaml", "--output", "out.extxyz", "--level", "tight xtb")
    assert mfal("label", METHANOL, *words).exit_code == 0
    assert read_extxyz("out.extxyz").levels == ("tight xtb",)


def test_a_structure_that_fails_is_told_and_the_others_are_written(mfal):
    lines = METHANOL.read_text().splitlines(keepends=True)
    lines = [lines[0], "Properties=species:S:1:pos:R:3\n"] + [
        " ".join(line.split()[:4]) + "\n" for line in lines[2:8]
    ]
    close = [*lines[:7], "H " + " ".join(lines[3].split()[1:3]) + " 9.9\n"]
    close[7] = "H " + " ".join(lines[6].split()[1:]) + "1\n"  # on top of another
    Path("in.extxyz").write_text("".join(lines + close))
    result = mfal("label", "in.extxyz", "--oracle", "gfn2", "--output", "out.extxyz")
    assert result.exit_code == 4, result.output
    assert "structure 1 failed, unphysical_structure" in result.stdout
    assert len(read_extxyz("out.extxyz")) == 1
    result = mfal("label", "in.extxyz", "--oracle", "gfn2", "--output", "out.extxyz")
    assert "1 of 2 structures" in result.stdout
    assert "(1 from an earlier run)" in result.stdout


@pytest.mark.parametrize(
    ("oracle", "said"),
    [("gnf2", "did you mean 'gfn2'"), ("emtt", "'emt'"), ("hf/def9-svp", "def9-svp")],
)
def test_an_oracle_that_does_not_exist_is_refused_and_nothing_is_written(
    mfal, oracle, said
):
    refused(mfal("label", METHANOL, "--oracle", oracle, "--output", "out.extxyz"), said)
    assert os.listdir() == []


def test_an_odd_number_of_electrons_is_refused(mfal):
    words = ("--oracle", "gfn2", "--output", "out.extxyz", "--charge", "1")
    refused(mfal("label", METHANOL, *words), "17 electrons", "multiplicity")
    assert os.listdir() == []


def test_a_missing_extra_is_named_with_the_command_that_installs_it(mfal, monkeypatch):
    monkeypatch.setitem(sys.modules, "tblite.interface", None)
    words = ("--oracle", "gfn2", "--output", "out.extxyz")
    refused(mfal("label", METHANOL, *words), "pip install 'mfal[xtb]'")


def test_doctor_trusts_a_sound_oracle(mfal):
    result = mfal("doctor", "gfn2")
    assert result.exit_code == 0, result.output
    assert "trusted" in result.stdout


def test_doctor_refuses_an_oracle_whose_forces_are_not_the_slope(mfal, monkeypatch):
    monkeypatch.setattr("mfal.oracles.doctor.FORCE_TOLERANCE", -1.0)
    refused(mfal("doctor", "emt"), "emt is refused")


# --- processes


@pytest.mark.faults
def test_a_killed_run_of_label_goes_on_where_it_was(tmp_path):
    structures = []
    for seed in range(24):  # large enough for a label to take a moment
        structures.append(bulk("Cu", cubic=True) * (4, 4, 4))
        structures[-1].rattle(0.05, seed=seed)
    write_extxyz(tmp_path / "in.extxyz", LabelledDataset(tuple(structures), ()))
    words = ("label", "in.extxyz", "--oracle", "emt", "--output", "out.extxyz")
    process = subprocess.Popen(
        [sys.executable, "-c", "from mfal.cli import main; main()", *map(str, words)],
        cwd=tmp_path,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env={**os.environ, "OMP_NUM_THREADS": "1"},
    )
    spool, deadline = tmp_path / "out.extxyz.spool", time.monotonic() + 60
    while len(list(spool.glob("*.json"))) < 2 and time.monotonic() < deadline:
        time.sleep(0.02)
    process.send_signal(signal.SIGTERM)
    _, said = process.communicate(timeout=60)
    assert process.returncode == 3
    assert len(said.splitlines()) == 1
    assert "run the same command again" in said
    known = len(list(spool.glob("*.json")))
    assert 2 <= known < 24
    completed = command_in_process(*words, "--workers", 2, cwd=tmp_path)
    assert completed.returncode == 0, completed.stderr
    assert f"({known} from an earlier run)" in completed.stdout
    assert len(read_extxyz(tmp_path / "out.extxyz").labels) == 24
    assert not spool.exists()


def test_verbose_shows_the_traceback_wherever_it_stands(tmp_path):
    words = ("label", "none.extxyz", "--oracle", "emt", "--output", "out.extxyz")
    plain = command_in_process(*words, cwd=tmp_path)
    assert (plain.returncode, len(plain.stderr.splitlines())) == (2, 1)
    for front, back in (((), ("--verbose",)), (("--verbose",), ())):
        loud = command_in_process(*front, *words, *back, cwd=tmp_path)
        assert loud.returncode == 2
        assert "Traceback" in loud.stderr
        assert loud.stderr.splitlines()[-1] == plain.stderr.strip()


def test_help_and_label_start_without_torch(tmp_path):
    code = (
        "import sys; from mfal.cli import app\n"
        "try: app(sys.argv[1:])\n"
        "except SystemExit: print('torch' in sys.modules)"
    )
    words = ("label", METHANOL, "--oracle", "emt", "--output", "out.extxyz")
    for arguments in (("--help",), words):
        completed = subprocess.run(
            [sys.executable, "-c", code, *map(str, arguments)],
            cwd=tmp_path,
            capture_output=True,
            text=True,
            timeout=60,
        )
        assert completed.stdout.splitlines()[-1] == "False"


# --- errors to exit codes


class StoreWriteError(OSError):
    """As in the store: whatever the number of the error."""


class TooManyFailures(RuntimeError):
    """As in a campaign."""


@pytest.mark.parametrize(
    ("error", "code"),
    [
        (ValueError("x"), 2),
        (CampaignLocked("x"), 2),
        (MemoryError("x"), 2),
        (FileNotFoundError(errno.ENOENT, "none", "x"), 2),
        (PermissionError(errno.EACCES, "no", "x"), 2),
        (OSError(errno.ENOSPC, "No space left on device"), 3),
        (StoreWriteError("x"), 3),
        (Stopped("x"), 3),
        (TooManyFailures("x"), 4),
        (RuntimeError("x"), 1),
    ],
    ids=repr,
)
def test_an_error_has_an_exit_code_and_one_line(error, code):
    found, line = verdict(error)
    assert found == code
    assert "\n" not in line


def test_an_error_of_several_lines_is_told_in_one():
    assert verdict(ValueError("first\n  second"))[1] == "first second"


# --- export


@pytest.fixture(scope="module")
def saved_sparse(tmp_path_factory):
    """A sparse model of two levels on disk."""
    from small_cells import emt_dataset, small_map, structures_of

    from mfal.models import SparsePotential, save_potential

    structures = structures_of(6)
    data = emt_dataset(structures, ("low", "high"))
    path = tmp_path_factory.mktemp("saved") / "model"
    save_potential(SparsePotential.fit(data, small_map(structures)), path)
    return path


def test_export_writes_a_file_and_names_its_outputs(mfal, saved_sparse):
    pytest.importorskip("metatomic.torch", reason="needs mfal[engines]")
    result = mfal("export", saved_sparse, "--output", "new/model.pt")
    assert result.exit_code == 0, result.output
    assert Path("new/model.pt").stat().st_size < 10e6
    for name in ("energy", "energy/low", "energy/high", "energy_uncertainty/high"):
        assert f" {name}" in result.output


def test_export_without_metatomic_names_the_extra(mfal, saved_sparse, monkeypatch):
    monkeypatch.setattr("mfal.calculators.metatomic.find_spec", lambda name: None)
    result = mfal("export", saved_sparse, "--output", "model.pt")
    refused(result, "metatomic", "pip install 'mfal[engines]'")
    assert not Path("model.pt").exists()


def test_export_refuses_the_model_of_one_molecule(mfal, fitted, monkeypatch):
    monkeypatch.setattr("mfal.calculators.metatomic.find_spec", lambda name: True)
    folder, _ = fitted
    result = mfal("export", folder / "out" / "model", "--output", "model.pt")
    refused(result, "ExactPotential", "--model sparse")


def test_export_refuses_a_directory_as_its_file(mfal, saved_sparse):
    refused(mfal("export", saved_sparse, "--output", "."), "directory")


@pytest.mark.faults
def test_a_yaml_file_of_an_oracle_cannot_run_code(mfal):
    """Row 17: no object is built from it, no factory outside the allowed modules."""
    words = ("label", METHANOL, "--oracle", "bad.yaml", "--output", "out.extxyz")
    for text, said in (
        ("code: !!python/object/apply:os.system ['touch ran']", "no valid YAML"),
        (
            "{code: python, factory: 'os:system', arguments: {command: touch ran}}",
            "os:system",
        ),
    ):
        Path("bad.yaml").write_text(text)
        refused(mfal(*words), said)
        assert os.listdir() == ["bad.yaml"]


def test_a_module_that_is_allowed_may_name_a_factory(mfal, monkeypatch):
    write_extxyz("cu.extxyz", LabelledDataset((bulk("Cu", cubic=True),), ()))
    Path("mine.yaml").write_text("{code: python, factory: 'faulty_codes:Sound'}")
    words = ("--oracle", "mine.yaml", "--output", "out.extxyz")
    refused(mfal("label", "cu.extxyz", *words), "add 'faulty_codes' to")
    monkeypatch.setenv("PYTHONPATH", str(Path(__file__).parent / "oracles"))
    result = mfal("label", "cu.extxyz", *words, "--allow", "faulty_codes")
    assert result.exit_code == 0, result.output
    assert len(read_extxyz("out.extxyz")) == 1
    result = mfal(
        "doctor", "mine.yaml", "--structure", "cu.extxyz", "--allow", "faulty_codes"
    )
    assert "trusted" in result.stdout


@pytest.mark.parametrize("set_before", [None, "active"])
def test_threads_sleep_while_they_wait_unless_the_user_says_otherwise(
    tmp_path, set_before
):
    code = (
        "import os, sys; from mfal.cli import main; sys.argv = ['mfal', '--help']\n"
        "try: main()\n"
        "except SystemExit: print(os.environ['OMP_WAIT_POLICY'])"
    )
    environment = {k: v for k, v in os.environ.items() if k != "OMP_WAIT_POLICY"}
    if set_before:
        environment["OMP_WAIT_POLICY"] = set_before
    shown = subprocess.run(
        [sys.executable, "-c", code],
        cwd=tmp_path,
        env=environment,
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert shown.stdout.splitlines()[-1] == (set_before or "passive"), shown.stderr
