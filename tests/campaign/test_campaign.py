"""A campaign buys what its rules say, survives what fails, and refuses what cannot be."""

import json
import os
import re
import signal
import sys

import ase.io
import numpy as np
import pytest
from small_campaigns import DECLARED, InProcess, run, small_config, water, write_labels

from mfal.campaign import (
    Campaign,
    CampaignLocked,
    ConfigError,
    Paused,
    TooManyFailures,
    campaign_results,
)
from mfal.campaign.choosing import assign_roles, pilot_requests
from mfal.campaign.records import StoredStructure
from mfal.campaign.store import CampaignStore
from mfal.models.storage import load_potential


def bought(results, **wanted):
    """(structure, level) of what was bought, in order."""
    return [
        (b["structure"], b["level"])
        for b in results["bought"]
        if all(b[key] == value for key, value in wanted.items())
    ]


def roles(config):
    found = assign_roles(config, config.pool.size)
    return {r: {i for i, x in enumerate(found) if x == r} for r in set(found)}


def pilot(config):
    """The structures of the pilot."""
    stored = [
        StoredStructure(i, water(i), role, str(i))
        for i, role in enumerate(assign_roles(config, config.pool.size))
    ]
    return sorted({r.structure_id for r in pilot_requests(config, stored)})


def gains(results):
    return [
        (b["step"], b["rank"], b["structure"], b["level"], b["gain"])
        for b in results["bought"]
        if b["purpose"] != "validation"
    ]


# --- what is bought


def test_the_pilot_is_paired(swept):
    low = {i for i, level in bought(swept.results, purpose="pilot") if level == "low"}
    high = {i for i, level in bought(swept.results, purpose="pilot") if level == "high"}
    assert low == high == set(pilot(swept.config))
    assert low <= roles(swept.config)["candidate"]


def test_above_the_ratio_the_pool_is_labelled_at_the_low_level_first(swept):
    own = roles(swept.config)
    low = {i for i, level in bought(swept.results) if level == "low"}
    assert low == set(range(16))
    assert set(bought(swept.results, purpose="sweep")) == {
        (i, "low")
        for i in own["candidate"] | own["target"]
        if i not in pilot(swept.config)
    }
    steps = [b["step"] for b in swept.results["bought"] if b["purpose"] == "sweep"]
    later = [b for b in swept.results["bought"] if b["purpose"] == "acquired"]
    assert later and all(b["step"] > max(steps) for b in later)
    assert {b["level"] for b in later} == {"high"}
    cheaper = (
        "low is 10[0-9] times cheaper than high: the pool is labelled at low first"
    )
    assert re.match(cheaper, swept.results["plan"][1])


def test_below_the_ratio_both_levels_are_candidates(tmp_path):
    write_labels(tmp_path)
    config = small_config(tmp_path, budget={"highest_labels": 5, "costs": DECLARED})
    results = run(config, tmp_path / "campaign")
    assert bought(results, purpose="sweep") == []
    acquired = bought(results, purpose="acquired")
    assert {level for _, level in acquired} == {"low", "high"}
    assert len(set(acquired)) == len(acquired)
    targets = roles(config)["target"]
    assert not {(i, "high") for i in targets} & set(acquired)
    assert results["budget"]["spent"] <= results["budget"]["total"] == 50


def test_a_useless_low_level_is_left_after_the_pilot(tmp_path):
    write_labels(tmp_path, useless_low=True)
    results = run(small_config(tmp_path), tmp_path / "campaign")
    assert not results["diagnosis"]["useful"]
    assert {level for _, level in bought(results, purpose="acquired")} == {"high"}
    assert {level for _, level in bought(results, purpose="validation")} == {"high"}
    assert bought(results, purpose="sweep") == []
    assert results["model"]["levels"] == ["high"]
    assert [len(point["rho"]) for point in results["learning_curve"]] == [0, 0]
    assert load_potential(tmp_path / "campaign" / "model").levels == ("high",)


def test_a_useless_low_level_changes_nothing_of_what_is_chosen(tmp_path):
    """As if the level had never been there, but for the pilot's cost."""
    choices = []
    for name, levels in (("two", ("low", "high")), ("one", ("high",))):
        write_labels(tmp_path / name, useless_low=True)
        budget = {
            "cost": 6.5,
            "costs": {n: {"low": 0.001, "high": 1}[n] for n in levels},
        }
        config = small_config(tmp_path / name, levels=levels, budget=budget)
        results = run(config, tmp_path / name / "campaign")
        choices.append([g[2:] for g in gains(results) if g[3] == "high"])
    assert [c[:2] for c in choices[0]] == [c[:2] for c in choices[1]]
    two, one = ([c[2] for c in some if c[2] is not None] for some in choices)
    assert two == pytest.approx(one, rel=1e-8)
    assert len(one) == 3


