import json
import os
import signal
import subprocess
import sys
import time
from concurrent.futures import CancelledError, Future
from pathlib import Path

import pytest
from faulty_codes import ended
from pebble import ProcessExpired, ProcessPool

from mfal import Fidelity
from mfal.oracles import LabelPool, collect_spool, label_structure

EMT = Fidelity("emt", {"code": "emt"})
pytestmark = pytest.mark.faults


def wait_for(path):
    for _ in range(200):
        if Path(path).exists():
            return Path(path).read_text()
        time.sleep(0.05)
    raise AssertionError(f"{path} was never written")


def test_a_worker_gives_the_label_that_this_process_gives(request_of):
    with LabelPool() as pool:
        result = pool.submit(request_of(EMT)).result()
    assert result.label.agrees_with(label_structure(request_of(EMT, spool=None)).label)


def test_a_worker_has_one_thread_and_neither_torch_nor_the_main_module(
    request_of, faulty, tmp_path, monkeypatch
):
    monkeypatch.setenv("OMP_NUM_THREADS", "7")
    monkeypatch.delenv("MKL_NUM_THREADS", raising=False)
    with LabelPool() as pool:
        fidelity = faulty("Reports", note=tmp_path / "note")
        assert pool.submit(request_of(fidelity)).result().label is not None
    report = json.loads((tmp_path / "note").read_text())
    assert report["threads"]
    assert set(report["threads"]) == {1}
    assert (report["OMP_NUM_THREADS"], report["torch"]) == ("1", False)
    assert report["main"] is None
    assert os.environ["OMP_NUM_THREADS"] == "7"  # here nothing has changed
    assert "MKL_NUM_THREADS" not in os.environ


@pytest.mark.parametrize("deadly", [signal.SIGKILL, signal.SIGSEGV])
def test_a_worker_that_dies_costs_its_own_label_only(request_of, faulty, deadly):
    with LabelPool(n_workers=2) as pool:
        bad = pool.submit(request_of(faulty("Dies", with_signal=int(deadly)), "bad"))
        good = [pool.submit(request_of(EMT, f"good{i}")) for i in range(4)]
        result = bad.result()
        assert result.error.kind == "crashed"
        assert deadly.name in result.error.message
        assert all(future.result().label is not None for future in good)


def test_a_label_that_kills_its_worker_once_succeeds_the_next_time(
    request_of, faulty, tmp_path
):
    fidelity = faulty("Dies", mark=tmp_path / "mark")
    with LabelPool() as pool:
        first = pool.submit(request_of(fidelity)).result()
        second = pool.submit(request_of(fidelity, attempt=2)).result()
    assert first.error.kind == "crashed"
    assert (second.error, second.attempt) == (None, 2)


def test_a_label_that_always_kills_its_worker_always_fails_and_is_charged(
    request_of, faulty
):
    with LabelPool() as pool:
        for attempt in (1, 2, 3):
            result = pool.submit(request_of(faulty("Dies"), attempt=attempt)).result()
            assert (result.error.kind, result.attempt) == ("crashed", attempt)
            assert result.cpu_seconds > 0
            assert result.task == request_of(faulty("Dies")).task


def test_a_label_that_hangs_is_ended_with_its_children(request_of, faulty, tmp_path):
    fidelity = faulty("Hangs", note=tmp_path / "note")
    with LabelPool(timeout=1.0) as pool:
        begin = time.perf_counter()
        result = pool.submit(request_of(fidelity)).result()
        assert time.perf_counter() - begin < 15
        assert result.error.kind == "timeout"
        assert result.wall_seconds >= 1.0
        worker, child = json.loads((tmp_path / "note").read_text())
        assert ended(worker)
        assert ended(child)
        assert pool.submit(request_of(EMT, "next")).result().label is not None


def test_children_of_a_worker_that_died_are_ended(request_of, faulty, tmp_path):
    with LabelPool() as pool:
        future = pool.submit(request_of(faulty("Hangs", note=tmp_path / "note")))
        worker, child = json.loads(wait_for(tmp_path / "note"))
        os.kill(worker, signal.SIGKILL)
        assert future.result().error.kind == "crashed"
        assert ended(child)


def test_an_idle_worker_that_dies_costs_nothing(request_of, faulty, tmp_path):
    with LabelPool() as pool:
        pool.submit(request_of(faulty("Reports", note=tmp_path / "note"))).result()
        worker = json.loads((tmp_path / "note").read_text())["pid"]
        os.kill(worker, signal.SIGKILL)
        assert ended(worker)
        time.sleep(0.5)
        assert pool.submit(request_of(EMT, "next")).result().label is not None


