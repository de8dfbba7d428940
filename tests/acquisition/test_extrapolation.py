"""The grade is the ratio of volumes that an exchange would make."""

from itertools import product

import numpy as np
import pytest
import torch

from mfal.acquisition import ExtrapolationGrade

M = 4


@pytest.fixture(params=range(3))
def rows(request):
    return torch.tensor(np.random.default_rng(request.param).normal(size=(15, M)))


def test_a_grade_is_the_largest_ratio_of_volumes(rows):
    blocks = [rows[:1], rows[1:4]]
    acquisition = ExtrapolationGrade(blocks, rows[4:])
    active = acquisition.active.numpy()
    for block, some in enumerate(blocks):
        ratios = []
        for row, out in product(some, range(M)):
            other = active.copy()
            other[out] = row
            ratios.append(abs(np.linalg.det(other) / np.linalg.det(active)))
        assert acquisition.value([block]) == pytest.approx(max(ratios), rel=1e-9)
    largest = max(acquisition.value([0]), acquisition.value([1]))
    assert acquisition.value([0, 1]) == largest


def test_what_is_known_or_picked_is_no_extrapolation(rows):
    acquisition = ExtrapolationGrade([20 * rows[[0]], *rows[4:].split(1)], rows[4:])
    assert (acquisition.values(range(1, 12)) <= 1.001 + 1e-9).all()
    assert acquisition.value([0]) > 1.5
    acquisition.condition_on(0)
    assert acquisition.value([0]) <= 1.001 + 1e-9
    assert (acquisition.values(range(1, 12)) <= 1.001 + 1e-9).all()


def test_where_rows_are_missing_grades_are_huge(rows):
    few = ExtrapolationGrade([rows[[0]], rows[[1]] * 0.5], rows[1:3])
    assert few.value([0]) > 1e4
    assert few.value([1]) == pytest.approx(0.5, rel=1e-3)


def test_grades_do_not_depend_on_the_units_of_the_features(rows):
    scale = torch.tensor([1.0, 20.0, 0.05, 3.0], dtype=torch.float64)
    one = ExtrapolationGrade(rows[:3].split(1), rows[3:])
    other = ExtrapolationGrade((rows[:3] * scale).split(1), rows[3:] * scale)
    torch.testing.assert_close(one.values(range(3)), other.values(range(3)))


def test_rows_of_other_lengths_are_refused(rows):
    with pytest.raises(ValueError, match=r"rows of \[3, 4\] entries"):
        ExtrapolationGrade([rows[:1, :3]], rows)
