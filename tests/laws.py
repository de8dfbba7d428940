"""The laws that every descriptor, kernel and potential obeys, each written once.

A `calculate` maps atoms to an energy (eV) and forces (eV/A). Predictions are
`mfal.models.prediction.Prediction`s.
"""

import numpy as np
import torch
from ase import Atoms
from scipy.spatial.transform import Rotation

# --- kernels


def gram_is_symmetric_and_positive_semidefinite(kernel, x):
    gram = kernel(x).to_dense().detach()
    torch.testing.assert_close(gram, gram.mT)
    assert torch.linalg.eigvalsh(gram).min() > -1e-10 * gram.diagonal().max()


def diag_is_the_diagonal(kernel, x):
    torch.testing.assert_close(
        kernel(x, diag=True), kernel(x).to_dense().diagonal(dim1=-2, dim2=-1)
    )


# --- how structures move


def rotated(atoms, seed=0):
    """The structure turned about the origin, and the matrix that turned it."""
    matrix = Rotation.random(rng=np.random.default_rng(seed)).as_matrix()
    cell = atoms.cell.array @ matrix.T
    positions = atoms.positions @ matrix.T
    return Atoms(atoms.numbers, positions, cell=cell, pbc=atoms.pbc), matrix


def translated(atoms):
    positions = atoms.positions + np.array([3.1, -0.4, 12.0])
    return Atoms(atoms.numbers, positions, cell=atoms.cell, pbc=atoms.pbc)


def permuted(atoms, permutation):
    return atoms[list(permutation)]


def strained(atoms, component, amount):
    """Cell and positions strained; a shear e has both off-diagonal entries e / 2."""
    i, j = ((0, 0), (1, 1), (2, 2), (1, 2), (0, 2), (0, 1))[component]
    strain = np.zeros((3, 3))
    strain[i, j] += 0.5 * amount
    strain[j, i] += 0.5 * amount
    stretched = atoms.copy()
    stretched.set_cell(atoms.cell.array @ (np.eye(3) + strain), scale_atoms=False)
    stretched.positions = atoms.positions @ (np.eye(3) + strain)
    return stretched


# --- descriptors


def descriptor_is_invariant(values, moved, atol=1e-12):
    torch.testing.assert_close(moved, values, rtol=0, atol=atol)


def jacobian_is_the_derivative(descriptor, atoms, step=1e-4):
    """dq/dr by central differences."""
    environments = descriptor(atoms)
    jacobians = [environments.jacobian(e) for e in range(len(environments.values))]
    for c in range(3 * len(atoms)):
        ahead, behind = atoms.copy(), atoms.copy()
        ahead.positions.flat[c] += step
        behind.positions.flat[c] -= step
        slope = (descriptor(ahead).values - descriptor(behind).values) / (2 * step)
        computed = torch.stack([jacobian[c] for jacobian in jacobians])
        torch.testing.assert_close(computed, slope, rtol=1e-6, atol=1e-6)


def strain_gradient_is_the_derivative(descriptor, atoms, step=1e-4):
    """dq/dstrain by central differences."""
    computed = descriptor(atoms).strain
    for v in range(6):
        ahead, behind = (
            descriptor(moved).values
            for moved in (strained(atoms, v, step), strained(atoms, v, -step))
        )
        slope = (ahead - behind) / (2 * step)
        torch.testing.assert_close(computed[:, v], slope, rtol=1e-6, atol=1e-6)


# --- potentials


def forces_are_minus_the_slope_of_the_energy(calculate, atoms, step=1e-4):
    _, forces = calculate(atoms)
    for c in range(3 * len(atoms)):
        ahead, behind = atoms.copy(), atoms.copy()
        ahead.positions.flat[c] += step
        behind.positions.flat[c] -= step
        slope = (calculate(ahead)[0] - calculate(behind)[0]) / (2 * step)
        assert abs(forces.flat[c] + slope) < 1e-5, f"coordinate {c}"


def stress_is_the_slope_of_the_energy_with_strain(calculate, atoms, step=1e-4):
    """stress = (1/V) dE/dstrain; `calculate` gives energy, forces and stress."""
    stress = calculate(atoms)[2]
    for v in range(6):
        rise = (
            calculate(strained(atoms, v, step))[0]
            - calculate(strained(atoms, v, -step))[0]
        )
        slope = rise / (2 * step) / atoms.cell.volume
        assert abs(stress[v] - slope) < 1e-6, f"component {v}"


def net_force_vanishes(calculate, atoms):
    forces = calculate(atoms)[1]
    assert np.abs(forces).max() > 0.1, "the forces themselves vanish"
    np.testing.assert_allclose(forces.sum(axis=0), 0, atol=1e-9)


