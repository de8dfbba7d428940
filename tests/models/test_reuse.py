"""What a model or a pool takes over from the one before is what it would make anew."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from small_models import BOTH, MIXED, SWAP, E, F, hyperparameters, potential, water
from small_models import water_dataset as labelled_water

from mfal import Label
from mfal.models.exact import ExactPotential
from mfal.models.observations import observe
from mfal.models.pool import ExactPool, PoolEntry

H = hyperparameters("rbf", "matern52", "rbf")
MORE = [*MIXED[3], (4, 2, BOTH), (2, 2, F)]


def top_changed(h=H):
    """Other hyperparameters of the highest level alone."""
    lengthscale, scale, rho, noise = (
        getattr(h, name).clone() for name in ("lengthscale", "scale", "rho", "noise")
    )
    lengthscale[2], scale[2], rho[1], noise[2] = 0.7, 0.9, 0.6, 0.04
    return replace(h, lengthscale=lengthscale, scale=scale, rho=rho, noise=noise)


def water_dataset(asked):
    """The same label of a structure at a level in every data set."""
    whole = labelled_water([*MORE, (5, 1, BOTH), (6, 0, BOTH)])
    labels = {
        (i, whole.levels[level]): whole.label(i, whole.levels[level]).only(quantities)
        for i, level, quantities in asked
    }
    return replace(whole, labels=labels)


def extended(before, dataset, h):
    """A model that takes over from `before` what it can."""
    fit = potential(dataset, h).fitted
    return ExactPotential(
        dataset,
        before.builder,
        before.permutations,
        observe(dataset, before.builder),
        fit,
        reuse=before,
    )


@pytest.fixture
def before():
    return potential(water_dataset(MIXED[3]), H, SWAP)


def rows_below(model, level):
    return int((model.observations.row_level < level).sum())


CHANGES = {  # data, hyperparameters, the levels whose factor can be taken over
    "nothing": (MIXED[3], H, 3),
    "labels at the top": (MORE, H, 2),
    "hyperparameters at the top": (MIXED[3], top_changed(), 2),
    "both at the top": (MORE, top_changed(), 2),
    "a label in the middle": ([*MORE, (5, 1, BOTH)], H, 1),
    "a label at the bottom": ([*MORE, (6, 0, BOTH)], H, 0),
}


@pytest.mark.parametrize("change", CHANGES)
def test_an_extended_model_is_the_model_made_anew(before, change):
    asked, h, n_levels = CHANGES[change]
    dataset = water_dataset(asked)
    model, anew = extended(before, dataset, h), potential(dataset, h, SWAP)
    assert model.n_reused == rows_below(model, n_levels)
    torch.testing.assert_close(model.weights, anew.weights, rtol=1e-9, atol=1e-9)
    torch.testing.assert_close(model.white_values, anew.white_values)
    identity = torch.eye(len(model.observations)).double()
    torch.testing.assert_close(model.whiten(identity), anew.whiten(identity))
    found, expected = model.predict([water(9)]), anew.predict([water(9)])
    np.testing.assert_allclose(found.forces_sigma, expected.forces_sigma)


@pytest.mark.parametrize("field", ["lengthscale", "scale", "noise"])
def test_a_changed_hyperparameter_of_the_lowest_level_makes_everything_anew(
    before, field
):
    values = getattr(H, field).clone()
    values[0] *= 1.01
    model = extended(before, water_dataset(MIXED[3]), replace(H, **{field: values}))
    assert model.n_reused == 0


def test_another_label_of_the_same_structure_is_not_taken_for_the_old_one(before):
    dataset = water_dataset(MIXED[3])
    label = dataset.label(3, "low")
    other = dataset.with_labels({(3, "low"): Label(label.energy, 1.1 * label.forces)})
    assert extended(before, other, H).n_reused == 0


def test_a_label_whose_own_sigma_changed_is_not_taken_for_the_old_one(before):
    dataset = water_dataset(MIXED[3])
    label = dataset.label(3, "low")
    doubted = Label(label.energy, label.forces, sigma={"forces": 1.0})
    other = dataset.with_labels({(3, "low"): doubted})
    assert extended(before, other, H).n_reused == 0


def test_another_group_of_permutations_makes_everything_anew(before):
    dataset = water_dataset(MORE)
    alone = potential(dataset, H)
    model = ExactPotential(
        dataset,
        alone.builder,
        alone.permutations,
        observe(dataset, alone.builder),
        alone.fitted,
        reuse=before,
    )
    assert model.n_reused == 0


def test_solutions_are_continued_from_their_first_rows(before, generator):
    n, k = len(before.observations), 9
    right = torch.randn(n, 3, generator=generator, dtype=torch.float64)
    whole = before.whiten(right)
    torch.testing.assert_close(before.whiten_on(whole[:k], right[k:]), whole)


ENTRIES = [  # level, quantities, structure of the data set (or a new one)
    ("high", BOTH, 4),
    ("high", E, 2),
    ("high", BOTH, None),
]


def entries_of(listed):
    return [
        PoolEntry(water(20 if s is None else s), level, quantities, s)
        for level, quantities, s in listed
    ]


@pytest.mark.parametrize("change", CHANGES)
def test_an_extended_pool_is_the_pool_made_anew(before, change):
    asked, h, _ = CHANGES[change]
    model = extended(before, water_dataset(asked), h)
    entries = entries_of(ENTRIES)
    now = entries[::-1]
    pool = ExactPool(model, now, reuse=ExactPool(before, entries))
    anew = ExactPool(model, now)
    torch.testing.assert_close(pool.mean, anew.mean)
    torch.testing.assert_close(pool.cross([0, 2]), anew.cross([0, 2]))


def test_entries_that_were_not_in_the_pool_before_are_made_anew(before):
    model = extended(before, water_dataset(MORE), top_changed())
    known = ExactPool(before, entries_of(ENTRIES[:1]))
    for listed in (ENTRIES, [("middle", BOTH, 4), *ENTRIES], [("high", F, 4)]):
        entries = entries_of(listed)
        pool, anew = ExactPool(model, entries, reuse=known), ExactPool(model, entries)
        torch.testing.assert_close(pool.mean, anew.mean)
        torch.testing.assert_close(pool.cross([0]), anew.cross([0]))


def test_entries_at_an_unchanged_level_are_right_as_well(before):
    entries = entries_of([("middle", BOTH, 5), ("high", BOTH, 5)])
    model = extended(before, water_dataset(MORE), top_changed())
    pool = ExactPool(model, entries, reuse=ExactPool(before, entries))
    torch.testing.assert_close(pool.mean, ExactPool(model, entries).mean)
    torch.testing.assert_close(
        pool.covariance(0), ExactPool(model, entries).covariance(0)
    )


def test_no_digits_are_taken_from_a_level_that_hardly_coupled(before):
    """Where rho was next to zero there is nothing to scale back."""
    rho = H.rho.clone()
    rho[1] = 1e-9
    coupled_little = potential(water_dataset(MIXED[3]), replace(H, rho=rho), SWAP)
    model = extended(coupled_little, water_dataset(MORE), top_changed())
    entries = entries_of(ENTRIES)
    pool = ExactPool(model, entries, reuse=ExactPool(coupled_little, entries))
    torch.testing.assert_close(pool.mean, ExactPool(model, entries).mean)


def test_a_pool_of_an_unrelated_model_is_left_alone(before):
    """Also where the model itself took over from another one."""
    lengthscale = H.lengthscale.clone()
    lengthscale[0] *= 1.3
    unrelated = potential(
        water_dataset(MIXED[3]), replace(H, lengthscale=lengthscale), SWAP
    )
    model = extended(before, water_dataset(MORE), top_changed())
    assert model.n_reused > 0
    entries = entries_of(ENTRIES)
    pool = ExactPool(model, entries, reuse=ExactPool(unrelated, entries))
    torch.testing.assert_close(pool.mean, ExactPool(model, entries).mean)


def test_equal_energies_of_two_structures_are_not_one_label(before):
    whole = water_dataset(MIXED[3])
    energy = Label(whole.label(3, "low").energy)
    here, there = (replace(whole, labels={(i, "low"): energy}) for i in (3, 4))
    known = ExactPotential(
        here,
        before.builder,
        before.permutations,
        observe(here, before.builder),
        before.fitted,
    )
    assert extended(known, here, H).n_reused == 1
    assert extended(known, there, H).n_reused == 0
