"""What may still be taken: of the machine, of a job's control group, under RLIMIT_AS."""

import subprocess
import sys
from types import SimpleNamespace

import numpy as np
import psutil
import pytest
from ase.build import bulk

from mfal.data import Fidelity, Label, LabelledDataset
from mfal.descriptors import Soap
from mfal.models import LinearPotential, SparsePotential
from mfal.models.memory import (
    TooLargeError,
    available_bytes,
    check_bytes,
    check_memory,
    control_groups,
)
from mfal.models.sparse import check_fit_memory

GROUP = "/slurm/job_7"


def test_matrices_of_doubles_are_what_a_model_takes():
    assert check_memory(1000, what="a model", matrices=2.0) == 2 * 1000 * 1000 * 8


def test_the_refusal_says_what_is_needed_what_is_there_and_what_to_do(monkeypatch):
    free = SimpleNamespace(available=3 * 2**29)
    monkeypatch.setattr(psutil, "virtual_memory", lambda: free)
    monkeypatch.setattr("mfal.models.memory.control_groups", lambda: iter(()))
    told = r"a model needs 2\.0 GiB, 1\.5 GiB are free: buy more"
    with pytest.raises(TooLargeError, match=told):
        check_bytes(2 * 2**30, what="a model", advice="buy more")


@pytest.mark.faults
def test_a_limit_of_the_address_space_counts():
    """Row 8: a fit that the machine would hold, in a process with a low limit."""
    pytest.importorskip("resource")
    code = (
        "import resource, psutil\n"
        "from mfal.models.memory import TooLargeError, available_bytes, check_memory\n"
        "check_memory(5_000, what='a fit')\n"
        "limit = psutil.Process().memory_info().vms + 2**27\n"
        "resource.setrlimit(resource.RLIMIT_AS, (limit, limit))\n"
        "assert 2**26 < available_bytes() <= 2**27\n"
        "try:\n"
        "    check_memory(5_000, what='a fit')\n"
        "except TooLargeError as error:\n"
        "    print(error)\n"
    )
    run = [sys.executable, "-c", code]
    said = subprocess.run(run, check=True, capture_output=True, text=True).stdout
    assert said.startswith("a fit of 5000 rows needs 0.3 GiB, 0.1 GiB are free: use")


@pytest.fixture
def cgroup(tmp_path):
    """Writes the files of a control group of version 1 or 2 and its parents."""

    def write(version, limits, place=GROUP):
        names = {
            1: (
                "memory.limit_in_bytes",
                "memory.usage_in_bytes",
                "total_inactive_file",
            ),
            2: ("memory.max", "memory.current", "inactive_file"),
        }[version]
        root = tmp_path / "cgroup"
        for folder, (limit, usage, cached) in limits.items():
            group = (root / "memory" if version == 1 else root) / folder
            group.mkdir(parents=True, exist_ok=True)
            (group / names[0]).write_text(f"{limit}\n")
            (group / names[1]).write_text(f"{usage}\n")
            (group / "memory.stat").write_text(f"anon 5\n{names[2]} {cached}\n")
        own = tmp_path / "self"
        line = {1: f"4:cpu,memory:{place}", 2: f"0::{place}"}[version]
        own.write_text(f"3:cpuset:/\n{line}\n")
        return list(control_groups(root, own))

    return write


@pytest.mark.faults
@pytest.mark.parametrize("version", [1, 2])
def test_the_limits_of_a_job_and_of_those_around_it_count(cgroup, version):
    limits = {"slurm/job_7": (1000, 300, 100), "slurm": (5000, 4700, 0)}
    assert cgroup(version, limits) == [800, 300]  # what is cached is free


def test_a_group_without_a_limit_or_out_of_sight_bounds_nothing(cgroup):
    assert cgroup(2, {"slurm/job_7": ("max", 300, 0)}) == []
    assert cgroup(2, {}, place="/elsewhere") == []


def test_without_control_groups_nothing_is_bounded(tmp_path):
    assert list(control_groups(tmp_path, tmp_path / "self")) == []


def test_never_less_than_nothing_is_there(monkeypatch):
    monkeypatch.setattr("mfal.models.memory.control_groups", lambda: iter([-5]))
    assert available_bytes() == 0


def labelled_copper(n_levels):
    structures = [bulk("Cu", cubic=True) for _ in range(2)]
    structures[1].rattle(0.1, seed=0)
    levels = tuple(Fidelity(f"level{k}") for k in range(n_levels))
    label = Label(-1.0, np.zeros((4, 3)))
    labels = {(i, level.name): label for i in range(2) for level in levels}
    return LabelledDataset(tuple(structures), levels, labels)


def test_a_sparse_fit_takes_matrices_of_all_levels_and_sums_of_each():
    one, two = (check_fit_memory(labelled_copper(n), 98) for n in (1, 2))
    assert one == 8 * 100**2 * (16 + 2)
    assert two == 8 * 100**2 * (16 * 4 + 4)


@pytest.mark.faults
def test_a_sparse_fit_that_would_not_fit_is_refused_before_anything_is_computed(
    monkeypatch,
):
    """Row 8, for the model that is advised where the exact one is too large."""
    dataset = labelled_copper(2)
    monkeypatch.setattr("mfal.models.memory.available_bytes", lambda: 1000)
    monkeypatch.setattr(SparsePotential, "__init__", lambda *_: pytest.fail("built"))
    told = r"a fit of 8 features at 2 levels needs .* GiB are free: use fewer inducing"
    with pytest.raises(TooLargeError, match=told):
        SparsePotential.fit(dataset)
    soap = Soap(["Cu"], cutoffs=(3.0,))
    with pytest.raises(TooLargeError, match=r"a fit of \d+ features at 2 levels"):
        LinearPotential.fit(dataset, soap)
