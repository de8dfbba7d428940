"""A campaign that was paused goes on where it was."""

import json
import os
import shutil
import signal

import numpy as np
import pytest
from small_campaigns import (
    InProcess,
    bought,
    gains,
    pilot,
    roles,
    run,
    small_config,
    water,
    write_labels,
)

from mfal.campaign import Campaign, Paused, campaign_results
from mfal.data.artefact import ArtefactError
from mfal.models import load_potential


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


def test_a_campaign_pauses_while_its_pool_is_drawn(tmp_path):
    write_labels(tmp_path)
    pool = {"size": 16, "interval": 5, "equilibration": 10}
    config, told = small_config(tmp_path, oracle={"code": "emt"}, pool=pool), []
    campaign = Campaign(config, tmp_path / "campaign", executor=InProcess())

    def look(text):
        told.append(text)
        if text == "drawing the pool: 3 of 16 geometries":
            campaign.stop()

    campaign.progress = look
    with pytest.raises(Paused, match="drawn anew"):
        campaign.run()
    assert told[-1] == "drawing the pool: 3 of 16 geometries"


def test_a_finished_campaign_is_left_as_it_is(swept):
    again = run(swept.config, swept.directory)
    for key in ("bought", "evaluation", "learning_curve", "budget", "stopping_reason"):
        assert again[key] == swept.results[key]
    written = json.loads((swept.directory / "results.json").read_text())
    assert written == again


@pytest.mark.faults
@pytest.mark.parametrize("damage", ["cut", "flipped", "gone"])
def test_the_model_of_a_finished_campaign_is_made_anew_from_the_store(
    swept, tmp_path, damage
):
    directory = tmp_path / "campaign"
    shutil.copytree(swept.directory, directory)
    before = load_potential(directory / "model")
    (arrays,) = (directory / "model").rglob("arrays.npz")
    content = bytearray(arrays.read_bytes())
    if damage == "gone":
        shutil.rmtree(directory / "model")
    else:
        content[len(content) // 2] ^= 8
        arrays.write_bytes(content if damage == "flipped" else content[:500])
        with pytest.raises(ArtefactError):
            load_potential(directory / "model")
    told = []
    again = run(swept.config, directory, progress=told.append)
    assert again["bought"] == swept.results["bought"]
    assert any("made anew from the store" in text for text in told)
    after = load_potential(directory / "model")
    mine, theirs = (m.predict([water(99)]) for m in (after, before))
    np.testing.assert_allclose(mine.forces, theirs.forces, rtol=1e-8, atol=1e-10)
    np.testing.assert_allclose(mine.forces_sigma, theirs.forces_sigma, rtol=1e-8)


def test_another_seed_makes_another_campaign(swept, tmp_path):
    write_labels(tmp_path)
    config = small_config(tmp_path, seed=1)
    assert pilot(config) != pilot(swept.config)
    assert roles(config) != roles(swept.config)
