"""Hyperparameters: of largest evidence, the noise of energies of least error."""

import math

import numpy as np
import pytest
import torch
from small_cells import (
    EF,
    NESTED,
    PARTLY,
    F,
    random_dataset,
    reference_of,
    small_map,
    structures_of,
)

from mfal.kernels import path_weights
from mfal.models.gathering import gather
from mfal.models.moments import ALONE, Group, Statistics
from mfal.models.weight_fit import RATIOS, _is_flat, fit_weight_hyperparameters
from mfal.models.weights import Prior, WeightHyperparameters, log_evidence

FEATURE_MAP = small_map(structures_of(4), 4)
PRIOR = Prior(FEATURE_MAP.block)


def statistics_of(asked):
    dataset = random_dataset(asked)
    return gather(dataset, FEATURE_MAP, reference_of(dataset, FEATURE_MAP)).statistics


def inherited(statistics):
    """Noises of levels without such labels that labels above them read."""
    return {
        (level, group.quantity)
        for group in statistics.groups
        for level in range(group.below + 1, group.level)
    }


def log_posterior(statistics, prior, h):
    """Log evidence and the weak priors that the module states, but for constants."""

    def z(value, mean, deviation):
        return ((value - mean) / deviation).square().sum()

    squares = z(h.scale.log(), math.log(10.0), 3.0) + z(h.rho, 1.0, 0.3)
    labelled = {(g.level, g.quantity) for g in statistics.groups}
    for level, quantity in labelled | inherited(statistics):
        mean = math.log((0.02, 0.05, 0.005)[quantity])
        squares = squares + z(h.noise[level, quantity].log(), mean, 2.0)
    return log_evidence(statistics, prior, h) - 0.5 * squares


@pytest.mark.parametrize("asked", [NESTED[1], NESTED[2], PARTLY[3]])
def test_the_slope_vanishes_at_the_optimum(asked):
    statistics = statistics_of(asked)
    fit = fit_weight_hyperparameters(statistics, PRIOR, None)
    assert fit.converged
    assert fit.ratio is None
    h = fit.hyperparameters
    values = [h.scale.log(), h.rho.clone(), h.noise.log()]
    for v in values:
        v.requires_grad_(True)
    scale, rho, noise = values
    moved = WeightHyperparameters(scale.exp(), rho, noise.exp())
    value = log_posterior(statistics, PRIOR, moved)
    for slope in torch.autograd.grad(value, values):
        inner = slope
        assert inner.numel() == 0 or inner.abs().max() < 0.05
    with torch.no_grad():
        assert fit.log_evidence == float(log_evidence(statistics, PRIOR, h))


def test_no_small_move_from_the_optimum_is_better():
    statistics = statistics_of(NESTED[2])
    h = fit_weight_hyperparameters(statistics, PRIOR, None).hyperparameters
    best = float(log_posterior(statistics, PRIOR, h))
    rng = np.random.default_rng(0)
    for _ in range(20):
        scale, rho, noise = (
            torch.from_numpy(rng.normal(0, 0.1, v.shape))
            for v in (h.scale, h.rho, h.noise)
        )
        moved = WeightHyperparameters(
            h.scale * scale.exp(), h.rho + rho, h.noise * noise.exp()
        )
        assert float(log_posterior(statistics, PRIOR, moved)) < best


def errors_of(log_error):
    """Two configurations with the same error: nothing is uncertain."""
    return np.full((2, 1), math.exp(log_error))


@pytest.mark.parametrize("ratio", RATIOS)
def test_the_ratio_of_noises_is_the_one_of_least_error(ratio):
    """An error that falls towards one ratio from both sides."""
    asked, judged = [], statistics_of(NESTED[1])

    def error(h):
        asked.append(float(h.noise[0, 0] / h.noise[0, 1]))
        return errors_of(abs(math.log(asked[-1] / ratio)))

    fit = fit_weight_hyperparameters(judged, PRIOR, error)
    assert fit.ratio == ratio
    h = fit.hyperparameters
    assert float(h.noise[0, 0] / h.noise[0, 1]) == pytest.approx(ratio)
    assert len(asked) == len(set(asked)) <= len(RATIOS)


