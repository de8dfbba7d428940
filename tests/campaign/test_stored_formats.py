"""What version 0.1 wrote can be read: a campaign of water as it stood on disk.

`tests/files/campaign_of_0_1` was written by a campaign of `small_campaigns` (two levels of
Morse potentials, declared costs, four labels at the higher one) when its formats were the
first ones. It is not written again when a format changes: that is what this is about.
"""

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
from small_campaigns import bought, water

from mfal.campaign import CampaignStore, campaign_results
from mfal.models import load_potential
from mfal.report import write_report

STORED = Path(__file__).parents[1] / "files" / "campaign_of_0_1"
pytestmark = pytest.mark.faults


@pytest.fixture
def stored(tmp_path):
    return Path(shutil.copytree(STORED, tmp_path / "campaign"))


@pytest.fixture(scope="module")
def expected():
    return json.loads((STORED / "expected.json").read_text())


def test_its_store_is_read(stored, expected):
    results = campaign_results(stored)
    assert results["finished"]
    assert results["n_labels"] == expected["n_labels"]
    assert results["budget"]["spent"] == expected["spent"]
    assert [list(pair) for pair in bought(results)] == expected["bought"]


def test_its_store_is_opened_for_writing(stored, expected):
    with CampaignStore(stored / "campaign.sqlite") as store:
        assert store.counts() == expected["n_labels"]


def test_its_model_predicts_what_it_did(stored, expected):
    told = load_potential(stored / "model").predict([water(99)])
    for name in ("energy", "forces", "energy_sigma"):
        np.testing.assert_allclose(getattr(told, name), expected[name], rtol=1e-8)


def test_its_results_make_a_report(stored):
    results = json.loads((stored / "results.json").read_text())
    page = write_report(results, stored)
    assert "water" in page.read_text()
