import os

import pytest

from mfal.data.files import write_atomically


def test_a_failed_write_leaves_the_old_file_and_nothing_else(tmp_path, monkeypatch):
    path = tmp_path / "report.html"
    write_atomically(path, b"old")

    def refuse(self, target):
        raise OSError("refused")

    monkeypatch.setattr("pathlib.Path.replace", refuse)
    with pytest.raises(OSError, match="refused"):
        write_atomically(path, b"new")
    assert path.read_bytes() == b"old"
    assert os.listdir(tmp_path) == ["report.html"]


def test_the_content_is_on_the_disk_before_the_name_is(tmp_path, monkeypatch):
    events = []
    sync, rename = os.fsync, type(tmp_path).replace
    monkeypatch.setattr("os.fsync", lambda fd: (events.append("sync"), sync(fd)))
    monkeypatch.setattr(
        "pathlib.Path.replace",
        lambda self, target: (events.append("rename"), rename(self, target)),
    )
    write_atomically(tmp_path / "file", b"content")
    assert events == ["sync", "rename"]
    assert (tmp_path / "file").read_bytes() == b"content"
