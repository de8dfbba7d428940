"""Places for results, checked before the work."""

import pytest

from mfal.data.outputs import check_writable


def test_a_folder_that_can_be_made_is_fine_and_is_not_made(tmp_path):
    check_writable(None, tmp_path / "a" / "b" / "model", tmp_path / "x.json")
    assert not list(tmp_path.iterdir())


def test_a_path_below_a_file_is_refused(tmp_path):
    (tmp_path / "file").touch()
    with pytest.raises(NotADirectoryError, match="not a directory"):
        check_writable(tmp_path / "file" / "model")


def test_a_folder_that_may_not_be_written_is_refused(tmp_path, monkeypatch):
    monkeypatch.setattr("os.access", lambda path, mode: False)  # root may always
    with pytest.raises(PermissionError, match="cannot be written"):
        check_writable(tmp_path / "model")
