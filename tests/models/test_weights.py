"""Evidence and posterior of the weights are those of one dense Gaussian of all labels."""

import pytest
import textbook
import torch
from small_cells import (
    ALL,
    APART,
    DESIGNS,
    EF,
    NESTED,
    PARTLY,
    Dense,
    E,
    F,
    hyperparameters,
    random_dataset,
    reference_of,
    small_map,
    structures_of,
)

from mfal.kernels import path_weights
from mfal.models.feature_map import FeatureMap
from mfal.models.gathering import gather
from mfal.models.inducing import kernel_features
from mfal.models.moments import Group
from mfal.models.weights import (
    Prior,
    WeightHyperparameters,
    group_variance,
    level_rows,
    log_evidence,
    posterior,
)

ONE_BLOCK = small_map(structures_of(4))
(_DESCRIPTOR, _FEATURES) = ONE_BLOCK.parts[0]
TWO_BLOCKS = FeatureMap(
    ONE_BLOCK.species,
    (
        *ONE_BLOCK.parts,
        (_DESCRIPTOR, kernel_features(_DESCRIPTOR, structures_of(4), 3, zeta=1)),
    ),
)


def case(asked, feature_map=ONE_BLOCK, h=None, n_levels=None, sigma=None):
    """Statistics, prior, hyperparameters and the dense Gaussian of some labels."""
    dataset = random_dataset(asked, n_levels=n_levels, sigma=sigma)
    reference = reference_of(dataset, feature_map)
    h = h or hyperparameters(len(dataset.levels), len(feature_map.parts))
    statistics = gather(dataset, feature_map, reference).statistics
    prior = Prior(feature_map.block)
    return statistics, prior, h, Dense(dataset, feature_map, reference, h)


@pytest.mark.parametrize("asked", DESIGNS.values(), ids=DESIGNS)
def test_evidence_is_the_density_of_all_labels(asked):
    statistics, prior, h, dense = case(asked, TWO_BLOCKS)
    expected = dense.log_evidence()
    found = log_evidence(statistics, prior, h)
    torch.testing.assert_close(found, expected, rtol=1e-8, atol=0)


@pytest.mark.parametrize("asked", DESIGNS.values(), ids=DESIGNS)
def test_posterior_of_the_weights_is_that_of_conditioning(asked):
    statistics, prior, h, dense = case(asked)
    weights = posterior(statistics, prior, h)
    mean, covariance = dense.weights()
    torch.testing.assert_close(
        weights.mean, torch.from_numpy(mean), rtol=1e-7, atol=1e-8
    )
    half = weights.whiten(torch.eye(len(mean)).double())
    torch.testing.assert_close(
        half.T @ half, torch.from_numpy(covariance), rtol=1e-7, atol=1e-9
    )


@pytest.mark.parametrize("asked", [NESTED[2], PARTLY[3], APART[3]])
def test_gradient_of_the_evidence_is_that_of_finite_differences(asked):
    statistics, prior, h, _ = case(asked, TWO_BLOCKS)
    values = [h.scale, h.rho, h.noise]
    for v in values:
        v.requires_grad_(True)
    evidence = log_evidence(statistics, prior, WeightHyperparameters(*values))
    slopes = torch.autograd.grad(evidence, values)
    for which, slope in enumerate(slopes):
        for k in range(slope.numel()):
            step = 1e-4 * float(values[which].detach().flatten()[k].abs())
            pair = []
            for sign in (1, -1):
                moved = [v.detach().clone() for v in values]
                moved[which].view(-1)[k] += sign * step
                pair.append(
                    log_evidence(statistics, prior, WeightHyperparameters(*moved))
                )
            expected = float(pair[0] - pair[1]) / (2 * step)
            assert float(slope.flatten()[k]) == pytest.approx(
                expected, rel=1e-5, abs=1e-4
            )


@pytest.mark.parametrize("asked", [NESTED[1], [(0, 0, E), (1, 0, F), (3, 0, E)]])
def test_a_label_with_its_own_sigma_has_that_noise_as_well(asked):
    sigma = {(0, 0): {"energy": 0.4, "forces": 0.2}, (1, 0): {"forces": 0.3}}
    statistics, prior, h, dense = case(asked, sigma=sigma)
    torch.testing.assert_close(
        log_evidence(statistics, prior, h), dense.log_evidence(), rtol=1e-8, atol=0
    )


def test_own_sigmas_of_labels_with_nothing_above_them_are_exact():
    asked = [(0, 0, ALL), (1, 0, EF), (3, 0, E), (0, 1, ALL), (3, 1, EF)]
    sigma = {(0, 1): {"energy": 0.4, "forces": 0.2}, (1, 0): {"forces": 0.3}}
    statistics, prior, h, dense = case(asked, sigma=sigma)
    torch.testing.assert_close(
        log_evidence(statistics, prior, h), dense.log_evidence(), rtol=1e-8, atol=0
    )


