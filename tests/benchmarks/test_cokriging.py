"""The benchmark of co-kriging: what it computes, keeps, counts and writes."""

import itertools
import json
import math
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from scipy.stats import norm

from benchmarks.cokriging import functions, optimisation, run
from benchmarks.cokriging.environments import Worker
from benchmarks.cokriging.figure import figure
from benchmarks.cokriging.problems import PROBLEMS, drawn
from benchmarks.cokriging.regret import cost_to, regret_at
from benchmarks.cokriging.regret import figure as regret_figure
from benchmarks.cokriging.regret import tables as regret_tables
from benchmarks.cokriging.scores import FLOOR, rmse_of_the_mean, scored
from benchmarks.cokriging.searches import COUNTED, HIGH, LOW, Hartmann, Table, counts
from benchmarks.cokriging.tables import quartiles, sections
from benchmarks.markdown import write_sections

HARTMANN_BEST = [0.20169, 0.150011, 0.476874, 0.275332, 0.311652, 0.6573]


def at(function, *x):
    """The value of a function at one point."""
    return float(function(np.array([x], dtype=float))[0])


# --- functions


@pytest.mark.parametrize(
    ("function", "place", "value"),
    [
        (functions.forrester, [0.757249], -6.020740),
        (functions.currin, [0.21666667, 0.02285714], 13.798722),
        (functions.park, [1, 1, 1, 1], 25.589254),
        (functions.branin, [math.pi, 2.275], 0.397887),
        (functions.hartmann, HARTMANN_BEST, -(2.58 + 3.32237) / 1.94),
    ],
)
def test_high_levels_have_their_published_optima(function, place, value):
    assert at(function, *place) == pytest.approx(value, abs=2e-6)


def test_the_borehole_has_its_published_extremes_at_corners():
    family = functions.BOREHOLE
    corners = np.array(
        list(itertools.product(*zip(family.lower, family.upper, strict=True)))
    )
    values = functions.borehole(corners)
    assert values.max() == pytest.approx(309.5755876604, abs=1e-9)
    assert values.min() == pytest.approx(7.8196763287, abs=1e-9)


def test_low_levels_are_the_published_formulas():
    assert at(functions.forrester_low, 0.75) == pytest.approx(
        at(functions.forrester, 0.75) / 2 + 2.5 - 5
    )
    corners = [(0.35, 0.07), (0.35, 0.0), (0.25, 0.07), (0.25, 0.0)]
    assert at(functions.currin_low, 0.3, 0.02) == pytest.approx(
        sum(at(functions.currin, *corner) for corner in corners) / 4
    )
    rw, r, tu, hu, tl, hl, length, kw = x = (0.1, 1e3, 8e4, 1000, 90, 750, 1400, 1e4)
    log = math.log(r / rw)
    below = log * (1.5 + 2 * length * tu / (log * rw**2 * kw) + tu / tl)
    assert at(functions.borehole_low, *x) == pytest.approx(5 * tu * (hu - hl) / below)
    a, b, c, _ = x = (0.2, 0.4, 0.6, 0.8)
    low = (1 + math.sin(a) / 10) * at(functions.park, *x) - 2 * a + b**2 + c**2 + 0.5
    assert at(functions.park_low, *x) == pytest.approx(low)


def test_the_low_hartmann_function_has_a_ninth_power_for_the_exponential():
    x = (0.3, 0.4, 0.5, 0.6, 0.7, 0.8)
    rows = zip(functions.HARTMANN_A, functions.HARTMANN_P, strict=True)
    z = [
        -sum(a * (v - p) ** 2 for a, v, p in zip(A, x, P, strict=True)) for A, P in rows
    ]
    terms = [(math.exp(-4 / 9) + math.exp(-4 / 9) * (v + 4) / 9) ** 9 for v in z]
    weights = (0.5, 0.5, 2.0, 4.0)
    total = 2.58 + sum(w * t for w, t in zip(weights, terms, strict=True))
    assert at(functions.hartmann_low, *x) == pytest.approx(-total / 1.94)


