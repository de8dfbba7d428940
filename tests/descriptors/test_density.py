"""The expansion of the density against featomic's, and against finite differences."""

import numpy as np
import pytest
import torch
from ase import Atoms
from ase.build import bulk, molecule
from featomic import SphericalExpansion

from mfal.descriptors.density import DensityBasis, densities, neighbours, stretch

N_MAX, L_MAX = 4, 3


def options(cutoff=4.0):
    return {
        "cutoff": {
            "radius": cutoff,
            "smoothing": {"type": "ShiftedCosine", "width": 0.5},
        },
        "density": {
            "type": "Gaussian",
            "width": 0.4,
            "center_atom_weight": 0.7,
            "scaling": {
                "type": "Willatt2018",
                "exponent": 3.0,
                "rate": 1.0,
                "scale": 1.8,
            },
        },
        "basis": {
            "type": "TensorProduct",
            "max_angular": L_MAX,
            "radial": {"type": "Gto", "max_radial": N_MAX - 1},
        },
    }


def alloy():
    atoms = bulk("Cu", cubic=True) * (1, 1, 2)
    atoms.symbols[[1, 4]] = "Au"
    atoms.rattle(0.15, seed=3)
    return atoms


STRUCTURES = {
    "alloy": alloy(),
    "molecule": molecule("CH3CH2OH"),
    "leaving": Atoms("CuAu2", [[0, 0, 0], [2.5, 0.1, 0], [0, 9.0, 0]]),
    "alone": Atoms("Cu"),
}


@pytest.fixture(params=STRUCTURES)
def atoms(request):
    return STRUCTURES[request.param]


def expanded(atoms, at_once=3, cutoff=4.0):
    basis = DensityBasis(options(cutoff), N_MAX, L_MAX)
    numbers = sorted(set(atoms.numbers.tolist()))
    pairs = neighbours(atoms, cutoff)
    return list(densities(basis, pairs, numbers, atoms.numbers, at_once)), numbers


def coefficients(atoms):
    return torch.cat([part.coefficients for part in expanded(atoms)[0]])


def jacobian(atoms):
    """dc / dr_a of every environment: n_env, n_atoms, 3, species, k."""
    parts, _ = expanded(atoms)
    shape = (len(atoms), len(atoms), 3, *parts[0].coefficients.shape[1:])
    found, first = torch.zeros(shape, dtype=torch.float64), 0
    for part in parts:
        for s, shell in enumerate(part.shells):
            slopes = part.slopes(s)
            for e in range(len(slopes)):
                home = first + e
                found[home, :, :, s].index_add_(0, shell.atom[e], slopes[e])
                found[home, home, :, s] -= slopes[e].sum(0)
        first += len(part.coefficients)
    return found


def featomic_coefficients(atoms, numbers):
    found = SphericalExpansion(**options()).compute(atoms)
    result = np.zeros((len(atoms), len(numbers), N_MAX * (L_MAX + 1) ** 2))
    for key, block in found.items():
        order, s = int(key["o3_lambda"]), numbers.index(int(key["neighbor_type"]))
        columns = slice(N_MAX * order**2, N_MAX * (order + 1) ** 2)
        who = block.samples.values[:, 1]
        result[who, s, columns] = block.values.reshape(len(who), -1)
    return result


def test_coefficients_are_those_of_featomic(atoms):
    _, numbers = expanded(atoms)
    reference = torch.from_numpy(featomic_coefficients(atoms, numbers))
    torch.testing.assert_close(coefficients(atoms), reference, atol=3e-8, rtol=0)
    assert float(reference.abs().max()) > 0.05


@pytest.mark.parametrize("name", ["alloy", "molecule", "leaving"])
def test_slopes_are_the_differences_of_the_coefficients(name):
    atoms = STRUCTURES[name]
    slopes, step = jacobian(atoms), 1e-5
    for atom, direction in ((0, 0), (1, 2), (2, 1)):
        both = []
        for sign in (1, -1):
            moved = atoms.copy()
            moved.positions[atom, direction] += sign * step
            both.append(coefficients(moved))
        numeric = (both[0] - both[1]) / (2 * step)
        torch.testing.assert_close(
            slopes[:, atom, direction], numeric, atol=1e-8, rtol=1e-6
        )


def test_pulls_are_the_slopes_times_what_pulls(atoms):
    parts, _ = expanded(atoms)
    generator = torch.Generator().manual_seed(0)
    for part in parts:
        back = torch.randn(
            part.coefficients.shape, generator=generator, dtype=torch.float64
        )
        for s in range(len(part.shells)):
            expected = torch.einsum("epck,ek->epc", part.slopes(s), back[:, s])
            torch.testing.assert_close(part.pulled(s, back), expected)


def test_it_does_not_matter_how_many_environments_are_expanded_at_once(atoms):
    one = torch.cat([p.coefficients for p in expanded(atoms, 1)[0]])
    many = torch.cat([p.coefficients for p in expanded(atoms, 100)[0]])
    torch.testing.assert_close(one, many)


def test_a_strain_moves_a_vector_by_its_stretch():
    generator = np.random.default_rng(0)
    vector = torch.from_numpy(generator.normal(size=(5, 3)))
    strain = generator.normal(size=(3, 3))
    strain = 0.5 * (strain + strain.T)
    xx, yy, zz = np.diag(strain)
    shear = [2 * strain[1, 2], 2 * strain[0, 2], 2 * strain[0, 1]]
    voigt = torch.tensor([xx, yy, zz, *shear], dtype=torch.float64)
    moved = (voigt @ stretch(vector)).view(-1, 3)
    torch.testing.assert_close(moved, vector @ torch.from_numpy(strain))


def test_neighbours_count_every_image():
    atoms = bulk("Cu", cubic=True)
    pairs = neighbours(atoms, 3.0)
    assert len(pairs.atom) == 4 * 12
    np.testing.assert_allclose(pairs.distance, 3.61 / 2**0.5)
    assert (np.diff(pairs.environment) >= 0).all()


def test_a_shorter_cutoff_keeps_what_is_nearer():
    pairs = neighbours(alloy(), 4.0)
    near = pairs.within(3.0)
    assert 0 < len(near.atom) < len(pairs.atom)
    assert near.distance.max() < 3.0
    assert len(near.atom) == (pairs.distance < 3.0).sum()


def test_atoms_on_top_of_each_other_are_refused():
    atoms = Atoms("Cu3", [[0, 0, 0], [0.02, 0, 0], [3, 0, 0]])
    with pytest.raises(ValueError, match=r"atoms [01] and [01] are 0.020 A apart"):
        neighbours(atoms, 4.0)


def test_what_reaches_the_cutoff_goes_smoothly_to_nothing():
    def norms(distance):
        both = Atoms("CuAu", [[0, 0, 0], [0, distance, 0]])
        alone = Atoms("CuAu", [[0, 0, 0], [0, 9.0, 0]])
        change = coefficients(both) - coefficients(alone)
        return float(change.norm()), float(jacobian(both)[0].norm())

    assert norms(4.0 + 1e-9) == (0.0, 0.0)
    for step in (1e-2, 1e-3):
        (change, slope), (less, flatter) = norms(4 - step), norms(4 - step / 2)
        assert less == pytest.approx(change / 4, rel=0.05)
        assert flatter == pytest.approx(slope / 2, rel=0.05)