def test_held_out_labels_are_neither_charged_nor_learned_from(swept, tmp_path):
    """Nonsense in their place changes the errors, and nothing that is bought."""
    heldout = roles(swept.config)["heldout"]
    assert {i for i, _ in bought(swept.results, purpose="validation")} == heldout
    write_labels(tmp_path, spoiled=heldout)
    other = run(small_config(tmp_path), tmp_path / "campaign")
    assert gains(other) == gains(swept.results)
    assert other["budget"]["spent"] == swept.results["budget"]["spent"]
    assert other["model"]["rho"] == swept.results["model"]["rho"]
    errors = [
        r["evaluation"]["at_hand"]["forces"]["mae"] for r in (other, swept.results)
    ]
    assert errors[0] > 10 * errors[1]


def test_the_budget_is_spent_and_not_overrun_by_a_label(swept):
    budget = swept.results["budget"]
    charged = [
        b["cost"] for b in swept.results["bought"] if b["purpose"] != "validation"
    ]
    assert budget["spent"] == pytest.approx(sum(charged))
    assert budget["total"] - 120 < budget["spent"] < budget["total"] + 120
    assert budget["outside"]["validation"] > 240
    assert swept.results["stopping_reason"].startswith("the budget is spent")


def test_choosing_is_better_informed_with_every_step(swept):
    errors = [
        point["heldout"]["standalone"]["forces"]["mae"]
        for point in swept.results["learning_curve"]
        if point["heldout"]
    ]
    assert errors[-1] < 1.1 * errors[0]
    evaluation = swept.results["evaluation"]
    for mode in ("standalone", "at_hand"):
        assert evaluation[mode]["forces"]["mae"] < 0.1
        assert 0.3 < evaluation[mode]["forces"]["z_std"] < 3


def test_the_saved_potential_is_the_one_that_was_evaluated(swept):
    model = load_potential(swept.directory / "model")
    with CampaignStore(swept.directory / "campaign.sqlite", read_only=True) as store:
        heldout = [s for s in store.structures() if s.role == "heldout"]
        truth = {x.structure_id: x.result for x in store.labels(purpose="validation")}
        high = {
            x.structure_id: x.result
            for x in store.labels(purpose="validation", level="high")
        }
    assert truth.keys() == high.keys()
    found = model.predict([s.atoms for s in heldout])
    mae = np.mean(np.abs(found.forces - [high[s.id].forces for s in heldout]))
    expected = swept.results["evaluation"]["standalone"]["forces"]["mae"]
    assert mae == pytest.approx(expected, rel=1e-4)


@pytest.mark.parametrize("name", ["random", "maximum_variance"])
def test_one_level_and_another_acquisition_work_too(tmp_path, name):
    write_labels(tmp_path)
    config = small_config(
        tmp_path, levels=("high",), targets=0, acquisition={"name": name, "batch": 2}
    )
    results = run(config, tmp_path / "campaign")
    assert results["finished"]
    assert results["model"]["levels"] == ["high"]
    assert set(results["evaluation"]) == {"n_structures", "standalone"}
    assert results["cost_ratio"] is None and results["diagnosis"] is None
    assert len(bought(results, purpose="acquired")) >= 2


def test_three_levels_work_too(tmp_path):
    write_labels(tmp_path)
    costs = {"low": 1.0, "middle": 3.0, "high": 40.0}
    config = small_config(
        tmp_path, levels=tuple(costs), budget={"highest_labels": 4, "costs": costs}
    )
    results = run(config, tmp_path / "campaign")
    assert results["finished"]
    assert len(results["rho"]) == 2
    assert bought(results, purpose="sweep") == [
        (i, "low")
        for i in sorted(roles(config)["candidate"] | roles(config)["target"])
        if i not in pilot(config)
    ]
    assert {level for _, level in bought(results, purpose="acquired")} <= {
        "middle",
        "high",
    }


def test_a_pool_that_is_all_labelled_ends_the_campaign(tmp_path):
    write_labels(tmp_path)
    config = small_config(
        tmp_path,
        levels=("high",),
        pool={"sampler": "file", "path": "pool.extxyz", "size": 10},
        targets=2,
        budget={"highest_labels": 50},
    )
    results = run(config, tmp_path / "campaign")
    assert results["stopping_reason"].startswith("nothing is left to buy")
    assert len(bought(results, purpose="acquired")) == 10 - 2 - 3 - 3