def test_the_levels_of_the_branin_function_build_on_each_other():
    a, b = 2.0, 5.0
    root = math.sqrt(at(functions.branin, a - 2, b - 2))
    middle = 10 * root + 2 * (a - 0.5) - 3 * (3 * b - 1) - 1
    assert at(functions.branin_middle, a, b) == pytest.approx(middle)
    shifted = at(functions.branin_middle, 1.2 * (a + 2), 1.2 * (b + 2))
    assert at(functions.branin_low, a, b) == pytest.approx(shifted - 3 * b + 1)


def test_the_useless_level_says_nothing():
    x = np.random.default_rng(0).random((4000, 2))
    low, high = (functions.USELESS(level, x) for level in (0, 1))
    assert abs(np.corrcoef(low, high)[0, 1]) < 0.06


# --- designs


@pytest.mark.parametrize("name", [n for n in PROBLEMS if n != "borehole_1000"])
def test_a_design_has_the_points_it_says_and_is_nested_unless_it_says_not(name):
    problem, data = PROBLEMS[name], drawn(PROBLEMS[name], 3, 64)
    assert tuple(map(len, data.X)) == tuple(map(len, data.Y)) == problem.points
    for x in (*data.X, data.test_X):
        assert x.min() >= 0 and x.max() <= 1
    for lower, higher in itertools.pairwise(data.X):
        shared = {tuple(x) for x in higher} & {tuple(x) for x in lower}
        assert len(shared) == (len(higher) if problem.nested else 0)


def test_the_high_level_is_a_latin_hypercube():
    high = drawn(PROBLEMS["park"], 0, 64).X[-1]
    for column in np.sort(high, axis=0).T:
        assert (np.floor(column * len(high)) == np.arange(len(high))).all()


def test_a_seed_gives_the_same_data_and_another_seed_other_data():
    first, again, other = (drawn(PROBLEMS["currin"], seed, 64) for seed in (1, 1, 2))
    assert run.data_hash(first) == run.data_hash(again) != run.data_hash(other)


def test_values_are_exact_unless_the_problem_is_noisy():
    exact, noisy = (drawn(PROBLEMS[name], 0, 64) for name in ("currin", "noisy"))
    for data, spread in ((exact, (0, 0)), (noisy, PROBLEMS["noisy"].noise)):
        for level, sigma in enumerate(spread):
            off = data.Y[level] - functions.CURRIN(level, data.X[level])
            assert off.std() == pytest.approx(sigma, rel=0.5)
    assert noisy.noisy and not exact.noisy
    truth = functions.CURRIN(1, noisy.test_X)
    np.testing.assert_array_equal(noisy.test_Y, truth)


# --- scores


def test_scores_of_residuals_that_are_normal_have_their_closed_form():
    z = norm.ppf((np.arange(20_000) + 0.5) / 20_000)
    truth, sigma = 3 * z, 0.5
    found = scored(truth + sigma * z[::-1], np.full_like(z, sigma**2), truth)
    assert found["rmse"] == pytest.approx(sigma, rel=1e-3)
    entropy = 0.5 * math.log(2 * math.pi * math.e) + math.log(sigma / 3)
    assert found["nlpd"] == pytest.approx(entropy, abs=1e-3)
    assert found["coverage_95"] == pytest.approx(0.95, abs=1e-3)
    assert found["coverage_68"] == pytest.approx(0.68, abs=1e-3)
    assert found["floored"] == 0


def test_scores_but_the_error_do_not_depend_on_units():
    rng = np.random.default_rng(0)
    truth, off, v = rng.random(50), 0.1 * rng.random(50), 0.01 + rng.random(50)
    one, other = (
        scored(truth + off, v, truth),
        scored(7 * truth + 7 * off, 49 * v, 7 * truth),
    )
    assert other.pop("rmse") == pytest.approx(7 * one.pop("rmse"))
    assert other == pytest.approx(one)


def test_a_variance_that_is_too_small_is_raised_and_counted():
    truth = np.array([-1.0, 1.0])
    found = scored(truth, np.array([0.0, -1.0]), truth)
    assert found["floored"] == 1
    assert found["nlpd"] == pytest.approx(0.5 * math.log(2 * math.pi) + math.log(FLOOR))


def test_a_prediction_that_is_no_number_is_an_error():
    with pytest.raises(ValueError, match="not numbers"):
        scored(np.array([math.nan]), np.ones(1), np.ones(1))