def test_of_ratios_that_are_as_good_the_largest_is_taken():
    """Errors of two quantities that differ by less than their own uncertainty."""
    draws = np.random.default_rng(0).lognormal(0.0, 1.0, size=(40, 2))
    draws[3, 0] = np.nan  # a configuration without an energy

    def judge(slope):
        def error(h):
            ratio = float(h.noise[0, 0] / h.noise[0, 1])
            noise = np.random.default_rng(int(1e6 * ratio)).lognormal(0, 0.3, (40, 2))
            return draws * noise * (1 + slope * abs(math.log(ratio / 0.05)))

        return fit_weight_hyperparameters(
            statistics_of(NESTED[1]), PRIOR, error, ratios=(0.025, 0.05, 0.1, 0.2)
        ).ratio

    assert judge(slope=1.0) == 0.05
    assert judge(slope=0.01) > 0.05


def test_the_search_goes_downhill_and_stops_at_the_first_minimum():
    def error(h):
        ratio = float(h.noise[0, 0] / h.noise[0, 1])
        near = min(abs(math.log(ratio / r)) for r in (0.2, 0.0125))
        return errors_of(near - (ratio < 0.02))

    fit = fit_weight_hyperparameters(statistics_of(NESTED[1]), PRIOR, error)
    assert fit.ratio == 0.2


@pytest.mark.parametrize("best", [0.01, 0.3, 1.5])
def test_a_grid_of_ratios_may_be_given(best):
    def error(h):
        return errors_of(abs(math.log(float(h.noise[0, 0] / h.noise[0, 1]) / best)))

    fit = fit_weight_hyperparameters(
        statistics_of(NESTED[1]), PRIOR, error, ratios=(1.5, 0.01, 0.3)
    )
    assert fit.ratio == best


def test_each_level_with_energies_and_forces_has_its_noises_tied():
    statistics = statistics_of([(0, 0, EF), (1, 0, EF), (0, 1, EF), (3, 1, EF)])
    fit = fit_weight_hyperparameters(statistics, PRIOR, lambda h: errors_of(0.0))
    noise = fit.hyperparameters.noise
    torch.testing.assert_close(noise[:, 0], fit.ratio * noise[:, 1])
    assert noise[0, 1] != noise[1, 1]


def test_where_no_level_has_both_the_evidence_decides_on_all():
    def never(h):
        raise AssertionError("nothing is to be judged")

    statistics = statistics_of([(0, 0, F), (1, 0, F)])
    fit = fit_weight_hyperparameters(statistics, PRIOR, never)
    assert fit.ratio is None


def synthetic(h, present=((0, 0), (0, 1), (1, 0), (1, 1)), n=300, seed=0):
    """Rows of random features and labels drawn from the model; `present` holds (level,
    quantity). Labels of one quantity at two levels are of the same structures."""
    rng = torch.Generator().manual_seed(seed)
    n_levels, p = len(h.scale), len(PRIOR.block)
    draw = {"generator": rng, "dtype": torch.float64}
    weights = PRIOR.deviations(h.scale) * torch.randn(n_levels, p, **draw)
    path = path_weights(h.rho)
    statistics = Statistics(p, n_levels)
    for quantity, count in ((0, n), (1, 3 * n)):
        features = torch.randn(count, p, **draw)
        own = features @ weights.T
        own = own + h.noise[:, quantity] * torch.randn(count, n_levels, **draw)
        labels = own @ path.T
        for level in range(n_levels):
            if (level, quantity) not in present:
                continue
            paired = level > 0 and (level - 1, quantity) in present
            below = labels[:, level - 1] if paired else torch.zeros(count).double()
            rows = torch.cat(
                [features, labels[:, level : level + 1], below.unsqueeze(1)], dim=1
            )
            group = Group(level, level - 1 if paired else ALONE, quantity)
            statistics.add(group, rows, 0.0)
    return statistics


