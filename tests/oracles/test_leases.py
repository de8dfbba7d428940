"""Executors that cannot kill: labels that are given up, and what they report later."""

import time
from concurrent.futures import CancelledError as Cancelled
from concurrent.futures import Executor, Future
from threading import Timer

import pytest

from mfal import Fidelity
from mfal.oracles import Leases, label_all, label_structure
from mfal.oracles.spool import has_begun, note_begin

EMT = Fidelity("emt", {"code": "emt"})
pytestmark = pytest.mark.faults


class Remote(Executor):
    """Says nothing of what runs, like dask; the test begins and ends labels."""

    def __init__(self, script=None):
        self.submitted, self.script = [], script or (lambda *_: None)

    def submit(self, function, request):
        future = Future()
        self.submitted.append((request, future))
        self.script(len(self.submitted), request, future)
        return future

    def finish(self, number):
        request, future = self.submitted[number]
        future.set_result(label_structure(request))


@pytest.fixture
def clock(monkeypatch):
    """Seconds that pass only when they are told to."""
    now = [0.0]
    monkeypatch.setattr("mfal.oracles.leases.time.monotonic", lambda: now[0])
    return now


def kinds(results):
    return [(r.label_id, r.error.kind if r.error else "label") for r in results]


def test_a_label_that_is_kept_too_long_is_given_up_and_charged(request_of):
    executor, results = Remote(lambda n, request, _: note_begin(request)), []
    leases = Leases(0.4)
    begin = time.monotonic()
    label_all(executor, [request_of(EMT)], results.append, leases=leases)
    assert time.monotonic() - begin < 10
    assert kinds(results) == [("a", "timeout")]
    assert results[0].cpu_seconds >= 0.4
    assert list(leases.late.values()) == [request_of(EMT)]


def test_the_time_in_a_queue_is_not_counted(request_of, clock):
    """Nobody has begun the label: neither its future nor the spool say so."""
    request, leases = request_of(EMT), Leases(10.0)
    running = {Future(): request}
    for clock[0] in (0.0, 100.0, 200.0):
        assert leases.expire(running) == []
    note_begin(request)
    clock[0] = 300.0
    assert leases.expire(running) == []  # it is seen that it has begun
    clock[0] = 305.0
    assert leases.expire(running) == []
    clock[0] = 311.0
    assert leases.expire(running) == [(request, 11.0)]
    assert running == {}


def test_a_future_that_says_that_it_runs_starts_the_clock(request_of, clock):
    future, leases = Future(), Leases(10.0)
    future.set_running_or_notify_cancel()
    running = {future: request_of(EMT, spool=None)}
    assert leases.expire(running) == []
    clock[0] = 11.0
    assert [seconds for _, seconds in leases.expire(running)] == [11.0]


def test_a_note_of_another_attempt_is_no_beginning(request_of):
    note_begin(request_of(EMT))
    assert has_begun(request_of(EMT))
    assert not has_begun(request_of(EMT, attempt=2))
    assert not has_begun(request_of(EMT, spool=None))
    label_structure(request_of(EMT))
    assert not has_begun(request_of(EMT))


def given_up(request):
    """A label that was given up after 5 seconds and is still out."""
    leases, future = Leases(5.0), Future()
    leases.late[future] = request
    return leases, future


def test_a_late_label_is_handed_over_without_what_was_charged(request_of):
    leases, late = given_up(request_of(EMT, spool=None))
    results = []

    def script(number, request, future):
        from dataclasses import replace

        late.set_result(replace(label_structure(request), cpu_seconds=7.0))

    executor = Remote(script)
    label_all(executor, [request_of(EMT, attempt=2)], results.append, leases=leases)
    assert kinds(results) == [("a", "label")]
    assert results[0].attempt == 2
    assert results[0].cpu_seconds == 2.0
    assert executor.submitted[0][1].cancelled()  # nobody needs the second attempt


def test_a_second_attempt_that_runs_is_not_waited_for(request_of):
    leases, late = given_up(request_of(EMT, spool=None))
    results = []

    def script(number, request, future):
        future.set_running_or_notify_cancel()
        late.set_result(label_structure(request_of(EMT, spool=None)))

    executor = Remote(script)
    label_all(executor, [request_of(EMT, attempt=2)], results.append, leases=leases)
    assert kinds(results) == [("a", "label")]
    assert list(leases.late) == [executor.submitted[0][1]]


def test_a_late_failure_is_not_told_again(request_of, faulty):
    leases, late = given_up(request_of(faulty("Raises"), spool=None))
    late.set_result(label_structure(request_of(faulty("Raises"), spool=None)))
    results = []
    executor = Remote(lambda n, r, future: future.set_result(label_structure(r)))
    label_all(executor, [request_of(EMT, "b")], results.append, leases=leases)
    assert kinds(results) == [("b", "label")]
    assert not leases.late


@pytest.mark.parametrize(("at_once", "expected"), [(5, 2), (2, 1)])
def test_workers_that_are_held_up_count_but_one_label_always_goes_on(
    request_of, at_once, expected
):
    """Three workers are held up by labels that were given up."""
    leases = Leases(5.0)
    for name in ("x", "y", "z"):
        leases.late[Future()] = request_of(EMT, name)
    open_at_once = []

    def script(number, request, future):
        open_at_once.append(sum(not f.done() for _, f in executor.submitted))
        result = label_structure(request)
        Timer(0.1, future.set_result, [result]).start()

    executor = Remote(script)
    requests = [request_of(EMT, f"l{i}") for i in range(4)]
    results = []
    label_all(executor, requests, results.append, at_once=at_once, leases=leases)
    assert len(results) == 4
    assert max(open_at_once) == expected


@pytest.mark.parametrize("error", [RuntimeError("killed worker"), Cancelled()])
def test_whatever_an_executor_raises_costs_its_label_only(request_of, error):
    def script(number, request, future):
        if number == 1:
            future.set_exception(error)
        else:
            future.set_result(label_structure(request))

    results = []
    requests = [request_of(EMT, name) for name in ("bad", "good")]
    label_all(Remote(script), requests, results.append)
    assert kinds(results) == [("bad", "crashed"), ("good", "label")]


def test_a_label_that_its_executor_cancelled_is_not_lost(request_of):
    def script(number, request, future):
        future.cancel()
        future.set_running_or_notify_cancel()

    results = []
    label_all(Remote(script), [request_of(EMT)], results.append)
    assert kinds(results) == [("a", "crashed")]


@pytest.mark.parametrize("seconds", [0.0, -1.0, float("nan")])
def test_a_lease_of_no_time_is_refused(seconds):
    with pytest.raises(ValueError, match="above 0 seconds"):
        Leases(seconds)
