"""Requests are what the configuration, the labels so far and the seed say."""

import json
from itertools import combinations

import numpy as np
import pytest
import torch
from small_campaigns import LEVELS, morse, small_config, water, write_labels

from mfal import Fidelity, Label, LabelledDataset
from mfal.acquisition import (
    Candidate,
    CostEstimate,
    IntegratedVariance,
    ParameterInformation,
    TargetInformation,
    select_batch,
)
from mfal.campaign.choosing import (
    assign_roles,
    best_requests,
    heldout_requests,
    missing_labels,
    pilot_requests,
    sweep_requests,
)
from mfal.campaign.config import AcquisitionConfig
from mfal.campaign.engines import ExactEngine
from mfal.campaign.records import StoredStructure
from mfal.models.exact import ExactPotential
from mfal.models.fitting import Fit
from mfal.models.hyperparameters import Hyperparameters
from mfal.models.pool import ExactPool, PoolEntry

COSTS = {
    "low": CostEstimate(1.0, 1.0, 1.0, 0),
    "high": CostEstimate(10.0, 10.0, 10.0, 0),
}
LOW, HIGH = (0, 1, 2, 9, 12), (0, 1, 2)  # structures of the data


@pytest.fixture
def config(tmp_path):
    write_labels(tmp_path)
    return small_config(tmp_path)


@pytest.fixture
def structures():
    roles = ["candidate"] * 10 + ["target"] * 3 + ["heldout"] * 3
    return [StoredStructure(i, water(i), role, str(i)) for i, role in enumerate(roles)]


@pytest.fixture
def model():
    fidelities = (Fidelity("low"), Fidelity("high"))
    ids = sorted({*LOW, *HIGH})
    labels = {
        (ids.index(i), name): Label(*morse(water(i), *LEVELS[name][:3]))
        for name, some in (("low", LOW), ("high", HIGH))
        for i in some
    }
    h = Hyperparameters(
        ("matern52", "rbf"),
        *(
            torch.tensor(v, dtype=torch.float64)
            for v in ([0.9, 0.6], [1.4, 0.3], [1.3])
        ),
        torch.full((2, 3), 0.02, dtype=torch.float64),
    )
    fit = Fit(h, (None, None), torch.tensor([0.1], dtype=torch.float64))
    data = LabelledDataset(tuple(water(i) for i in ids), fidelities, labels)
    model = ExactPotential.with_fit(data, fit, permutations="none")
    return model, {i: ids.index(i) for i in ids}


def asked():
    return {(i, "low") for i in LOW} | {(i, "high") for i in HIGH}


# --- what needs no model


def test_every_structure_has_one_role_and_the_seed_says_which(config):
    roles = assign_roles(config, 16)
    assert [roles.count(r) for r in ("heldout", "target", "candidate")] == [3, 3, 10]
    assert roles == assign_roles(config, 16)
    assert roles != assign_roles(config.model_copy(update={"seed": 1}), 16)


def test_the_pilot_asks_for_random_candidates_at_every_level(config, structures):
    requests = pilot_requests(config, structures)
    by_level = {n: [r.structure_id for r in requests if r.level == n] for n in COSTS}
    assert by_level["low"] == by_level["high"] == sorted(set(by_level["low"]))
    assert len(by_level["low"]) == config.pilot
    assert max(by_level["low"]) < 10
    assert requests == pilot_requests(config, structures)
    assert {r.purpose for r in requests} == {"pilot"}


def test_validation_asks_for_the_held_out_structures_alone(structures):
    requests = heldout_requests(["high"], structures)
    assert [(r.structure_id, r.level) for r in requests] == [
        (i, "high") for i in (13, 14, 15)
    ]
    assert {r.purpose for r in requests} == {"validation"}


def test_the_sweep_asks_for_candidates_and_targets_that_lack_the_level(structures):
    requests = sweep_requests(structures, "low", asked())
    assert [r.structure_id for r in requests] == [3, 4, 5, 6, 7, 8, 10, 11]


