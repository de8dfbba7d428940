"""Strategies are compared at the same number of labels, never on what they have seen."""

import math
from types import SimpleNamespace

import pytest
from small_campaigns import (
    LEVELS,
    InProcess,
    morse,
    run,
    small_config,
    water,
    write_labels,
)

from mfal import Fidelity, Label, LabelledDataset
from mfal.campaign import Campaign, Paused, campaign_results, finishing, trials
from mfal.campaign.baseline_words import verdicts
from mfal.campaign.baselines import comparison
from mfal.campaign.learning import HeldOut
from mfal.campaign.trials import FOLDS
from mfal.models.evaluation import evaluation
from mfal.models.exact import ExactPotential

NAMES = ("low", "high")


def labelled(low, high):
    ids = sorted({*low, *high})
    labels = {
        (ids.index(i), name): Label(*morse(water(i), *LEVELS[name][:3]))
        for name, some in zip(NAMES, (low, high), strict=True)
        for i in some
    }
    return LabelledDataset(
        tuple(water(i) for i in ids), tuple(map(Fidelity, NAMES)), labels
    )


@pytest.fixture(scope="module")
def model():
    data = labelled(range(10), (9, 2, 5, 7))
    return ExactPotential.fit(data, permutations="none", kernel="rbf", restarts=0)


@pytest.fixture(scope="module")
def compared(model):
    """The rows with twelve held-out labels, and every fit and test that made them."""
    held = HeldOut(labelled(range(20, 32), range(20, 32)))
    seen = SimpleNamespace(train=[], test=[])

    class Watched(ExactPotential):
        @classmethod
        def fit(cls, dataset, **arguments):
            seen.train.append(dataset)
            fitted = ExactPotential.fit(
                dataset, **{**arguments, "kernel": "rbf", "restarts": 0}
            )
            fitted.dataset_of_fit = dataset
            return fitted

    def errors(model, heldout, fold):
        seen.test.append((model, set(fold.tolist())))
        return plain(model, heldout, fold)

    plain = trials.errors_on
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(trials, "ExactPotential", Watched)
        patch.setattr(trials, "errors_on", errors)
        rows = comparison(model, held, [9, 2, 5, 7], seed=0)
    return SimpleNamespace(rows=rows, held=held, **vars(seen))


def test_every_strategy_has_its_row(compared):
    assert [(row["name"], row["n_high"]) for row in compared.rows] == [
        ("high alone, random labels", 4),
        ("high alone, chosen labels", 4),
        ("joint, standalone, random labels", 4),
        ("joint, standalone, chosen labels", 4),
        ("joint, low at hand, random labels", 4),
        ("joint, low at hand, chosen labels", 4),
        ("joint, standalone, this campaign", 4),
        ("joint, low at hand, this campaign", 4),
    ]
    assert all(row["forces_mae"] > 0 and row["energy_mae"] > 0 for row in compared.rows)


def positions(dataset, level):
    return {dataset.structures[i].positions[0, 0] for i in dataset.labelled(level)}


def test_nothing_is_tested_on_a_label_it_was_trained_on(compared):
    of_held = [a.positions[0, 0] for a in compared.held.structures]
    folds = []
    for model, fold in compared.test:
        trained = positions(model.dataset_of_fit, "high")
        assert not trained & {of_held[i] for i in fold}
        if len(fold) < 12:  # chosen labels are tested on all at once
            folds.append(fold)
    for some in (folds[:FOLDS], folds[FOLDS : 2 * FOLDS]):
        assert sorted(i for fold in some for i in fold) == list(range(12))


def test_random_labels_are_the_held_out_ones_and_chosen_ones_the_bought(compared):
    held = {a.positions[0, 0] for a in compared.held.structures}
    bought = {water(i).positions[0, 0] for i in (9, 2, 5, 7)}
    random = [d for d in compared.train if positions(d, "high") < held]
    chosen = [d for d in compared.train if positions(d, "high") == bought]
    assert (len(random), len(chosen)) == (2 * FOLDS, 2)
    assert all(len(positions(d, "high")) == 4 for d in random)
    joint = [d for d in compared.train if d.levels == NAMES]
    low = {water(i).positions[0, 0] for i in range(10)}
    assert len(joint) == FOLDS + 1
    assert all(positions(d, "low") >= low for d in joint)


