"""Killed at any moment and run again, a campaign buys what it would have bought."""

import os
import subprocess
import sys
import time

import numpy as np
import pytest
from small_campaigns import write_labels, write_yaml

from mfal.campaign import campaign_results

PROGRAM = """
import sys
from pathlib import Path
from mfal.campaign import run_campaign

path, directory = map(Path, sys.argv[1:])
run_campaign(path, directory, progress=lambda text: print(text, flush=True))
"""
N_KILLS = 5


def start(path, directory):
    """A driver with a pool of label workers, in a process of its own."""
    return subprocess.Popen(
        [sys.executable, "-c", PROGRAM, str(path), str(directory)],
        env={**os.environ, "OMP_NUM_THREADS": "1"},
        stdout=subprocess.PIPE,
        text=True,
    )


def run_to_the_end(path, directory):
    with start(path, directory) as process:
        told = process.stdout.read().splitlines()
    assert process.returncode == 0
    return told


def run_and_kill(path, directory, n_told, seconds):
    """Killed some time after it has told of its progress so many times."""
    with start(path, directory) as process:
        for _ in range(n_told):
            if not process.stdout.readline():
                break
        time.sleep(seconds)
        process.kill()
    return process.returncode


def choices(results):
    return [
        tuple(label[key] for key in ("step", "rank", "structure", "level", "purpose"))
        for label in results["bought"]
    ]


def gains(results):
    return [x["gain"] for x in results["bought"] if x["gain"] is not None]


@pytest.mark.faults
def test_killed_five_times_it_buys_the_same_labels_in_the_same_order(tmp_path):
    write_labels(tmp_path)
    path = write_yaml(
        tmp_path,
        execution={"workers": 2, "timeout": 20},
        acquisition={"batch": 1},  # many steps to be killed in
    )
    told = run_to_the_end(path, tmp_path / "whole")
    rng = np.random.default_rng(5)
    ends = [
        run_and_kill(
            path,
            tmp_path / "killed",
            int(rng.integers(1, len(told) // N_KILLS)),
            rng.uniform(0, 0.2),
        )
        for _ in range(N_KILLS)
    ]
    assert ends == [-9] * N_KILLS, "it ended by itself"
    run_to_the_end(path, tmp_path / "killed")
    whole, killed = (campaign_results(tmp_path / n) for n in ("whole", "killed"))
    assert choices(killed) == choices(whole)
    # a factor that is rebuilt, not extended, differs in rounding: the condition number
    # is (113 / 4e-4)^2 = 8e10 here
    assert gains(killed) == pytest.approx(gains(whole), rel=1e-5)
    assert len(gains(whole)) >= 2
    assert killed["execution"]["resumed"] == N_KILLS
    assert killed["finished"]
    assert killed["budget"] == whole["budget"]  # nothing was paid for twice
    assert killed["failures"] == whole["failures"] == []
    for mode in ("standalone", "at_hand"):
        one, other = (r["evaluation"][mode]["forces"]["mae"] for r in (whole, killed))
        assert other == pytest.approx(one, rel=1e-6)