def test_the_campaign_says_what_it_does(swept):
    told = swept.told
    assert told[0] == "step 1: choosing (pilot)"
    assert "step 1: 6 of 6 labels" in told
    assert told.index("step 1: learning") < told.index("step 2: choosing (validation)")
    assert swept.results["plan"][0] in told
    assert "step 3: 10 of 10 labels" in told
    assert told[-1] == "comparing with random and single-level labels"


# --- labels that fail


def test_a_label_that_always_fails_is_quarantined_and_the_campaign_goes_on(tmp_path):
    unlucky = pilot(small_config_of(tmp_path))[1]
    write_labels(tmp_path, missing={(unlucky, "high")})
    config = small_config(tmp_path, budget={"highest_labels": 7, "costs": DECLARED})
    results = run(config, tmp_path / "campaign")
    (failure,) = results["failures"]
    assert (failure["structure"], failure["level"]) == (unlucky, "high")
    assert (failure["state"], failure["kind"]) == ("quarantined", "not_in_replay")
    assert failure["attempts"] == config.execution.max_attempts == 2
    assert results["finished"]
    assert (unlucky, "high") not in bought(results)
    high = [b for b in bought(results) if b[1] == "high"]
    n_budgeted = len(high) - 3
    # both attempts were charged
    assert results["budget"]["spent_per_level"]["high"] == 10.0 * (n_budgeted + 2)
    assert results["budget"]["spent"] <= results["budget"]["total"]
    assert results["n_labels"]["high"]["quarantined"] == 1
    assert results["events"]["quarantined"] == 1


def small_config_of(folder, **changes):
    write_labels(folder)
    return small_config(folder, **changes)


def test_failed_labels_are_not_tried_again_once_the_budget_is_spent(tmp_path):
    """The last batch fails: its second attempts would overrun the budget."""
    config = small_config_of(
        tmp_path,
        budget={"highest_labels": 5, "costs": DECLARED},
        levels=("low", "high"),
    )
    config = small_config(
        tmp_path,
        levels=("high",),
        budget={"highest_labels": 5, "costs": {"high": 10.0}},
        execution={"max_attempts": 4, "max_failed_fraction": 1.0},
    )
    missing = {(i, "high") for i in roles(config)["candidate"] - set(pilot(config))}
    write_labels(tmp_path, missing=missing)
    results = run(config, tmp_path / "campaign")
    assert results["finished"]
    assert results["budget"]["spent"] <= results["budget"]["total"] == 50
    assert [f["attempts"] for f in results["failures"]] == [1, 1]
    assert "does not pay for another attempt" in results["failures"][0]["message"]


def test_too_many_failures_stop_the_campaign(tmp_path):
    config = small_config_of(tmp_path)
    missing = {(i, "low") for i in roles(config)["candidate"] - set(pilot(config))}
    write_labels(tmp_path, missing=missing)
    with pytest.raises(TooManyFailures, match=r"of \d+ labels were given up.*30 %"):
        run(config, tmp_path / "campaign")
    # what was bought before stands
    assert len(bought(campaign_results(tmp_path / "campaign"), purpose="pilot")) == 6


@pytest.mark.parametrize("costs", [None, DECLARED], ids=["measured", "declared"])
def test_without_any_pilot_label_of_the_highest_level_nothing_can_be_learned(
    tmp_path, costs
):
    config = small_config_of(tmp_path, budget={"highest_labels": 7, "costs": costs})
    write_labels(tmp_path, missing={(i, "high") for i in pilot(config)})
    with pytest.raises(
        ConfigError, match="every pilot label of the highest level 'high'"
    ):
        run(config, tmp_path / "campaign")


@pytest.mark.parametrize("costs", [None, DECLARED], ids=["measured", "declared"])
def test_a_low_level_without_any_pilot_label_is_left(tmp_path, costs):
    config = small_config_of(
        tmp_path, budget={"highest_labels": 7, "costs": costs}, validation=0
    )
    write_labels(tmp_path, missing={(i, "low") for i in pilot(config)})
    results = run(config, tmp_path / "campaign")
    assert results["plan"] == [
        "every pilot label of low failed: the low level is left."
    ]
    assert results["finished"]
    assert results["model"]["levels"] == ["high"]


def test_replayed_labels_without_costs_ask_for_declared_ones(tmp_path):
    write_labels(tmp_path, costs=False)
    with pytest.raises(ConfigError, match=r"carry no cost: declare `budget.costs`"):
        run(small_config(tmp_path), tmp_path / "campaign")


# --- refused before anything is written


