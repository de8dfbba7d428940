"""Campaigns on executors of other engines: a cluster of dask on this machine."""

import gc
import json
import os
import py_compile
import runpy
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from threading import Event

import pytest
from ase.build import bulk
from faulty_codes import ended
from small_campaigns import DECLARED, bought, gains, run, small_config, write_labels

from benchmarks.local_dask import local_client
from mfal import Fidelity
from mfal.campaign import Campaign, Paused
from mfal.campaign import campaign as campaign_module
from mfal.campaign.config import ExecutionConfig
from mfal.campaign.labelling import label_step
from mfal.campaign.store import CampaignStore
from mfal.oracles import GuardedExecutor, LabelPool, LabelRequest, Leases

CLUSTER = Path(__file__).parents[2] / "tutorials" / "cluster"
ALLOWED = ("faulty_codes",)


@pytest.fixture(scope="module")
def client():
    """Two workers of one thread; a task that kills its worker is not tried again."""
    pytest.importorskip("distributed", reason="needs mfal[dask]")
    with local_client(2) as client:
        yield client


def copper(seed):
    atoms = bulk("Cu", cubic=True)
    atoms.rattle(0.05, seed=seed)
    return atoms


def faulty(name, **arguments):
    arguments = {k: v if k == "seconds" else str(v) for k, v in arguments.items()}
    specification = {"code": "python", "factory": f"faulty_codes:{name}"}
    return Fidelity("faulty", {**specification, "arguments": arguments})


def labelled(folder, fidelity, executor, n=4, *, stop=None, leases=None, **execution):
    """The store of a step of `n` labels of a level, labelled by an executor."""
    store = CampaignStore(folder / "campaign.sqlite")
    if not store.structures():
        store.add_structures([(copper(seed), "candidate") for seed in range(n)])
        store.open_step(1, "pilot", {}, [(i, fidelity.name, "pilot") for i in range(n)])
    label_step(
        store,
        1,
        {fidelity.name: fidelity},
        ExecutionConfig(**execution),
        executor,
        folder / "spool",
        stop or Event(),
        lambda text: None,
        allowed_modules=(*ALLOWED, "ase.calculators.emt"),
        leases=leases,
    )
    return store


@pytest.mark.slow
def test_a_campaign_on_a_cluster_makes_the_choices_of_one_in_this_process(
    client, tmp_path
):
    write_labels(tmp_path)
    config = small_config(tmp_path, budget={"highest_labels": 5, "costs": DECLARED})
    here = run(config, tmp_path / "here")
    executor = client.get_executor()
    there = Campaign(config, tmp_path / "there", executor=executor).run()
    assert bought(there) == bought(here)
    assert gains(there) == gains(here)


@pytest.mark.faults
def test_a_worker_of_a_cluster_that_is_killed_costs_its_label_one_attempt(
    client, tmp_path
):
    """Row 5: the killed label is tried once more, the others are untouched."""
    fidelity = faulty("Dies", mark=tmp_path / "mark")
    store = labelled(tmp_path, fidelity, client.get_executor(), workers=1)
    with store:
        labels = store.labels()
        assert [x.state for x in labels] == ["done"] * 4
        assert [x.attempts for x in labels] == [2, 1, 1, 1]
        assert store.event_counts() == {"retried": 1}
        assert "KilledWorker" in store.events()[0].message


@pytest.mark.faults
@pytest.mark.slow
def test_a_label_that_kills_two_workers_is_quarantined(client, tmp_path):
    fidelity = faulty("Dies")
    with labelled(tmp_path, fidelity, client.get_executor(), n=1) as store:
        (label,) = store.labels()
        assert (label.state, label.attempts) == ("quarantined", 2)
        assert label.error_kind == "crashed"


# --- each label in a process of its own


def pids(client):
    client.wait_for_workers(2)  # one may still come back from the test before
    return sorted(client.run(os.getpid).values())


