"""Row 24 in a campaign: a fit that fails keeps the last good hyperparameters."""

import pytest
from small_campaigns import run, small_config, write_labels

from mfal.campaign.engines import ExactEngine
from mfal.models.cholesky import NotPositiveDefiniteError


@pytest.mark.faults
def test_a_campaign_goes_on_after_a_fit_that_failed(tmp_path, monkeypatch):
    write_labels(tmp_path)
    fit, calls = ExactEngine.fit, []

    def failing(self, *arguments, **options):
        calls.append(options)
        if len(calls) == 3:
            raise NotPositiveDefiniteError("the covariance of 12 rows")
        return fit(self, *arguments, **options)

    monkeypatch.setattr(ExactEngine, "fit", failing)
    config = small_config(tmp_path, comparison=False)
    results = run(config, tmp_path / "campaign")
    assert results["events"]["fit_kept"] == 1
    assert results["finished"]
