"""The benchmark of published tables: what it measures, keeps and writes."""

import json
import sys
from pathlib import Path

import numpy as np
import pytest
from typer.testing import CliRunner

from benchmarks.published_tables import run, sides
from benchmarks.published_tables.figure import figure
from benchmarks.published_tables.measuring import measured
from benchmarks.published_tables.published import PUBLISHED
from benchmarks.published_tables.sets import EXCERPT, available, prepared, repeated
from benchmarks.published_tables.tables import sections
from mfal import read_extxyz
from mfal.cli import app

METHANOL = Path(__file__).parents[1] / "files" / "methanol_gfn2_mp2.extxyz"
QUICK = "permutations: [[0, 1, 4, 3, 5, 2]]\nevidence_rows: 100\nrestarts: 0\n"
JUDGED = {"mae": 1.5, "rmse": 2.0, "max": 5.0, "nll": 0.0}
JUDGED |= {"coverage_68": 0.7, "coverage_95": 0.94, "ece": 0.03, "z_std": 1.1}
SPEED = {"energy+forces": 2e-4, "energy+forces+uncertainties": 8e-4}
EVALUATION = {"energy": JUDGED, "forces": JUDGED, "seconds_per_atom": SPEED}
STUB = """\
import sys

answer, calls, failing, verb, *words = sys.argv[1:]
with open(calls, "a") as file:
    file.write(f"{verb} ")
if verb == failing:
    sys.exit("it did not work")
with open(words[words.index("--json") + 1], "w") as file:
    file.write(answer)
"""


@pytest.fixture
def smoke(tmp_path, monkeypatch):
    """Smoke runs with a program in mfal's place that fits nothing; its calls so far."""
    calls = tmp_path / "calls"

    stub = tmp_path / "stub.py"
    stub.write_text(STUB)

    def start(*words, failing="none"):
        calls.unlink(missing_ok=True)
        arguments = (str(stub), json.dumps(EVALUATION), str(calls), failing)
        monkeypatch.setattr(sides, "MFAL", (sys.executable, *arguments))
        run.main(["--smoke", "--work", str(tmp_path / "work"), *words])
        return calls.read_text().split() if calls.exists() else []

    return start


def document(*names):
    """The results of some sides on copper: gap_fit takes twice of what mfal takes."""
    found = {"training": {"structures": 6, "atoms": 278}}
    facts = {"processor": "A", "cores": 2, "threads": 1, "load_before": 0.5}
    for name in names:
        k = 2 if name == "gap_fit" else 1
        cost = {"wall_seconds": 20.0 * k, "cpu_seconds": 10.0 * k}
        speed = {"seconds_per_atom": {"energy+forces": 2e-4 * k}}
        found[name] = {
            "fit": {**cost, "peak_memory_MB": 300.0 * k, "machine": facts},
            "evaluation": {"errors": EVALUATION | speed, "versions": {name: "1.0"}},
        }
    return {"published": PUBLISHED, "elements": {"Cu": found}, "repeat": []}


# --- measuring


def test_peak_memory_is_that_of_the_command_not_of_who_started_it(tmp_path):
    words = [sys.executable, "-c", "x = bytes(range(256)) * 400_000"]
    found = measured(words, tmp_path, "allocate", 1)
    assert 100 < found["peak_memory_MB"] < 160


def test_cpu_time_and_memory_of_a_grandchild_are_counted(tmp_path):
    inner = "x = bytes(range(256)) * 400_000; sum(range(20_000_000))"
    outer = f"import subprocess, sys; subprocess.run([sys.executable, '-c', {inner!r}])"
    found = measured([sys.executable, "-c", outer], tmp_path, "nested", 1)
    assert found["peak_memory_MB"] > 100
    assert found["cpu_seconds"] > 0.1


def test_a_command_that_fails_is_an_error_with_what_it_said(smoke):
    with pytest.raises(RuntimeError, match="it did not work"):
        smoke(failing="fit")


# --- what is kept


def test_a_second_run_measures_nothing_again(smoke):
    assert smoke() == ["fit", "evaluate"]
    assert smoke() == []


def test_an_interrupted_run_goes_on_after_what_was_finished(smoke):
    with pytest.raises(RuntimeError):
        smoke(failing="evaluate")
    assert smoke() == ["evaluate"]


def test_other_settings_are_measured_anew_with_the_evaluation(smoke, tmp_path):
    smoke()
    config = tmp_path / "fit.yaml"
    config.write_text("seed: 1\n")
    assert smoke("--config", str(config)) == ["fit", "evaluate"]


# --- what is written


def test_the_smoke_run_prints_every_table_and_changes_no_file(smoke, capsys):
    before = {f: f.stat().st_mtime_ns for f in run.HERE.iterdir() if f.is_file()}
    assert smoke("--repeat", "1,2") == ["fit", "evaluate", "fit", "fit"]
    said = capsys.readouterr().out
    assert "| mfal, defaults | 1.50 / 1.5000 |" in said
    assert "| Cu | energy | 70 % | 94 % | 0.030 | 1.10 |" in said
    assert "| Cu | 2 | 12 | 1,668 |" in said
    after = {f: f.stat().st_mtime_ns for f in run.HERE.iterdir() if f.is_file()}
    assert after == before


def test_the_ratio_is_above_one_where_mfal_is_cheaper():
    costs = sections(document("mfal", "gap_fit"))["costs"]
    assert "| Cu | **gap_fit over mfal** | 2.0 | 2.0 | 2.0 | 2.0 |  |" in costs
    assert "mfal 1.0, gap_fit 1.0" in costs or "gap_fit 1.0, mfal 1.0" in costs


