"""Inducing environments: the greedy ones, the same ones every time."""

import numpy as np
import pytest
import torch
from ase.build import bulk
from small_cells import alloy, cell, small_soap

from mfal.models.features import normalised
from mfal.models.inducing import (
    RESIDUAL,
    kernel_features,
    leading_directions,
    pivoted_cholesky,
)


def silicon(seed):
    atoms = bulk("Si", cubic=True)
    atoms.rattle(0.15, seed=seed)
    return atoms


CRYSTALS = {"Cu": cell, "Si": silicon, "alloy": alloy}


@pytest.fixture(params=CRYSTALS)
def structures(request):
    return [CRYSTALS[request.param](seed) for seed in range(10)]


def soap_of(structures):
    return small_soap(*{s for a in structures for s in a.get_chemical_symbols()})


@pytest.fixture
def environments(structures):
    """Normalised descriptors and species of all environments."""
    soap = soap_of(structures)
    values = torch.cat([soap.values(a) for a in structures])
    u, _ = normalised(values, leading_directions(values))
    species = np.concatenate([a.numbers for a in structures])
    return u, torch.from_numpy(species).long()


def dense_kernel(u, species, zeta):
    return (u @ u.T) ** zeta * (species[:, None] == species)


def conditional_variance(kernel, chosen):
    """Diagonal of K - K_Z K_ZZ^-1 K_Z^T."""
    cross = kernel[:, chosen]
    inner = kernel[chosen][:, chosen]
    return kernel.diagonal() - (cross @ torch.linalg.pinv(inner) * cross).sum(1)


@pytest.mark.parametrize("zeta", [1, 2, 3])
def test_each_pick_has_the_largest_variance_given_those_before(environments, zeta):
    u, species = environments
    kernel = dense_kernel(u, species, zeta)
    picks = pivoted_cholesky(u, species, zeta, 6).tolist()
    assert len(set(picks)) == 6
    for k in range(6):
        left = conditional_variance(kernel, picks[:k]) if k else kernel.diagonal()
        assert left[picks[k]] >= left.max() - 1e-7


def test_greedy_picks_explain_more_than_random_ones_do_on_average(environments):
    u, species = environments
    kernel = dense_kernel(u, species, 2)
    greedy = pivoted_cholesky(u, species, 2, 6).tolist()
    left = conditional_variance(kernel, greedy).sum()
    random = [
        conditional_variance(
            kernel, np.random.default_rng(seed).permutation(len(u))[:6].tolist()
        ).sum()
        for seed in range(20)
    ]
    assert left <= sum(random) / len(random)


def test_duplicates_are_picked_once():
    u = torch.nn.functional.normalize(torch.eye(3).double() + 0.1).repeat(4, 1)
    picks = pivoted_cholesky(u, torch.full((12,), 29), 2, 12)
    assert len(picks) == 3
    assert len({int(p) % 3 for p in picks}) == 3


def test_equal_descriptors_of_two_species_are_both_picked():
    u = torch.ones(2, 1).double()
    assert len(pivoted_cholesky(u, torch.tensor([29, 79]), 2, 2)) == 2


def test_perfect_crystals_have_one_inducing_environment():
    crystals = [bulk("Cu", cubic=True) for _ in range(3)]
    features = kernel_features(small_soap("Cu"), crystals, 8)
    assert features.size == 1


def test_the_farthest_pick_is_the_one_of_largest_distance_to_all_before(structures):
    """Those of one species are apart by |u - u'|^2, of two by more than any of one."""
    soap, structures = soap_of(structures), structures[:5]  # all are candidates
    features = kernel_features(soap, structures, 5, method="farthest")
    values = torch.cat([soap.values(a) for a in structures])
    numbers = np.concatenate([a.numbers for a in structures])
    u, _ = features.normalised(values)
    picked = [
        (z, i)
        for z, points in features.inducing.items()
        for p in points
        for i in np.flatnonzero((u - p).norm(dim=1) < 1e-9)
        if numbers[i] == z
    ]
    chosen = [i for _, i in picked]
    assert len(chosen) == 5
    apart = (u[:, None] - u).square().sum(2)
    apart += 10.0 * torch.as_tensor(numbers[:, None] != numbers)
    orders = [naive_farthest(apart, first, 5) for first in chosen]
    assert any(set(order) == set(chosen) for order in orders)


def naive_farthest(apart, first, size):
    chosen = [first]
    while len(chosen) < size:
        nearest = apart[:, chosen].min(dim=1).values
        nearest[chosen] = -1
        chosen.append(int(nearest.argmax()))
    return chosen


def points_of(features):
    return torch.cat(list(features.inducing.values()))


@pytest.mark.parametrize("method", ["cholesky", "farthest", "random"])
def test_a_seed_gives_the_same_features_every_time(structures, method):
    soap = soap_of(structures)
    one, again = (
        kernel_features(soap, structures, 3, method=method, seed=1) for _ in range(2)
    )
    assert torch.equal(points_of(one), points_of(again))
    assert torch.equal(one.projection, again.projection)


def test_another_seed_gives_other_random_environments():
    structures = [cell(seed) for seed in range(3)]
    soap = small_soap("Cu")
    one, other = (
        points_of(kernel_features(soap, structures, 4, method="random", seed=seed))
        for seed in (1, 2)
    )
    assert (one @ other.T).max(dim=1).values.min() < 1 - 1e-6


@pytest.mark.parametrize("method", ["cholesky", "farthest", "random"])
def test_no_more_environments_are_chosen_than_there_are(method):
    structures = [alloy(0), alloy(1)]
    features = kernel_features(
        small_soap("Cu", "Au"), structures, 50, method=method, zeta=2
    )
    assert features.size == 6


def test_the_projection_keeps_the_second_moment_of_the_descriptors(structures):
    soap = soap_of(structures)
    values = torch.cat([soap.values(a) for a in structures])
    projection = leading_directions(values)
    identity = torch.eye(projection.shape[1]).double()
    torch.testing.assert_close(projection.T @ projection, identity)
    lost = values - values @ projection @ projection.T
    assert lost.square().sum() <= 1.01 * RESIDUAL * values.square().sum()
    fewer = projection[:, :-1]
    lost = values - values @ fewer @ fewer.T
    assert lost.square().sum() > RESIDUAL * values.square().sum()


@pytest.mark.parametrize(
    ("arguments", "rule"),
    [
        ({"method": "best"}, "one of cholesky, farthest, random, got 'best'"),
        ({"n_inducing": 0}, "at least one inducing environment, got 0"),
        ({"structures": []}, "no environments to choose from"),
    ],
)
def test_impossible_choices_are_refused(arguments, rule):
    usual = {"structures": [alloy(0)], "n_inducing": 3}
    with pytest.raises(ValueError, match=rule):
        kernel_features(small_soap("Cu", "Au"), **{**usual, **arguments})


def test_long_descriptors_have_the_same_leading_directions(structures, monkeypatch):
    values = torch.cat([soap_of(structures).values(a) for a in structures])
    values = values[: values.shape[1] - 1]
    monkeypatch.setattr("mfal.models.inducing.RESIDUAL", 1e-6)
    plain = leading_directions(values)
    monkeypatch.setattr("mfal.models.inducing.DUAL", values.shape[1] - 1)
    dual = leading_directions(values)
    assert dual.shape == plain.shape
    torch.testing.assert_close(dual @ dual.T, plain @ plain.T, rtol=0, atol=1e-5)