def test_a_catastrophic_seed_is_worse_than_the_mean_of_the_high_level(tmp_path):
    data = drawn(PROBLEMS["forrester"], 0, 64)
    limit = rmse_of_the_mean(data.Y[-1], data.test_Y)
    for factor, bad in ((0.99, False), (1.01, True)):
        mean = data.test_Y + factor * limit
        np.savez(tmp_path / "p.npz", mean=mean, variance=np.ones(64))
        assert run.judged({}, tmp_path / "p.npz", data)["catastrophic"] is bad


# --- runs


@pytest.fixture
def smoke(tmp_path):
    """Smoke runs of two models in a temporary folder."""

    def start():
        words = ["--smoke", "--work", str(tmp_path), "--models"]
        run.main([*words, "single_level", "botorch_mt"])

    return start


def test_a_smoke_run_prints_tables_changes_no_file_and_is_not_done_twice(smoke, capsys):
    before = {f: f.stat().st_mtime_ns for f in run.HERE.iterdir() if f.is_file()}
    smoke()
    said = capsys.readouterr().out
    assert "forrester single_level 0 RMSE" in said
    assert "forrester botorch_mt 0 RMSE" in said
    assert "| Forrester, 12 / 4 | - | - | - | - | - | " in said
    smoke()
    assert "forrester single_level 0 RMSE" not in capsys.readouterr().out
    after = {f: f.stat().st_mtime_ns for f in run.HERE.iterdir() if f.is_file()}
    assert after == before


FAKE = """\
import json, sys, time
print(json.dumps({"numpy": "1"}), flush=True)
for line in sys.stdin:
    if json.loads(line)["model"] == "dead":
        sys.exit("it died")
    time.sleep(0 if json.loads(line)["model"] == "fast" else 60)
    print(json.dumps({"fit_seconds": 1.0}), flush=True)
"""


def test_a_worker_that_is_late_or_dies_is_a_failure_and_the_next_task_goes_on(
    tmp_path, monkeypatch
):
    (tmp_path / "fake.py").write_text(FAKE)
    monkeypatch.setattr(
        "benchmarks.cokriging.environments.WORKER", tmp_path / "fake.py"
    )
    worker = Worker(Path(sys.executable), "any", tmp_path / "log")
    try:
        assert worker.versions() == {"numpy": "1"}
        late = worker.ask({"model": "slow"}, 0.2)
        assert late == {"failure": "took longer than 0 s"}
        assert worker.ask({"model": "fast"}, 30) == {"fit_seconds": 1.0}
        assert "it died" in worker.ask({"model": "dead"}, 30)["failure"]
        assert worker.ask({"model": "fast"}, 30) == {"fit_seconds": 1.0}
    finally:
        worker.close()


def test_failures_count_as_worse_than_any_value():
    runs = [{"rmse": 1.0}, {"failure": "x"}, {"rmse": 2.0}, {"failure": "y"}]
    assert quartiles(runs, "rmse")[0] == pytest.approx(1.75)
    assert quartiles(runs, "rmse")[1:] == (math.inf, math.inf)


# --- what is written


def result(rmse, **more):
    scores = {"nlpd": 0.0, "coverage_95": 0.95, "coverage_68": 0.7, "fit_seconds": 1.0}
    return scores | {"rmse": rmse, "predict_seconds": 0.1, "catastrophic": False} | more


def test_tables_name_the_best_the_failures_and_where_mfal_loses():
    models = {
        "mfal": [result(2.0), result(3.0), result(4.0)],
        "smt_mfk": [result(1.0, catastrophic=True), result(1.0), {"failure": "x"}],
    }
    document = {"problems": {"p": {"title": "A problem", "models": models}}}
    found = sections(document)
    assert "| A problem | 3 (2.5 to 3.5) | **1** (1 to failed) | - |" in found["rmse"]
    assert "| A problem | 0 + 0 of 3 | 1 + 1 of 3 | - |" in found["failures"]
    assert "| A problem | 95 / 70 | 95 / 70 | - |" in found["coverage"]
    assert found["losses"] == "- A problem: RMSE 3 against 1 of SMT MFK."
    assert len(figure(document).axes) == 2