@pytest.mark.parametrize("n_levels", [1, 2])
def test_what_the_labels_were_drawn_with_is_found_again(n_levels):
    truth = WeightHyperparameters(
        torch.tensor([[2.0], [0.6]]).double()[:n_levels],
        torch.tensor([0.8]).double()[: n_levels - 1],
        torch.tensor([[0.03, 0.2, 0.005], [0.01, 0.07, 0.005]]).double()[:n_levels],
    )
    fit = fit_weight_hyperparameters(synthetic(truth), PRIOR, None)
    found = fit.hyperparameters
    torch.testing.assert_close(
        found.noise[:, :2], truth.noise[:, :2], rtol=0.15, atol=0
    )
    ratio = (found.scale / truth.scale).log().abs()
    assert ratio.max() < math.log(3.0)
    if n_levels == 2:
        error = float((found.rho - truth.rho).abs())
        assert error < 4 * float(fit.rho_error)
        assert 0 < float(fit.rho_error) < 0.1


@pytest.mark.parametrize("quantity", [0, 1])
def test_a_quantity_that_the_low_level_lacks_has_no_noise_from_there(quantity):
    """Quiet labels of one quantity above stay quiet, and rho is found by them."""
    truth = WeightHyperparameters(
        torch.tensor([[2.0], [0.3]]).double(),
        torch.tensor([0.9]).double(),
        torch.tensor([[0.02, 0.02, 0.005], [1e-3, 1e-3, 0.005]]).double(),
    )
    quiet = WeightHyperparameters(truth.scale, truth.rho, truth.noise.clone())
    quiet.noise[0, quantity] = 0.0
    present = ((0, 1 - quantity), (1, quantity))
    fit = fit_weight_hyperparameters(synthetic(quiet, present), PRIOR, None)
    h = fit.hyperparameters
    noise = float(
        (h.rho * h.noise[0, quantity]).square() + h.noise[1, quantity].square()
    )
    assert noise**0.5 == pytest.approx(1e-3, rel=0.2)
    assert float(h.rho) == pytest.approx(0.9, abs=0.2)


def test_the_error_of_rho_is_the_curvature_of_the_posterior():
    statistics = statistics_of(NESTED[2])
    fit = fit_weight_hyperparameters(statistics, PRIOR, None)
    h = fit.hyperparameters

    def value(shift):
        moved = WeightHyperparameters(h.scale, h.rho + shift, h.noise)
        prior = 0.5 * ((h.rho + shift - 1.0) / 0.3).square().sum()
        return float(log_evidence(statistics, PRIOR, moved) - prior)

    step = 0.01
    curvature = -(value(step) - 2 * value(0.0) + value(-step)) / step**2
    assert float(fit.rho_error) == pytest.approx(curvature**-0.5, rel=1e-2)


def test_a_search_starts_where_it_is_told():
    statistics = statistics_of(NESTED[2])
    first = fit_weight_hyperparameters(statistics, PRIOR, None)
    again = fit_weight_hyperparameters(
        statistics, PRIOR, None, start=first.hyperparameters
    )
    assert again.evaluations < first.evaluations
    assert again.log_evidence == pytest.approx(first.log_evidence, abs=1e-3)


def test_a_slope_is_flat_where_the_curvature_leaves_nothing_to_gain():
    steep = np.diag([1e5, 2e3])

    def slope_at(x):
        return steep @ x

    for x, flat in (([1e-4, -1e-3], True), ([1e-2, 0.0], False), ([0.0, 0.1], False)):
        assert _is_flat(np.array(x), slope_at(np.array(x)), slope_at) is flat
    saddle = np.diag([1e5, -2e3])
    x = np.array([1e-4, 1e-3])
    assert not _is_flat(x, saddle @ x, lambda y: saddle @ y)