def test_only_candidates_are_chosen_from_never_targets_or_held_out(structures):
    missing = missing_labels(structures, ["low", "high"], asked())
    assert len(set(missing)) == len(missing)
    assert {i for i, n in missing if n == "high"} == set(range(3, 10))
    assert {i for i, n in missing if n == "low"} == {3, 4, 5, 6, 7, 8}


# --- the best labels


def best(config, model, structures, wanted, left=100.0, step=4, **changes):
    section = config.acquisition.model_copy(update=changes)
    config = config.model_copy(update={"acquisition": section})
    return choice(config, model, structures, wanted, left, step)[:2]


def choice(config, model, structures, wanted, left=100.0, step=4):
    return best_requests(
        config,
        model[0],
        structures,
        model[1],
        wanted,
        COSTS,
        left,
        step,
        engine=ExactEngine("auto", lambda: "none", 0, 1500),
    )


def test_the_best_labels_are_the_greedy_ones_about_the_targets(
    config, model, structures
):
    wanted = missing_labels(structures, ["low", "high"], asked())
    requests, _ = best(config, model, structures, wanted, batch=3)
    numbers = {**{i: 100 + i for i in range(16)}, **model[1]}
    everything = [*wanted, *((i, "high") for i in (10, 11, 12))]
    pool = ExactPool(
        model[0], [PoolEntry(water(i), n, structure=numbers[i]) for i, n in everything]
    )
    tolerance = torch.tensor([0.02**2, *[0.1**2] * 3] * 3, dtype=torch.float64)
    targets = list(range(len(wanted), len(everything)))
    picks = select_batch(
        TargetInformation(pool, targets, tolerance),
        [Candidate(i, n, COSTS[n].mean) for i, n in wanted],
        3,
    )
    assert [(r.structure_id, r.level) for r in requests] == [
        wanted[p.position] for p in picks
    ]
    assert [r.gain for r in requests] == pytest.approx(
        [p.gain for p in picks], rel=1e-8
    )
    assert [r.gain_per_cost for r in requests] == pytest.approx(
        [p.gain_per_cost for p in picks], rel=1e-8
    )
    assert {r.purpose for r in requests} == {"acquired"}


def test_with_the_low_level_at_hand_low_labels_tell_next_to_nothing(
    config, model, structures
):
    """What they tell of the targets is told by the targets' own low labels."""
    wanted = missing_labels(structures, ["low", "high"], asked())
    cheap = [(i, name) for i, name in wanted if name == "low"]
    told, first = {}, {}
    for way in ("standalone", "at_hand"):
        first[way] = best(config, model, structures, wanted, deployment=way)[0][0].level
        found, _ = best(config, model, structures, cheap, batch=9, deployment=way)
        told[way] = sum(r.gain for r in found)
    assert first == {"standalone": "low", "at_hand": "high"}
    assert 0 <= told["at_hand"] < 0.1 * told["standalone"]


@pytest.mark.parametrize(
    ("levels", "name", "message"),
    [
        (("low", "high"), "random", "random knows nothing of a level at hand"),
        (("high",), "target_information", "there is no lower level that could be"),
    ],
)
def test_a_level_at_hand_is_one_that_there_is_and_that_is_asked_about(
    tmp_path, levels, name, message
):
    write_labels(tmp_path)
    asked = {"name": name, "deployment": "at_hand"}
    with pytest.raises(ValueError, match=message):
        small_config(tmp_path, levels=levels, acquisition=asked)


def test_campaigns_that_began_before_there_was_a_deployment_go_on(config):
    assert "deployment" not in json.loads(config.canonical_json())["acquisition"]
    changed = config.acquisition.model_copy(update={"deployment": "at_hand"})
    other = config.model_copy(update={"acquisition": changed})
    assert other.digest() != config.digest()


