"""Joined or apart: the evidences are those of dense Gaussians, and rho pays its price."""

import math
from dataclasses import replace

import numpy as np
import pytest
import small_cells
import textbook
import torch
from small_models import MIXED, as_molecule, hyperparameters, potential, water_dataset

from mfal import Fidelity, LabelledDataset
from mfal.models import level_evidence, weight_fit
from mfal.models.exact import ExactPotential
from mfal.models.hyperparameters import default_prior
from mfal.models.level_evidence import (
    MARGIN,
    NOISE_FLOOR,
    RHO_PRIOR,
    StepEvidence,
    integrated,
    step_evidence,
)
from mfal.models.sparse import SparsePotential
from mfal.models.weight_fit import WeightFit

KERNELS = ("matern52", "rbf", "matern52")
UNKNOWN = torch.full((2,), math.nan, dtype=torch.float64)


def price(h, level):
    """What the prior of rho adds where its error is that of the prior."""
    return integrated(float(h.rho[level - 1]), math.nan, *RHO_PRIOR)


def dense_exact(model, levels, top):
    """log p of the labels of some levels that a step to the top is judged by."""
    data = model.observations
    chosen = level_evidence._labels_of(data, top, 0)
    part = data.blocks([i for i in chosen if data.level[i] in levels])
    rows, h = as_molecule(part), model.hyperparameters
    orders = model.builder.descriptor.orders(model.permutations)
    covariance = textbook.smooth(h, rows, rows, orders) + textbook.white(h, rows, rows)
    return float(textbook.log_normal(part.values, covariance))


def dense_sparse(model, levels, top):
    names = [name for i, name in enumerate(model.levels) if i in levels]
    labels = {k: v for k, v in model.dataset.labels.items() if k[1] in names}
    data = replace(model.dataset, labels=labels)
    dense = small_cells.Dense(
        data, model.feature_map, model.training.reference, model.hyperparameters
    )
    return float(textbook.log_normal(dense.values, dense.covariance))


def exact(h=None):
    return potential(water_dataset(MIXED[3]), h or hyperparameters(*KERNELS))


def sparse(h=None):
    data = small_cells.random_dataset(small_cells.PARTLY[3])
    h = h or small_cells.hyperparameters(3)
    feature_map = small_cells.small_map(data.structures)
    fit = WeightFit(h, UNKNOWN, 0.0, True, None, 0)
    return SparsePotential.with_fit(data, feature_map, fit)


ENGINES = {"exact": (exact, dense_exact), "sparse": (sparse, dense_sparse)}


@pytest.fixture(params=ENGINES)
def engine(request):
    return ENGINES[request.param]


@pytest.mark.parametrize("level", [1, 2])
def test_the_joint_evidence_is_that_of_the_labels_given_those_below(
    engine, level, monkeypatch
):
    monkeypatch.setattr(level_evidence, "MARGIN", math.inf)  # no second look
    model, dense = engine[0](), engine[1]
    below = range(level)
    expected = dense(model, [*below, level], level) - dense(model, below, level)
    found = step_evidence(model, level)
    assert (found.below, found.level) == (model.levels[level - 1], model.levels[level])
    joint = found.joint - price(model.hyperparameters, level)
    assert joint == pytest.approx(expected)


def test_before_a_sparse_model_leaves_a_level_it_searches_once_more():
    """From hyperparameters that nobody searched for, the joint model looks useless."""
    model = sparse()
    expected = dense_sparse(model, [0, 1], 1) - dense_sparse(model, [0], 1)
    found = step_evidence(model, 1)
    assert found.joint > expected + 10


@pytest.mark.parametrize("level", [1, 2])
def test_alone_a_level_has_the_best_of_what_it_has_at_rho_zero(engine, level):
    """The search for it starts from more than nothing: it is no worse than here."""
    make, dense = engine
    h = make().hyperparameters
    rho = h.rho.clone()
    rho[level - 1] = 0.0
    model = make(replace(h, rho=rho))
    at_zero = dense(model, [level], level)
    below = range(level)
    joint = dense(model, [*below, level], level) - dense(model, below, level)
    assert joint == pytest.approx(at_zero)  # nothing in common
    assert step_evidence(model, level).alone > at_zero - 2.0


