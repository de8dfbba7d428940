"""Reference data are found in one place, or it is said where they were looked for."""

import pytest

from benchmarks.reference_data import DEFAULT, ROOT, reference_data, reference_folder


def test_the_environment_variable_names_the_folder(monkeypatch, tmp_path):
    (tmp_path / "mlearn").mkdir()
    monkeypatch.setenv("MFAL_DATA", str(tmp_path))
    assert reference_data("mlearn") == tmp_path / "mlearn"


def test_without_the_variable_the_folder_is_beside_the_repository(monkeypatch):
    monkeypatch.delenv("MFAL_DATA", raising=False)
    assert reference_folder() == ROOT.parent / "shared" / "data"


def test_a_missing_file_is_an_error_that_names_the_variable_and_the_default(
    monkeypatch, tmp_path
):
    monkeypatch.setenv("MFAL_DATA", str(tmp_path))
    with pytest.raises(FileNotFoundError) as error:
        reference_data("mlearn", "Xx.extxyz")
    for word in ("mlearn/Xx.extxyz", str(tmp_path), "MFAL_DATA", str(DEFAULT)):
        assert word in str(error.value)
