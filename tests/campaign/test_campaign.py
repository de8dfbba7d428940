"""A campaign buys what its rules say, within its budget."""

import re

import numpy as np
import pytest
from small_campaigns import (
    DECLARED,
    bought,
    gains,
    pilot,
    roles,
    run,
    small_config,
    write_labels,
)

from mfal.campaign import ConfigError
from mfal.campaign.store import CampaignStore
from mfal.models.storage import load_potential


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


@pytest.mark.parametrize(
    "name", ["random", "maximum_variance", "parameter_information"]
)
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
        tmp_path,
        levels=tuple(costs),
        budget={"highest_labels": 4, "costs": costs},
        acquisition={"batch": 4},
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


@pytest.mark.parametrize("costs", [None, DECLARED], ids=["measured", "declared"])
def test_validation_may_be_paid_from_the_budget(tmp_path, costs):
    write_labels(tmp_path)
    limit = {"highest_labels": 9, "costs": costs}
    reserved = {**limit, "validation": "reserved"}
    apart = run(small_config(tmp_path, budget=limit), tmp_path / "apart")
    found = run(small_config(tmp_path, budget=reserved), tmp_path / "within")
    budget, whole = found["budget"], apart["budget"]["total"]
    assert apart["budget"]["reserved"] is None
    assert budget["total"] + budget["reserved"] == pytest.approx(whole)
    held_out = budget["outside"]["validation"]
    # its price was learned on the pilot: single labels differ by 20 % here
    assert budget["reserved"] == pytest.approx(held_out, rel=0.2)
    assert budget["spent"] <= budget["total"]
    assert budget["spent"] < apart["budget"]["spent"]
    said = " ".join(found["forecast"]["sentences"])
    assert f"Of the budget {budget['reserved']:.3g} " in said


def test_a_reserve_that_leaves_less_than_the_pilot_took_is_refused(tmp_path):
    write_labels(tmp_path)
    budget = {"highest_labels": 5, "validation": "reserved"}
    config = small_config(tmp_path, budget=budget)
    for _ in range(2):  # again on resuming
        with pytest.raises(
            ConfigError, match=r"reserved for validation.*raise the bud"
        ):
            run(config, tmp_path / "campaign")
