"""A pool in r directions tells what the pool with all its rows does."""

import dataclasses

import numpy as np
import pytest
import torch
from two_engines import DATA, LEVELS, Sparse

from mfal.acquisition import (
    Candidate,
    ParameterInformation,
    TargetInformation,
    select_batch,
)
from mfal.acquisition.reduced import (
    AssumedDiminishing,
    ReducedParameterInformation,
    ReducedTargetInformation,
)
from mfal.models.pool import PoolEntry
from mfal.models.reduced_pool import (
    ReducedEntry,
    ReducedPool,
    pool_features,
    weights_of,
)
from mfal.models.stored_features import open_features, store_features
from mfal.models.weights import level_rows

ASKED = [(3, 0), (3, 1), (4, 0), (4, 1), (5, 0), (5, 1), (2, 1)]
N_STRUCTURES = 6


@pytest.fixture(scope="module")
def model():
    return Sparse.model(DATA)


@pytest.fixture(scope="module")
def features(model, tmp_path_factory):
    path = tmp_path_factory.mktemp("pool") / "features.f32"
    structures = [Sparse.structure(i) for i in range(N_STRUCTURES)]
    return store_features(structures, model.feature_map, path)


def known_below(i, k):
    return max((m for s, m in DATA if s == i and m < k), default=-1)


def reduced(model, features, asked=ASKED, **options):
    entries = [ReducedEntry(i, k, below=known_below(i, k)) for i, k in asked]
    return ReducedPool(model, features, entries, **options)


def whole(model, asked=ASKED):
    entries = [PoolEntry(Sparse.structure(i), LEVELS[k], structure=i) for i, k in asked]
    return Sparse.pool(model, entries)


def both_of(name, model, features, **options):
    small, large = reduced(model, features, **options), whole(model)
    if name == "parameters":
        return ReducedParameterInformation(small), ParameterInformation(large)
    tolerance = torch.full((len(small.quantity(6)),), 0.04, dtype=torch.float64)
    return (
        ReducedTargetInformation(small, [6], tolerance),
        TargetInformation(large, [6], tolerance),
    )


CRITERIA = ("parameters", "targets")
PICKS = [(), (0,), (2,), (1,), (0, 3), (3, 2), (3, 0, 2)]


@pytest.mark.parametrize("criterion", CRITERIA)
@pytest.mark.parametrize("picks", PICKS, ids=str)
def test_values_are_those_of_the_whole_pool(criterion, picks, model, features):
    found, expected = both_of(criterion, model, features, lost=0.0)
    rest = [k for k in range(6) if k not in picks]
    for pick in picks:
        found.condition_on(pick)
        expected.condition_on(pick)
    np.testing.assert_allclose(
        found.values(rest), expected.values(rest), rtol=2e-4, atol=2e-6
    )


@pytest.mark.parametrize("criterion", CRITERIA)
def test_a_set_is_worth_its_labels_one_after_the_other(criterion, model, features):
    found, expected = both_of(criterion, model, features, lost=0.0)
    assert found.value([0, 2, 5]) == pytest.approx(expected.value([0, 2, 5]), rel=2e-4)
    assert found.picked == ()


def inherited(pool):
    """What labels tell of misfits, on average."""
    shares = [pool.inherited(b, pool.entries[b].below) for b in range(len(pool))]
    noises = [pool.noise(b, pool.entries[b].below) for b in range(len(pool))]
    told = [
        -0.5 * float(torch.log1p(-s / n).sum())
        for s, n in zip(shares, noises, strict=True)
    ]
    return sum(told) / len(told)


@pytest.mark.parametrize("lost", [0.001, 0.01, 0.1])
def test_no_more_information_is_lost_than_is_said(lost, model, features):
    all_of_it = ReducedParameterInformation(reduced(model, features, lost=0.0))
    pool = reduced(model, features, lost=lost)
    less = all_of_it.values(range(7)) - ReducedParameterInformation(pool).values(
        range(7)
    )
    assert pool.lost <= lost * pool.information
    assert float(all_of_it.values(range(7)).mean()) <= pool.information + inherited(
        pool
    )
    assert -1e-5 < float(less.mean()) <= pool.lost + 1e-5