def test_a_structure_is_one_whether_the_data_know_it_or_not(config, model, structures):
    """The low label of a target tells of its high label, misfits included."""
    wanted = [(5, "low"), (5, "high"), (9, "high"), (11, "low")]
    _, pool = best(config, model, structures, wanted)
    numbers = {}
    targets = [(i, "high") for i in (10, 11, 12)]
    for entry, (i, _) in zip(pool.entries, [*wanted, *targets], strict=True):
        assert numbers.setdefault(i, entry.structure) == entry.structure
    assert len(set(numbers.values())) == len(numbers)
    for i in (9, 12):
        assert numbers[i] == model[1][i]
    assert not {numbers[i] for i in (5, 10, 11)} & set(model[1].values())


def test_no_more_is_asked_for_than_what_is_left_pays(config, model, structures):
    wanted = [(i, "high") for i in range(3, 10)]
    requests, _ = best(config, model, structures, wanted, left=25.0, batch=4)
    assert len(requests) == 2


def test_the_rest_of_the_budget_is_spent_at_once(config, model, structures):
    wanted = [(i, "high") for i in range(3, 10)]
    rest, _ = best(config, model, structures, wanted, left=60.0, batch=4)
    more, _ = best(config, model, structures, wanted, left=61.0, batch=4)
    assert (len(rest), len(more)) == (6, 4)


def test_random_labels_are_those_of_the_seed_and_the_step(config, model, structures):
    wanted = [(i, "high") for i in range(3, 10)]
    some = {"name": "random", "batch": 4}
    first, again, later = (
        [
            r.structure_id
            for r in best(config, model, structures, wanted, step=s, **some)[0]
        ]
        for s in (4, 4, 5)
    )
    assert first == again != later


def test_the_label_of_most_variance_is_asked_for_by_maximum_variance(
    config, model, structures
):
    wanted = [(i, "high") for i in range(3, 10)]
    (request,), _ = best(
        config, model, structures, wanted, name="maximum_variance", batch=1
    )
    numbers = {**{i: 100 + i for i in range(16)}, **model[1]}
    pool = ExactPool(
        model[0], [PoolEntry(water(i), n, structure=numbers[i]) for i, n in wanted]
    )
    variances = [
        float(pool.covariance(b).diagonal().mean()) for b in range(len(wanted))
    ]
    assert request.structure_id == wanted[int(np.argmax(variances))][0]
    assert request.gain == pytest.approx(max(variances))


@pytest.mark.parametrize(
    "name, criterion",
    [
        ("parameter_information", lambda pool, t, v: ParameterInformation(pool)),
        ("integrated_variance", lambda pool, t, v: IntegratedVariance(pool, t, 1 / v)),
    ],
)
def test_the_criterion_is_the_one_that_is_named(
    config, model, structures, name, criterion
):
    wanted = missing_labels(structures, ["low", "high"], asked())
    requests, pool = best(config, model, structures, wanted, name=name, batch=3)
    targets = list(range(len(wanted), len(pool.slices)))
    variances = torch.tensor([0.02**2, *[0.1**2] * 3] * 3, dtype=torch.float64)
    picks = select_batch(
        criterion(pool, targets, variances),
        [Candidate(i, n, COSTS[n].mean) for i, n in wanted],
        3,
    )
    assert [(r.structure_id, r.level) for r in requests] == [
        wanted[p.position] for p in picks
    ]
    assert [r.gain for r in requests] == pytest.approx(picks.gains)


def test_the_report_bounds_what_another_batch_could_be_worth(config, model, structures):
    wanted = [(i, "high") for i in range(3, 10)]
    found = choice(
        config.model_copy(
            update={
                "acquisition": AcquisitionConfig(name="parameter_information", batch=2)
            }
        ),
        model,
        structures,
        wanted,
        left=100.0,
    )
    assert found.report["worth"] == pytest.approx(sum(r.gain for r in found.requests))
    criterion = ParameterInformation(found.pool)
    pairs = [criterion.value([a, b]) for a, b in combinations(range(len(wanted)), 2)]
    assert max(pairs) <= found.report["upper_bound"] * (1 + 1e-9)
    assert found.report["evaluations"] >= len(wanted)
