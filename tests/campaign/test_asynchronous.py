"""Without waiting: free workers get labels at once, and nothing else is different."""

import json
import threading
import time
from concurrent.futures import Future, ThreadPoolExecutor
from itertools import pairwise

import pytest
from small_campaigns import BASE, DECLARED, REPLAY, InProcess, run, write_labels

from mfal.campaign import Campaign, CampaignConfig
from mfal.campaign.learning import held_levels
from mfal.campaign.reader import StoreReader
from mfal.oracles.executor import label_structure

SIZE = 30


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    folder = tmp_path_factory.mktemp("asynchronous")
    write_labels(folder, size=SIZE)
    return folder


def config_of(folder, *, asynchronous=True, workers=2, **changes):
    values = {
        **BASE,
        "levels": [{"name": n, "oracle": REPLAY} for n in ("low", "high")],
        "pool": {**BASE["pool"], "size": SIZE},
        "budget": {"cost": 110.0, "costs": DECLARED},
        "acquisition": {"batch": 4},
        "comparison": False,
        "execution": {"asynchronous": asynchronous, "workers": workers},
        **changes,
    }
    return CampaignConfig.model_validate(values, context={"folder": folder})


class Uneven(ThreadPoolExecutor):
    """Every third label takes long; counts how many run at once."""

    def __init__(self, n_workers):
        super().__init__(n_workers)
        self.n, self.running, self.idle_waits = 0, 0, 0
        self.lock = threading.Lock()

    def submit(self, function, /, request):
        with self.lock:
            self.n += 1
            pause = 0.3 if self.n % 3 == 0 else 0.0
        return super().submit(self._labelled, request, pause)

    def _labelled(self, request, pause):
        time.sleep(pause)
        return label_structure(request)


def steps_of(directory):
    reader = StoreReader(directory / "campaign.sqlite", read_only=True)
    steps, labels = reader.steps(), reader.labels()
    reader.close()
    return steps, labels


@pytest.fixture(scope="module")
def uneven(folder):
    with Uneven(2) as executor:
        directory = folder / "uneven"
        results = Campaign(config_of(folder), directory, executor=executor).run()
    return results, *steps_of(directory)


def test_a_step_is_chosen_while_labels_of_the_one_before_are_running(uneven):
    results, steps, labels = uneven
    overlapping = [s for s in steps if s.info.get("pending")]
    assert overlapping
    for step in overlapping:  # conditioned on labels asked for after its model
        since = [x for x in labels if step.info["learned"] < x.step < step.step]
        assert step.info["pending"] == len(since)
    assert all(x.state == "done" for x in labels)
    keys = [(x.structure_id, x.level) for x in labels]
    assert len(set(keys)) == len(keys)
    assert results["finished"] and all(s.state == "finished" for s in steps)
    assert results["budget"]["spent"] <= results["budget"]["total"]


def test_the_last_model_has_learned_from_every_label(uneven):
    results, steps, labels = uneven
    last = max(s.step for s in steps if "fit" in s.info)
    assert last == max(x.step for x in labels)
    bought = [x for x in labels if x.purpose != "validation"]
    n_labels = results["learning_curve"][-1]["n_labels"]
    assert sum(n_labels.values()) == len(bought)


def test_a_fit_after_steps_that_ended_together_holds_no_level_that_they_bought(
    folder, tmp_path, monkeypatch
):
    """One label comes back only after those of the next steps."""

    late_one = 2 * (BASE["pilot"] + BASE["validation"]) + 1  # the first acquired

    class Late(InProcess):
        n, first = 0, None

        def submit(self, function, *arguments):
            self.n += 1
            if self.n == late_one:
                self.first = Future(), function, arguments
                return self.first[0]
            if self.first and self.n == late_one + 10:
                future, late, its = self.first
                future.set_result(late(*its))
            return super().submit(function, *arguments)

    asked = []

    def held(steps, levels, phase, bought):
        fitted = max((s.step for s in steps if "fit" in s.info), default=0)
        asked.append((fitted, set(bought)))
        return held_levels(steps, levels, phase, bought)

    monkeypatch.setattr("mfal.campaign.campaign.held_levels", held)
    config = config_of(folder, acquisition={"batch": 2})
    Campaign(config, tmp_path, executor=Late()).run()
    steps, labels = steps_of(tmp_path)
    fits = [s.step for s in steps if "fit" in s.info]
    together = [
        (a, b) for a, b in pairwise(fits) if any(a < s.step < b for s in steps[2:])
    ]
    assert together
    for a, b in together:
        since = {
            x.level for x in labels if a < x.step <= b and x.purpose != "validation"
        }
        assert (a, since) in asked


def test_with_labels_that_take_no_time_it_chooses_what_a_campaign_in_step_does(
    folder, tmp_path
):
    """Given everything before, the first batch is the same; the rest is near it."""
    without = run(config_of(folder), tmp_path / "a")
    in_step = run(config_of(folder, asynchronous=False), tmp_path / "b")
    first = [
        [(b["structure"], b["level"]) for b in r["bought"] if b["step"] <= 3]
        for r in (without, in_step)
    ]
    assert first[0] == first[1]
    assert len(without["bought"]) == pytest.approx(len(in_step["bought"]), abs=4)


def test_a_campaign_killed_between_labels_goes_on_with_its_choices(folder, tmp_path):
    class Killed(BaseException):
        pass

    class Dying(InProcess):
        left = 20

        def submit(self, function, *arguments):
            self.left -= 1
            if self.left < 0:
                raise Killed
            return super().submit(function, *arguments)

    with pytest.raises(Killed):
        Campaign(config_of(folder), tmp_path / "killed", executor=Dying()).run()
    _, before = steps_of(tmp_path / "killed")
    run(config_of(folder), tmp_path / "killed")
    steps, labels = steps_of(tmp_path / "killed")
    after = {x.id: x for x in labels}
    for label in before:  # nothing that was asked for is asked for again or dropped
        same = after[label.id]
        assert (same.structure_id, same.level) == (label.structure_id, label.level)
        assert same.state == "done" and same.attempts == 1
    assert all(s.state == "finished" for s in steps)


def test_the_key_does_not_change_campaigns_that_do_not_use_it(folder):
    written = json.loads(config_of(folder, asynchronous=False).canonical_json())
    assert "asynchronous" not in written["execution"]
    digests = {config_of(folder, asynchronous=a).digest() for a in (True, False)}
    assert len(digests) == 2


def test_labels_by_hand_are_made_in_batches(folder):
    levels = [
        {"name": "low", "oracle": REPLAY},
        {"name": "high", "oracle": {"code": "manual", "name": "orca"}},
    ]
    with pytest.raises(ValueError, match="made by hand, batch by batch"):
        config_of(folder, levels=levels)