def test_a_result_that_was_written_but_not_sent_is_taken(request_of, monkeypatch):
    """The spool outlives a worker that dies between writing and answering."""

    class DiesAfterWriting(ProcessPool):
        def schedule(self, function, args, timeout):
            self.written = function(*args)
            future = Future()
            future.set_exception(ProcessExpired("gone", code=-9))
            return future

        def join(self, timeout=None):
            """Nothing runs."""

    worker = DiesAfterWriting()
    with LabelPool() as pool:
        monkeypatch.setattr(pool, "_own_pool", lambda: worker)
        result = pool.submit(request_of(EMT)).result()
    assert result.error is None
    assert result.finished == worker.written.finished


def test_a_label_beyond_the_memory_limit_fails_and_says_so(request_of, faulty):
    with LabelPool(memory_limit=4 * 2**30) as pool:
        result = pool.submit(request_of(faulty("Hungry"))).result()
        assert result.error.kind == "memory"
        assert "64.0 GiB" in result.error.message
        assert pool.submit(request_of(EMT, "next")).result().label is not None


def test_stopping_kills_what_runs_and_forgets_the_rest(request_of, faulty, tmp_path):
    pool = LabelPool()
    running = pool.submit(request_of(faulty("Hangs", note=tmp_path / "note")))
    queued = pool.submit(request_of(EMT, "queued"))
    worker, child = json.loads(wait_for(tmp_path / "note"))
    begin = time.perf_counter()
    pool.stop()
    assert time.perf_counter() - begin < 10
    assert ended(worker)
    assert ended(child)
    assert queued.cancelled()
    with pytest.raises(CancelledError):
        running.result()


def test_an_exception_in_the_block_kills_what_runs(request_of, faulty, tmp_path):
    with pytest.raises(KeyboardInterrupt), LabelPool() as pool:
        pool.submit(request_of(faulty("Hangs", note=tmp_path / "note")))
        worker, _ = json.loads(wait_for(tmp_path / "note"))
        raise KeyboardInterrupt
    assert ended(worker)


DRIVER = """
import sys
from mfal.oracles import LabelPool, LabelRequest

with LabelPool(timeout=float(sys.argv[2])) as pool:  # without a guard, on purpose
    result = pool.submit(LabelRequest.from_json(sys.argv[1])).result()
sys.exit(result.label is None)
"""


def start_driver(request, timeout, directory):
    script = directory / "driver.py"
    script.write_text(DRIVER)
    environment = {**os.environ, "PYTHONPATH": str(Path(__file__).parent)}
    command = [sys.executable, str(script), request.to_json(), str(timeout)]
    return subprocess.Popen(command, env=environment)


def test_a_script_without_a_guard_can_use_a_pool(request_of, faulty, tmp_path):
    request = request_of(faulty("Reports", note=tmp_path / "note"))
    assert start_driver(request, 60, tmp_path).wait(60) == 0
    assert json.loads((tmp_path / "note").read_text())["main"] is None


def test_the_label_of_a_driver_that_is_killed_is_neither_lost_nor_computed_twice(
    request_of, faulty, tmp_path
):
    request = request_of(faulty("Slow", note=tmp_path / "note", seconds=2))
    driver = start_driver(request, 60, tmp_path)
    wait_for(tmp_path / "note")
    driver.kill()
    driver.wait()
    assert collect_spool(tmp_path / "spool") == []
    with LabelPool() as pool:  # the campaign is resumed while the old worker runs
        result = pool.submit(request).result()
    assert result.label is not None
    assert (tmp_path / "note").read_text() == "run\n"


def test_a_hanging_worker_whose_driver_is_killed_ends_by_itself(
    request_of, faulty, tmp_path
):
    request = request_of(faulty("Hangs", note=tmp_path / "note"))
    driver = start_driver(request, 1, tmp_path)
    worker, child = json.loads(wait_for(tmp_path / "note"))
    driver.kill()
    driver.wait()
    assert ended(worker)
    assert ended(child)


@pytest.mark.parametrize("wrong", [{"n_workers": 0}, {"threads": 0}, {"timeout": 0.0}])
def test_sizes_below_their_least_are_refused(wrong):
    with pytest.raises(ValueError, match=next(iter(wrong))):
        LabelPool(**wrong)
