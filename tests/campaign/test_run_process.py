"""`mfal run` as a process: terminated, or on a disk that is full, it can be resumed."""

import os
import resource
import signal
import sqlite3
import subprocess
import sys
import time
from contextlib import suppress

import pytest
from small_campaigns import DECLARED, bought, write_labels, write_yaml

from mfal.campaign import campaign_results

pytestmark = [pytest.mark.faults, pytest.mark.slow]
RUN = [sys.executable, "-W", "ignore", "-c", "from mfal.cli import main; main()", "run"]
ENVIRONMENT = {**os.environ, "OMP_NUM_THREADS": "1"}


@pytest.fixture(scope="module")
def campaign(tmp_path_factory):
    folder = tmp_path_factory.mktemp("run")
    write_labels(folder)
    return write_yaml(
        folder,
        budget={"highest_labels": 5, "costs": DECLARED},
        execution={"workers": 1},
        acquisition={"batch": 1},
        comparison=False,
    )


@pytest.fixture(scope="module")
def whole(campaign, tmp_path_factory):
    directory = tmp_path_factory.mktemp("whole") / "campaign"
    assert finished(campaign, directory).returncode == 0
    return campaign_results(directory)


def finished(campaign, directory, **options):
    return subprocess.run(
        [*RUN, str(campaign), "--dir", str(directory)],
        env=ENVIRONMENT,
        capture_output=True,
        text=True,
        timeout=300,
        **options,
    )


def n_done(directory):
    """Labels that are done, as far as the store is there."""
    with suppress(sqlite3.Error):
        path = f"file:{directory / 'campaign.sqlite'}?mode=ro"
        connection = sqlite3.connect(path, uri=True)
        with suppress(sqlite3.Error):
            query = "SELECT count(*) FROM labels WHERE state = 'done'"
            return connection.execute(query).fetchone()[0]
    return 0


def test_terminated_in_mid_batch_it_exits_with_3_and_says_how_to_go_on(
    campaign, whole, tmp_path
):
    directory = tmp_path / "campaign"
    process = subprocess.Popen(
        [*RUN, str(campaign), "--dir", str(directory)],
        env=ENVIRONMENT,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    while n_done(directory) < 3 and process.poll() is None:
        time.sleep(0.05)
    process.send_signal(signal.SIGTERM)
    _, told = process.communicate(timeout=300)
    assert process.returncode == 3
    assert "run the same command again to go on" in told
    assert n_done(directory) >= 3
    assert finished(campaign, directory).returncode == 0
    assert bought(campaign_results(directory)) == bought(whole)


@pytest.mark.parametrize("size", [60_000, 110_000])
def test_on_a_full_disk_it_exits_with_3_and_goes_on_when_there_is_room(
    campaign, whole, tmp_path, size
):
    directory = tmp_path / "campaign"

    def full():
        resource.setrlimit(resource.RLIMIT_FSIZE, (size, size))

    stopped = finished(campaign, directory, preexec_fn=full)
    assert stopped.returncode == 3
    assert "run the same command again to go on" in stopped.stderr
    assert finished(campaign, directory).returncode == 0
    assert bought(campaign_results(directory)) == bought(whole)
