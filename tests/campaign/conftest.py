"""Where the stores of the tests live."""

from types import SimpleNamespace

import psutil
import pytest
from small_campaigns import run, small_config, write_labels
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


@pytest.fixture(scope="session")
def swept(tmp_path_factory):
    """A finished campaign that labelled its pool at the low level first."""
    folder = tmp_path_factory.mktemp("swept")
    write_labels(folder)
    config, told = small_config(folder), []
    results = run(config, folder / "campaign", progress=told.append)
    return SimpleNamespace(
        config=config, directory=folder / "campaign", results=results, told=told
    )
