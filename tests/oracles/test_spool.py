import logging
from pathlib import Path

import pytest

from mfal import Fidelity
from mfal.oracles import collect_spool, label_structure

EMT = Fidelity("emt", {"code": "emt"})


def test_a_finished_label_is_in_the_spool(request_of, tmp_path):
    result = label_structure(request_of(EMT))
    (found,) = collect_spool(tmp_path / "spool")
    assert found.label.agrees_with(result.label)
    assert found.finished == result.finished
    names = {path.name for path in (tmp_path / "spool").iterdir()}
    assert names == {"a.json", ".locks"}  # no temporary file is left


def test_results_come_in_the_order_in_which_they_were_finished(request_of, tmp_path):
    for name in ("b", "c", "a"):
        label_structure(request_of(EMT, name))
    names = [result.label_id for result in collect_spool(tmp_path / "spool")]
    assert names == ["b", "c", "a"]


@pytest.mark.faults
@pytest.mark.parametrize("share", [0.0, 0.1, 0.5, 0.9, 0.999])
def test_a_file_cut_short_is_logged_and_left_out(request_of, tmp_path, caplog, share):
    label_structure(request_of(EMT, "whole"))
    label_structure(request_of(EMT, "cut"))
    path = tmp_path / "spool" / "cut.json"
    content = path.read_bytes()
    path.write_bytes(content[: int(share * len(content))])
    with caplog.at_level(logging.WARNING):
        found = collect_spool(tmp_path / "spool")
    assert [result.label_id for result in found] == ["whole"]
    assert "cut.json is not taken" in caplog.text


def test_foreign_files_are_logged_and_left_out(request_of, tmp_path, caplog):
    label_structure(request_of(EMT))
    spool = tmp_path / "spool"
    (spool / "list.json").write_text("[1, 2]")
    (spool / "bytes.json").write_bytes(b"\x80\x04\xff")
    (spool / "renamed.json").write_text((spool / "a.json").read_text())
    (spool / "note.txt").write_text("hello")
    (spool / "folder.json").mkdir()
    assert [result.label_id for result in collect_spool(spool)] == ["a"]
    for name in ("list", "bytes", "renamed", "folder"):
        assert f"{name}.json is not taken" in caplog.text
    assert "note" not in caplog.text


def test_no_spool_is_an_empty_one(tmp_path):
    assert collect_spool(tmp_path / "none") == []


def runs(note):
    return len(Path(note).read_text().splitlines())


def test_a_label_that_is_in_the_spool_is_not_computed_again(
    request_of, faulty, tmp_path
):
    fidelity = faulty("Slow", note=tmp_path / "note", seconds=0)
    first = label_structure(request_of(fidelity))
    second = label_structure(request_of(fidelity, attempt=2))
    assert runs(tmp_path / "note") == 1
    assert second.finished == first.finished


def test_the_same_name_for_another_task_is_computed(request_of, faulty, tmp_path):
    fidelity = faulty("Slow", note=tmp_path / "note", seconds=0)
    label_structure(request_of(fidelity))
    label_structure(request_of(faulty("Sound")))
    label_structure(request_of(fidelity))
    assert runs(tmp_path / "note") == 2


def test_a_failed_attempt_is_repeated_only_as_the_next_attempt(request_of, faulty):
    first = label_structure(request_of(faulty("Unconverged")))
    same = label_structure(request_of(faulty("Unconverged")))
    later = label_structure(request_of(faulty("Unconverged"), attempt=2))
    assert same.finished == first.finished
    assert later.finished > first.finished
    assert later.attempt == 2


@pytest.mark.faults
def test_a_spool_that_cannot_be_written_does_not_lose_the_label(
    request_of, tmp_path, caplog
):
    (tmp_path / "file").touch()
    result = label_structure(request_of(EMT, spool=tmp_path / "file" / "spool"))
    assert result.label is not None
    assert "label a is not in the spool" in caplog.text
