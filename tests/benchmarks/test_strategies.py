"""The benchmark of all strategies: labels, choices, what a curve says, what is written."""

import json
from dataclasses import replace
from itertools import islice

import numpy as np
import pytest

from benchmarks.strategies import labels, run, strategies
from benchmarks.strategies.figure import STYLES, figure
from benchmarks.strategies.learners import ExactLearner, Wanted
from benchmarks.strategies.losers import losers
from benchmarks.strategies.replay import Replay, errors
from benchmarks.strategies.sets import SMOKE, SYSTEMS, methanol, methanol_cc
from benchmarks.strategies.strategies import (
    ACTIVE,
    AT_HAND,
    DELTA,
    FIXED,
    JOINT,
    OURS,
    RANDOM,
    STRATEGIES,
    UNGUARDED,
    USELESS,
    State,
    choose,
    strategies_of,
)
from benchmarks.strategies.summary import (
    best_of,
    costs_of,
    errors_of,
    interval,
    labels_of,
    paid_over,
    ratio,
)
from benchmarks.strategies.tables import sections
from benchmarks.strategies.targets import Row, rows_of
from mfal.data import Label, LabelledDataset

COSTS = {"low": 0.1, "high": 1.0}


def system(curves, names=None, levels=("low", "high"), seeds=3):
    """Results where strategy s has the points (cost, error, high labels) `curves[s]`.

    Strategies without a curve have that of random choice, 1 / cost.
    """
    plain = [(3, 1 / 3, 3), (40, 1 / 40, 40)]
    names = names or [s.name for s in STRATEGIES]
    found = []
    for name in names:
        for seed in range(seeds):
            points = [
                {"cost": c, "labels": {levels[0]: 5, levels[-1]: n}}
                | {m: {"forces_rmse": e} for m in ("standalone", "at_hand")}
                for c, e, n in curves.get(name, plain)
            ]
            settings = {"code": "x", "data": "y"}
            found.append(
                {"strategy": name, "seed": seed, "curve": points, "settings": settings}
                | {"cpu_seconds": 1.0}
            )
    return {
        "title": "some",
        "levels": list(levels),
        "costs": {levels[0]: 0.1, levels[-1]: 1.0},
        "cost_unit": "labels",
        "budget": 40.0,
        "sizes": {
            "candidates": 9,
            "targets": 2,
            "heldout": 4,
            "pilot": 3,
            "budget": 40,
        },
        "measure": "forces_rmse",
        "strategies": names,
        "results": found,
    }


# --- labels


def test_low_labels_and_their_differences_are_the_high_labels():
    data = methanol(True).data
    some = data.paired(*data.levels)
    apart = labels.differences(data)
    low = [data.labels[i, data.levels[0]] for i in some]
    found = labels.added(low, [apart.labels[i, labels.DIFFERENCE] for i in some])
    truth = [data.labels[i, data.levels[-1]] for i in some]
    assert errors(found, truth)["forces_rmse"] < 1e-12
    assert errors(found, truth)["energy_mae"] < 1e-9


def test_useless_low_labels_are_those_of_another_geometry_and_high_ones_stay():
    data = methanol(True).data
    low, high = data.levels
    found = labels.scrambled(data, 0)
    n = len(data)
    energies = [found.labels[i, low].energy for i in range(n)]
    assert sorted(energies) == sorted(data.labels[i, low].energy for i in range(n))
    assert all(energies[i] != data.labels[i, low].energy for i in range(n))
    assert all(found.labels[i, high] is data.labels[i, high] for i in range(n))


def test_energies_alone_keep_the_forces_of_the_lower_levels():
    found = labels.without_forces(methanol(True).data)
    kinds = {level: label.quantities for _, level, label in found}
    assert kinds == {"gfn2": ("energy", "forces"), "mp2": ("energy",)}


# --- who has which part


@pytest.mark.parametrize("name", SMOKE)
def test_parts_are_apart_and_the_pilot_is_among_the_candidates(name):
    some = SYSTEMS[name](True)
    split = some.split(1)
    parts = (split.candidates, split.targets, split.heldout)
    assert len({i for part in parts for i in part}) == sum(map(len, parts))
    assert set(split.pilot) <= set(split.candidates)


