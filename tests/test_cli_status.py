"""`mfal status`: what was bought, what was learned, what the rest will buy."""

import copy
import json
import subprocess
import sys
from io import StringIO

import pytest
from command_line import command, refused
from rich.console import Console
from small_campaigns import run, small_config, write_labels
from stored_campaign import pool

from mfal.campaign import CampaignStore, campaign_results
from mfal.cli import standing
from mfal.cli.output import progress_line
from mfal.cli.watching import is_driven, watch_campaign

DOCUMENT = {
    "name": "water",
    "finished": False,
    "stopping_reason": None,
    "levels": [
        {"name": "low", "oracle": {"code": "tblite"}},
        {"name": "high", "oracle": {"code": "manual"}},
    ],
    "forecast": {"sentences": []},
    "levels_left": [],
    "budget": {"unit": "CPU s", "total": 1000.0, "spent": 400.0},
    "n_labels": {
        "low": {"pending": 1, "running": 2, "done": 3, "failed": 1, "quarantined": 2},
        "high": {"pending": 4, "running": 0, "done": 1, "failed": 0, "quarantined": 0},
    },
    "cost_model": {
        "low": {"mean": 10.0, "low": 8.0, "high": 12.0, "n": 3},
        "high": {"mean": 100.0, "low": 100.0, "high": 100.0, "n": 1},
    },
    "model": {
        "levels": ["low", "high"],
        "repairs": {"jitter_raised": 2, "fits_not_converged": 0},
    },
    "learning_curve": [
        {
            "step": 4,
            "rho": [1.4302],
            "rho_standard_error": [0.021],
            "loo": {"energy_mae": 3.44, "forces_mae": 0.0746},
            "loo_mode": "at_hand",
            "heldout": {
                "standalone": {
                    "energy": {"mae": 0.56, "ece": 0.43},
                    "forces": {"mae": 0.0309, "ece": 0.23},
                }
            },
        }
    ],
    "failures": [
        {
            "structure": 7,
            "level": "low",
            "state": "quarantined",
            "kind": "timeout",
            "message": "not finished in 60 seconds",
        }
    ],
    "events": {"retried": 3},
}


def test_every_label_stands_in_one_column_and_the_rest_is_forecast_by_the_mean_cost():
    head, low, high = standing.level_rows(DOCUMENT)
    assert head[:6] == ["level", "asked", "waiting", "running", "done", "failed"]
    assert low == ["low", "9", "1", "2", "3", "3", "10", "60 (50 to 75)"]
    assert high == ["high", "5", "4", "0", "1", "0", "100", "6"]


def test_what_was_learned_and_what_went_wrong_is_told():
    told = list(standing.sentences(DOCUMENT))
    assert "rho, low to high: 1.430 +- 0.02" in told
    assert (
        "leave-one-out errors (step 4, with the low level at hand): energy MAE 3.44 "
        "meV/atom, force MAE 0.0746 eV/A"
    ) in told
    assert (
        "held-out errors, standalone: energy MAE 0.56 meV/atom (ECE 0.43), forces MAE "
        "0.0309 eV/A (ECE 0.23)"
    ) in told
    assert (
        "structure 7 at low is quarantined, timeout: not finished in 60 seconds"
    ) in told
    assert "4 labels of high wait for results in the folder `manual`" in told
    assert told[-3:] == [
        "retried: 3",
        "jitter raised: 2",
        "not finished: `mfal run` resumes it",
    ]


def test_a_campaign_that_has_just_begun_is_told_without_what_is_not_known():
    young = copy.deepcopy(DOCUMENT) | {
        "cost_model": {},
        "learning_curve": [],
        "model": None,
        "failures": [],
        "events": {},
        "budget": {"unit": "CPU s", "total": None, "spent": 0.0},
    }
    assert standing.level_rows(young)[1][-2:] == ["", ""]
    assert standing.title(young) == "water: spent 0 of ? CPU s"
    assert list(standing.sentences(young))[-1] == "not finished: `mfal run` resumes it"


@pytest.fixture
def watched(monkeypatch, tmp_path):
    """Watches a campaign whose documents and driver are scripted; what was shown."""

    def watch(documents, driven):
        documents, driven, slept = iter(documents), iter(driven), []
        monkeypatch.setattr(
            "mfal.cli.watching.campaign_results", lambda _, **__: next(documents)
        )
        monkeypatch.setattr("mfal.cli.watching.is_driven", lambda _: next(driven))
        out = StringIO()
        console = Console(
            file=out, width=100, force_terminal=True, legacy_windows=False
        )
        watch_campaign(tmp_path, 0.5, console=console, sleep=slept.append)
        return out.getvalue(), slept

    return watch


