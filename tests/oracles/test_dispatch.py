import time
from concurrent.futures import Executor, Future, ThreadPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from threading import Event, get_ident

import pytest

from mfal import Fidelity
from mfal.oracles import LabelPool, label_all, label_structure

EMT = Fidelity("emt", {"code": "emt"})


class Scripted(Executor):
    """Keeps futures open until the test ends them."""

    def __init__(self):
        self.open = {}

    def submit(self, function, request):
        future = Future()
        self.open[request.label_id] = (future, lambda: function(request))
        return future

    def finish(self, name):
        future, run = self.open.pop(name)
        future.set_running_or_notify_cancel()
        future.set_result(run())


def test_any_executor_labels_all_and_results_arrive_in_this_thread(request_of):
    requests = [request_of(EMT, f"l{i}") for i in range(12)]
    arrived = []

    def take(result):
        arrived.append((result.label_id, get_ident()))

    with ThreadPoolExecutor(3) as executor:
        label_all(executor, requests, take)
    assert sorted(arrived) == sorted((r.label_id, get_ident()) for r in requests)


@pytest.mark.faults
def test_failed_labels_arrive_like_the_others(request_of, faulty):
    requests = [
        request_of(EMT, "good"),
        request_of(faulty("Dies"), "dies"),
        request_of(faulty("Raises"), "raises"),
    ]
    results = {}
    with LabelPool(n_workers=2) as pool:
        label_all(pool, requests, lambda r: results.update({r.label_id: r}))
    kinds = {name: r.error.kind if r.error else None for name, r in results.items()}
    assert kinds == {"good": None, "dies": "crashed", "raises": "code_error"}


def test_the_next_request_is_chosen_with_the_results_so_far(request_of):
    arrived, known = [], []

    def requests():
        for i in range(4):
            known.append(list(arrived))
            yield request_of(EMT, f"l{i}")

    with ThreadPoolExecutor(1) as executor:
        label_all(executor, requests(), lambda r: arrived.append(r.label_id), at_once=1)
    assert known == [[], ["l0"], ["l0", "l1"], ["l0", "l1", "l2"]]


def test_no_more_than_asked_are_under_way(request_of):
    under_way = []

    class Lazy(Scripted):
        """Finishes what is open only when there are three."""

        def submit(self, function, request):
            future = super().submit(function, request)
            under_way.append(len(self.open))
            if len(self.open) == 3:
                for name in tuple(self.open):
                    self.finish(name)
            return future

    requests = [request_of(EMT, f"l{i}") for i in range(6)]
    label_all(Lazy(), requests, lambda result: None, at_once=3)
    assert under_way == [1, 2, 3, 1, 2, 3]


@pytest.mark.faults
def test_after_the_stop_what_is_finished_is_handed_over_and_the_rest_cancelled(
    request_of,
):
    executor, stop, arrived = Scripted(), Event(), []

    def requests():
        for name in ("finished", "too", "waiting", "never"):
            if name == "never":
                executor.finish("finished")
                executor.finish("too")
            yield request_of(EMT, name)

    def on_result(result):
        arrived.append(result.label_id)
        stop.set()

    label_all(executor, requests(), on_result, stop=stop, at_once=4)
    assert arrived == ["finished", "too"]
    assert {name: f.cancelled() for name, (f, _) in executor.open.items()} == {
        "waiting": True,
        "never": True,
    }


@pytest.mark.faults
def test_a_stop_is_noticed_while_labels_run(request_of):
    """SIGTERM must not wait for a label of hours."""
    executor, stop = Scripted(), Event()

    def requests():
        yield request_of(EMT, "long")
        stop.set()

    begin = time.perf_counter()
    label_all(executor, requests(), lambda result: None, stop=stop)
    assert time.perf_counter() - begin < 5


@pytest.mark.faults
def test_a_label_whose_executor_broke_is_a_crash(request_of):
    class Broken(Executor):
        def submit(self, function, request):
            future = Future()
            future.set_exception(BrokenProcessPool("gone"))
            return future

    results = []
    label_all(Broken(), [request_of(EMT)], results.append)
    assert results[0].error.kind == "crashed"
    assert "gone" in results[0].error.message


def test_a_mistake_in_the_callback_is_not_swallowed(request_of):
    def fail(result):
        raise KeyError(result.label_id)

    with pytest.raises(KeyError), ThreadPoolExecutor(1) as executor:
        label_all(executor, [request_of(EMT)], fail)


def test_the_function_that_workers_run_is_the_public_one(request_of):
    seen = []

    class Spy(Scripted):
        def submit(self, function, request):
            seen.append(function)
            future = super().submit(function, request)
            self.finish(request.label_id)
            return future

    label_all(Spy(), [request_of(EMT)], lambda result: None)
    assert seen == [label_structure]
