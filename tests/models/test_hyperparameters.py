"""Hyperparameters go to a vector and back; their priors are normal densities.

Their covariance is tested in tests/kernels/test_rows.py and test_evidence.py.
"""

import json
import math
from dataclasses import replace

import jaxtyping
import pytest
import torch
from small_models import hyperparameters

from mfal.models.hyperparameters import Hyperparameters, HyperPrior, default_prior

FIELDS = ("lengthscale", "scale", "rho", "noise")
THREE = hyperparameters("rbf", "matern52", "rbf")


def same(one, other):
    assert one.kernels == other.kernels
    for name in FIELDS:
        assert torch.equal(getattr(one, name), getattr(other, name)), name


def test_the_vector_holds_the_logarithms_in_their_order():
    h = THREE
    expected = [*h.lengthscale.log(), *h.scale.log(), *h.rho]
    for quantity in range(3):
        expected += list(h.noise[:, quantity].log())
    torch.testing.assert_close(h.to_vector(), torch.stack(expected))


@pytest.mark.parametrize("n_levels", [1, 2, 3])
def test_a_vector_and_back_is_the_same(n_levels):
    h = hyperparameters(*["rbf"] * n_levels)
    again = h.from_vector(h.to_vector())
    for name in FIELDS:
        torch.testing.assert_close(getattr(again, name), getattr(h, name))


def test_json_and_back_is_the_same_to_the_last_bit():
    same(Hyperparameters.from_json(json.loads(json.dumps(THREE.to_json()))), THREE)


def test_other_kernels_keep_the_numbers():
    other = THREE.with_kernels(["matern52"] * 3)
    assert other.kernels == ("matern52",) * 3
    same(other.with_kernels(THREE.kernels), THREE)


@pytest.mark.parametrize("level", [0, 1, 2])
@pytest.mark.parametrize("field", [*FIELDS, "kernels"])
def test_a_level_is_the_same_if_all_that_belongs_to_it_is_equal(level, field):
    """rho belongs to the level that it leads to."""
    assert THREE.same_level(THREE.with_kernels(THREE.kernels), level)
    for changed in range(2 if field == "rho" else 3):
        if field == "kernels":
            names = list(THREE.kernels)
            names[changed] = {"rbf": "matern52", "matern52": "rbf"}[names[changed]]
            other = THREE.with_kernels(names)
        else:
            values = getattr(THREE, field).clone()
            values[changed] += 1e-15
            other = replace(THREE, **{field: values})
        touched = changed + 1 if field == "rho" else changed
        assert THREE.same_level(other, level) == (touched != level)


def test_an_unknown_kernel_is_refused():
    with pytest.raises(
        ValueError, match=r"one of \['matern52', 'rbf'\], got 'periodic'"
    ):
        THREE.with_kernels(("rbf", "periodic", "rbf"))


@pytest.mark.parametrize("field", FIELDS)
def test_sizes_of_different_numbers_of_levels_are_refused(monkeypatch, field):
    monkeypatch.setattr(jaxtyping.config, "jaxtyping_disable", True)  # as users run
    values = {name: getattr(THREE, name) for name in FIELDS}
    values[field] = values[field][:-1]
    with pytest.raises(ValueError, match=r"3 levels need 3 lengthscales, .* 2 rho"):
        Hyperparameters(THREE.kernels, **values)


def test_log_density_of_the_prior_is_that_of_independent_normals(generator):
    mean, deviation, at = (
        torch.randn(5, generator=generator, dtype=torch.float64) for _ in range(3)
    )
    prior = HyperPrior(mean, deviation.exp(), mean - 1, mean + 1)
    normal = torch.distributions.Normal(mean, deviation.exp())
    torch.testing.assert_close(prior.log_density(at), normal.log_prob(at).sum())


def test_the_default_prior_is_the_documented_one():
    prior = default_prior(2, typical_distance=0.25)
    log = math.log
    expected = [  # mean, deviation, low, high
        *[(log(2 * 0.25), 0.7, log(0.1 * 0.25), log(30 * 0.25))] * 2,
        (0.0, 1.5, log(1e-4), log(1e3)),
        (-1.0, 1.5, log(1e-4), log(1e3)),
        (1.0, 0.3, -1.0, 3.0),
        *[(log(1e-3), 1.0, log(1e-5), log(1.0))] * 2,
        *[(log(2e-2), 1.0, log(1e-4), log(5.0))] * 2,
        *[(log(1e-3), 1.0, log(1e-6), log(0.1))] * 2,
    ]
    columns = torch.tensor(expected, dtype=torch.float64).T
    for name, column in zip(("mean", "deviation", "low", "high"), columns, strict=True):
        torch.testing.assert_close(getattr(prior, name), column)
