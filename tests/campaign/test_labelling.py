"""Labels of a step: recorded, charged, tried again, given up, or left for later."""

import time
from concurrent.futures import Executor, Future
from threading import Event

import pytest
from stored_campaign import POOL, VERSIONS, molecule, pool, result

from mfal.campaign.config import ExecutionConfig
from mfal.campaign.labelling import Paused, TooManyFailures, label_step
from mfal.campaign.store import CampaignStore
from mfal.data import Fidelity
from mfal.oracles import LabelError, LabelResult

FIDELITIES = {"a": Fidelity("a"), "b": Fidelity("b")}


class Scripted(Executor):
    """Gives the result that `outcome` names: "fine", or the kind of an error."""

    def __init__(self, outcome):
        self.outcome, self.seen = outcome, []

    def submit(self, function, request):
        self.seen.append((request.label_id, request.fidelity.name, request.attempt))
        kind = self.outcome(request)
        future = Future()
        future.set_result(
            LabelResult(
                label_id=request.label_id,
                task=request.task,
                attempt=request.attempt,
                label=result(1) if kind == "fine" else None,
                error=None if kind == "fine" else LabelError(kind, "it went wrong"),
                wall_seconds=1.0,
                cpu_seconds=2.0,
                host="here",
                finished=time.time(),
                versions=VERSIONS,
            )
        )
        return future


@pytest.fixture
def opened(tmp_path):
    """A store whose step 1 asks for ten labels: five structures at two levels."""
    with CampaignStore(tmp_path / "campaign.sqlite") as store:
        store.add_structures(pool())
        store.open_step(
            1, "pilot", {}, [(i, n, "pilot") for n in "ab" for i in range(5)]
        )
        yield store


@pytest.fixture
def label(opened, tmp_path):
    """Labels step 1; returns what the executor was asked for and what was told."""

    def run(outcome, *, stop=None, within_budget=lambda label: True, **execution):
        executor, told = Scripted(outcome), []
        arguments = (
            opened,
            1,
            FIDELITIES,
            ExecutionConfig(**execution),
            executor,
            tmp_path / "spool",
            stop or Event(),
            told.append,
        )
        try:
            label_step(*arguments, within_budget=within_budget)
        finally:
            run.seen, run.told = executor.seen, told

    return run


def states(store):
    return [x.state for x in store.labels()]


def test_every_label_is_recorded_with_what_it_cost(opened, label):
    label(lambda request: "fine")
    assert states(opened) == ["done"] * 10
    assert [s[:2] for s in label.seen] == [
        (f"label-{x.id}", x.level) for x in opened.labels()
    ]
    for stored in opened.labels():
        assert stored.result.agrees_with(result(1))
        assert (stored.cpu_seconds, stored.host) == (2.0, "here")
        assert stored.versions == VERSIONS
    assert label.told[0] == "step 1: 1 of 10 labels"
    assert label.told[-1] == "step 1: 10 of 10 labels"
    label(lambda request: "fine")
    assert label.seen == []  # all done: nothing is asked for again


@pytest.mark.faults
def test_a_failed_label_is_tried_again_and_charged_for_each_attempt(opened, label):
    label(lambda r: "fine" if r.label_id != "label-3" or r.attempt == 2 else "crashed")
    stored = opened.label(3)
    assert (stored.state, stored.attempts, stored.cpu_seconds) == ("done", 2, 4.0)
    assert opened.event_counts() == {"retried": 1}
    assert [s for s in label.seen if s[0] == "label-3"] == [
        ("label-3", "a", 1),
        ("label-3", "a", 2),
    ]


@pytest.mark.faults
@pytest.mark.parametrize("max_attempts", [1, 3])
def test_a_label_that_always_fails_is_given_up_and_the_others_go_on(
    opened, label, max_attempts
):
    label(
        lambda r: "timeout" if r.label_id == "label-3" else "fine",
        max_attempts=max_attempts,
    )
    stored = opened.label(3)
    assert (stored.state, stored.attempts) == ("quarantined", max_attempts)
    assert stored.cpu_seconds == 2.0 * max_attempts
    assert (stored.error_kind, stored.error_message) == ("timeout", "it went wrong")
    assert states(opened).count("done") == 9