BAD = {
    "an element that the method does not know": (
        {
            "levels": ("high",),
            "oracle": {"code": "emt"},
            "system": {"molecule": "SiH4"},
        },
        "EMT knows .*, not Si",
    ),
    "a package that is not there": (
        {"levels": ("high",), "oracle": {"code": "tblite", "method": "GFN2-xTB"}},
        "tblite is not installed: pip install",
    ),
    "an unknown option": (
        {"levels": ("high",), "oracle": {"code": "emt", "speed": 2}},
        "unknown option 'speed'",
    ),
    "a file that holds no such level": (
        {"levels": ("ccsd",)},
        "holds no level 'ccsd'",
    ),
    "too few geometries": (
        {"pool": {"sampler": "file", "path": "pool.extxyz", "size": 17}},
        "holds 16 structures, 17 are wanted",
    ),
    "another molecule": (
        {"system": {"molecule": "H2O2"}},
        "holds H2O, the system is H2O2",
    ),
    "a molecule whose atoms change their order": (
        {"pool": {"sampler": "file", "path": "mixed.extxyz", "size": 16}},
        r"structure 15 of .*mixed.extxyz: .*molecule OHH with its atoms in that order",
    ),
}


@pytest.mark.parametrize("case", BAD)
def test_what_cannot_be_run_is_refused_before_anything_is_written(
    tmp_path, monkeypatch, case
):
    changes, message = BAD[case]
    write_labels(tmp_path)
    mixed = [water(i) for i in range(15)] + [water(15)[[1, 0, 2]]]
    ase.io.write(tmp_path / "mixed.extxyz", mixed)
    monkeypatch.setitem(sys.modules, "tblite", None)
    monkeypatch.setitem(sys.modules, "tblite.ase", None)
    config = small_config(tmp_path, **changes)
    with pytest.raises(ValueError, match=message):
        run(config, tmp_path / "campaign")
    assert not (tmp_path / "campaign").exists()


def test_another_configuration_on_the_same_directory_is_refused(swept):
    folder = swept.config.folder
    before = (swept.directory / "results.json").read_text()
    other = small_config(folder, seed=1)
    with pytest.raises(
        ConfigError, match="with another configuration: give another --dir"
    ):
        run(other, swept.directory)
    assert (swept.directory / "results.json").read_text() == before


def test_a_second_driver_is_refused_while_the_first_one_runs(tmp_path):
    write_labels(tmp_path)
    config, refused = small_config(tmp_path, levels=("high",)), []

    def intrude(text):
        if text == "step 1: learning":
            with pytest.raises(CampaignLocked, match=f"process {os.getpid()}"):
                run(config, tmp_path / "campaign")
            refused.append(campaign_results(tmp_path / "campaign"))

    assert run(config, tmp_path / "campaign", progress=intrude)["finished"]
    assert refused[0]["n_labels"]["high"]["done"] == 3  # status works meanwhile


# --- paused and resumed


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_pauses_and_the_next_run_goes_on(swept, tmp_path, number):
    """In the middle of the sweep; then to the end, with the same choices."""
    write_labels(tmp_path)
    config, handler = small_config(tmp_path), signal.getsignal(number)

    def terminate(text):
        if text == "step 3: 5 of 10 labels":
            os.kill(os.getpid(), number)

    with pytest.raises(Paused):
        run(config, tmp_path / "campaign", progress=terminate)
    assert signal.getsignal(number) is handler
    before = campaign_results(tmp_path / "campaign")
    assert not before["finished"]
    assert 5 <= before["n_labels"]["low"]["done"] - 6 < 10
    results = run(config, tmp_path / "campaign")
    assert results["finished"]
    assert results["execution"]["resumed"] == 1
    assert bought(results) == bought(swept.results)
    mine, theirs = (
        [g[-1] for g in gains(r) if g[-1]] for r in (results, swept.results)
    )
    assert mine == pytest.approx(theirs, rel=1e-8)


def test_a_campaign_that_was_stopped_can_be_run_again(tmp_path):
    write_labels(tmp_path)
    config, told = small_config(tmp_path, levels=("high",), validation=0), []
    campaign = Campaign(
        config, tmp_path / "campaign", executor=InProcess(), progress=told.append
    )
    campaign.progress = lambda text: campaign.stop()
    with pytest.raises(Paused):
        campaign.run()
    campaign.progress = told.append
    assert campaign.run()["finished"]


def test_a_finished_campaign_is_left_as_it_is(swept):
    again = run(swept.config, swept.directory)
    for key in ("bought", "evaluation", "learning_curve", "budget", "stopping_reason"):
        assert again[key] == swept.results[key]
    written = json.loads((swept.directory / "results.json").read_text())
    assert written == again


def test_another_seed_makes_another_campaign(swept, tmp_path):
    write_labels(tmp_path)
    config = small_config(tmp_path, seed=1)
    assert pilot(config) != pilot(swept.config)
    assert roles(config) != roles(swept.config)
