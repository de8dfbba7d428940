"""Sufficient statistics: the products of stacked rows, in whatever parts they come."""

import pytest
import torch

from mfal.models.moments import Group, Moments, RowBuffer, Rows, Statistics, merged

ENERGY, FORCES = Group(0, -1, 0), Group(0, -1, 1)


def rows(n, generator, n_features=4):
    return torch.randn(n, n_features + 2, generator=generator, dtype=torch.float64)


def test_moments_are_the_products_of_the_stacked_rows(generator):
    parts = [rows(n, generator) for n in (3, 1, 5)]
    moments = Moments.empty(4)
    for part in parts:
        moments.add(part, 0.5)
    stacked = torch.cat(parts)
    torch.testing.assert_close(moments.products, stacked.T @ stacked)
    assert moments.n_rows == 9
    assert moments.log_atoms == pytest.approx(1.5)


def test_moments_of_two_parts_are_added(generator):
    one, other, both = (Moments.empty(4) for _ in range(3))
    parts = [rows(3, generator), rows(2, generator)]
    for moments, part in zip((one, other), parts, strict=True):
        moments.add(part, 1.0)
        both.add(part, 1.0)
    total = one + other
    torch.testing.assert_close(total.products, both.products)
    assert (total.n_rows, total.log_atoms) == (both.n_rows, both.log_atoms)


def test_augmented_rows_are_features_labels_and_labels_below():
    found = Rows(torch.eye(2), torch.tensor([3.0, 4.0]), torch.tensor([5.0, 6.0]))
    assert found.augmented.tolist() == [[1, 0, 3, 5], [0, 1, 4, 6]]


def test_groups_are_kept_apart(generator):
    statistics = Statistics(4, 1)
    own = Group(0, -1, 1, 0.3)
    parts = {group: rows(2, generator) for group in (ENERGY, FORCES, own)}
    for group, part in parts.items():
        statistics.add(group, part, 0.0)
    assert set(statistics.groups) == set(parts)
    for group, part in parts.items():
        torch.testing.assert_close(statistics.groups[group].products, part.T @ part)
    assert statistics.n_rows == 6


@pytest.mark.parametrize("size", [1, 4, 7, 1000])
def test_a_buffer_sends_every_row_once(generator, size):
    buffer = RowBuffer(Statistics(4, 1), size)
    parts = [(group, rows(3, generator)) for group in (ENERGY, FORCES) * 3]
    for group, part in parts:
        buffer.add(group, part, 0.25)
    statistics = buffer.flush()
    for group in (ENERGY, FORCES):
        stacked = torch.cat([part for g, part in parts if g == group])
        moments = statistics.groups[group]
        torch.testing.assert_close(moments.products, stacked.T @ stacked)
        assert (moments.n_rows, moments.log_atoms) == (9, 0.75)
    again = buffer.flush()
    assert again.n_rows == 18


def some_statistics(generator, groups):
    statistics = Statistics(4, 1)
    for group in groups:
        statistics.add(group, rows(3, generator), 0.1)
    return statistics


def test_parts_are_merged_in_any_order(generator):
    parts = [
        some_statistics(generator, groups)
        for groups in ([ENERGY], [FORCES, ENERGY], [], [FORCES])
    ]
    forward, backward = merged(parts), merged(parts[::-1])
    assert set(forward.groups) == set(backward.groups) == {ENERGY, FORCES}
    for group, moments in forward.groups.items():
        torch.testing.assert_close(moments.products, backward.groups[group].products)
    assert forward.n_rows == backward.n_rows == 12


def test_adding_rows_to_what_was_merged_leaves_the_parts_as_they_were(generator):
    part, other = (some_statistics(generator, [g]) for g in (ENERGY, FORCES))
    before = part.groups[ENERGY].products.clone()
    total = part + other
    total.add(ENERGY, rows(1, generator), 0.0)
    torch.testing.assert_close(part.groups[ENERGY].products, before, rtol=0, atol=0)
    assert part.n_rows == 3


@pytest.mark.parametrize("other", [Statistics(5, 1), Statistics(4, 2)])
def test_statistics_of_other_features_or_levels_are_not_merged(other):
    with pytest.raises(ValueError, match="same features and levels"):
        Statistics(4, 1) + other


def test_there_is_nothing_to_merge_of_no_parts():
    with pytest.raises(ValueError, match="no parts to merge"):
        merged([])
