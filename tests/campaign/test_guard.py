"""A level that turns out to explain nothing is not bought any more."""

import numpy as np
import pytest
from small_campaigns import (
    BASE,
    DECLARED,
    bought,
    gains,
    run,
    small_config,
    write_labels,
)
from typer.testing import CliRunner

from mfal.campaign import campaign_results
from mfal.cli import app
from mfal.models.level_evidence import StepEvidence
from mfal.models.storage import load_potential
from mfal.report import write_report

SIZE = 24
SPARSE = {
    "kind": "sparse",
    "sparse": {
        "n_inducing": 8,
        "zeta": 2,
        "cutoffs": [3.5],
        "max_radial": 3,
        "max_angular": 2,
    },
}


def config(folder, *, blind="low", levels=("low", "high"), **changes):
    """A level that gives energies only: the diagnosis of the pilot cannot judge it."""
    budget = {"highest_labels": 7, "costs": DECLARED}
    changes = {"pool": {**BASE["pool"], "size": SIZE}, "budget": budget, **changes}
    made = small_config(folder, levels=levels, pilot=4, **changes)
    described = tuple(
        level.model_copy(update={"quantities": ("energy",)})
        if level.name == blind
        else level
        for level in made.levels
    )
    return made.model_copy(update={"levels": described})


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    folder = tmp_path_factory.mktemp("scrambled")
    write_labels(folder, size=SIZE, scrambled=("low",))
    return folder


@pytest.fixture(scope="module")
def guarded(folder):
    told = []
    return run(config(folder), folder / "whole", progress=told.append), told


def test_labels_of_a_level_that_explains_nothing_are_not_bought_any_more(guarded):
    results, told = guarded
    (left,) = results["levels_left"]
    assert left["level"] == "low" and left["between"] == ["low", "high"]
    assert left["log_evidence_joint"] < left["log_evidence_independent"]
    later = [b for b in results["bought"] if b["step"] > left["step"]]
    assert later and {b["level"] for b in later} == {"high"}
    assert left["sentence"] in told
    assert results["plan"][0].endswith("the low level is used.")


def test_the_model_does_without_it_to_the_end(guarded, folder):
    results, _ = guarded
    assert results["model"]["levels"] == ["high"]
    assert load_potential(folder / "whole" / "model").levels == ("high",)
    assert results["rho"] == []
    assert "at_hand" not in results["evaluation"]


def test_a_user_is_told_in_plain_words(guarded, folder):
    results, _ = guarded
    (left,) = results["levels_left"]
    said = CliRunner().invoke(app, ["status", str(folder / "whole")]).output
    assert f"step {left['step']}: {left['sentence']}" in " ".join(said.split())
    page = write_report(campaign_results(folder / "whole"), folder / "whole")
    assert left["sentence"] in page.read_text()


@pytest.mark.parametrize("when", ["before it is recorded", "after it is recorded"])
def test_a_campaign_killed_at_the_verdict_makes_the_same_choices(guarded, folder, when):
    results, told = guarded
    fatal = {
        "before it is recorded": results["levels_left"][0]["sentence"],
        "after it is recorded": told[-1],
    }[when]

    class Killed(BaseException):
        pass

    def kill(text):
        if text == fatal:
            raise Killed

    with pytest.raises(Killed):
        run(config(folder), folder / when, progress=kill)
    again = run(config(folder), folder / when)
    assert again["levels_left"] == results["levels_left"]
    assert gains(again) == gains(results)


def test_the_sweep_of_a_level_that_was_left_is_not_bought(folder):
    dear = {"highest_labels": 7, "costs": {"low": 1.0, "high": 100.0}}
    results = run(config(folder, budget=dear), folder / "swept")
    assert "labelled at low first" in results["plan"][1]
    assert len(results["levels_left"]) == 1
    assert bought(results, purpose="sweep") == []


def test_a_level_left_by_what_its_own_sweep_told_stays_left(tmp_path, monkeypatch):
    """Killed after the sweep, the sweep is not forgotten when it is run again."""
    write_labels(tmp_path, size=SIZE)

    def evidence(model, level, seed):
        useless = len(model.dataset.labelled("low")) > 4
        return StepEvidence("low", "high", -9.0 if useless else 9.0, 0.0)

    monkeypatch.setattr("mfal.campaign.engines.step_evidence", evidence)
    dear = {"highest_labels": 6, "costs": {"low": 1.0, "high": 100.0}}
    made = config(tmp_path, budget=dear)

    def kill(text):
        if text == "step 4: learning":
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        run(made, tmp_path / "campaign", progress=kill)
    results = run(made, tmp_path / "campaign")
    assert [x["step"] for x in results["levels_left"]] == [3]
    assert len(bought(results, purpose="sweep")) > 10
    assert {level for _, level in bought(results, purpose="acquired")} == {"high"}
    assert results["stopping_reason"].startswith("the budget is spent")


def test_the_sparse_engine_is_guarded_too(folder):
    results = run(config(folder, model=SPARSE), folder / "sparse")
    assert [x["level"] for x in results["levels_left"]] == ["low"]
    assert results["model"]["levels"] == ["high"]


@pytest.mark.slow
def test_a_useless_level_costs_at_most_a_tenth_of_the_accuracy(tmp_path):
    """At equal budget, against learning from the high level alone, over seeds.

    Ethane, whose 18 degrees of freedom 25 labels do not exhaust.
    """
    write_labels(tmp_path, size=100, scrambled=("low",), name="C2H6")
    ratios = []
    for seed in range(3):
        errors = []
        for levels in (("high",), ("low", "high")):
            made = config(
                tmp_path,
                levels=levels,
                system={"molecule": "C2H6"},
                seed=seed,
                validation=20,
                targets=10,
                pool={**BASE["pool"], "size": 100},
                acquisition={"batch": 5},
                budget={"cost": 250.0, "costs": {k: DECLARED[k] for k in levels}},
                comparison=False,
            )
            results = run(made, tmp_path / f"{seed}-{len(levels)}")
            assert 24 <= results["n_labels"]["high"]["done"] - 20 <= 25
            found = results["evaluation"]["standalone"]
            errors.append([found[q]["mae"] for q in ("forces", "energy")])
        assert [x["level"] for x in results["levels_left"]] == ["low"]
        ratios.append(np.divide(errors[1], errors[0]))
    assert (np.exp(np.log(ratios).mean(axis=0)) < 1.1).all()


@pytest.mark.slow
@pytest.mark.parametrize("model", [{}, {"model": SPARSE}], ids=["exact", "sparse"])
def test_a_level_that_is_of_use_stays(tmp_path, model):
    write_labels(tmp_path, size=SIZE)
    results = run(config(tmp_path, **model), tmp_path / "campaign")
    assert results["levels_left"] == []
    assert results["model"]["levels"] == ["low", "high"]


@pytest.mark.slow
def test_the_middle_of_three_levels_can_be_left(tmp_path):
    write_labels(tmp_path, size=SIZE, scrambled=("middle",))
    levels, budget = ("low", "middle", "high"), {"highest_labels": 8}
    made = config(tmp_path, blind="middle", levels=levels, budget=budget)
    results = run(made, tmp_path / "campaign")
    assert [x["level"] for x in results["levels_left"]] == ["middle"]
    assert results["model"]["levels"] == ["low", "high"]