def test_two_machines_have_no_ratio():
    found = document("mfal", "gap_fit")
    theirs = found["elements"]["Cu"]["gap_fit"]["fit"]
    theirs["machine"] = theirs["machine"] | {"processor": "B"}
    costs = sections(found)["costs"]
    assert "gap_fit over" not in costs
    assert "| Cu | mfal (A) |" in costs
    assert "| Cu | gap_fit (B) |" in costs


@pytest.mark.parametrize("names", [(), ("mfal",), ("gap_fit",)])
def test_a_side_that_was_not_run_is_left_out(names):
    found = document(*names)
    tables = sections(found)
    assert ("mfal, defaults | -" in tables["errors"]) == ("mfal" not in names)
    assert "gap_fit over" not in tables["costs"]
    assert len(figure(found).axes) == 3


def test_sections_are_put_between_their_marks(tmp_path):
    readme = tmp_path / "README.md"
    readme.write_text(
        "A\n<!-- one -->\nold\n<!-- end -->\nB\n<!-- two -->\n<!-- end -->\n"
    )
    run.write_sections(readme, {"one": "new", "two": "more"})
    lines = readme.read_text().splitlines()
    assert lines[:4] == ["A", "<!-- one -->", "new", "<!-- end -->"]
    assert lines[4:] == ["B", "<!-- two -->", "more", "<!-- end -->"]


def test_the_readme_has_the_marks_of_every_section(tmp_path):
    copy = tmp_path / "README.md"
    copy.write_text((run.HERE / "README.md").read_text())
    tables = sections(document("mfal"))
    run.write_sections(copy, tables)
    assert all(table in copy.read_text() for table in tables.values())


def test_the_tables_read_what_the_command_line_writes(tmp_path):
    (tmp_path / "fit.yaml").write_text(QUICK)
    frames = METHANOL.read_text().splitlines(keepends=True)[: 8 * 2 * 8]
    data = tmp_path / "eight.extxyz"
    data.write_text("".join(frames))
    model, judged = tmp_path / "model", tmp_path / "evaluation.json"
    words = ["--levels", "mp2", "--config", tmp_path / "fit.yaml", "--output", model]
    for verb in (
        ["fit", data, *words, "--model", "exact"],
        ["evaluate", model, data, "--json", judged],
    ):
        done = CliRunner().invoke(app, [str(word) for word in verb])
        assert done.exit_code == 0, done.output
    found = document("mfal")
    result = json.loads(judged.read_text())
    found["elements"]["Cu"]["mfal"]["evaluation"]["errors"] = result
    tables = sections(found)
    mae = f"{result['energy']['mae']:.2f} / {result['forces']['mae']:.4f}"
    assert f"| mfal, defaults | {mae} |" in tables["errors"]
    assert f"{100 * result['forces']['coverage_68']:.0f} %" in tables["calibration"]


@pytest.mark.slow
def test_the_smoke_run_fits_copper_with_the_sparse_model(tmp_path, capsys):
    run.main(["--smoke", "--work", str(tmp_path)])
    judged = json.loads((tmp_path / "smoke/Cu/mfal/evaluation.json").read_text())
    assert f"/ {judged['forces']['mae']:.4f} |" in capsys.readouterr().out
    # from six frames; the forces of the test frames have a mean size of 0.38 eV/A
    assert judged["forces"]["mae"] < 0.05


# --- the data


def test_elements_are_taken_from_the_files_that_are_there(tmp_path):
    for name in ("Si_train.extxyz.xz", "Si_test.extxyz", "Ge_train.extxyz.xz"):
        (tmp_path / name).touch()
    assert available(tmp_path) == ["Si"]
    assert available(EXCERPT) == ["Cu"]


def test_an_element_without_files_is_refused(tmp_path):
    with pytest.raises(FileNotFoundError, match="leave Ni out, it has Cu"):
        prepared("Ni", EXCERPT, tmp_path)


def test_both_sides_read_energies_and_forces_and_no_stresses(tmp_path):
    files = prepared("Cu", EXCERPT, tmp_path)
    text = files.train.read_text()
    assert "stress" not in text
    assert text.count("REF_energy") == text.count("REF_forces") == files.n_structures
    source = read_extxyz(EXCERPT / "Cu_train.extxyz", level="pbe")
    written = read_extxyz(files.train)
    for i, _, label in source:
        np.testing.assert_array_equal(label.forces, written.labels[i, "pbe"].forces)
        assert label.energy == written.labels[i, "pbe"].energy


def test_copies_of_a_set_differ_by_a_translation_only(tmp_path):
    source = read_extxyz(EXCERPT / "Cu_train.extxyz", level="pbe")
    n = len(source)
    thrice = repeated(source, 3)
    assert len(thrice) == len(thrice.labels) == 3 * n
    for copy in range(3):
        for i in range(n):
            moved = thrice.structures[copy * n + i]
            steps = moved.positions - source.structures[i].positions
            np.testing.assert_allclose(steps, np.broadcast_to(steps[0], steps.shape))
            np.testing.assert_array_equal(moved.cell, source.structures[i].cell)
            same = thrice.labels[copy * n + i, "pbe"]
            assert same is source.labels[i, "pbe"]
    files = prepared("Cu", EXCERPT, tmp_path, copies=3)
    assert len(read_extxyz(files.train)) == 3 * n  # none of them stands there twice
