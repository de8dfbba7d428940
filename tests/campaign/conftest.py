"""Where the stores of the tests live."""

from types import SimpleNamespace

import psutil
import pytest
from stored_campaign import campaign


@pytest.fixture(params=["local", "network"])
def path(request, tmp_path, monkeypatch):
    """The place of a store, on a local disk and on a network file system."""
    fstype = {"local": "ext4", "network": "nfs4"}[request.param]
    mounts = [SimpleNamespace(mountpoint="/", fstype=fstype)]
    monkeypatch.setattr(psutil, "disk_partitions", lambda all: mounts)
    return tmp_path / "campaign.sqlite"


@pytest.fixture
def store(tmp_path):
    with campaign(tmp_path / "campaign.sqlite") as store:
        yield store