def test_structures_without_a_high_label_are_targets_and_low_candidates_only():
    whole = methanol_cc(True)
    high = whole.high
    few = {
        (i, level): label
        for (i, level), label in whole.data.labels.items()
        if level != high or i < 18
    }
    data = LabelledDataset(whole.data.structures, whole.data.fidelities, few)
    split = replace(whole, data=data).split(0)
    assert all(i >= 18 for i in split.targets)
    assert all(i < 18 for i in (*split.heldout, *split.pilot))
    assert any(i >= 18 for i in split.candidates)


def test_what_means_nothing_with_three_levels_or_energies_is_left_out():
    three = strategies_of(SYSTEMS["methanol_three"](True))
    assert not {DELTA, AT_HAND, USELESS, *FIXED} & set(three)
    assert {RANDOM, OURS, JOINT} <= set(three)
    assert not any(s.energies for s in strategies_of(methanol_cc(True)))
    assert UNGUARDED not in strategies_of(SYSTEMS["copper"](True))


# --- what is chosen


def state(left, spent=3.0, n=40, known=()):
    """Every label of n structures but the known ones can be bought."""
    wanted = [(i, level) for i in range(n) for level in COSTS]
    wanted = [label for label in wanted if label not in known]
    return State(wanted, COSTS, left, spent, lambda: None, seed=0)


@pytest.mark.parametrize("strategy", [DELTA, JOINT, *FIXED], ids=lambda s: s.name)
@pytest.mark.parametrize("left", [0.9, 1.0, 1.5, 3.0, 37.0])
def test_random_steps_never_overrun_what_is_left(strategy, left):
    chosen = choose(strategy, state(left), "high")
    assert sum(COSTS[level] for _, level in chosen) <= left * (1 + 1e-6)
    assert len(set(chosen)) == len(chosen)


def test_a_step_spends_a_quarter_of_what_was_spent_but_pays_for_one_label():
    one = replace(RANDOM, name="x")
    dear = State([(i, "high") for i in range(40)], {"high": 1.0}, 99.0, 20.0, None, 0)
    assert len(choose(one, dear, "high")) == 5
    assert len(choose(one, replace(dear, spent=1.0), "high")) == 1


@pytest.mark.parametrize("strategy", FIXED[:2], ids=lambda s: s.name)
def test_a_fixed_ratio_holds_and_high_labels_have_their_low_ones(strategy):
    chosen = choose(strategy, state(90.0, spent=12.0), "high")
    high = {i for i, level in chosen if level == "high"}
    low = {i for i, level in chosen if level == "low"}
    assert high
    assert high <= low
    assert len(low) == strategy.ratio * len(high)


def test_a_difference_is_bought_as_a_pair():
    chosen = choose(DELTA, state(90.0, spent=12.0), "high")
    high = {i for i, level in chosen if level == "high"}
    assert high == {i for i, level in chosen if level == "low"}
    assert len(high) == 2


def test_with_the_low_level_at_hand_a_high_label_brings_its_missing_low_one(
    monkeypatch,
):
    seen = []

    def best(acquisition, candidates, size, *, budget):
        del acquisition, size
        seen[:] = [c for c in candidates if c.cost <= budget]
        return [type("Pick", (), {"candidate": c}) for c in seen[:1]]

    monkeypatch.setattr(strategies, "select_batch", best)
    given = replace(AT_HAND, criterion=lambda view: view)
    assert choose(given, state(9.0), "high") == [(0, "high"), (0, "low")]
    assert {c.level for c in seen} == {"high"}
    assert {c.cost for c in seen} == {1.1}  # a pair
    known = choose(given, state(9.0, known=[(0, "low")]), "high")
    assert known == [(0, "high")]
    assert [c.cost for c in seen[:2]] == [1.0, 1.1]
    assert choose(given, state(1.05), "high") == []  # a pair is dearer


# --- campaigns


@pytest.fixture(scope="module")
def replay():
    whole = methanol(True)
    return Replay(whole, ExactLearner(whole))


def test_the_guard_leaves_a_useless_level_and_learns_as_if_it_were_not_there(replay):
    useless, plain = (next(replay._campaign(s, 0)) for s in (USELESS, RANDOM))
    assert useless["left"] == ["gfn2"]
    assert useless["standalone"] == plain["standalone"]
    assert useless["cost"] == pytest.approx(plain["cost"] + 3 * 0.001)


def test_a_cheap_low_level_labels_the_pool_before_anything_is_chosen(replay):
    def refused(view):
        raise AssertionError("nothing is to be chosen yet")

    ours = replace(OURS, criterion=refused)
    _, second = islice(replay._campaign(ours, 0), 2)
    assert second["labels"] == {"gfn2": 12, "mp2": 3}