def energy_is_extensive(calculate, atoms, repeats=(2, 1, 1)):
    """A supercell has as many times the energy, the same forces and the same stress."""
    energy, forces, stress = calculate(atoms)
    large = calculate(atoms.repeat(repeats))
    n = int(np.prod(repeats))
    np.testing.assert_allclose(large[0], n * energy, rtol=1e-10, atol=1e-9)
    np.testing.assert_allclose(large[1], np.tile(forces, (n, 1)), atol=1e-9)
    np.testing.assert_allclose(large[2], stress, atol=1e-10)


def energy_is_smooth_at_the_cutoff(calculate, symbols, cutoff, step=1e-3):
    """Two atoms that part: beyond the cutoff no force, before it less and less."""
    alone = sum(calculate(Atoms(s))[0] for s in Atoms(symbols).symbols)

    def pair(distance):
        energy, forces = calculate(Atoms(symbols, [[0, 0, 0], [distance, 0, 0]]))[:2]
        return energy - alone, np.abs(forces).max()

    assert pair(cutoff - 0.5)[1] > 1e-3, "no force before the cutoff either"
    beyond = pair(cutoff + step)
    assert abs(beyond[0]) < 1e-10
    assert beyond[1] < 1e-10
    near, nearer = pair(cutoff - 2 * step), pair(cutoff - step)
    assert nearer[1] < 0.6 * near[1]
    assert abs(nearer[0]) < 0.3 * abs(near[0])


def net_force_and_torque_vanish(calculate, atoms):
    _, forces = calculate(atoms)
    assert np.abs(forces).max() > 0.1, "the forces themselves vanish"
    np.testing.assert_allclose(forces.sum(axis=0), 0, atol=1e-9)
    torque = np.cross(atoms.positions, forces).sum(axis=0)
    np.testing.assert_allclose(torque, 0, atol=1e-9)


def prediction_turns_with_the_molecule(plain, moved, matrix):
    """Energies stay, forces turn; of the variances the sum over each atom stays."""
    np.testing.assert_allclose(moved.energy, plain.energy, rtol=0, atol=1e-7)
    np.testing.assert_allclose(moved.forces, plain.forces @ matrix.T, atol=1e-7)
    for name in ("energy_sigma", "energy_noise"):
        np.testing.assert_allclose(
            getattr(moved, name), getattr(plain, name), rtol=1e-6
        )
    for name in ("forces_sigma", "forces_noise"):
        per_atom = [np.square(getattr(p, name)).sum(axis=2) for p in (plain, moved)]
        np.testing.assert_allclose(*per_atom, rtol=1e-5)


def prediction_is_permuted_with_the_atoms(plain, moved, permutation):
    """Energies stay, what belongs to an atom goes with it."""
    for name in ("energy", "energy_sigma", "energy_noise"):
        np.testing.assert_allclose(
            getattr(moved, name), getattr(plain, name), rtol=1e-6, atol=1e-7
        )
    for name in ("forces", "forces_sigma", "forces_noise"):
        np.testing.assert_allclose(
            getattr(moved, name),
            getattr(plain, name)[:, list(permutation)],
            rtol=1e-6,
            atol=1e-7,
        )


def labels_are_interpolated(prediction, labels, tolerance=1e-4):
    """Without noise the labels come back, and nothing of them is uncertain."""
    energies = [label.energy for label in labels]
    forces = [label.forces for label in labels]
    np.testing.assert_allclose(prediction.energy, energies, rtol=0, atol=tolerance)
    np.testing.assert_allclose(prediction.forces, forces, rtol=0, atol=tolerance)
    assert prediction.energy_sigma.max() < tolerance
    assert prediction.forces_sigma.max() < tolerance


def variance_does_not_rise(before, after):
    """With a label more every sigma is smaller or the same, and some are smaller."""
    for name in ("energy_sigma", "forces_sigma"):
        fall = getattr(before, name) - getattr(after, name)
        assert fall.min() > -1e-9
        assert fall.max() > 1e-6


def predictions_agree(one, other, *, shift=0.0, rtol=1e-7):
    """The same means and sigmas, the energies of the other by `shift` (eV) higher."""
    np.testing.assert_allclose(other.energy, one.energy + shift, rtol=0, atol=1e-6)
    for name in ("forces", "energy_sigma", "forces_sigma", "energy_noise"):
        np.testing.assert_allclose(
            getattr(other, name), getattr(one, name), rtol=rtol, atol=1e-7
        )