@pytest.mark.faults
@pytest.mark.parametrize(
    "kind", ["unphysical_structure", "bad_specification", "missing_package", "memory"]
)
def test_an_error_that_would_come_again_is_not_tried_again(opened, label, kind):
    label(lambda r: kind if r.label_id == "label-3" else "fine", max_attempts=5)
    assert opened.label(3).state == "quarantined"
    assert opened.label(3).attempts == 1


def test_attempts_go_on_from_where_they_were(opened, label):
    opened.start(3)
    opened.record_failure(3, "crashed", "x", 1.0, 1.0, retry=True)
    opened.start(4)
    opened.reset_running()  # its driver was killed: that was no attempt
    label(lambda request: "fine")
    attempts = {s[0]: s[2] for s in label.seen}
    assert (attempts["label-3"], attempts["label-4"]) == (2, 1)


@pytest.mark.faults
def test_without_a_budget_there_is_no_second_attempt(opened, label):
    label(
        lambda r: "crashed" if r.label_id == "label-3" else "fine",
        within_budget=lambda label: False,
    )
    stored = opened.label(3)
    assert (stored.state, stored.attempts, stored.cpu_seconds) == (
        "quarantined",
        1,
        2.0,
    )
    assert stored.error_kind == "crashed"
    assert stored.error_message == (
        "it went wrong (the budget does not pay for another attempt)"
    )
    assert states(opened).count("done") == 9


@pytest.mark.faults
def test_a_stop_keeps_what_is_finished_and_leaves_the_rest(opened, label):
    stop = Event()

    def outcome(request):
        if request.label_id == "label-4":
            stop.set()
        return "fine"

    with pytest.raises(Paused):
        label(outcome, stop=stop)
    done = states(opened).count("done")
    assert 4 <= done < 10
    opened.reset_running()
    label(lambda request: "fine")
    assert len(label.seen) == 10 - done
    assert states(opened) == ["done"] * 10


def test_a_stop_before_the_step_submits_nothing(opened, label):
    stop = Event()
    stop.set()
    with pytest.raises(Paused, match="stopped before"):
        label(lambda request: "fine", stop=stop)
    assert label.seen == []
    assert states(opened) == ["pending"] * 10


@pytest.mark.faults
@pytest.mark.parametrize(
    ("n_failing", "fraction", "stops"),
    [(5, 0.3, True), (5, 0.5, False), (4, 0.0, False), (6, 0.5, True)],
)
def test_too_many_failures_stop_the_campaign(opened, label, n_failing, fraction, stops):
    """More than the fraction, and at least five."""

    def outcome(request):
        number = int(request.label_id.removeprefix("label-"))
        return "crashed" if number <= n_failing else "fine"

    if stops:
        with pytest.raises(TooManyFailures, match=f"{n_failing} of 10 labels"):
            label(outcome, max_failed_fraction=fraction)
    else:
        label(outcome, max_failed_fraction=fraction)
    assert states(opened).count("quarantined") == n_failing
    assert states(opened).count("done") == 10 - n_failing


def test_a_request_is_the_stored_structure_at_its_level(opened, tmp_path):
    seen = []

    class Watching(Scripted):
        def submit(self, function, request):
            seen.append(request)
            return super().submit(function, request)

    label_step(
        opened,
        1,
        FIDELITIES,
        ExecutionConfig(),
        Watching(lambda r: "fine"),
        tmp_path / "spool",
        Event(),
        lambda text: None,
    )
    for request, stored in zip(seen, opened.labels(), strict=True):
        expected = molecule(POOL[stored.structure_id][0])
        assert request.atoms.positions == pytest.approx(expected.positions, abs=1e-8)
        assert request.fidelity == FIDELITIES[stored.level]
        assert request.spool == str(tmp_path / "spool")
