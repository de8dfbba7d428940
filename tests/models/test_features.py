"""Rows of features: the kernel's, right slopes, nothing lost on inducing environments."""

import laws
import numpy as np
import pytest
import torch
from ase import Atoms
from small_cells import alloy, cell, cluster, small_soap

from mfal.models.features import KernelFeatures, LinearFeatures, normalised
from mfal.models.inducing import leading_directions

ZETAS = [1, 2, 3]
KERNELS = [(1, 0.3), (2, 0.0), (3, 0.2)]  # zeta, softening
SOAP = small_soap("Cu", "Au", cutoffs=(3.2,))
CU, AU = 29, 79


def projection_of(structures, directions=7):
    values = torch.cat([SOAP.values(a) for a in structures])
    return leading_directions(values)[:, :directions]


def kernel_of(zeta, softening=0.0):
    """Four inducing environments of copper, two of gold."""
    structures = [alloy(0), alloy(1), alloy(5)]
    projection = projection_of(structures)
    u, _ = normalised(
        torch.cat([SOAP.values(a) for a in structures]), projection, softening
    )
    numbers = np.concatenate([a.numbers for a in structures])
    inducing = {AU: u[numbers == AU][:2], CU: u[numbers == CU][:4]}
    return KernelFeatures(projection, inducing, zeta, softening=softening)


def linear(_=None, softening=0.0):
    return LinearFeatures((CU, AU), SOAP.size)


FEATURES = {
    **{f"zeta {z} softening {s}": (kernel_of, z, s) for z, s in KERNELS},
    "linear": (linear, None, 0.0),
}
STRUCTURES = {"alloy": alloy, "cluster": cluster, "copper alone": cell}


@pytest.fixture(params=FEATURES)
def features(request):
    make, zeta, softening = FEATURES[request.param]
    return make(zeta, softening)


@pytest.fixture(params=STRUCTURES)
def atoms(request):
    return STRUCTURES[request.param](7)


def rows_of(features, atoms):
    volume = float(atoms.cell.volume) if atoms.pbc.all() else None
    return features.rows(SOAP(atoms), volume)


def naive_energies(features, atoms):
    """phi of each environment from k(Z, Z)^-1/2 k(Z, q), one number at a time."""
    result = []
    for q, number in zip(SOAP.values(atoms), atoms.numbers, strict=True):
        parts = []
        for species, points in features.inducing.items():
            p = features.projection.T @ q
            u = p / (p @ p + features.softening**2).sqrt()
            k = torch.stack([(u @ z) ** features.zeta for z in points])
            gram = torch.stack(
                [
                    torch.stack([(a @ b) ** features.zeta for a in points])
                    for b in points
                ]
            )
            factor = torch.linalg.cholesky(gram)
            same = float(species == number)
            parts.append(same * torch.linalg.solve(factor, k))
        result.append(torch.cat(parts))
    return torch.stack(result)


@pytest.mark.parametrize(("zeta", "softening"), KERNELS)
def test_features_are_the_whitened_kernel_with_the_inducing_environments(
    zeta, softening, atoms
):
    features = kernel_of(zeta, softening)
    expected = naive_energies(features, atoms)
    torch.testing.assert_close(
        features.energies(SOAP(atoms)), expected, rtol=1e-7, atol=1e-8
    )


def test_the_energy_is_the_sum_over_environments(features, atoms):
    expected = features.energies(SOAP(atoms)).sum(0)
    torch.testing.assert_close(rows_of(features, atoms).energy, expected)


def test_force_rows_are_minus_the_slopes_of_the_energy_row(features, atoms):
    computed, step = rows_of(features, atoms).forces, 1e-4
    for c in range(3 * len(atoms)):
        ahead, behind = atoms.copy(), atoms.copy()
        ahead.positions.flat[c] += step
        behind.positions.flat[c] -= step
        rise = features.energies(SOAP(ahead)) - features.energies(SOAP(behind))
        slope = rise.sum(0) / (2 * step)
        torch.testing.assert_close(computed[c], -slope, rtol=1e-5, atol=1e-5)


def test_stress_rows_are_the_slopes_with_strain_per_volume(features):
    atoms, step = alloy(7), 1e-4
    computed = rows_of(features, atoms).stress
    for v in range(6):
        ahead, behind = (laws.strained(atoms, v, s) for s in (step, -step))
        rise = features.energies(SOAP(ahead)) - features.energies(SOAP(behind))
        slope = rise.sum(0) / (2 * step) / atoms.cell.volume
        torch.testing.assert_close(computed[v], slope, rtol=1e-5, atol=1e-6)


def test_there_is_a_stress_only_with_a_cell_and_a_volume(features):
    assert rows_of(features, cluster(0)).stress is None
    assert features.rows(SOAP(alloy(0)), None).stress is None
    assert rows_of(features, alloy(0)).stress.shape == (6, features.size)


def test_species_have_no_features_in_common(features):
    atoms = alloy(7)
    phi = features.energies(SOAP(atoms))
    copper, gold = phi[atoms.numbers == CU], phi[atoms.numbers == AU]
    assert copper.abs().max() > 0.01
    assert gold.abs().max() > 0.01
    assert (copper @ gold.T).abs().max() == 0


