"""A campaign stops when what was asked for holds, also if it was killed on the way."""

import json
from itertools import pairwise
from types import SimpleNamespace

import pytest
from small_campaigns import BASE, REPLAY, gains, run, write_labels
from typer.testing import CliRunner

from mfal.campaign import CampaignConfig, campaign_results
from mfal.campaign.choosing import assign_roles
from mfal.cli import app
from mfal.report import write_report

SIZE = 30
ASKED = {"forces_rmse": 0.4, "energy_mae": 0.02, "patience": 2}


class Killed(BaseException):
    pass


def config_of(folder, **changes):
    """One level, the cost of 15 labels at the most."""
    changes = {
        "pilot": 5,
        "validation": 5,
        "pool": {**BASE["pool"], "size": SIZE},
        "budget": {"cost": 150.0, "costs": {"high": 10.0}},
        "comparison": False,
        "stopping": ASKED,
        **changes,
    }
    values = {**BASE, "levels": [{"name": "high", "oracle": REPLAY}], **changes}
    return CampaignConfig.model_validate(values, context={"folder": folder})


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    folder = tmp_path_factory.mktemp("stopping")
    write_labels(folder, size=SIZE)
    return folder


@pytest.fixture(scope="module")
def stopped(folder):
    told = []
    results = run(config_of(folder), folder / "whole", progress=told.append)
    return SimpleNamespace(results=results, told=told, directory=folder / "whole")


def met_in(results, **targets):
    """Whether each step of the learning curve met the targets, from its record."""
    found = []
    for point in results["learning_curve"]:
        (errors,) = point["judged"].values()
        found.append(all(errors[k]["bound"] <= v for k, v in targets.items()))
    return found


def test_it_stops_as_soon_as_the_targets_were_met_in_two_steps_in_a_row(stopped):
    met = met_in(stopped.results, forces_rmse=0.4, energy_mae=0.02)
    assert met[-2:] == [True, True]
    assert [True, True] not in [met[i : i + 2] for i in range(len(met) - 2)]
    budget = stopped.results["budget"]
    assert budget["spent"] < budget["total"] - 10.0


def test_the_reason_is_written_where_the_user_looks(stopped):
    reason = stopped.results["stopping_reason"]
    assert reason.startswith("what was asked for held in 2 steps in a row: energy MAE")
    assert "eV/A (" in reason and "within 0.4 eV/A" in reason
    written = json.loads((stopped.directory / "results.json").read_text())
    assert written["stopping_reason"] == reason
    said = CliRunner().invoke(app, ["status", str(stopped.directory)]).output
    assert reason in " ".join(said.split())
    page = write_report(campaign_results(stopped.directory), stopped.directory)
    assert "What was asked for" in page.read_text()
    assert "force RMSE" in page.read_text()


def test_how_far_it_is_from_stopping_is_told_on_the_way(stopped):
    goes_on = [text for text in stopped.told if "it goes on, since" in text]
    assert len(goes_on) == len(stopped.results["learning_curve"]) - 1
    (asked,) = stopped.results["stopping"]
    assert asked["steps_met"] == asked["patience"] == 2
    assert [c["met"] for c in asked["conditions"]] == [True, True]
    assert asked["errors"].endswith("configurations")


def test_it_buys_until_then_what_it_would_have_bought_without_the_rule(stopped, folder):
    whole = run(config_of(folder, stopping=()), folder / "without")
    assert whole["stopping_reason"].startswith("the budget is spent")
    n = len(gains(stopped.results))
    assert gains(whole)[:n] == gains(stopped.results)
    assert len(gains(whole)) > n


@pytest.mark.faults
@pytest.mark.parametrize("last", [-1, -4])
def test_killed_before_it_stops_it_stops_at_the_same_label(stopped, folder, last):
    """Killed as it says the n-th last sentence: the decision is derived again."""
    place = folder / f"killed{last}"
    fatal = len(stopped.told) + last
    heard = []

    def kill(text):
        heard.append(text)
        if len(heard) == fatal + 1:
            raise Killed

    with pytest.raises(Killed):
        run(config_of(folder), place, progress=kill)
    assert not campaign_results(place)["finished"]
    again = run(config_of(folder), place)
    assert [g[:4] for g in gains(again)] == [g[:4] for g in gains(stopped.results)]
    assert again["stopping_reason"] == stopped.results["stopping_reason"]