@pytest.mark.faults
@pytest.mark.slow
def test_guarded_a_label_that_hangs_is_ended_with_its_children_and_holds_no_worker(
    client, tmp_path
):
    """Row 6, on an executor that cannot kill."""
    before = pids(client)
    fidelity = faulty("Hangs", note=tmp_path / "note")
    executor = GuardedExecutor(client.get_executor(), timeout=10.0)
    with labelled(tmp_path, fidelity, executor, n=1, max_attempts=1) as store:
        (label,) = store.labels()
        assert (label.state, label.error_kind) == ("quarantined", "timeout")
        assert label.error_message == "not finished in 10 seconds"
    hung = json.loads((tmp_path / "note").read_text())
    assert len(hung) == 2 and all(ended(pid) for pid in hung)
    assert not set(hung) & set(before)
    assert pids(client) == before  # nothing was restarted


@pytest.mark.faults
def test_guarded_a_crash_costs_its_label_one_attempt_and_no_worker(client, tmp_path):
    before = pids(client)
    fidelity = faulty("Dies", mark=tmp_path / "mark")
    executor = GuardedExecutor(client.get_executor(), timeout=60.0)
    with labelled(tmp_path, fidelity, executor, workers=1) as store:
        labels = store.labels()
        assert [x.state for x in labels] == ["done"] * 4
        assert [x.attempts for x in labels] == [2, 1, 1, 1]
        assert "the worker died of SIGKILL" in store.events()[0].message
    assert pids(client) == before


def test_guarded_threads_label_in_a_child_that_is_kept_and_leaves_with_them(
    tmp_path, monkeypatch
):
    made = []

    class Counted(LabelPool):
        def __init__(self, *arguments, **options):
            made.append(options)
            super().__init__(*arguments, **options)

    monkeypatch.setattr("mfal.oracles.guarded.LabelPool", Counted)
    level = faulty("Reports", note=tmp_path / "note")
    with (
        GuardedExecutor(ThreadPoolExecutor(1), timeout=60.0, threads=3) as executor,
        labelled(tmp_path, level, executor) as store,
    ):
        assert [x.state for x in store.labels()] == ["done"] * 4
    assert made == [{"timeout": 60.0, "memory_limit": None, "threads": 3}]
    told = json.loads((tmp_path / "note").read_text())
    assert told["pid"] != os.getpid() and told["OMP_NUM_THREADS"] == "3"
    del executor  # it holds its threads, and they their children
    gc.collect()
    assert ended(told["pid"])


def test_a_guard_has_sane_limits_and_runs_labels_only():
    with pytest.raises(ValueError, match="the timeout is above 0 seconds"):
        GuardedExecutor(ThreadPoolExecutor(1), timeout=-1.0)
    request = LabelRequest.of("1", copper(0), Fidelity("emt"))
    with (
        GuardedExecutor(ThreadPoolExecutor(1)) as executor,
        pytest.raises(TypeError, match="runs label_structure"),
    ):
        executor.submit(lambda _: None, request)


@pytest.mark.faults
def test_a_late_result_of_a_cluster_is_taken_while_its_label_is_open(client, tmp_path):
    """Row 13: given up after a lease of 1 s, back after 2 s, its second attempt out."""
    fidelity = faulty("Slow", note=tmp_path / "note", seconds=2)
    leases = Leases(1.0)
    executor = client.get_executor()
    with labelled(tmp_path, fidelity, executor, n=1, leases=leases) as store:
        (label,) = store.labels()
        assert (label.state, label.attempts) == ("done", 2)
        assert label.host is not None
        assert store.event_counts() == {"retried": 1}
        # the second attempt waited for the first and took its result from the spool
        assert (tmp_path / "note").read_text() == "run\n"


@pytest.mark.faults
def test_a_thread_that_hangs_is_given_up_and_its_late_result_is_taken(tmp_path):
    """Its second attempt waits for the only thread, and is not needed any more."""
    fidelity = faulty("Slow", note=tmp_path / "note", seconds=1.0)
    with (
        ThreadPoolExecutor(1) as executor,
        labelled(tmp_path, fidelity, executor, n=1, leases=Leases(0.3)) as store,
    ):
        (label,) = store.labels()
        assert (label.state, label.attempts) == ("done", 2)
        assert store.event_counts() == {"retried": 1}
    assert (tmp_path / "note").read_text() == "run\n"


