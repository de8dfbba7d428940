"""A campaign from its file, and what is seen of it from outside."""

import json

import pytest
from small_campaigns import write_labels, write_yaml

from mfal.campaign import ConfigError, campaign_results, load_campaign, run_campaign


def test_a_file_is_run_in_a_directory_of_its_name_and_seen_while_it_runs(
    tmp_path, monkeypatch
):
    monkeypatch.chdir(tmp_path)
    write_labels(tmp_path)
    path = write_yaml(tmp_path, validation=0, budget={"highest_labels": 4})
    seen = []

    def look(text):
        if text.startswith("step 2: learning"):
            seen.append(campaign_results(tmp_path / "campaigns" / "water"))

    directory, results = run_campaign(path, progress=look)
    assert directory.resolve() == tmp_path / "campaigns" / "water"
    assert results["finished"] and results["name"] == "water"
    written = json.loads((directory / "results.json").read_text())
    assert written == results
    now = campaign_results(directory)
    assert {**now, "updated": None} == {**results, "updated": None}
    (before,) = seen
    assert not before["finished"]
    assert 0 < before["budget"]["spent"] <= results["budget"]["spent"]
    assert results["execution"]["workers"] == load_campaign(path).execution.workers


def test_a_directory_without_a_campaign_is_told_so(tmp_path):
    with pytest.raises(ValueError, match="holds no campaign: give the directory"):
        campaign_results(tmp_path)


def test_a_file_with_a_fault_writes_nothing(tmp_path):
    write_labels(tmp_path)
    path = write_yaml(tmp_path, pilots=3)
    with pytest.raises(ConfigError, match="unknown key 'pilots': did you mean 'pilot'"):
        run_campaign(path, tmp_path / "campaign")
    assert not (tmp_path / "campaign").exists()


def test_a_campaign_of_any_sampler_can_be_looked_at(swept):
    """The configuration in the store is read again, with the pool's file."""
    assert campaign_results(swept.directory)["finished"]
