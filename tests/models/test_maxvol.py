"""The active set has the largest determinant that exchanges reach; grades measure it."""

import numpy as np
import pytest
import torch

from mfal.models.maxvol import (
    exchanged,
    grades,
    independent_rows,
    left_out_grades,
    maxvol,
    without_rows,
)


@pytest.fixture
def rows(generator):
    return torch.randn(40, 5, generator=generator, dtype=torch.float64)


@pytest.fixture
def active(rows):
    return maxvol(rows, independent_rows(rows))


def volume(rows):
    return float(torch.linalg.det(rows).abs())


def test_no_exchange_raises_the_determinant(rows, active):
    best = volume(rows[active])
    for j in range(5):
        for i in range(len(rows)):
            other = active.clone()
            other[j] = i
            assert volume(rows[other]) <= best * 1.001 + 1e-12


def test_a_grade_is_the_largest_gain_in_determinant_by_an_exchange(
    rows, active, generator
):
    new = 3 * torch.randn(4, 5, generator=generator, dtype=torch.float64)
    expected = []
    for row in new:
        gains = []
        for j in range(5):
            a = rows[active].clone()
            a[j] = row
            gains.append(volume(a) / volume(rows[active]))
        expected.append(max(gains))
    np.testing.assert_allclose(grades(new, rows[active]), expected, rtol=1e-9)


def test_known_rows_have_grades_up_to_one_and_active_ones_have_one(rows, active):
    assert float(grades(rows, rows[active]).max()) <= 1.001
    torch.testing.assert_close(
        grades(rows[active], rows[active]), torch.ones(5, dtype=torch.float64)
    )


def test_an_exchange_of_coefficients_is_that_of_the_rows(rows, active):
    c = torch.linalg.solve(rows[active], rows, left=False)
    i = next(k for k in range(40) if k not in active.tolist())
    other = active.clone()
    other[2] = i
    torch.testing.assert_close(
        exchanged(c, i, 2), torch.linalg.solve(rows[other], rows, left=False)
    )


def test_without_some_rows_no_exchange_among_the_others_raises_the_determinant(
    rows, active
):
    left = torch.tensor([int(active[0]), int(active[3]), 7])
    others = without_rows(rows, active, left)
    assert not set(others.tolist()) & set(left.tolist())
    kept = [i for i in range(40) if i not in left.tolist()]
    assert float(grades(rows[kept], rows[others]).max()) <= 1.001
    found = left_out_grades(rows, active, left)
    torch.testing.assert_close(found, grades(rows[left], rows[others]))


def test_rows_that_are_not_active_are_left_out_with_the_grade_that_they_have(
    rows, active
):
    left = torch.tensor([i for i in range(40) if i not in active.tolist()][:3])
    torch.testing.assert_close(
        left_out_grades(rows, active, left), grades(rows[left], rows[active])
    )


def test_the_only_row_in_a_direction_has_no_grade_when_left_out(rows):
    alone = torch.cat([rows[:, :4], torch.zeros(40, 1, dtype=torch.float64)], dim=1)
    alone[11, 4] = 1.0
    active = maxvol(alone, independent_rows(alone))
    assert torch.isinf(left_out_grades(alone, active, torch.tensor([11]))).all()


def test_rows_that_do_not_span_are_refused(rows):
    with pytest.raises(ValueError, match="as many independent rows"):
        independent_rows(rows[:3])
    with pytest.raises(ValueError, match="leave out directions"):
        independent_rows(torch.cat([rows, rows[:, :1]], dim=1))