def test_the_difference_learns_a_constant_shift_at_once():
    whole = methanol(True)
    low, high = whole.levels
    shifted = dict(whole.data.labels)
    for i in range(len(whole.data)):
        label = shifted[i, low]
        shifted[i, high] = Label(label.energy + 1.0, label.forces)
    data = LabelledDataset(whole.data.structures, whole.data.fidelities, shifted)
    other = replace(whole, data=data)
    point = next(Replay(other, ExactLearner(other))._campaign(DELTA, 0))
    assert point["at_hand"]["forces_rmse"] < 1e-3
    assert "standalone" not in point


def test_targets_that_come_with_their_low_label_are_told_less_by_other_low_ones(replay):
    whole = replay.system
    split = whole.split(0)
    levels = {(i, n): x for (i, n), x in whole.data.labels.items() if i in split.pilot}
    data = LabelledDataset(whole.data.structures, whole.data.fidelities, levels)
    model = replay.learner.fit(data, None, 0)
    wanted = tuple((i, "gfn2") for i in split.candidates[3:6])
    both = ("energy", "forces")
    about = Wanted(wanted, split.targets[:1], dict.fromkeys(whole.levels, both), both)
    without, given = (
        replay.learner.view(model, w, None)
        .target_information()
        .values(range(len(wanted)))
        for w in (about, replace(about, given="gfn2"))
    )
    assert (given < without).all()


# --- what a curve says


def test_half_the_error_for_the_same_cost_halves_the_cost_of_an_error_of_one_over_cost():
    some = system({OURS.name: [(3, 1 / 6, 3), (40, 1 / 80, 40)]})
    np.testing.assert_allclose(costs_of(some, OURS.name, "standalone", 40), 20)
    np.testing.assert_allclose(errors_of(some, OURS.name, "at_hand", 10), 1 / 20)
    np.testing.assert_allclose(costs_of(some, RANDOM.name, "standalone", 40), 40)


def test_labels_are_those_of_the_first_step_that_reaches_the_error():
    points = [(3, 0.3, 3), (10, 0.1, 4), (20, 0.02, 6), (40, 0.01, 9)]
    some = system({OURS.name: points})
    np.testing.assert_array_equal(labels_of(some, OURS.name, "standalone", 40), 6)


def test_an_error_that_is_never_reached_costs_without_limit_and_saves_nothing():
    some = system({OURS.name: [(3, 1.0, 3), (40, 0.5, 40)]})
    paid = costs_of(some, OURS.name, "standalone", 40)
    assert np.isinf(paid).all()
    random = costs_of(some, RANDOM.name, "standalone", 40)
    np.testing.assert_array_equal(ratio(random, paid), 0)
    np.testing.assert_array_equal(ratio(paid, paid), 1)


def test_the_best_fixed_ratio_is_the_one_that_pays_least():
    some = system({FIXED[1].name: [(3, 1 / 6, 3), (40, 1 / 80, 40)]})
    name, costs = best_of(some, "fixed", "standalone", 40)
    assert name == FIXED[1].name
    np.testing.assert_allclose(costs, 20)


def test_who_does_not_get_there_is_held_against_the_other_where_it_ends():
    dear = system({USELESS.name: [(3, 1 / 2, 3), (40, 1 / 20, 40)]})
    alone = ("standalone", "standalone", 40)
    found = paid_over(dear, USELESS.name, RANDOM.name, *alone)
    np.testing.assert_allclose(found, 2)
    other = paid_over(dear, RANDOM.name, USELESS.name, *alone)
    np.testing.assert_allclose(other, 0.5)


def test_the_interval_holds_the_median_and_takes_what_is_never_reached():
    assert interval(np.full(5, 2.0)) == (2.0, 2.0, 2.0)
    middle, low, high = interval(np.array([1.0, 2.0, 3.0, np.inf, np.inf]))
    assert low < middle == 3.0 < high == np.inf


# --- what is written


