"""Conformal intervals hold what they promise, and are those of MAPIE."""

import warnings

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from mfal.models.calibration import coverage
from mfal.models.conformal import ConformalIntervals, conformal_by_group


@pytest.fixture
def rng():
    return np.random.default_rng(0)


@pytest.fixture
def sigma(rng):
    return rng.uniform(0.5, 2.0, size=39)


@pytest.fixture
def residual(rng, sigma):
    return sigma * rng.normal(size=39)


@given(st.integers(1, 400), st.floats(0.05, 0.95))
def test_the_factor_is_the_smallest_score_that_keeps_the_promise(n, share):
    scores = np.arange(1.0, n + 1)
    intervals = ConformalIntervals(scores)
    if share * (n + 1) > n:
        with pytest.raises(ValueError, match="labels to calibrate with"):
            intervals.factor(share)
        return
    k = intervals.factor(share)
    assert k / (n + 1) >= share - 1e-9
    assert (k - 1) / (n + 1) < share


@pytest.mark.parametrize("wrong", [0.2, 1.0, 5.0])
def test_a_new_label_is_inside_as_often_as_promised_whatever_the_sigma(rng, wrong):
    inside, promised = [], 0.8
    for _ in range(3000):
        sigma = rng.uniform(0.5, 2.0, size=20)
        r = wrong * sigma * rng.standard_t(3, size=20)
        factor = ConformalIntervals.of(r[:19], sigma[:19]).factor(promised)
        inside.append(abs(r[19]) <= factor * sigma[19])
    assert promised - 0.025 < np.mean(inside) < promised + 1 / 20 + 0.025


def test_all_of_a_structure_is_inside_at_once_as_often_as_promised(rng):
    inside = []
    structure = np.repeat(np.arange(19), 6)
    for _ in range(2000):
        shared = np.repeat(rng.exponential(size=20), 6)  # components go together
        r = shared * rng.normal(size=120)
        one = np.ones(114)
        intervals = ConformalIntervals.of_structures(r[:114], one, structure)
        inside.append(np.abs(r[114:]).max() <= intervals.factor(0.8))
    assert np.mean(inside) == pytest.approx(0.8, abs=0.03)


def test_the_score_of_a_structure_is_its_largest():
    found = ConformalIntervals.of_structures(
        np.array([1.0, -3.0, 2.0, 0.5]), np.ones(4), np.array([7, 2, 7, 2])
    )
    assert found.scores.tolist() == [2.0, 3.0]


def test_intervals_are_symmetric_in_units_of_sigma(residual, sigma):
    intervals = ConformalIntervals.of(residual, sigma)
    low, high = intervals.interval(np.array([1.0, 2.0]), np.array([0.1, 0.3]), 0.9)
    q = intervals.factor(0.9)
    np.testing.assert_allclose((low + high) / 2, [1.0, 2.0])
    np.testing.assert_allclose((high - low) / 2, [0.1 * q, 0.3 * q])


def test_groups_have_intervals_of_their_own(residual, sigma):
    groups = ["Cu" if k % 3 else "Au" for k in range(39)]
    found = conformal_by_group(residual, sigma, groups)
    mine = np.array(groups) == "Au"
    alone = ConformalIntervals.of(residual[mine], sigma[mine])
    np.testing.assert_array_equal(found["Au"].scores, alone.scores)
    with pytest.raises(ValueError, match="each residual has a group"):
        conformal_by_group(residual, sigma, groups[:4])


@pytest.mark.parametrize("share", [0.5, 0.8, 0.9, 0.95])
def test_intervals_are_those_of_mapie(rng, residual, sigma, share):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        regression = pytest.importorskip("mapie.regression")
        scores = pytest.importorskip("mapie.conformity_scores")
        base = pytest.importorskip("sklearn.base")

        class Column(base.RegressorMixin, base.BaseEstimator):
            """Predicts a column of X: the mean, or its sigma."""

            def __init__(self, column=0):
                self.column = column

            def fit(self, x, y):
                self.fitted_ = True
                return self

            def predict(self, x):
                return x[:, self.column]

        mean = rng.normal(size=39)
        x, y = np.stack([mean, sigma], axis=1), mean + residual
        score = scores.ResidualNormalisedScore(
            residual_estimator=Column(1).fit(x, y), prefit=True, sym=True
        )
        theirs = regression.SplitConformalRegressor(
            Column(0).fit(x, y),
            confidence_level=share,
            prefit=True,
            conformity_score=score,
        )
        theirs.conformalize(x, y)
        _, ends = theirs.predict_interval(x)
    low, high = ConformalIntervals.of(residual, sigma).interval(mean, sigma, share)
    np.testing.assert_allclose(ends[:, 0, 0], low)
    np.testing.assert_allclose(ends[:, 1, 0], high)


@pytest.mark.parametrize("share", [0.0, 1.0, 1.2, float("nan")])
def test_what_is_no_coverage_is_refused(residual, sigma, share):
    with pytest.raises(ValueError, match="between 0 and 1"):
        ConformalIntervals.of(residual, sigma).factor(share)


def test_too_few_labels_say_how_many_it_takes(residual, sigma):
    with pytest.raises(ValueError, match=r"take 99 labels .* got 39"):
        ConformalIntervals.of(residual, sigma).factor(0.99)


@pytest.mark.parametrize(
    ("residual", "sigma"),
    [
        (np.zeros(0), np.zeros(0)),
        (np.ones(2), np.array([1.0, 0.0])),
        (np.array([1.0, np.nan]), np.ones(2)),
    ],
)
def test_what_has_no_score_is_refused(residual, sigma):
    with pytest.raises(ValueError, match="positive"):
        ConformalIntervals.of(residual, sigma)


def test_coverage_is_that_of_its_own_labels_by_rank(residual, sigma):
    intervals = ConformalIntervals.of(residual, sigma)
    shares = intervals.coverage(residual, sigma, np.array([0.25, 0.5, 0.95]))
    np.testing.assert_allclose(shares, [10 / 39, 20 / 39, 38 / 39])


def test_heavy_tails_are_covered_where_a_gaussian_is_not(rng):
    nominal = np.arange(1, 20) / 20
    large = rng.random((2, 4000)) < 0.1  # most errors are small, some are not
    known, new = rng.normal(size=(2, 4000)) * np.where(large, 3.0, 0.1)
    one = np.full(4000, np.std(known))
    held = ConformalIntervals.of(known, one).coverage(new, one, nominal)
    assert np.abs(held - nominal).max() < 0.03
    assert np.abs(coverage(new, one, nominal) - nominal).max() > 0.15
