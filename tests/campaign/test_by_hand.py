"""Campaigns whose labels of one level are made by hand."""

import json

import pytest
from small_campaigns import (
    DECLARED,
    InProcess,
    bought,
    gains,
    run,
    small_config,
    write_labels,
)
from typer.testing import CliRunner

from mfal import Fidelity, LabelledDataset, read_extxyz, write_extxyz
from mfal.campaign import Campaign, CampaignConfig, Paused, campaign_results
from mfal.campaign.labelling import WaitingForResults
from mfal.cli import app
from mfal.cli.errors import verdict
from mfal.data import structure_key

BY_HAND = {"code": "manual", "name": "a code far away"}


def by_hand_config(folder, **changes):
    """The small campaign with its high level by hand."""
    write_labels(folder)
    budget = {"highest_labels": 6, "costs": DECLARED}
    values = {"budget": budget, "validation": 0, **changes}
    base = small_config(folder, **values).model_dump(mode="json")
    base["levels"][1]["oracle"] = BY_HAND
    base["pool"] = {k: base["pool"][k] for k in ("sampler", "path", "size")}
    return CampaignConfig.model_validate(base, context={"folder": folder})


def waiting(directory):
    """The folders of structures that wait for a result."""
    return [
        path.parent
        for path in sorted(directory.glob("manual/*/*/structure.extxyz"))
        if not (path.parent / "result.extxyz").exists()
    ]


def answer(folder, **changes):
    """What the code far away gives: the label that the other tests replay."""
    known = read_extxyz(folder.parents[3] / "labels.extxyz")
    (atoms,) = read_extxyz(
        folder / "structure.extxyz", labels_required=False
    ).structures
    keys = [structure_key(structure) for structure in known.structures]
    label = known.labels[keys.index(structure_key(atoms)), "high"]
    path = folder / "result.extxyz"
    level = Fidelity("high")
    write_extxyz(path, LabelledDataset((atoms,), (level,), {(0, "high"): label}))
    words = "".join(f"{key}={value} " for key, value in changes.items())
    path.write_text(path.read_text().replace("Properties", f"{words}Properties"))


def paused(config, directory):
    campaign = Campaign(config, directory, executor=InProcess())
    with pytest.raises(WaitingForResults) as pause:
        campaign.run()
    return pause.value


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    """A campaign that was answered whenever it waited; how often that was."""
    folder = tmp_path_factory.mktemp("by_hand")
    config, directory, times = by_hand_config(folder), folder / "campaign", 0
    while True:
        try:
            results = Campaign(config, directory, executor=InProcess()).run()
            return folder, results, times
        except Paused:
            times += 1
            for structure in waiting(directory):
                answer(structure)


def test_it_pauses_for_results_and_goes_on_with_them(finished):
    _, results, times = finished
    assert results["finished"]
    assert times == len({b["step"] for b in results["bought"] if b["level"] == "high"})
    assert results["failures"] == []


def test_it_makes_the_choices_of_a_campaign_whose_labels_were_replayed(
    finished, tmp_path
):
    _, results, _ = finished
    write_labels(tmp_path)
    budget = {"highest_labels": 6, "costs": DECLARED}
    replayed = run(
        small_config(tmp_path, budget=budget, validation=0), tmp_path / "campaign"
    )
    assert bought(results) == bought(replayed)
    assert gains(results) == gains(replayed)


def test_the_pause_says_what_to_do_and_is_exit_code_3(tmp_path):
    pause = paused(by_hand_config(tmp_path), tmp_path / "campaign")
    code, line = verdict(pause)
    assert code == 3
    folder = tmp_path / "campaign" / "manual" / "step-1-high"
    assert "3 labels of high are to be made by hand: put a result into" in line
    assert str(folder) in line
    assert "run the same command again" in line
    manifest = json.loads((folder / "manifest.json").read_text())
    assert len(manifest["structures"]) == 3
    assert manifest["level"]["oracle"] == BY_HAND
    # the labels that a machine makes are done meanwhile
    counts = campaign_results(tmp_path / "campaign")["n_labels"]
    assert (counts["low"]["done"], counts["high"]["pending"]) == (3, 3)
    said = CliRunner().invoke(app, ["status", str(tmp_path / "campaign")]).output
    assert "3 labels of high wait for results in the folder `manual`" in said


def test_it_takes_a_part_of_the_results_and_waits_for_the_rest(tmp_path):
    config, directory = by_hand_config(tmp_path), tmp_path / "campaign"
    paused(config, directory)
    first, *_ = waiting(directory)
    answer(first)
    assert str(paused(config, directory)).startswith("2 labels of high")
    assert str(paused(config, directory)).startswith("2 labels of high")  # no-op
    counts = campaign_results(directory)["n_labels"]["high"]
    assert (counts["done"], counts["pending"]) == (1, 2)


@pytest.mark.faults
def test_a_refused_result_is_one_failed_attempt_however_often_it_is_found(tmp_path):
    config, directory = by_hand_config(tmp_path), tmp_path / "campaign"
    paused(config, directory)
    first, *_ = waiting(directory)
    answer(first, converged="F")
    for _ in range(3):
        told = str(paused(config, directory))
        assert f"{first.name}/result.extxyz: not_converged" in told
    results = campaign_results(directory)
    assert results["events"] == {"retried": 1}
    assert results["budget"]["spent_per_level"]["high"] == DECLARED["high"]  # charged
    answer(first)  # a better result in its place
    assert str(paused(config, directory)).startswith("2 labels of high")
    assert campaign_results(directory)["n_labels"]["high"]["done"] == 1


@pytest.mark.faults
def test_a_label_that_is_given_up_by_hand_is_quarantined_and_the_others_go_on(tmp_path):
    config = by_hand_config(tmp_path, execution={"max_attempts": 1})
    directory = tmp_path / "campaign"
    paused(config, directory)
    first, *others = waiting(directory)
    (first / "failed.txt").write_text("no SCF in 3 days")
    for other in others:
        answer(other)
    with pytest.raises(Paused):
        Campaign(config, directory, executor=InProcess()).run()
    (failure,) = campaign_results(directory)["failures"]
    assert failure["state"] == "quarantined"
    assert "no SCF in 3 days" in failure["message"]


@pytest.mark.faults
def test_a_result_in_the_folder_of_another_structure_is_refused(tmp_path):
    """Promise 4: a wrong label does not enter the training set."""
    config, directory = by_hand_config(tmp_path), tmp_path / "campaign"
    paused(config, directory)
    one, two, _ = waiting(directory)
    answer(one)
    (two / "result.extxyz").write_text((one / "result.extxyz").read_text())
    told = str(paused(config, directory))
    assert f"{two.name}/result.extxyz: wrong_result" in told
    assert campaign_results(directory)["n_labels"]["high"]["done"] == 1