def test_a_part_of_the_rows_is_compared_if_there_are_many(monkeypatch):
    model = exact()
    whole = step_evidence(model, 2)
    monkeypatch.setattr(level_evidence, "LARGEST", 12)
    part = step_evidence(model, 2)
    assert part.joint != whole.joint
    assert step_evidence(model, 2) == part  # and always the same one
    others = [step_evidence(model, 2, seed=s) for s in range(1, 5)]
    assert any(other.joint != part.joint for other in others)


@pytest.mark.parametrize("slope", [-0.5, 0.2, 1.1])
def test_rho_is_integrated_over_its_prior(slope):
    """Against a sum on a fine grid, for a likelihood that is normal in rho."""
    mean, deviation = RHO_PRIOR
    width = 0.2
    rho = np.linspace(-6, 8, 200001)

    def normal(x, centre, sigma):
        z = (x - centre) / sigma
        return np.exp(-0.5 * z**2) / sigma / math.sqrt(2 * math.pi)

    likelihood, prior = normal(rho, slope, width), normal(rho, mean, deviation)
    expected = math.log((likelihood * prior).sum() * (rho[1] - rho[0]))
    error = (width**-2 + deviation**-2) ** -0.5
    best = error**2 * (slope / width**2 + mean / deviation**2)
    found = math.log(normal(best, slope, width)) + integrated(best, error, *RHO_PRIOR)
    assert found == pytest.approx(expected)


def test_the_prior_and_the_floor_are_those_of_the_engines():
    prior = default_prior(3, 1.0)
    assert prior.mean[6:8].tolist() == [RHO_PRIOR[0]] * 2
    assert prior.deviation[6:8].tolist() == [RHO_PRIOR[1]] * 2
    assert weight_fit._RHO == RHO_PRIOR
    assert tuple(low for low, _ in weight_fit._BOUNDS) == NOISE_FLOOR


def test_a_sparse_model_that_says_everything_of_its_labels_gives_no_verdict():
    h = small_cells.hyperparameters(3)
    noise = h.noise.clone()
    noise[2, 1] = NOISE_FLOOR[1]
    assert step_evidence(sparse(replace(h, noise=noise)), 2) is None
    assert step_evidence(sparse(replace(h, noise=noise)), 1) is not None


def test_a_level_without_labels_gives_no_verdict():
    data = water_dataset(
        [(0, 0, ("energy",)), (1, 0, ("energy",)), (2, 1, ("energy",))]
    )
    high = {k: v for k, v in data.labels.items() if k[1] == "middle"}
    model = potential(replace(data, labels=high), hyperparameters("rbf", "rbf"))
    assert step_evidence(model, 1) is None


@pytest.mark.parametrize("level", [0, 3, -1])
def test_a_step_that_is_none_is_refused(level):
    with pytest.raises(ValueError, match=f"no step to level {level} of 3"):
        step_evidence(exact(), level)


def test_independent_levels_have_to_be_better_by_the_margin():
    assert StepEvidence("a", "b", -MARGIN + 0.01, 0.0).joined
    assert not StepEvidence("a", "b", -MARGIN - 0.01, 0.0).joined


# --- on labels of codes


def methanol_pairs(
    methanol, *, scrambled, n=5, quantities=("energy", "forces"), seed=0
):
    """Paired labels; scrambled, the low ones belong to other geometries."""
    order = np.random.default_rng(seed).permutation(len(methanol))
    labels = {}
    for k, i in enumerate(order[:n]):
        of = int(order[-1 - k]) if scrambled else int(i)
        labels[k, "gfn2"] = methanol.labels[of, "gfn2"].only(quantities)
        labels[k, "mp2"] = methanol.labels[int(i), "mp2"].only(quantities)
    structures = tuple(methanol.structures[int(i)] for i in order[:n])
    return LabelledDataset(structures, (Fidelity("gfn2"), Fidelity("mp2")), labels)


@pytest.mark.parametrize(
    ("quantities", "n", "seed"),
    [
        (("energy", "forces"), 3, 0),
        *(
            pytest.param(*case, marks=pytest.mark.slow)
            for case in (
                (("energy", "forces"), 5, 1),
                (("energy",), 8, 0),
                (("energy",), 8, 1),
            )
        ),
    ],
    ids=str,
)
def test_a_semiempirical_level_is_joined_and_a_scrambled_one_is_not(
    methanol, quantities, n, seed
):
    found = [
        step_evidence(
            ExactPotential.fit(
                methanol_pairs(
                    methanol, scrambled=scrambled, n=n, quantities=quantities, seed=seed
                )
            ),
            1,
        ).joined
        for scrambled in (False, True)
    ]
    assert found == [True, False]