def test_a_species_without_inducing_environments_has_features_of_zero():
    known = kernel_of(2)
    features = KernelFeatures(known.projection, {CU: known.inducing[CU]}, 2)
    gold = Atoms("Au2", [[0, 0, 0], [2.4, 0, 0]])
    rows = rows_of(features, gold)
    assert rows.energy.abs().max() == rows.forces.abs().max() == 0


def test_slopes_are_those_of_the_weighted_features(features, atoms):
    environments = SOAP(atoms)
    weights = torch.linspace(-1, 2, features.size, dtype=torch.float64)
    values, slopes = features.slopes(environments, weights)
    torch.testing.assert_close(values, features.energies(environments) @ weights)
    rows = rows_of(features, atoms)
    pulls = torch.einsum(
        "kcd,kd->kc", environments.gradients, slopes[environments.pair_environment]
    )
    forces = torch.zeros(len(atoms), 3).double()
    forces.index_add_(0, environments.pair_atom, -pulls)
    torch.testing.assert_close(forces.flatten(), rows.forces @ weights)
    if rows.stress is not None:
        stress = torch.einsum("evd,ed->v", environments.strain, slopes)
        torch.testing.assert_close(stress / atoms.cell.volume, rows.stress @ weights)


def gram(features, values, numbers):
    """(u . u')^zeta between environments of one species, zero between two."""
    u, _ = normalised(values, features.projection, features.softening)
    numbers = torch.as_tensor(numbers)
    return (u @ u.T) ** features.zeta * (numbers[:, None] == numbers)


@pytest.mark.parametrize("zeta", ZETAS)
def test_the_covariance_of_features_is_the_nystrom_kernel(zeta):
    features, atoms = kernel_of(zeta), alloy(7)
    u, _ = features.normalised(SOAP(atoms).values)
    total = torch.zeros(len(atoms), len(atoms)).double()
    for species, points in features.inducing.items():
        mine = torch.as_tensor(atoms.numbers == species).double()
        cross = (u @ points.T) ** zeta * mine[:, None]
        inner = (points @ points.T) ** zeta
        total += cross @ torch.linalg.solve(inner, cross.T)
    phi = features.energies(SOAP(atoms))
    torch.testing.assert_close(phi @ phi.T, total, rtol=1e-6, atol=1e-8)


@pytest.mark.parametrize(("zeta", "softening"), KERNELS)
def test_of_the_inducing_environments_nothing_is_unexplained(zeta, softening):
    structures = [alloy(0), alloy(1)]
    projection = projection_of(structures)
    values = torch.cat([SOAP.values(a) for a in structures])
    numbers = np.concatenate([a.numbers for a in structures])
    u, _ = normalised(values, projection, softening)
    inducing = {z: u[numbers == z] for z in (CU, AU)}
    features = KernelFeatures(projection, inducing, zeta, softening=softening)
    for atoms in structures:
        left = features.unexplained(SOAP(atoms))
        torch.testing.assert_close(left, torch.zeros_like(left), rtol=0, atol=1e-8)


def test_what_is_unexplained_is_the_kernel_less_the_features(features, atoms):
    environments = SOAP(atoms)
    left = features.unexplained(environments)
    if isinstance(features, LinearFeatures):
        assert left.abs().max() == 0
        return
    phi = features.energies(environments)
    full = gram(features, environments.values, atoms.numbers)
    torch.testing.assert_close(left, full - phi @ phi.T)
    assert torch.linalg.eigvalsh(left).min() > -1e-9


def test_energies_of_a_softened_kernel_vanish_with_the_descriptor():
    """The last neighbour leaves: the energy goes to the reference energy."""
    features = kernel_of(2, softening=0.3)
    values = SOAP(alloy(0)).values
    phi = [
        normalised(scale * values, features.projection, features.softening)[0].norm()
        for scale in (1.0, 1e-3, 0.0)
    ]
    assert phi[1] < 0.02 * phi[0]
    assert phi[2] == 0


def test_linear_features_are_the_descriptors_of_each_species_summed():
    features, atoms = linear(), alloy(7)
    values = SOAP(atoms).values
    numbers = torch.as_tensor(atoms.numbers)
    expected = torch.cat([values[numbers == z].sum(0) for z in (CU, AU)])
    torch.testing.assert_close(rows_of(features, atoms).energy, expected)


def test_normalised_descriptors_of_no_softening_have_unit_length():
    u, norm = normalised(SOAP(alloy(0)).values, torch.eye(SOAP.size).double())
    torch.testing.assert_close(u.norm(dim=1), torch.ones(3).double())
    torch.testing.assert_close(norm, SOAP(alloy(0)).values.norm(dim=1))


@pytest.mark.parametrize(
    ("arguments", "rule"),
    [
        ({"zeta": 0}, "zeta is a positive integer, got 0"),
        ({"inducing": {}}, "inducing environments of at least one species"),
    ],
)
def test_impossible_kernels_are_refused(arguments, rule):
    usual = {"inducing": {CU: torch.eye(2).double()}, "zeta": 2}
    with pytest.raises(ValueError, match=rule):
        KernelFeatures(torch.eye(2).double(), **{**usual, **arguments})
