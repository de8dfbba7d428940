"""A campaign that explores: what it gathers and buys, and that nothing ends it."""

import logging
from types import SimpleNamespace

import numpy as np
import pytest
from small_campaigns import InProcess, bought, run, small_config

from mfal.calculators import MfalCalculator
from mfal.calculators.exploring import Excursion, Flagged
from mfal.calculators.trust_record import TrustRecord
from mfal.campaign import Campaign, CampaignStore, Paused
from mfal.campaign import exploring as step
from mfal.campaign.records import StoredStep
from mfal.data import structure_key

EXPLORE = {
    "runs": 2,
    "temperatures": [300, 900],
    "steps": 30,
    "interval": 5,
    "timestep": 1.0,
    "most": 4,
    "targets": 0.5,
}
TOLERANCE = 0.03  # eV/A
WRITES = [  # the pool grows, and labels are asked for, in the steps 3 and 4
    ("extend_structures", "before", 1),
    ("extend_structures", "after", 1),
    ("extend_structures", "after", 2),
    ("open_step", "after", 4),
    ("finish_step", "before", 3),
]


def exploring(folder, explore=EXPLORE, **changes):
    """Water at one level, from a pool of small displacements."""
    values = {
        "levels": ("emt",),
        "oracle": {"code": "emt"},
        "pool": {"sampler": "rattle", "size": 16, "rattle": 0.02},
        "budget": {"cost": 70, "costs": {"emt": 10}},
        "acquisition": {"batch": 2, "tolerance": {"forces": TOLERANCE}},
        "comparison": False,
        "explore": explore,
    }
    return small_config(folder, **{**values, **changes})


def told_of(directory):
    """The structures, what was asked in which order, and the records."""
    with CampaignStore(directory / "campaign.sqlite", read_only=True) as store:
        keys = [(s.key, s.role) for s in store.structures()]
        asked = [(x.step, x.rank, x.structure_id, x.level) for x in store.labels()]
        records = [s.info.get("explored") for s in store.steps()]
    return SimpleNamespace(structures=keys, asked=asked, records=records)


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    folder = tmp_path_factory.mktemp("whole")
    said, logged = [], []
    handler = logging.Handler()
    handler.emit = lambda record: logged.append(record.getMessage())
    logger = logging.getLogger("mfal")
    logger.addHandler(handler)
    logger.setLevel(logging.INFO)
    results = run(exploring(folder), folder / "campaign", progress=said.append)
    logger.removeHandler(handler)
    logger.setLevel(logging.NOTSET)
    return SimpleNamespace(
        results=results,
        said=said,
        logged=logged,
        directory=folder / "campaign",
        **vars(told_of(folder / "campaign")),
    )


def test_what_it_gathers_stands_after_the_pool_and_is_bought(whole):
    first, *_ = whole.results["explorations"]
    assert 0 < first["gathered"] <= 4
    n = sum(e["gathered"] for e in whole.results["explorations"])
    assert len(whole.structures) == 16 + n
    assert len({key for key, _ in whole.structures}) == 16 + n
    assert any(s >= 16 for s, _ in bought(whole.results, purpose="acquired"))


def test_each_acquired_step_has_a_record_of_its_exploration(whole):
    steps = {b["step"] for b in whole.results["bought"] if b["purpose"] == "acquired"}
    assert [e["step"] for e in whole.results["explorations"]] == sorted(steps)
    for record in whole.results["explorations"]:
        assert [r["temperature"] for r in record["runs"]] == [300.0, 900.0]
        assert record["flagged"] == record["gathered"] + sum(record["refused"].values())
        for done in record["runs"]:
            assert done["steps"] <= 30
            assert done["largest_sigma"] > 0
            assert done["steps"] == 30 or done["reason"]
        assert any(record["sentence"] in line for line in whole.said)


