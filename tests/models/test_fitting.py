"""Levels are fitted one after the other, from their own labels and their pairs."""

import numpy as np
import pytest
import torch
from small_models import BOTH, MIXED, hyperparameters, observations_of, water_dataset

from mfal.kernels import GramProducts
from mfal.models.evidence import log_evidence
from mfal.models.fitting import (
    LABELS_FOR_KERNEL_CHOICE,
    at_prior_mean,
    fit_hyperparameters,
    typical_distance,
)
from mfal.models.hyperparameters import default_prior

IDENTITY = torch.arange(3).unsqueeze(0)


def fit(dataset, **arguments):
    data = observations_of(dataset)
    return fit_hyperparameters(data, IDENTITY, len(dataset.levels), **arguments)


@pytest.fixture(scope="module")
def two():
    return water_dataset(MIXED[2])


@pytest.fixture(scope="module")
def fitted(two):
    return fit(two)


def test_the_typical_distance_is_the_median_of_those_between_geometries(two):
    structures = [two.structures[i] for i in observations_of(two).structure]
    q = [1 / a.get_all_distances()[np.triu_indices(3, 1)] for a in structures]
    apart = [np.linalg.norm(a - b) for i, a in enumerate(q) for b in q[:i]]
    apart = [d for d in apart if d > 1e-6] * 2  # pairs of one geometry do not count
    assert typical_distance(observations_of(two)) == pytest.approx(
        np.sort(apart)[(len(apart) - 1) // 2]
    )


def test_one_geometry_has_no_typical_distance():
    one = observations_of(water_dataset([(0, 0, BOTH), (0, 1, BOTH)]))
    with pytest.raises(ValueError, match="same geometry: a fit needs at least two"):
        typical_distance(one)


def test_the_search_begins_at_the_mean_of_the_prior():
    prior = default_prior(3, 0.4)
    h = at_prior_mean(("rbf", "rbf", "matern52"), prior)
    torch.testing.assert_close(h.to_vector(), prior.mean)
    assert h.kernels == ("rbf", "rbf", "matern52")


def test_a_fit_is_better_than_where_it_began_and_says_how_good(two, fitted):
    """The lowest level alone: its evidence and that of its prior's mean."""
    data = observations_of(two)
    low = data.blocks([i for i, level in enumerate(data.level) if level == 0])
    products = GramProducts(low.rows, orders=IDENTITY)
    prior = default_prior(2, typical_distance(data))

    def log_posterior(h):
        return log_evidence(h, low, products) + prior.log_density(h.to_vector())

    optimum = fitted.optima[0]
    start = log_posterior(at_prior_mean(("matern52",) * 2, prior))
    assert float(log_posterior(optimum.hyperparameters)) > float(start)
    assert optimum.log_evidence == pytest.approx(
        float(log_evidence(optimum.hyperparameters, low, products)), rel=1e-8
    )
    assert fitted.converged
    assert fitted.log_evidence == pytest.approx(
        sum(o.log_evidence for o in fitted.optima)
    )
    assert fitted.rho_error.shape == (1,)
    assert 0 < float(fitted.rho_error) <= 0.3 + 1e-9  # the prior's deviation at most


def test_fitting_a_level_leaves_the_levels_below_as_they_were(two, fitted):
    h = hyperparameters("rbf", "matern52")
    held = fit(two, start=h, hold_below=1)
    for name in ("lengthscale", "scale", "noise"):
        mine, given = getattr(held.hyperparameters, name), getattr(h, name)
        torch.testing.assert_close(mine[0], given[0], rtol=1e-12, atol=0)
        assert ((mine[1] - given[1]).abs() > 1e-6).all()
    assert not torch.allclose(held.hyperparameters.rho, h.rho)
    assert held.optima[0] is None
    # the low level of a fit of both is what the low level alone gives
    alone = fit(two.at_levels(["low"]))
    assert float(alone.hyperparameters.lengthscale[0]) == pytest.approx(
        float(fitted.hyperparameters.lengthscale[0]), rel=0.05
    )


def test_a_level_is_fitted_with_its_pairs_below_and_no_others():
    """Labels of other structures at the low level do not say anything of the high."""
    asked = [(i, 0, BOTH) for i in range(3)] + [(i, 1, BOTH) for i in range(3)]
    h = hyperparameters("rbf", "rbf")
    paired = water_dataset(asked)
    more = water_dataset([*asked, (3, 0, BOTH), (4, 0, BOTH)])
    same = {k: paired.labels.get(k, label) for k, label in more.labels.items()}
    results = [fit(d, start=h, hold_below=1) for d in (paired, more.with_labels(same))]
    assert results[0].optima[1].n_rows == results[1].optima[1].n_rows == 24


def test_a_structure_without_a_label_below_draws_other_labels_of_that_level_in():
    asked = [(0, 0, BOTH), (1, 0, BOTH), (0, 1, BOTH), (2, 1, BOTH)]
    h = hyperparameters("rbf", "rbf")
    assert fit(water_dataset(asked), start=h, hold_below=1).optima[1].n_rows == 16


def test_no_more_rows_than_asked_for_enter_the_evidence():
    dataset = water_dataset([(i, 0, BOTH) for i in range(8)])
    for rows in (12, 15, 16):
        optimum = fit(dataset, evidence_rows=rows, restarts=0).optima[0]
        assert optimum.n_rows == rows // 4 * 4


def test_the_same_seed_gives_the_same_fit(two):
    results = [fit(two, seed=3).hyperparameters.to_vector() for _ in range(2)]
    assert torch.equal(*results)


def test_a_level_without_labels_is_left_at_its_prior(two):
    data = observations_of(two)
    result = fit_hyperparameters(data, IDENTITY, 3, restarts=0)
    prior = default_prior(3, typical_distance(data))
    assert result.optima[2] is None
    torch.testing.assert_close(result.hyperparameters.to_vector()[2], prior.mean[2])
    assert result.rho_error.isnan().tolist() == [False, True]


def smooth_dataset(methanol, n):
    """Real energies and forces; the RBF and Matern-5/2 differ clearly on them."""
    return methanol.at_levels(["gfn2"]).subset(range(n))


def test_the_kernel_is_chosen_by_evidence_once_there_are_enough_labels(methanol):
    group = torch.arange(15).unsqueeze(0)
    enough = observations_of(smooth_dataset(methanol, LABELS_FOR_KERNEL_CHOICE))
    evidence = {
        name: fit_hyperparameters(enough, group, 1, kernel=name, restarts=0)
        for name in ("rbf", "matern52")
    }
    best = max(evidence, key=lambda name: evidence[name].optima[0].log_posterior)
    chosen = fit_hyperparameters(enough, group, 1, restarts=0)
    assert chosen.hyperparameters.kernels == (best,)
    few = observations_of(smooth_dataset(methanol, LABELS_FOR_KERNEL_CHOICE - 1))
    fitted = fit_hyperparameters(few, group, 1, restarts=0)
    assert fitted.hyperparameters.kernels == ("matern52",)


def test_to_hold_levels_their_hyperparameters_are_needed(two):
    with pytest.raises(ValueError, match="their hyperparameters are needed"):
        fit(two, hold_below=1)
