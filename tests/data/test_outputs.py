"""Places for results, checked before the work."""

import os

import pytest

from mfal.data.outputs import check_writable


def test_a_folder_that_can_be_made_is_fine_and_is_not_made(tmp_path):
    check_writable(None, tmp_path / "a" / "b" / "model", tmp_path / "x.json")
    assert not list(tmp_path.iterdir())


def test_a_path_below_a_file_is_refused(tmp_path):
    (tmp_path / "file").touch()
    with pytest.raises(NotADirectoryError, match="not a directory"):
        check_writable(tmp_path / "file" / "model")


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write everywhere")
def test_a_folder_that_may_not_be_written_is_refused(tmp_path):
    tmp_path.chmod(0o500)
    with pytest.raises(PermissionError, match="cannot be written"):
        check_writable(tmp_path / "model")