def test_a_share_of_it_becomes_targets_where_there_are_any(whole, tmp_path):
    gathered = [role for _, role in whole.structures[16:]]
    counts = [e["targets"] for e in whole.results["explorations"]]
    assert gathered.count("target") == sum(counts) > 0
    config = exploring(
        tmp_path, acquisition={"name": "maximum_variance", "batch": 4}, targets=0
    )
    results = run(config, tmp_path / "campaign")
    assert sum(e["gathered"] for e in results["explorations"]) > 0
    assert sum(e["targets"] for e in results["explorations"]) == 0


def test_it_is_logged_once_per_step(whole):
    lines = [line for line in whole.logged if "explored" in line]
    assert len(lines) == len(whole.results["explorations"])
    assert all("largest force sigma" in line for line in lines)
    assert not any("left-out values" in line for line in whole.logged)  # no warnings


@pytest.mark.parametrize(("every", "wanted"), [(1, "3456"), (2, "35"), (3, "36")])
def test_every_nth_acquired_step_explores(tmp_path, every, wanted):
    config = exploring(tmp_path, {**EXPLORE, "every": every})
    phases = ["pilot", "validation", *["acquired"] * 4]
    steps = [StoredStep(n, p, {}, "finished") for n, p in enumerate(phases, start=1)]
    numbers = [n for n in range(3, 7) if step.due(config, steps, n)]
    assert numbers == [int(n) for n in wanted]
    assert not step.due(exploring(tmp_path, None), steps, 3)


class Crash(Exception):
    """The driver is gone."""


def crashing(monkeypatch, method, when, n):
    """The n-th call of a method of the store crashes, before or after its write."""
    original, calls = getattr(CampaignStore, method), []

    def write(store, *arguments):
        calls.append(1)
        if len(calls) == n and when == "before":
            raise Crash
        found = original(store, *arguments)
        if len(calls) == n:
            raise Crash
        return found

    monkeypatch.setattr(CampaignStore, method, write)


@pytest.mark.parametrize(("method", "when", "n"), WRITES)
def test_after_a_crash_it_makes_the_same_choices(
    whole, tmp_path, monkeypatch, method, when, n
):
    with monkeypatch.context() as patch:
        crashing(patch, method, when, n)
        with pytest.raises(Crash):
            run(exploring(tmp_path), tmp_path / "campaign")
    run(exploring(tmp_path), tmp_path / "campaign")
    again = told_of(tmp_path / "campaign")
    assert again.structures == whole.structures
    assert again.asked == whole.asked
    assert [r and r["sentence"] for r in again.records] == [
        r and r["sentence"] for r in whole.records
    ]


def test_stopped_while_exploring_it_explores_anew(whole, tmp_path):
    campaign = Campaign(
        exploring(tmp_path),
        tmp_path / "campaign",
        executor=InProcess(),
        progress=lambda text: campaign.stop() if text.endswith("exploring") else None,
    )
    with pytest.raises(Paused, match="stopped while exploring"):
        campaign.run()
    assert len(told_of(tmp_path / "campaign").structures) == 16
    run(exploring(tmp_path), tmp_path / "campaign")
    assert told_of(tmp_path / "campaign").structures == whole.structures
    assert told_of(tmp_path / "campaign").asked == whole.asked


@pytest.mark.parametrize("fault", [float("nan"), ArithmeticError("out of digits")])
def test_a_potential_that_fails_ends_the_run_and_not_the_campaign(
    tmp_path, monkeypatch, fault
):
    calculate, calls = MfalCalculator.calculate, []

    def failing(self, atoms=None, *arguments):
        calculate(self, atoms, *arguments)
        calls.append(1)
        if len(calls) > 5:
            if isinstance(fault, Exception):
                raise fault
            self.results["forces"] = np.full_like(self.results["forces"], fault)

    monkeypatch.setattr(MfalCalculator, "calculate", failing)
    results = run(exploring(tmp_path), tmp_path / "campaign")
    assert results["finished"]
    told = "out of digits" if isinstance(fault, Exception) else "finite"
    reasons = [r["reason"] for e in results["explorations"] for r in e["runs"]]
    assert all(reasons)
    assert told in reasons[-1]


