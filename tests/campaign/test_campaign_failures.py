"""Labels that fail cost what they cost, and the campaign goes on as long as it can."""

import numpy as np
import pytest
from small_campaigns import (
    DECLARED,
    bought,
    pilot,
    roles,
    run,
    small_config,
    write_labels,
)

from mfal import read_extxyz
from mfal.campaign import ConfigError, TooManyFailures, campaign_results


def small_config_of(folder, **changes):
    write_labels(folder)
    return small_config(folder, **changes)


def test_a_label_that_always_fails_is_quarantined_and_the_campaign_goes_on(tmp_path):
    unlucky = pilot(small_config_of(tmp_path))[1]
    write_labels(tmp_path, missing={(unlucky, "high")})
    config = small_config(tmp_path, budget={"highest_labels": 6, "costs": DECLARED})
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


@pytest.mark.faults
@pytest.mark.parametrize("bound", ["energy_window", "largest_force"])
def test_a_label_outside_the_bounds_of_its_level_is_quarantined(tmp_path, bound):
    """Row 4, the gate after labelling: a campaign may narrow it."""
    config = small_config_of(tmp_path)
    labels = read_extxyz(tmp_path / "labels.extxyz").labels
    size = {
        "energy_window": lambda label: label.energy / 3,
        "largest_force": lambda label: np.linalg.norm(label.forces, axis=1).max(),
    }[bound]
    first, *_, most = sorted(size(labels[i, "high"]) for i in pilot(config))
    edge = (first + most) / 2
    value = {"energy_window": [-1e3, edge], "largest_force": edge}[bound]
    config = small_config(
        tmp_path,
        bounds={"high": {bound: value}},
        execution={"max_failed_fraction": 1.0, "max_attempts": 1},
    )
    results = run(config, tmp_path / "campaign")
    outside = {i for i in pilot(config) if size(labels[i, "high"]) > edge}
    refused = {f["structure"]: f for f in results["failures"]}
    assert outside
    assert outside <= set(refused)
    assert {f["kind"] for f in refused.values()} == {"unphysical_label"}
    assert all(size(labels[i, "high"]) > edge for i in refused)
    taken = [i for i, level in bought(results) if level == "high"]
    assert all(size(labels[i, "high"]) <= edge for i in taken)


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


@pytest.mark.faults
@pytest.mark.parametrize("asynchronous", [False, True], ids=["in step", "stream"])
@pytest.mark.parametrize(
    ("levels", "costs", "beyond"),
    [
        (("high",), {"high": 1.0}, 5),
        (("high",), {"high": 10.0}, 25),
        (("low", "high"), DECLARED, 14),
        (("low", "high"), DECLARED, 37),
    ],
)
def test_labels_that_fail_do_not_overrun_the_budget(
    levels, costs, beyond, asynchronous, tmp_path
):
    """Four attempts each: what others of the batch will cost is set aside."""
    write_labels(tmp_path)
    config = small_config(
        tmp_path,
        levels=levels,
        budget={"cost": 3 * sum(costs.values()) + beyond, "costs": costs},
        comparison=False,
        execution={
            "asynchronous": asynchronous,
            "max_attempts": 4,
            "max_failed_fraction": 1.0,
        },
    )
    candidates = roles(config)["candidate"] - set(pilot(config))
    write_labels(tmp_path, missing={(i, v) for i in candidates for v in levels})
    results = run(config, tmp_path / "campaign")
    assert results["finished"]
    assert results["failures"]
    assert results["budget"]["spent"] <= results["budget"]["total"]
