"""How well scaled low labels give the high ones, each pair left out of its own scale."""

import numpy as np
import pytest

from mfal.models.paired import paired_regression


def pairs(share, n_pairs=5, seed=0, shape=(6, 3), zero=0.0):
    """High labels of which the low level explains about this share."""
    rng = np.random.default_rng(seed)
    low = rng.normal(size=(n_pairs, *shape))
    other = rng.normal(size=low.shape)
    high = zero + 1.2 * (np.sqrt(share) * low + np.sqrt(1 - share) * other)
    return list(low), list(high)


def naive(low, high, intercept):
    """Least squares by a solver, once without each pair."""
    slopes, missed, bare = [], 0.0, 0.0
    for k in range(len(low)):
        others = [i for i in range(len(low)) if i != k]
        x = np.concatenate([np.ravel(low[i]) for i in others])
        y = np.concatenate([np.ravel(high[i]) for i in others])
        design = np.column_stack([x, np.ones_like(x)] if intercept else [x])
        solution, *_ = np.linalg.lstsq(design, y, rcond=None)
        mean = y.mean() if intercept else 0.0
        at_zero = solution[1] if intercept else 0.0
        missed += np.square(high[k] - at_zero - solution[0] * low[k]).sum()
        bare += np.square(high[k] - mean).sum()
        slopes.append(solution[0])
    return 1 - missed / bare, np.array(slopes)


@pytest.mark.parametrize("intercept", [False, True])
@pytest.mark.parametrize("shape", [(6, 3), (1,)], ids=["forces", "values"])
@pytest.mark.parametrize("share", [0.05, 0.9])
def test_r2_and_errors_are_those_of_solving_without_each_pair(share, shape, intercept):
    low, high = pairs(share, 7, shape=shape, zero=4.0 if intercept else 0.0)
    found = paired_regression(low, high, intercept=intercept)
    r2, slopes = naive(low, high, intercept)
    assert found.r2 == pytest.approx(r2)
    jackknife = 6 / 7 * np.square(slopes - slopes.mean()).sum()
    assert found.scale_error == pytest.approx(np.sqrt(jackknife))
    assert found.n_pairs == 7


def test_the_correlation_is_that_of_the_rows():
    low, high = pairs(0.6, shape=(1,), zero=4.0)
    found = paired_regression(low, high, intercept=True)
    assert found.correlation == pytest.approx(
        np.corrcoef(np.ravel(low), np.ravel(high))[0, 1]
    )
    low, high = pairs(0.6)
    x, y = np.ravel(low), np.ravel(high)
    cosine = x @ y / np.sqrt((x @ x) * (y @ y))
    found = paired_regression(low, high, intercept=False)
    assert found.correlation == pytest.approx(cosine)


@pytest.mark.parametrize("shape", [(6, 3), (1,)], ids=["forces", "values"])
def test_the_error_of_the_scale_covers_the_truth(shape):
    within = []
    for seed in range(200):
        low, high = pairs(0.5, 12, seed, shape, zero=1.0)
        found = paired_regression(low, high, intercept=True)
        within.append(abs(found.scale - 1.2 * 0.5**0.5) < 2 * found.scale_error)
    assert 0.88 < np.mean(within) <= 1.0


def test_a_scaled_copy_explains_everything():
    low, _ = pairs(1.0)
    found = paired_regression(low, [-0.7 * f for f in low], intercept=False)
    assert found.r2 == pytest.approx(1)
    assert found.scale == pytest.approx(-0.7)
    assert found.correlation == pytest.approx(-1)
    assert found.scale_error < 1e-12


@pytest.mark.parametrize("intercept", [False, True])
def test_labels_that_do_not_vary_explain_nothing(intercept):
    flat, some = (
        [np.zeros((2, 3))] * 3,
        list(np.random.default_rng(0).normal(size=(3, 2, 3))),
    )
    for low, high in ((flat, some), (some, flat)):
        found = paired_regression(low, high, intercept=intercept)
        assert found.r2 <= 0 and found.scale == 0 and found.correlation == 0


@pytest.mark.parametrize(("n_low", "n_high"), [(2, 2), (3, 4), (0, 0)])
def test_too_few_or_unpaired_labels_are_refused(n_low, n_high):
    low, high = pairs(0.9, 5)
    with pytest.raises(ValueError, match=f"3 paired labels, got {n_low} and {n_high}"):
        paired_regression(low[:n_low], high[:n_high], intercept=False)
