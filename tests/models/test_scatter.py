"""Leverage and Mahalanobis distance are the textbook's, with rows left out as without."""

import numpy as np
import pytest
import torch
from scipy.spatial.distance import mahalanobis

from mfal.models.scatter import Cloud, Scatter

TIGHT = {"rtol": 1e-4, "atol": 1e-8}  # the ridge is 1e-6 of the scatter


@pytest.fixture
def rows(generator):
    mixing = torch.randn(4, 4, generator=generator, dtype=torch.float64)
    return torch.randn(30, 4, generator=generator, dtype=torch.float64) @ mixing + 1.0


def test_leverage_of_known_rows_is_the_diagonal_of_the_hat_matrix(rows):
    hat = rows @ torch.linalg.pinv(rows)
    found = Scatter.of(rows).leverage(rows)
    torch.testing.assert_close(found, hat.diagonal(), **TIGHT)
    assert float(found.sum()) == pytest.approx(4, rel=1e-4)


def test_left_out_leverage_is_that_against_the_other_rows(rows):
    left = rows[5:9]
    others = Scatter.of(torch.cat([rows[:5], rows[9:]])).leverage(left)
    torch.testing.assert_close(
        Scatter.of(rows).left_out_leverage(left), others, **TIGHT
    )


def test_the_distance_is_that_of_scipy(rows):
    new = rows[:3] + torch.tensor([2.0, -1.0, 0.5, 3.0])
    inverse = np.linalg.inv(np.cov(rows.numpy().T, bias=True))
    mean = rows.mean(0).numpy()
    expected = [mahalanobis(x, mean, inverse) for x in new.numpy()]
    np.testing.assert_allclose(Cloud.of(rows).distance(new), expected, rtol=1e-4)


def test_left_out_distance_is_that_to_the_cloud_of_the_others(rows):
    left = rows[5:9]
    others = Cloud.of(torch.cat([rows[:5], rows[9:]])).distance(left)
    torch.testing.assert_close(Cloud.of(rows).left_out_distance(left), others, **TIGHT)


def test_nothing_is_near_a_cloud_of_which_all_is_left_out(rows):
    assert torch.isinf(Cloud.of(rows).left_out_distance(rows)).all()


def test_distance_does_not_change_with_the_units(rows):
    found = Cloud.of(7.0 * rows).distance(7.0 * rows)
    torch.testing.assert_close(found, Cloud.of(rows).distance(rows), **TIGHT)
