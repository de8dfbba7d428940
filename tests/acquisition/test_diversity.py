"""Diversity by its definition: determinants, distances and similarities, all of them."""

from itertools import combinations

import numpy as np
import pytest
import torch
from scipy.spatial.distance import cdist
from small_cells import alloy, cluster, small_soap

from mfal.acquisition import (
    Candidate,
    Coverage,
    KernelVolume,
    MinimumDistance,
    NormalisedPower,
    SquaredExponential,
    mean_descriptors,
    select_batch,
)

N = 9
KERNEL = SquaredExponential(0.8)


@pytest.fixture(params=range(2))
def points(request):
    rng = np.random.default_rng(request.param)
    return torch.tensor(rng.normal(size=(N, 3)))


@pytest.fixture(params=[0, 3])
def known(request):
    return torch.tensor(np.random.default_rng(9).normal(size=(request.param, 3)))


def similarity(left, right):
    return np.exp(-0.5 * cdist(left, right, "sqeuclidean") / 0.8**2)


def log_volume(points, noise):
    gram = similarity(points, points) + noise * np.eye(len(points))
    return 0.5 * np.linalg.slogdet(gram / noise)[1]


def test_volume_is_the_determinant_with_what_is_known_less_that_without(points, known):
    volume = KernelVolume(points, KERNEL, known, noise=0.01)
    for blocks in ([4], [0, 2], [1, 5, 7]):
        every = torch.cat([known, points[blocks]])
        expected = log_volume(every, 0.01) - (
            log_volume(known, 0.01) if len(known) else 0
        )
        assert volume.value(blocks) == pytest.approx(expected, rel=1e-8)


def test_the_greedy_volume_is_that_of_pivoted_cholesky(points):
    """Without noise to speak of: the largest pivot that is left, step by step."""
    volume = KernelVolume(points, KERNEL, noise=1e-9)
    picks = select_batch(volume, [Candidate(i, "high", 1.0) for i in range(N)], 5)
    rest = similarity(points, points)
    for pick in picks:
        pivot = int(np.argmax(np.diag(rest).round(9)))
        assert pick.position == pivot
        rest = rest - np.outer(rest[pivot], rest[pivot]) / rest[pivot, pivot]


def test_minimum_distance_is_that_to_the_nearest_known_picked_or_beside(points, known):
    distance = MinimumDistance(points, known)
    distance.condition_on(8)
    fixed = torch.cat([known, points[[8]]])
    assert distance.value([3]) == pytest.approx(cdist(points[[3]], fixed).min())
    within = cdist(points[[1, 4]], points[[1, 4]])[0, 1]
    expected = min(cdist(points[[1, 4]], fixed).min(), within)
    assert distance.value([1, 4]) == pytest.approx(expected)


def test_while_nothing_is_known_all_are_equally_far(points):
    values = MinimumDistance(points).values(range(N))
    assert (values == values[0]).all()
    assert values[0] >= torch.pdist(points).max()


def test_a_farthest_point_batch_covers_within_twice_the_best_radius(points):
    candidates = [Candidate(i, "high", 1.0) for i in range(N)]
    picks = [p.position for p in select_batch(MinimumDistance(points), candidates, 3)]
    distances = cdist(points, points)
    radius = distances[:, picks].min(1).max()
    best = min(
        distances[:, list(s)].min(1).max() for s in combinations(range(N), len(picks))
    )
    assert radius <= 2 * best + 1e-12


def test_coverage_is_the_sum_of_the_largest_similarities(points, known):
    coverage = Coverage(points, KERNEL, known)
    coverage.condition_on(6)

    def total(fixed):
        return similarity(points, fixed).max(1).sum() if len(fixed) else 0.0

    before = torch.cat([known, points[[6]]])
    for blocks in ([2], [0, 3, 8]):
        expected = total(torch.cat([before, points[blocks]])) - total(before)
        assert coverage.value(blocks) == pytest.approx(expected, rel=1e-9)


def test_what_is_to_be_covered_can_be_other_structures(points):
    others = points[:2] + 0.01
    coverage = Coverage(points, KERNEL, covered=others)
    expected = similarity(others, points[[5]]).sum()
    assert coverage.value([5]) == pytest.approx(expected)


def test_a_normalised_power_is_that_of_the_cosine(points):
    a, b = points[:4].numpy(), points[4:].numpy()
    cosine = a @ b.T / np.outer(np.linalg.norm(a, axis=1), np.linalg.norm(b, axis=1))
    found = NormalisedPower(4)(points[:4], points[4:])
    np.testing.assert_allclose(found, cosine**4, rtol=1e-12)


def test_a_structure_has_the_mean_of_its_environments():
    soap = small_soap("Cu", "Au")
    structures = [alloy(0), cluster(1)]
    found = mean_descriptors(soap, structures)
    for row, atoms in zip(found, structures, strict=True):
        torch.testing.assert_close(row, soap(atoms).values.sum(0) / len(atoms))


def test_a_supercell_is_no_news():
    soap = small_soap("Cu", "Au")
    one, two = mean_descriptors(soap, [alloy(0), alloy(0) * (2, 1, 1)])
    torch.testing.assert_close(one, two)


def test_what_makes_no_sense_is_refused(points):
    with pytest.raises(ValueError, match=r"3 entries, those of .* 2"):
        Coverage(points, KERNEL, points[:, :2])
    with pytest.raises(ValueError, match=r"3 entries, those of .* 2"):
        MinimumDistance(points, points[:, :2])
    with pytest.raises(ValueError, match=r"positive noise .* got 0.0"):
        KernelVolume(points, KERNEL, noise=0.0)
    with pytest.raises(ValueError, match="at least zero, got -"):
        Coverage(points, lambda a, b: a @ b.mT).values(range(N))
    with pytest.raises(ValueError, match="lengthscale must be positive"):
        SquaredExponential(0.0)