def test_a_verdict_goes_by_the_median_and_says_if_the_interval_crosses():
    def verdict(values, bound, at_least):
        return Row("t", "s", np.array(values), bound, at_least).verdict

    assert verdict([5.0, 6.0, 7.0], 4, True) == "met"
    assert verdict([1.0, 2.0, 3.0], 4, True) == "**not met**"
    assert verdict([1.0, 1.0, 1.05], 1.1, False) == "met"
    assert verdict([3.0, 5.0, 7.0], 4, True) == "met, the interval crosses it"
    assert verdict([1.0, 1.3, 1.5], 1.1, False).startswith("**not met**, the")


def test_targets_hold_ours_against_random_fixed_and_one_level():
    half = [(3, 1 / 6, 3), (40, 1 / 80, 40)]
    found = {
        r.target: float(np.median(r.values))
        for r in rows_of("x", system({OURS.name: half, AT_HAND.name: half}))
    }
    assert found["times cheaper, standalone"] == pytest.approx(2)
    assert found["cost over that of the best fixed ratio"] == pytest.approx(0.5)
    assert found["useless low level, cost over one level: random"] == pytest.approx(1)
    assert not any("coupled" in target for target in found)
    top = system({OURS.name: half}, levels=("mp2", "ccsdt"))
    assert any("coupled" in r.target for r in rows_of("x", top))


def test_who_pays_more_is_among_the_losers_and_who_pays_less_is_not():
    dear, cheap = [(3, 1 / 2, 3), (40, 1 / 30, 40)], [(3, 0.1, 3), (40, 0.01, 40)]
    text = losers({"x": system({OURS.name: dear, USELESS.name: cheap})})
    # 40 are paid for what random choice has for 30
    assert f"**{OURS.name}** pays 1.3 (1.3 to 1.3) times what *{RANDOM.name}*" in text
    assert "there in 0 seeds" in text
    ends = f"standalone, ends with 1.3 (1.3 to 1.3) times the error of *{JOINT.name}*"
    assert f"**{OURS.name}**, {ends}" in text
    assert USELESS.name not in text
    best = losers({"x": system({ACTIVE[0].name: cheap})})
    assert f"*{ACTIVE[0].name}*" in best


def test_the_readme_has_the_marks_of_every_section_and_the_figure_a_row_each(tmp_path):
    document = {
        "versions": {"mfal": "1"},
        "machine": {"processor": "A", "cores": 2, "threads": 1},
        "systems": {name: system({}) for name in SYSTEMS},
    }
    copy = tmp_path / "README.md"
    copy.write_text((run.HERE / "README.md").read_text())
    found = sections(document)
    run.write_sections(copy, found)
    assert all(text in copy.read_text() for text in found.values())
    assert len(figure(document).axes) == 2 * len(SYSTEMS)
    assert set(STYLES) == {s.name for s in STRATEGIES}


# --- what is kept


def test_the_smoke_run_keeps_every_campaign_and_a_second_one_runs_nothing(
    tmp_path, monkeypatch, capsys
):
    some = (RANDOM, ACTIVE[1], DELTA)
    monkeypatch.setattr(run, "strategies_of", lambda system: some)
    monkeypatch.setattr(run, "sections", lambda document: {"x": "table"})
    before = {f: f.stat().st_mtime_ns for f in run.HERE.iterdir() if f.is_file()}
    words = ["--smoke", "--systems", "methanol", "--work", str(tmp_path)]
    run.main(words)
    files = sorted((tmp_path / "smoke/methanol").glob("*_0.json"))
    assert len(files) == len(some)
    for file in files:
        found = json.loads(file.read_text())
        assert found["curve"][-1]["cost"] <= 6 * 0.72 * (1 + 1e-9)
    times = {f: f.stat().st_mtime_ns for f in files}
    run.main(words)
    assert {f: f.stat().st_mtime_ns for f in files} == times
    assert "table" in capsys.readouterr().out
    after = {f: f.stat().st_mtime_ns for f in run.HERE.iterdir() if f.is_file()}
    assert after == before


def test_the_hash_of_code_is_blind_to_docstrings_and_layout_and_to_nothing_else():
    plain = run.without_docstrings("def f(x):\n    return x + 1\n")
    told = run.without_docstrings('def f(x):\n    """Says."""\n    return (x + 1)\n')
    other = run.without_docstrings("def f(x):\n    return x + 2\n")
    assert plain == told != other
    assert run.without_docstrings("x = 'a'") != run.without_docstrings("x = 'b'")


def test_a_set_that_the_repository_lacks_is_refused_in_the_smoke_run():
    with pytest.raises(ValueError, match="no part of water"):
        SYSTEMS["water"](True)