def test_a_monitor_without_thresholds_is_on_record_and_the_campaign_goes_on(
    tmp_path, monkeypatch
):
    def none(calculator, **options):
        raise ValueError("there are no left-out forces")

    monkeypatch.setattr(step.ExtrapolationMonitor, "of", none)
    results = run(exploring(tmp_path), tmp_path / "campaign")
    assert results["finished"]
    for record in results["explorations"]:
        assert record["sentence"] == (
            "nothing was explored: there are no left-out forces"
        )
        assert (record["gathered"], record["runs"]) == (0, [])


def test_structures_that_cannot_be_labelled_are_refused_and_counted(
    tmp_path, monkeypatch
):
    def collapsed(start, *arguments, **options):
        near, again, moved = start.copy(), start.copy(), start.copy()
        near.positions[1] = near.positions[0]
        moved.positions[1, 0] += 0.3
        flagged = [Flagged(near, 9.0), Flagged(again, 8.0), Flagged(moved, 7.0)]
        return Excursion(TrustRecord(2.0, 10.0), flagged, None, "told so")

    monkeypatch.setattr(step, "excursion", collapsed)
    explore = {**EXPLORE, "runs": 1}
    results = run(exploring(tmp_path, explore), tmp_path / "campaign")
    first = results["explorations"][0]
    assert first["refused"] == {"unphysical": 1, "known": 1, "alike": 0, "surplus": 0}
    assert "apart" in first["unphysical"][0]
    assert first["gathered"] == 1
    keys = [key for key, _ in told_of(tmp_path / "campaign").structures]
    assert len(set(keys)) == len(keys)


@pytest.mark.parametrize("monitor", ["extrapolation", "force_sigma"])
def test_a_bias_and_either_monitor_explore_the_same_pool(tmp_path, monitor):
    explore = {**EXPLORE, "bias": 0.2, "monitor": monitor}
    if monitor == "force_sigma":
        explore |= {"soft": 0.005, "hard": 0.5}
    results = run(exploring(tmp_path, explore), tmp_path / "campaign")
    first = results["explorations"][0]
    assert first["gathered"] > 0
    assert set(first["thresholds"]) == (
        {"force sigma", "mahalanobis", "leverage", "grade"}
        if monitor == "extrapolation"
        else set()
    )


def test_the_threshold_of_the_force_sigma_is_the_tolerance_at_the_most(whole):
    limits = [e["thresholds"]["force sigma"] for e in whole.results["explorations"]]
    assert max(limits) == TOLERANCE


def test_structures_keep_to_the_digits_of_the_store(whole):
    with CampaignStore(whole.directory / "campaign.sqlite", read_only=True) as store:
        for stored in store.structures():
            assert stored.key == structure_key(stored.atoms)


def test_without_waiting_it_explores_with_the_last_model_that_is_whole(tmp_path):
    execution = {"asynchronous": True, "workers": 2}
    results = run(exploring(tmp_path, execution=execution), tmp_path / "campaign")
    told = told_of(tmp_path / "campaign")
    gathered = sum(e["gathered"] for e in results["explorations"])
    assert len(told.structures) == 16 + gathered > 16
    assert any(s >= 16 for s, _ in bought(results, purpose="acquired"))
    assert results["finished"]
    again = run(exploring(tmp_path, execution=execution), tmp_path / "campaign")
    assert told_of(tmp_path / "campaign").asked == told.asked
    assert again["explorations"] == results["explorations"]


def test_without_waiting_a_crash_while_exploring_changes_no_choice(
    tmp_path, monkeypatch
):
    execution = {"asynchronous": True, "workers": 1}
    run(exploring(tmp_path, execution=execution), tmp_path / "whole")
    with monkeypatch.context() as patch, pytest.raises(Crash):
        crashing(patch, "extend_structures", "after", 1)
        run(exploring(tmp_path, execution=execution), tmp_path / "killed")
    run(exploring(tmp_path, execution=execution), tmp_path / "killed")
    a, b = (told_of(tmp_path / name) for name in ("whole", "killed"))
    assert a.structures == b.structures
    assert a.asked == b.asked