def test_run_again_after_it_stopped_it_stays_stopped(stopped, folder):
    again = run(config_of(folder), stopped.directory)
    assert gains(again) == gains(stopped.results)
    assert again["stopping_reason"] == stopped.results["stopping_reason"]


def test_targets_out_of_reach_end_with_the_budget(folder):
    budget = {"cost": 70.0, "costs": {"high": 10.0}}
    made = config_of(folder, stopping={"forces_rmse": 1e-9}, budget=budget)
    results = run(made, folder / "unreached")
    assert results["stopping_reason"].startswith("the budget is spent")
    (asked,) = results["stopping"]
    assert asked["steps_met"] == 0 and not asked["conditions"][0]["met"]


def test_held_out_labels_judge_if_they_are_asked_to(folder):
    asked = {"forces_rmse": 5.0, "errors": "validation", "patience": 1}
    results = run(config_of(folder, stopping=asked), folder / "heldout")
    first = results["learning_curve"][0]["judged"]["validation standalone 0.5"]
    assert first == {"n": 0}  # they are bought after the pilot
    assert len(results["learning_curve"]) == 2
    assert results["stopping_reason"].startswith("what was asked for held in 1 step")


def test_a_batch_that_gains_too_little_is_the_last(folder):
    asked = {"marginal_value": 1e6, "patience": 1}
    results = run(config_of(folder, stopping=asked), folder / "marginal")
    assert len(results["learning_curve"]) == 2  # the pilot chose nothing by gain
    assert "gain per cost" in results["stopping_reason"]


def test_errors_are_predicted_at_probes_that_never_get_a_label(folder):
    asked = {**ASKED, "errors": "predicted"}
    config = config_of(folder, stopping=asked, probes=6, targets=4)
    results = run(config, folder / "probes")
    probes = {i for i, role in enumerate(assign_roles(config, SIZE)) if role == "probe"}
    assert len(probes) == 6
    assert not probes & {b["structure"] for b in results["bought"]}
    met = met_in(results, forces_rmse=0.4, energy_mae=0.02)
    in_a_row = [a and b for a, b in pairwise(met)]
    assert in_a_row.index(True) == len(met) - 2
    (errors,) = results["learning_curve"][-1]["judged"].values()
    assert errors["n_probes"] == 6


# --- the section


def test_without_the_section_the_configuration_is_what_it_was(folder):
    assert "stopping" not in json.loads(config_of(folder, stopping=()).canonical_json())
    digests = {config_of(folder, stopping=s).digest() for s in ((), ASKED)}
    assert len(digests) == 2


@pytest.mark.parametrize(
    "section, message",
    [
        ({"patience": 3}, "nothing is asked for: give one or more of energy_mae"),
        ({"force_rmse": 0.1}, "did you mean 'forces_rmse'"),
        ({"forces_rmse": 0.0}, "greater than 0"),
        ({"ece": 1.0}, "less than 1"),
        ({"ece": 0.1, "confidence": 0.3}, "greater than or equal to 0.5"),
        ({"ece": 0.1, "errors": "test"}, "'predicted' or 'validation'"),
        ({"ece": 0.1, "deployment": "at_hand"}, "stopping.deployment: there is no low"),
    ],
)
def test_a_section_that_cannot_be_is_refused(folder, section, message):
    with pytest.raises(ValueError, match=message):
        config_of(folder, stopping=section)


def test_predicted_errors_need_probes(folder):
    asked = {"ece": 0.1, "errors": "predicted"}
    with pytest.raises(ValueError, match="raise probes to 5 at least"):
        config_of(folder, stopping=asked, probes=4)
    with pytest.raises(ValueError, match="20 probes and 5 held out leave 2 candidates"):
        config_of(folder, stopping=asked)


def test_validation_without_held_out_labels_is_refused(folder):
    asked = {"ece": 0.1, "errors": "validation"}
    with pytest.raises(ValueError, match="raise validation to 5 at least"):
        config_of(folder, stopping=asked, validation=3)


def test_random_labels_have_no_marginal_value(folder):
    asked = [{"ece": 0.1}, {"marginal_value": 0.1}]
    with pytest.raises(ValueError, match=r"stopping\[1\].marginal_value: random"):
        config_of(folder, stopping=asked, acquisition={"name": "random"})


def test_forces_that_the_highest_level_does_not_give_have_no_target(folder):
    level = {"name": "high", "oracle": REPLAY, "quantities": ["energy"]}
    with pytest.raises(ValueError, match="gives no forces: leave this target out"):
        config_of(folder, levels=[level])