def test_the_readme_says_what_the_results_say(tmp_path):
    texts = {}
    for name, write in (("results", sections), ("optimisation", regret_tables)):
        file = run.HERE / f"{name}.json"
        if not file.exists():
            pytest.skip(f"{name}.json is not there yet")
        texts |= write(json.loads(file.read_text()))
    readme = (run.HERE / "README.md").read_text()
    copy = tmp_path / "README.md"
    copy.write_text(readme)
    write_sections(copy, texts)
    assert copy.read_text() == readme


# --- searches


def small_table():
    x = np.linspace(0, 1, 12)[:, None]
    values = np.column_stack([x[:, 0], x[:, 0] ** 2])
    costs = np.broadcast_to([1.0, 4.0], values.shape)
    return Table("T", "h", x, values, costs, first=(5, 2), n_high=6)


def test_a_table_is_searched_by_the_value_of_an_acquisition_function():
    table = small_table()
    labels = table.first(0)
    assert [label.level for label in labels] == [LOW] * 5 + [HIGH] * 2
    assert {x.row for x in labels if x.level == HIGH} <= {x.row for x in labels[:5]}
    free = {row for row in range(12) if row not in {x.row for x in labels[:5]}}
    found = table.maximum(lambda X: X[:, 0, 0] - X[:, 0, 1], labels, [LOW, HIGH])
    assert (found.row, found.level) == (max(free), LOW)
    assert (found.value, found.cost) == (found.row / 11, 1.0)
    assert (table.best, table.good, table.budget) == (1.0, 1.0, 24.0)


def test_the_fidelities_of_the_hartmann_function_are_botorchs():
    search = Hartmann()
    x = torch.tensor(HARTMANN_BEST, dtype=torch.double)
    high, low = (search.labelled(torch.cat([x, x.new_tensor([s])])) for s in (1.0, 0.0))
    assert high.value == pytest.approx(search.best, abs=1e-5)
    assert (high.cost, low.cost) == (10, 1)
    assert low.value < high.value


def test_strategies_without_the_low_level_spend_as_much_on_their_first_labels():
    table = small_table()
    shared = optimisation.first_labels(table, "mfal", 0)
    high = optimisation.first_labels(table, "random", 0)
    assert [x.row for x in high[:2]] == [x.row for x in shared[5:]]
    assert sum(x.cost for x in shared) - 4 < sum(x.cost for x in high) <= 13
    assert len({x.row for x in high}) == len(high)


def test_a_search_by_chance_ends_with_the_budget_or_the_best():
    found = optimisation.searched(small_table(), "random", 0)
    assert sum(found["costs"]) >= 24 or max(found["values"]) == 1.0
    assert found["spent"][-1] == sum(found["costs"])
    assert found["expected"][-1] == max(found["values"])


def test_a_search_with_botorchs_model_buys_both_levels_within_the_budget():
    found = optimisation.searched(small_table(), "botorch", 0)
    assert "failure" not in found
    assert found["spent"] == sorted(found["spent"])


def test_cost_and_regret_are_read_from_the_trace():
    trace = {"levels": [0, 1, 0, 1], "values": [9.0, 1.0, 9.0, 3.0]}
    trace |= {"costs": [1.0, 10.0, 1.0, 10.0], "first": 2}
    trace |= {"spent": [11.0, 22.0], "expected": [1.0, 3.0]}
    assert cost_to(trace, 3.0) == 22
    assert cost_to(trace, 4.0) == math.inf
    assert regret_at(trace, 21.9, 5.0) == 4
    assert regret_at(trace, 22.0, 5.0) == 2
    assert regret_at(trace | {"failure": "x"}, 23.0, 5.0) == math.inf
    strategies = {"mfal": [trace], "random": [trace]}
    found = {"title": "T", "unit": "h", "budget": 22.0, "best": 3.0, "good": 3.0}
    document = {"searches": {"t": found | {"strategies": strategies}}}
    assert "| T | mfal | 22 (22 to 22), 1 of 1 |" in regret_tables(document)["found"]
    assert len(regret_figure(document).axes) == 1


def test_groups_of_a_molecule_are_counted_in_its_smiles():
    found = dict(zip(COUNTED, counts("ClCc1ccccc1C(=O)O"), strict=False))
    assert found["chlorine"] == found["carbonyl"] == found["hydroxyl"] == 1
    assert (found["carbon"], found["aromatic carbon"], found["oxygen"]) == (2, 6, 2)
    assert counts("ClCc1ccccc1C(=O)O")[-1] == 11