def test_picks_are_taken_back(model, features):
    acquisition, _ = both_of("targets", model, features)
    before = acquisition.values(range(6))
    for pick in (0, 3):
        acquisition.condition_on(pick)
    assert not torch.allclose(before, acquisition.values(range(6)))
    acquisition.keep(0)
    torch.testing.assert_close(before, acquisition.values(range(6)))


def test_a_batch_is_that_of_the_whole_pool(model, features):
    found, expected = both_of("parameters", model, features, lost=0.0)
    candidates = [Candidate(i, LEVELS[k], 1.0 + 3.0 * k) for i, k in ASKED[:6]]
    batches = [select_batch(one, candidates, 3) for one in (found, expected)]
    assert [p.position for p in batches[0]] == [p.position for p in batches[1]]


def test_a_criterion_assumed_to_diminish_gives_the_values_it_holds(model, features):
    acquisition, _ = both_of("targets", model, features)
    lazy = AssumedDiminishing(acquisition)
    lazy.condition_on(2)
    assert acquisition.picked == (2,)
    torch.testing.assert_close(lazy.values([0, 5]), acquisition.values([0, 5]))
    assert lazy.diminishing and not lazy.submodular


def test_stored_features_are_those_of_the_map(model, features):
    again = open_features(features.path)
    rows = model.feature_map.rows(Sparse.structure(4), strain=False)
    expected = torch.cat([rows.energy.unsqueeze(0), rows.forces]).float()
    assert torch.equal(again.rows(4), expected)
    assert len(again) == N_STRUCTURES


def test_large_models_are_seen_through_their_first_points(model, tmp_path, monkeypatch):
    monkeypatch.setattr("mfal.models.gathering.BAR_POINTS", 3)
    few = pool_features(model)
    assert few.size < model.feature_map.size
    structures = [Sparse.structure(i) for i in range(N_STRUCTURES)]
    features = store_features(structures, few, tmp_path / "few.f32")
    found = ReducedParameterInformation(reduced(model, features, lost=0.0)).values(
        [0, 3]
    )
    weights = weights_of(model, features)
    for k, value in zip((0, 3), found, strict=True):
        i, level = ASKED[k]
        z = level_rows(
            features.rows(i).double(), model.path, level, known_below(i, level)
        )
        v = weights.whiten(z)
        pool = reduced(model, features)
        total = pool.noise(k, known_below(i, level))
        own = total - pool.inherited(k, known_below(i, level))
        told = 0.5 * (torch.logdet(v.mT @ v + total.diag()) - own.log().sum())
        assert float(value) == pytest.approx(float(told), rel=1e-4)


def test_features_of_another_model_are_refused(model, features):
    odd = dataclasses.replace(features, n_features=3)
    with pytest.raises(ValueError, match="store them with pool_features"):
        ReducedPool(model, odd, [ReducedEntry(0, 0)])


def test_a_file_that_was_cut_is_refused(model, tmp_path):
    path = tmp_path / "features.f32"
    store_features([Sparse.structure(0)], model.feature_map, path)
    path.write_bytes(path.read_bytes()[:-4])
    with pytest.raises(ValueError, match="store the features again"):
        open_features(path)


@pytest.mark.parametrize(
    ("entry", "message"),
    [
        (ReducedEntry(9, 0), "not among the 6 stored"),
        (ReducedEntry(0, 7), "levels are 0 to 1"),
        (ReducedEntry(0, 1, below=1), "the one known below is lower"),
        (ReducedEntry(0, 1, ("stress",)), "energy, forces or both"),
    ],
)
def test_labels_that_cannot_be_are_refused(entry, message, model, features):
    with pytest.raises(ValueError, match=message):
        ReducedPool(model, features, [entry])


def test_targets_without_a_tolerance_are_refused(model, features):
    pool = reduced(model, features)
    with pytest.raises(ValueError, match="a positive variance for each of their"):
        ReducedTargetInformation(pool, [6], torch.ones(2, dtype=torch.float64))