def test_own_sigmas_of_labels_with_labels_above_them_are_refused():
    """The labels above would share a misfit with them that is not white."""
    asked = [(0, 0, EF), (3, 0, EF), (0, 1, EF), (3, 1, EF)]
    with pytest.raises(ValueError, match="own standard deviation of the forces"):
        case(asked, sigma={(0, 0): {"forces": 0.1}})


def with_rho(h, *rho):
    return WeightHyperparameters(h.scale, torch.tensor(rho).double(), h.noise)


@pytest.mark.parametrize("asked", [NESTED[2], PARTLY[2], APART[2]])
def test_without_rho_the_levels_know_nothing_of_each_other(asked):
    h = with_rho(hyperparameters(2), 0.0)
    statistics, prior, h, _ = case(asked, h=h)
    weights = posterior(statistics, prior, h)
    p = statistics.n_features
    half = weights.whiten(torch.eye(2 * p).double())
    assert (half.T @ half)[:p, p:].abs().max() < 1e-12
    total = torch.zeros(()).double()
    for level in (0, 1):
        dataset = random_dataset(asked).at_levels([("low", "middle")[level]])
        alone = WeightHyperparameters(
            h.scale[level : level + 1], h.rho[:0], h.noise[level : level + 1]
        )
        reference = reference_of(random_dataset(asked), ONE_BLOCK)[level : level + 1]
        found = gather(dataset, ONE_BLOCK, reference).statistics
        assert found.n_rows > 0
        one = posterior(found, prior, alone)
        torch.testing.assert_close(
            one.mean, weights.mean[level * p : (level + 1) * p], rtol=1e-7, atol=1e-9
        )
        total = total + log_evidence(found, prior, alone)
    torch.testing.assert_close(log_evidence(statistics, prior, h), total)


@pytest.mark.parametrize(
    ("level", "below"), [(0, -1), (1, -1), (1, 0), (2, -1), (2, 0), (2, 1)]
)
def test_noise_of_a_group_is_the_misfit_of_the_levels_between(level, below):
    h = hyperparameters(3)
    c = textbook.recursion(h.rho, level)
    expected = 0.3**2 + sum(
        float(c[m] * h.noise[m, 1]) ** 2 for m in range(below + 1, level + 1)
    )
    found = group_variance(Group(level, below, 1, 0.3), h, path_weights(h.rho))
    assert float(found) == pytest.approx(expected)


def test_rows_of_a_level_stand_in_the_weights_of_the_levels_up_to_it():
    features = torch.tensor([[1.0, 2.0]])
    path = path_weights(torch.tensor([2.0, 3.0]))
    assert level_rows(features, path, 2).tolist() == [[6, 12, 3, 6, 1, 2]]
    assert level_rows(features, path, 2, 0).tolist() == [[0, 0, 3, 6, 1, 2]]
    assert level_rows(features, path, 1).tolist() == [[2, 4, 1, 2, 0, 0]]
    assert level_rows(features, path, 0).tolist() == [[1, 2, 0, 0, 0, 0]]


def test_each_block_has_its_scale_and_reference_energies_their_width():
    prior = Prior(torch.tensor([0, 0, 1, -1]), 2.5)
    scale = torch.tensor([[0.3, 0.7], [1.1, 1.3]])
    expected = [[0.3, 0.3, 0.7, 2.5], [1.1, 1.1, 1.3, 2.5]]
    torch.testing.assert_close(prior.deviations(scale), torch.tensor(expected))


def test_hyperparameters_come_back_from_json_to_the_last_bit():
    h = hyperparameters(3, 2)
    again = WeightHyperparameters.from_json(h.to_json())
    for name in ("scale", "rho", "noise"):
        assert torch.equal(getattr(again, name), getattr(h, name))


def test_the_posterior_agrees_with_a_qr_factorisation_of_the_stacked_rows():
    """From the triangle of the stacked whitened rows, never their products."""
    h = hyperparameters(2)
    quiet = WeightHyperparameters(h.scale, h.rho, 0.05 * h.noise)
    lines, values = [], []
    dataset = random_dataset(NESTED[2])
    path = path_weights(h.rho)
    feature_map = small_map(structures_of(4), 12)
    prior = Prior(feature_map.block)
    found = gather(dataset, feature_map, reference_of(dataset, feature_map))
    p = feature_map.size
    for configuration in found.kept:
        for group, rows in configuration.blocks:
            c = path[group.level, group.below] if group.below >= 0 else 0.0
            spread = group_variance(group, quiet, path).sqrt()
            full = level_rows(rows[:, :p], path, group.level, group.below)
            lines.append(full / spread)
            values.append((rows[:, p] - c * rows[:, p + 1]) / spread)
    deviations = prior.deviations(h.scale).flatten()
    stacked = torch.cat([torch.cat(lines) * deviations, torch.eye(2 * p).double()])
    right = torch.cat([*values, torch.zeros(2 * p).double()])
    q, r = torch.linalg.qr(stacked)
    mean = deviations * torch.linalg.solve_triangular(
        r, (q.T @ right).unsqueeze(1), upper=True
    ).squeeze(1)
    computed = posterior(found.statistics, prior, quiet).mean
    assert (computed - mean).norm() < 1e-8 * mean.norm()