@pytest.mark.faults
def test_a_result_that_comes_after_its_label_was_given_up_is_logged_and_ignored(
    tmp_path,
):
    fidelity = faulty("Slow", note=tmp_path / "note", seconds=1.0)
    leases = Leases(0.3)
    with ThreadPoolExecutor(2) as executor:
        with labelled(
            tmp_path, fidelity, executor, n=1, leases=leases, max_attempts=1
        ) as store:
            assert store.labels()[0].state == "quarantined"
            (late,) = leases.late
            assert late.result(timeout=10).label is not None
        store = CampaignStore(tmp_path / "campaign.sqlite")
        with store:
            before = store.labels()[0]
            ask_again(store, leases, executor, tmp_path)
            assert store.labels()[0].state == before.state == "quarantined"
            assert store.event_counts()["late"] == 1


def ask_again(store, leases, executor, folder):
    """Another step of the same campaign, with the same leases."""
    level = Fidelity("emt", {"code": "emt"})
    store.open_step(3, "acquired", {}, [(0, "emt", "acquired")])
    label_step(
        store,
        3,
        {"emt": level},
        ExecutionConfig(),
        executor,
        folder / "spool",
        Event(),
        lambda text: None,
        leases=leases,
    )


@pytest.mark.faults
@pytest.mark.slow
def test_a_driver_that_stops_leaves_the_labels_of_a_cluster_to_the_spool(
    client, tmp_path
):
    """Row 10: what still runs is not lost, nor computed again by the next driver."""
    fidelity = faulty("Slow", note=tmp_path / "note", seconds=1.5)
    stop = Event()

    def stop_soon():
        while not (tmp_path / "note").exists():
            time.sleep(0.02)
        stop.set()

    with ThreadPoolExecutor(1) as thread:
        thread.submit(stop_soon)
        with pytest.raises(Paused):
            labelled(tmp_path, fidelity, client.get_executor(), n=1, stop=stop)
    with CampaignStore(tmp_path / "campaign.sqlite") as store:
        store.reset_running()
    with labelled(tmp_path, fidelity, client.get_executor(), n=1) as store:
        assert store.labels()[0].state == "done"
    assert (tmp_path / "note").read_text() == "run\n"


def test_executorlib_labels_as_any_executor_does(tmp_path):
    executorlib = pytest.importorskip("executorlib")
    level = Fidelity("emt", {"code": "emt"})
    with (
        executorlib.SingleNodeExecutor(
            max_workers=2, block_allocation=True
        ) as executor,
        labelled(tmp_path, level, executor) as store,
    ):
        assert [x.state for x in store.labels()] == ["done"] * 4


@pytest.mark.parametrize("script", sorted(CLUSTER.glob("*.py")), ids=lambda p: p.name)
def test_the_examples_of_clusters_are_valid_python(script, tmp_path):
    py_compile.compile(str(script), cfile=str(tmp_path / "x.pyc"), doraise=True)


@pytest.mark.slow
def test_the_example_of_a_local_cluster_runs(tmp_path, monkeypatch, capsys):
    pytest.importorskip("distributed", reason="needs mfal[dask]")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("SMOKE_TEST", "1")
    runpy.run_path(str(CLUSTER / "dask_local.py"), run_name="__main__")
    assert "the budget is spent" in capsys.readouterr().out


class Recorded(RuntimeError):
    """Of a pool that was asked for."""


@pytest.mark.faults
def test_the_memory_of_a_label_reaches_the_workers(tmp_path, monkeypatch):
    def pool(*arguments, **options):
        raise Recorded(options)

    monkeypatch.setattr(campaign_module, "LabelPool", pool)
    write_labels(tmp_path)
    plain = small_config(tmp_path)
    limited = small_config(tmp_path, execution={"memory": 1.5})
    for config, limit in ((plain, None), (limited, 3 * 2**29)):
        with pytest.raises(Recorded) as told:
            Campaign(config, tmp_path / str(limit)).run()
        assert told.value.args[0]["memory_limit"] == limit
    assert "memory" not in plain.canonical_json()  # campaigns of before are resumed
