"""The benchmark of strategies: what a curve says, what is kept, chosen and written."""

import json

import numpy as np
import pytest
import torch

from benchmarks.strategies_small import figure as drawing
from benchmarks.strategies_small import run, tables
from benchmarks.strategies_small.compressed import CompressedPool, compressed_targets
from benchmarks.strategies_small.learners import SparseLearner
from benchmarks.strategies_small.replay import errors
from benchmarks.strategies_small.strategies import (
    BATCH,
    STRATEGIES,
    State,
    choose,
    random,
)
from benchmarks.strategies_small.summary import (
    cost_to_reach,
    error_at,
    interval,
    savings,
)
from benchmarks.strategies_small.systems import SYSTEMS, copper, methanol
from benchmarks.strategies_small.tables import losers, sections
from mfal.acquisition import IntegratedVariance
from mfal.data import Label
from mfal.models import SparsePotential
from mfal.models.pool import PoolEntry
from mfal.models.prediction import StructurePrediction, StructurePredictions
from mfal.models.reduced_pool import ReducedEntry, ReducedPool
from mfal.models.sparse import sparse_feature_map
from mfal.models.weight_pool import WeightPool

F = ("standalone", "forces_rmse")


def curve(*points, at_hand=False):
    """Points of cost and error."""
    modes = ("standalone", "at_hand") if at_hand else ("standalone",)
    return [
        {"cost": c, "labels": {"low": 0, "high": int(c)}}
        | {m: {"forces_rmse": e, "energy_mae": e} for m in modes}
        for c, e in points
    ]


def results(factor, seeds=3):
    """Every strategy ends `factor[name]` (else 1) times as high as random choice."""
    return [
        {
            "strategy": s.name,
            "seed": seed,
            "budget": 32.0,
            "cost_unit": "labels",
            "cpu_seconds": 60.0,
            "settings": {"code": "x"},
            "curve": curve(
                (8, 1.0), (32, factor.get(s.name, 1.0) * (0.2 + 0.01 * seed))
            ),
        }
        for s in STRATEGIES
        for seed in range(seeds)
    ]


# --- what a curve says


def test_between_points_the_error_is_a_power_of_the_cost():
    some = curve((1, 1.0), (4, 0.25))
    assert error_at(some, 2, *F) == pytest.approx(0.5)
    assert cost_to_reach(some, 0.5, *F) == pytest.approx(2)


def test_the_cost_of_an_error_is_that_from_which_on_it_stays():
    some = curve((1, 1.0), (2, 0.1), (4, 1.0), (8, 0.5))
    assert cost_to_reach(some, 0.5, *F) == pytest.approx(8)
    assert cost_to_reach(some, 0.4, *F) == np.inf
    assert cost_to_reach(some, 2.0, *F) == 1


def test_half_the_exponent_of_error_pays_the_square_of_the_cost():
    runs = results({})
    fast = [r for r in runs if r["strategy"] == STRATEGIES[1].name]
    for r in fast:
        r["curve"] = curve((8, 1.0), (16, 0.1), (32, 0.05))
    found = savings(runs, STRATEGIES[1].name, STRATEGIES[0].name, *F)
    last = np.array([0.2, 0.21, 0.22])
    paid = 8 * (1 / last) ** (np.log(2) / np.log(10))
    np.testing.assert_allclose(found, 32 / paid)


def test_what_is_never_reached_saves_nothing():
    runs = results({STRATEGIES[1].name: 1.1})
    found = savings(runs, STRATEGIES[1].name, STRATEGIES[0].name, *F)
    np.testing.assert_array_equal(found, 0)


def test_the_interval_holds_the_median_and_shrinks_to_a_point_for_equal_values():
    assert interval(np.full(5, 2.0)) == (2.0, 2.0, 2.0)
    middle, low, high = interval(np.array([1.0, 2.0, 3.0, 4.0, 5.0]))
    assert low < middle == 3.0 < high


# --- what is written


def test_who_ends_above_random_choice_loses_and_no_one_else():
    name = "sweep: kernel volume"
    text = losers(results({name: 1.2}))
    lost = [line for line in text.splitlines() if line.startswith("- forces")]
    lost = [line for line in lost if " at 100 %" in line]
    assert len(lost) == 2  # against both random strategies
    assert all(f"**{name}**" in line and "+20 %" in line for line in lost)
    assert "3 of 3 seeds" in lost[0]


def test_the_readme_has_the_marks_of_every_section(tmp_path):
    document = {
        "versions": {"mfal": "1"},
        "machine": {"processor": "A", "cores": 2, "threads": 1},
        "systems": {name: results({}) for name in SYSTEMS},
    }
    copy = tmp_path / "README.md"
    copy.write_text((run.HERE / "README.md").read_text())
    found = sections(document)
    run.write_sections(copy, found)
    assert all(text in copy.read_text() for text in found.values())
    assert len(drawing.figure(document).axes) == 6


# --- what is chosen


def test_a_step_never_overruns_what_is_left():
    wanted = [(i, level) for i in range(9) for level in ("low", "high")]
    state = State(wanted, lambda: None, torch.zeros(9, 1), [], seed=0)
    costs = {"low": 0.1, "high": 1.0}
    for strategy in STRATEGIES:
        if strategy.criterion is not random:
            continue
        for left in (0.9, 1.0, 2.5, 100.0):
            chosen = choose(strategy, state, costs, left, "high")
            assert sum(costs[level] for _, level in chosen) <= left + 1e-9
            assert sum(level == "high" for _, level in chosen) <= BATCH
            assert len(set(chosen)) == len(chosen)


