"""Rows of a prediction become energies and Cartesian forces with their sigmas."""

import numpy as np
import pytest
import torch
from ase.build import molecule
from small_models import BOTH, water

from mfal.descriptors import InverseDistances
from mfal.models.calibration import Recalibration
from mfal.models.observations import RowBuilder
from mfal.models.prediction import RowPrediction, cartesian


@pytest.fixture
def rows(generator):
    block = RowBuilder(InverseDistances(["O", "H", "H"]))(water(0), 0, BOTH)
    factor = torch.randn(4, 4, generator=generator, dtype=torch.float64)
    mean, noise = torch.randn(2, 4, generator=generator, dtype=torch.float64)
    return RowPrediction(block, mean, factor @ factor.T, noise.exp(), -100.0)


def linear_map(block):
    """[E, F] of Cartesian coordinates from the rows of a structure."""
    return torch.block_diag(torch.eye(1).double(), block.basis)


def test_means_and_sigmas_are_those_of_the_linear_map(rows):
    found = cartesian([rows, rows], Recalibration())
    up = linear_map(rows.block)
    mean = (up @ rows.mean).numpy()
    sigma = (up @ rows.covariance @ up.T).diagonal().sqrt().numpy()
    noise = (up @ rows.noise.diag() @ up.T).diagonal().sqrt().numpy()
    for k in range(2):
        assert found.energy[k] == pytest.approx(-100.0 + mean[0])
        for got, expected in (
            (found.forces, mean),
            (found.forces_sigma, sigma),
            (found.forces_noise, noise),
        ):
            np.testing.assert_allclose(got[k].ravel(), expected[1:])
        assert found.energy_sigma[k] == pytest.approx(sigma[0])
        assert found.energy_noise[k] == pytest.approx(noise[0])


def test_total_variance_is_epistemic_plus_noise(rows):
    found = cartesian([rows], Recalibration())
    for quantity in BOTH:
        parts = (getattr(found, f"{quantity}_{k}") ** 2 for k in ("sigma", "noise"))
        np.testing.assert_allclose(found.total_sigma(quantity) ** 2, sum(parts))


def test_recalibration_scales_sigma_and_noise_of_its_quantity_and_no_mean(rows):
    plain = cartesian([rows], Recalibration())
    scaled = cartesian([rows], Recalibration(energy=2.0, forces=0.5))
    for quantity, factor in (("energy", 2.0), ("forces", 0.5)):
        for kind, expected in (("", 1.0), ("_sigma", factor), ("_noise", factor)):
            name = quantity + kind
            np.testing.assert_allclose(
                getattr(scaled, name), expected * getattr(plain, name)
            )


def test_rounding_below_zero_is_cut_and_anything_more_is_an_error(rows):
    tiny = rows._replace(covariance=torch.eye(4).double().diag_embed()[0] * 0.0)
    tiny.covariance[0, 0] = -1e-12
    assert cartesian([tiny], Recalibration()).energy_sigma[0] == 0.0
    tiny.covariance[0, 0] = -1e-3
    with pytest.raises(ArithmeticError, match=r"came out negative \(-1.00e-03\)"):
        cartesian([tiny], Recalibration())


def test_a_direction_without_variance_beside_others_with_some_is_no_error(rows):
    """Nothing pulls the atoms of a planar molecule out of its plane."""
    planar = molecule("H2O")
    block = RowBuilder(InverseDistances(["O", "H", "H"]))(planar, 0, BOTH)
    found = cartesian([rows._replace(block=block)], Recalibration())
    np.testing.assert_allclose(found.forces_sigma[0, :, 0], 0, atol=1e-9)
    assert found.forces_sigma[0, :, 2].min() > 0.01
