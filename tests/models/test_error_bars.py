"""Sigmas of few points: those of a model that has these points only."""

import numpy as np
import pytest
import torch
from small_cells import (
    alloy,
    cell,
    cluster,
    hyperparameters,
    random_dataset,
    reference_of,
    small_map,
    structures_of,
)

from mfal.models import gathering
from mfal.models.error_bars import error_bars
from mfal.models.gathering import gather
from mfal.models.left_out_weights import leave_out
from mfal.models.sparse import SparsePotential, training_keys
from mfal.models.weight_fit import WeightFit
from mfal.models.weight_potential import Training
from mfal.models.weights import Prior, posterior

ALL = ("energy", "forces", "stress")
EF = ALL[:2]
MAP = small_map(structures_of(4), 12)
NESTED = [*[(i, 0, EF) for i in range(4)], (0, 1, EF), (1, 1, EF), (2, 1, ("energy",))]
SHARED = [(0, 0, EF), (1, 0, EF), (2, 1, EF), (0, 1, EF)]


def model_of(asked, feature_map):
    dataset = random_dataset(asked, n_levels=2)
    reference = reference_of(dataset, MAP)
    found = gather(dataset, feature_map, reference)
    unknown = torch.full((1,), float("nan"), dtype=torch.float64)
    return SparsePotential(
        feature_map,
        Training(
            dataset.fidelities, reference, dataset.n_labels(), training_keys(dataset)
        ),
        found.statistics,
        WeightFit(hyperparameters(2), unknown, 0.0, True, None, 0),
        kept=found.kept,
    )


@pytest.fixture
def few_points(monkeypatch):
    monkeypatch.setattr(gathering, "BAR_POINTS", 5)


def test_the_first_features_are_those_of_the_first_points():
    ((descriptor, features),) = MAP.parts
    few, places = features.leading(5)
    assert few.size == len(places) < features.size
    atoms = alloy(9)
    environments = descriptor.projected(atoms, features.projection)
    one, all_rows = few.rows(environments, 50.0), features.rows(environments, 50.0)
    for name in ALL:
        got, want = getattr(one, name), getattr(all_rows, name)
        torch.testing.assert_close(got, want[..., places], rtol=1e-6, atol=1e-9)


def test_columns_of_statistics_are_the_statistics_of_these_features():
    few, columns = MAP.leading(5)
    dataset = random_dataset(NESTED, n_levels=2)
    reference = reference_of(dataset, MAP)
    part = gather(dataset, MAP, reference).statistics.of_columns(columns)
    own = gather(dataset, few, reference).statistics
    assert part.groups.keys() == own.groups.keys()
    for group, moments in own.groups.items():
        torch.testing.assert_close(
            part.groups[group].products, moments.products, rtol=1e-6, atol=1e-8
        )
        assert part.groups[group].n_rows == moments.n_rows


@pytest.mark.parametrize("make", [alloy, cell, cluster])
@pytest.mark.parametrize("at_hand", [False, True])
def test_means_are_those_of_all_points_and_sigmas_those_of_few(
    few_points, monkeypatch, make, at_hand
):
    atoms, low = make(7), None
    if at_hand:
        dataset = random_dataset([(0, 0, EF)])
        low = [dataset.label(0, "low").only(("energy",))]
    model = model_of(NESTED, MAP)
    assert model.bars is not None
    small = model_of(NESTED, MAP.leading(5)[0])
    found = model.predict([atoms], at_hand=low)[0]
    monkeypatch.setattr(gathering, "BAR_POINTS", 1000)
    whole = model_of(NESTED, MAP).predict([atoms], at_hand=low)[0]
    few = small.predict([atoms], at_hand=low)[0]
    names = ["energy", "forces"] + ([] if found.stress is None else ["stress"])
    for name in names:
        np.testing.assert_allclose(
            getattr(found, name), getattr(whole, name), rtol=1e-7, atol=1e-8
        )
        np.testing.assert_allclose(
            getattr(found, f"{name}_sigma"), getattr(few, f"{name}_sigma"), rtol=1e-5
        )
        np.testing.assert_allclose(
            getattr(found, f"{name}_noise"), getattr(whole, f"{name}_noise")
        )
    assert not np.allclose(found.energy_sigma, whole.energy_sigma, rtol=1e-3)


@pytest.mark.parametrize("mode", ["standalone", "at_hand"])
def test_left_out_sigmas_are_those_of_few_points_and_residuals_those_of_all(
    few_points, mode
):
    model = model_of(NESTED, MAP)
    h = model.hyperparameters
    found = leave_out(model.kept, model.weights, h, mode=mode, bars=model.bars)
    whole = leave_out(model.kept, model.weights, h, mode=mode)
    few, _ = MAP.leading(5)
    small = model_of(NESTED, few)
    own = leave_out(
        small.kept, posterior(small.statistics, Prior(few.block), h), h, mode=mode
    )
    for name in EF:
        for k in range(len(found.residual[name])):
            for field, other in (("residual", whole), ("noise", whole)):
                got, want = (getattr(x, field)[name][k] for x in (found, other))
                np.testing.assert_allclose(got, want)
            for field in ("epistemic", "unexplained"):
                got, want = (getattr(x, field)[name][k] for x in (found, own))
                np.testing.assert_allclose(got, want, rtol=1e-5, atol=1e-9)


def test_small_models_have_exact_error_bars():
    assert model_of(NESTED, MAP).bars is None


def test_where_a_label_at_hand_tells_of_all_weights_error_bars_are_exact(few_points):
    assert model_of(SHARED, MAP).bars is None
    statistics = model_of(NESTED, MAP).statistics
    assert error_bars(MAP, statistics, hyperparameters(2)) is not None