def test_with_few_held_out_labels_only_the_campaign_itself_is_judged(model):
    held = HeldOut(labelled(range(20, 31), range(20, 31)))
    rows = comparison(model, held, [9, 2, 5, 7], seed=0)
    assert [row["name"] for row in rows] == [
        "joint, standalone, this campaign",
        "joint, low at hand, this campaign",
    ]
    found = evaluation(model.predict(held.structures), held.labels("high"))
    assert rows[0]["forces_mae"] == pytest.approx(found["forces"]["mae"])
    assert rows[0]["energy_mae"] == pytest.approx(found["energy"]["mae"])
    assert verdicts(rows, NAMES) == {}


def row(name, forces_mae, n_high=9):
    return {"name": name, "n_high": n_high, "forces_mae": forces_mae, "energy_mae": 1.0}


def test_the_verdict_says_what_paid_with_its_numbers():
    rows = [
        row("high alone, random labels", 0.2),
        row("high alone, chosen labels", 0.1),
        row("joint, low at hand, random labels", 0.05),
        row("joint, low at hand, chosen labels", 0.051, n_high=8),
    ]
    found = verdicts(rows, NAMES)
    assert found["second_level"] == (
        "The level low paid: with 9 labels a force error of 0.050 eV/A against 0.200 "
        "eV/A with as many high labels alone (4.0 times)."
    )
    assert found["choosing"].startswith("The choosing did not pay: with 8 labels")
    alone = verdicts(rows[:2], ["high"])
    assert set(alone) == {"choosing"}
    assert "(2.0 times)" in alone["choosing"]


def test_learning_curves_begin_with_few_labels_and_end_with_the_row(compared, model):
    for found in compared.rows[:6]:
        assert [p["n_high"] for p in found["curve"]] == [4]
        assert found["curve"][-1]["forces_mae"] == found["forces_mae"]
        assert (
            found["forces_mae_low"] <= found["forces_mae"] <= found["forces_mae_high"]
        )
    many = trials.Trials(model, compared.held, list(range(9)) * 5, 0, None)
    assert many.sizes == [4, 9]  # nine lie outside every fold; a quarter is too few


def test_every_strategy_is_judged_by_its_rival(compared):
    against = {r["name"]: r["against"]["name"] for r in compared.rows if "against" in r}
    assert against == {
        "high alone, chosen labels": "high alone, random labels",
        "joint, standalone, random labels": "high alone, random labels",
        "joint, standalone, chosen labels": "joint, standalone, random labels",
        "joint, low at hand, random labels": "high alone, random labels",
        "joint, low at hand, chosen labels": "joint, low at hand, random labels",
    }
    by_name = {r["name"]: r for r in compared.rows}
    for name, rival in against.items():
        ratio = by_name[rival]["forces_mae"] / by_name[name]["forces_mae"]
        assert by_name[name]["against"]["forces_ratio"] == pytest.approx(ratio)


@pytest.mark.parametrize(
    ("chosen", "interval", "said"),
    [
        (0.10, (1.5, 2.5), "The choosing paid: "),
        (0.17, (0.8, 1.7), "Whether the choosing paid cannot be told: "),
        (0.25, (0.5, 1.2), "The choosing did not pay: "),
        (0.195, (0.98, 1.04), "The choosing did not pay: "),
    ],
)
def test_the_verdict_is_as_sure_as_its_interval(chosen, interval, said):
    mine = row("high alone, chosen labels", chosen)
    mine["against"] = dict(
        zip(("forces_ratio_low", "forces_ratio_high"), interval, strict=True)
    )
    found = verdicts([row("high alone, random labels", 0.2), mine], ["high"])
    assert said in found["choosing"]
    assert f"95 % interval {interval[0]:.2f} to {interval[1]:.2f}" in found["choosing"]


def test_chosen_labels_are_the_first_that_were_bought(model, compared, monkeypatch):
    seen = []
    monkeypatch.setattr(
        trials.Trials, "_alone", lambda _, data: seen.append(data) or model
    )
    strategies = trials.Trials(model, compared.held, [9, 2, 5, 7], 0, None)
    strategies.tested("alone", "chosen", 2)
    strategies.tested("alone", "random", 2)
    first = {water(i).positions[0, 0] for i in (9, 2)}
    assert positions(seen[0], "high") == first
    assert [len(positions(d, "high")) for d in seen] == [2] * (1 + FOLDS)