@pytest.mark.parametrize("ratio", [2, 5])
def test_with_a_fixed_ratio_a_high_label_brings_its_low_one_and_others(ratio):
    (strategy,) = [s for s in STRATEGIES if s.ratio == ratio]
    wanted = [(i, level) for i in range(40) for level in ("low", "high")]
    state = State(wanted, lambda: None, torch.zeros(40, 1), [], seed=0)
    chosen = choose(strategy, state, {"low": 0.1, "high": 1.0}, 100.0, "high")
    high = {i for i, level in chosen if level == "high"}
    low = {i for i, level in chosen if level == "low"}
    assert high <= low
    assert len(low) == ratio * len(high)


@pytest.mark.parametrize("make", [methanol, copper])
def test_held_out_structures_and_targets_are_never_candidates(make):
    split = make(True).split(0)
    parts = (split.candidates, split.targets, split.heldout)
    assert len({i for part in parts for i in part}) == sum(map(len, parts))
    assert set(split.pilot) <= set(split.candidates)


def test_errors_are_those_of_components_and_per_atom():
    truth = Label(1.0, np.zeros((2, 3)))
    predicted = StructurePredictions([StructurePrediction(1.004, np.full((2, 3), 0.1))])
    found = errors(predicted, [truth])
    assert found["forces_rmse"] == pytest.approx(0.1)
    assert found["energy_mae"] == pytest.approx(2.0)


# --- short cuts are exact


@pytest.fixture(scope="module")
def fitted(tmp_path_factory):
    """A sparse model of two levels of the excerpt of copper, with its features."""
    system = copper(True)
    learner = SparseLearner(system, tmp_path_factory.mktemp("features"), 20)
    labels = {(0, "emt"), (1, "emt"), (0, "pbe"), (1, "pbe"), (2, "emt")}
    data = system.data
    some = type(data)(
        data.structures, data.fidelities, {k: data.labels[k] for k in labels}
    )
    return system, learner, learner.fit(some, None, False), some


def test_known_features_give_the_fit_of_features_that_are_worked_out(fitted):
    system, _, model, some = fitted
    n_pool = len(system.data) - system.published
    pool = system.data.subset(list(range(n_pool)))
    fresh = sparse_feature_map(pool, n_inducing=20, zeta=2, cutoffs=(5.0,))
    other = SparsePotential.with_fit(some, fresh, model.fitted)
    atoms = [system.data.structures[-1]]
    ours, theirs = (
        m.mean(atoms, quantities=("energy", "forces")) for m in (model, other)
    )
    np.testing.assert_allclose(ours.forces[0], theirs.forces[0], atol=2e-4)
    assert ours.energy[0] == pytest.approx(theirs.energy[0], abs=2e-3)


def test_compressed_rows_give_the_integrated_variance_of_all_rows(fitted):
    system, learner, model, _ = fitted
    labels = [(2, "pbe"), (3, "emt"), (3, "pbe")]
    below = [0, -1, -1]
    reduced = ReducedPool(
        model,
        learner.features.stored,
        [
            *(
                ReducedEntry(i, model.level_index(n), below=b)
                for (i, n), b in zip(labels, below, strict=True)
            ),
            ReducedEntry(4, 1),
        ],
        lost=0.0,
    )
    n_rows = len(reduced.quantity(3))
    weights = torch.linspace(0.5, 2.0, n_rows, dtype=torch.float64)
    compressed = CompressedPool(
        reduced, range(3), compressed_targets(reduced, [3], weights)
    )
    structures = system.data.structures
    entries = [PoolEntry(structures[i], n, structure=i) for i, n in labels]
    entries.append(PoolEntry(structures[4], "pbe", structure=4))
    full = WeightPool(model, entries)
    expected = IntegratedVariance(full, [3], weights).values(range(3))
    found = IntegratedVariance(compressed, [3]).values(range(3))
    torch.testing.assert_close(found, expected, rtol=2e-3, atol=0)


# --- what is kept


def test_the_smoke_run_writes_every_table_and_a_second_one_runs_nothing(
    tmp_path, capsys, monkeypatch
):
    some = tuple(STRATEGIES[k] for k in (0, 4, 5, 8, 11))
    for module in (run, tables, drawing):
        monkeypatch.setattr(module, "STRATEGIES", some)
    before = {f: f.stat().st_mtime_ns for f in run.HERE.iterdir() if f.is_file()}
    words = ["--smoke", "--systems", "methanol", "--work", str(tmp_path)]
    run.main(words)
    assert "| sweep: target information |" in capsys.readouterr().out
    files = sorted((tmp_path / "smoke/methanol").glob("*.json"))
    assert len(files) == len(some)
    for file in files:
        found = json.loads(file.read_text())
        assert found["curve"][-1]["cost"] <= found["budget"] * (1 + 1e-9)
    times = {f: f.stat().st_mtime_ns for f in files}
    run.main(words)
    assert {f: f.stat().st_mtime_ns for f in files} == times
    assert (tmp_path / "smoke/learning.png").stat().st_size > 10_000
    after = {f: f.stat().st_mtime_ns for f in run.HERE.iterdir() if f.is_file()}
    assert after == before