def test_watching_goes_on_until_the_campaign_is_finished(watched):
    done = DOCUMENT | {"finished": True, "stopping_reason": "the budget is spent"}
    shown, slept = watched([DOCUMENT, DOCUMENT, done], [True, True, True])
    assert slept == [0.5, 0.5]
    assert "the budget is spent" in shown
    assert "60 (50 to 75)" in shown


def test_watching_ends_when_nobody_drives_the_campaign(watched):
    shown, slept = watched([DOCUMENT, DOCUMENT], [True, False])
    assert slept == [0.5]
    assert "not finished" in shown


def test_a_campaign_is_driven_while_its_lock_is_held(tmp_path):
    from mfal.campaign.lock import CampaignLock

    assert not is_driven(tmp_path)
    with CampaignLock(tmp_path):
        assert is_driven(tmp_path)
    assert not is_driven(tmp_path)


def test_the_last_exploration_is_told():
    found = [
        {"step": 2, "sentence": "explored 10 steps"},
        {"step": 3, "sentence": "explored 20 steps"},
    ]
    told = list(standing.sentences({**DOCUMENT, "explorations": found}))
    assert "step 3: explored 20 steps" in told
    assert not any("explored 10 steps" in sentence for sentence in told)


@pytest.mark.parametrize(
    ("finished", "told"),
    [(False, "by step 4: The choosing paid"), (True, "The choosing paid")],
)
def test_it_is_told_whether_choosing_paid_and_by_which_step(finished, told):
    compared = {"verdict": {"choosing": "The choosing paid"}, "compared_after": 4}
    now = {**DOCUMENT, "finished": finished, "stopping_reason": None, **compared}
    assert told in list(standing.sentences(now))


def test_the_document_itself_is_printed_as_json(tmp_path, monkeypatch):
    monkeypatch.setattr("mfal.campaign.run.campaign_results", lambda _, **__: DOCUMENT)
    monkeypatch.setattr(
        "mfal.campaign.campaign_results", lambda _, **__: DOCUMENT, raising=False
    )
    assert json.loads(command("status", tmp_path, "--json").stdout) == DOCUMENT


def test_options_that_do_not_go_together_are_refused(tmp_path):
    refused(command("status", tmp_path, "--json", "--watch"), "leave --watch out")
    refused(command("status", tmp_path, "--watch", "--every", 0), "above 0 seconds")
    refused(command("status", tmp_path, "--watch"), "holds no campaign")


def test_who_looks_at_a_campaign_imports_neither_torch_nor_what_runs_it(tmp_path):
    write_labels(tmp_path)
    config = small_config(tmp_path)
    with CampaignStore(tmp_path / "campaign.sqlite") as store:
        store.set_meta("config", config.canonical_json())
        store.set_meta("folder", str(tmp_path))
        store.set_meta("system", json.dumps({"formula": "H2O", "n_atoms": 3}))
        store.add_structures(pool())
        store.open_step(0, "pilot", {}, [(0, "low", "pilot", None, None)])
    code = (
        "import sys; from mfal.cli import app\n"
        "try: app(sys.argv[1:])\n"
        "except SystemExit as end: print(end.code, "
        "[m for m in ('torch', 'scipy.stats', 'ase.io', 'mfal.campaign.campaign') "
        "if m in sys.modules])"
    )
    words = [sys.executable, "-c", code, "status", str(tmp_path)]
    shown = subprocess.run(words, capture_output=True, text=True, timeout=60)
    assert "low" in shown.stdout, shown.stderr
    assert shown.stdout.splitlines()[-1] == "0 []"


def test_a_campaign_whose_files_have_moved_can_still_be_looked_at(tmp_path):
    write_labels(tmp_path)
    config = small_config(tmp_path)
    run(config, tmp_path / "campaign")
    before = campaign_results(tmp_path / "campaign")
    (tmp_path / "pool.extxyz").unlink()
    (tmp_path / "labels.extxyz").unlink()
    after = campaign_results(tmp_path / "campaign")
    assert {**after, "updated": None} == {**before, "updated": None}
    assert after["system"] == {"formula": "H2O", "n_atoms": 3}
    short = campaign_results(tmp_path / "campaign", bought=False)
    assert short["bought"] == [] and after["bought"]


def test_off_a_terminal_every_phase_has_a_line_and_no_count_has(capsys):
    with progress_line("starting", log=True) as tell:
        tell("step 3: 5 of 17 labels")
        tell("drawing the pool: 20 of 400 geometries")
        tell("comparing with random and single-level labels")
    said = capsys.readouterr().err
    assert said == "comparing with random and single-level labels\n"