# --- while a campaign runs


def shadowed(folder, monkeypatch, share):
    """A campaign with room for a comparison after every step, or only at its end."""
    monkeypatch.setattr("mfal.campaign.finishing.SHARE", share)
    write_labels(folder, size=32)
    pool = {"sampler": "file", "path": "pool.extxyz", "size": 32}
    config = small_config(folder, pool=pool, validation=12)
    rows, directory = [], folder / f"campaign_{share:g}"

    def note(text):
        if text.startswith("step") and "learning" not in text:
            document = campaign_results(directory)
            rows.append((document["compared_after"], document["verdict"]))

    return run(config, directory, progress=note), rows


def test_a_running_campaign_is_compared_as_far_as_the_time_of_its_labels_allows(
    tmp_path, monkeypatch
):
    at_the_end, never = shadowed(tmp_path, monkeypatch, 0.0)
    after_each, always = shadowed(tmp_path, monkeypatch, math.inf)
    assert {step for step, _ in never} == {None}
    steps = [step for step, _ in always]
    assert steps[-1] == max(s["step"] for s in after_each["learning_curve"])
    assert [s for s in steps if s is not None] == sorted(s for s in steps if s)
    assert any(verdict for _, verdict in always)
    # it is looked on, and changes nothing
    assert after_each["bought"] == at_the_end["bought"]
    assert after_each["comparison"] == at_the_end["comparison"]


def test_a_comparison_that_fails_on_the_way_is_told_and_ends_nothing(
    tmp_path, monkeypatch
):
    real, calls = finishing.comparison, []

    def failing_first(*arguments, **options):
        calls.append(1)
        if len(calls) == 1:
            raise ValueError("no such luck")
        return real(*arguments, **options)

    monkeypatch.setattr("mfal.campaign.finishing.comparison", failing_first)
    results, _ = shadowed(tmp_path, monkeypatch, math.inf)
    assert results["finished"]
    assert results["events"]["not_compared"] == 1
    assert results["comparison"]


@pytest.mark.faults
@pytest.mark.parametrize("share", [0.0, math.inf], ids=["at the end", "on the way"])
def test_a_stop_during_a_comparison_is_heard_between_two_models(
    tmp_path, monkeypatch, share
):
    monkeypatch.setattr("mfal.campaign.finishing.SHARE", share)
    write_labels(tmp_path, size=32)
    pool = {"sampler": "file", "path": "pool.extxyz", "size": 32}
    config = small_config(tmp_path, pool=pool, validation=12)
    tested = []

    def counting(self, *key):
        tested.append(key)
        campaign.stop()
        return real(self, *key)

    real = trials.Trials.tested
    monkeypatch.setattr(trials.Trials, "tested", counting)
    campaign = Campaign(config, tmp_path / "campaign", executor=InProcess())
    with pytest.raises(Paused):
        campaign.run()
    assert len(tested) == 1
    monkeypatch.undo()
    results = campaign.run()
    assert results["finished"]
    assert results["verdict"]


def test_comparisons_take_their_share_and_no_more():
    shadow = finishing.Shadow()
    first = finishing.FITS * 2.0 / finishing.SHARE
    assert not shadow.due(labelled=first - 1, fit=2.0)
    assert shadow.due(labelled=first + 1, fit=2.0)
    shadow.took(10.0)
    assert not shadow.due(labelled=19.9 / finishing.SHARE, fit=2.0)
    assert shadow.due(labelled=20.1 / finishing.SHARE, fit=2.0)


def test_a_comparison_of_levels_that_were_left_since_says_nothing():
    row = {"forces_mae": 0.1, "n_high": 8}
    rows = [
        {"name": "high alone, random labels", **row},
        {"name": "joint, low at hand, random labels", **row},
        {"name": "joint, low at hand, chosen labels", **row},
    ]
    assert set(verdicts(rows, ["low", "high"])) == {"second_level", "choosing"}
    assert verdicts(rows, ["middle", "high"]) == {}
