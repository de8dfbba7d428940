"""The misfit of a level is inherited by the levels above."""

import pytest
import textbook
import torch
from small_models import (
    BOTH,
    MIXED,
    as_molecule,
    hyperparameters,
    observations_of,
    water,
    water_dataset,
)

from mfal import Label
from mfal.descriptors import InverseDistances
from mfal.models.noise import data_noise, white_covariance, white_rows
from mfal.models.observations import RowBuilder

THREE = hyperparameters("rbf", "rbf", "rbf")


@pytest.mark.parametrize("left", [True, False], ids=["label", "latent"])
@pytest.mark.parametrize("right", [True, False], ids=["label", "latent"])
def test_white_covariance_is_that_of_variables_carried_up_the_levels(left, right):
    """y_l = rho_l y_(l-1) + w_l; latent is y_l without w_l, all as maps of the w."""
    w = torch.eye(3).double()
    y = [w[0]]
    for level, rho in enumerate(THREE.rho, start=1):
        y.append(rho * y[-1] + w[level])
    label = torch.stack(y)
    latent = label - w
    a, b = label if left else latent, label if right else latent
    computed = white_covariance(THREE, labels=(left, right))
    for quantity in range(3):
        variances = THREE.noise[:, quantity].square().diag()
        torch.testing.assert_close(computed[:, :, quantity], a @ variances @ b.T)


@pytest.mark.parametrize("n_levels", [1, 2, 3])
def test_noise_of_the_data_is_that_of_white_variables_per_observable(n_levels):
    h = hyperparameters(*["rbf"] * n_levels)
    asked = MIXED[max(n_levels, 2)]
    dataset = water_dataset([a for a in asked if a[1] < n_levels])
    data = observations_of(dataset)
    rows = as_molecule(data)
    variance, shared = data_noise(h, data)
    matrix = variance.diag()
    later, earlier = data.pairs
    matrix[later, earlier] = shared
    matrix[earlier, later] = shared
    torch.testing.assert_close(matrix, textbook.white(h, rows, rows))
    assert (len(shared) > 0) == (n_levels > 1)


def test_a_label_adds_its_own_variance():
    dataset = water_dataset(MIXED[2])
    sigma = {"energy": 0.4, "forces": 0.7}
    label = dataset.label(3, "low")
    noisier = dataset.with_labels(
        {(3, "low"): Label(label.energy, label.forces, sigma=sigma)}
    )
    h = hyperparameters("rbf", "rbf")
    before, after = observations_of(dataset), observations_of(noisier)
    more = data_noise(h, after)[0] - data_noise(h, before)[0]
    start, stop = after.rows.starts[3], after.rows.starts[4]
    assert more[start:stop].tolist() == pytest.approx([0.16, 0.49, 0.49, 0.49])
    assert more.sum() == pytest.approx(0.16 + 3 * 0.49)


def test_energies_have_noise_per_atom_and_forces_per_component():
    atoms = water(0)
    block = RowBuilder(InverseDistances(["O", "H", "H"]))(atoms, 0, BOTH)
    white = torch.tensor([0.5, 0.2, 9.0], dtype=torch.float64)
    assert white_rows(white, block).tolist() == pytest.approx([1.5, 0.2, 0.2, 0.2])
