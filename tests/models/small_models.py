"""Small data sets with known hyperparameters, and their posterior the long way."""

import numpy as np
import textbook
import torch
from ase.build import molecule

from mfal import Fidelity, Label, LabelledDataset
from mfal.descriptors import InverseDistances, declared_group
from mfal.models.exact import ExactPotential
from mfal.models.fitting import Fit
from mfal.models.hyperparameters import Hyperparameters
from mfal.models.observations import RowBuilder, observe

LEVELS = ("low", "middle", "high")
SWAP = [[0, 2, 1]]  # the hydrogens of water
METHYL = [[0, 1, 4, 3, 5, 2], [0, 1, 4, 3, 2, 5]]  # of the methanol of tests/files


def water(seed, width=0.08):
    atoms = molecule("H2O")
    atoms.rattle(width, seed=seed)
    return atoms


def internal(atoms, rng):
    """Random forces without net force and torque."""
    vectors = rng.normal(size=(len(atoms), 3)).ravel()
    rigid = rigid_motions(atoms)
    return (vectors - rigid @ np.linalg.pinv(rigid) @ vectors).reshape(-1, 3)


def rigid_motions(atoms):
    """Translations and rotations, as columns of 3 n entries."""
    shifts = np.tile(np.eye(3), (len(atoms), 1))
    turns = [np.cross(axis, atoms.positions).ravel() for axis in np.eye(3)]
    return np.column_stack([shifts, *turns])


def water_dataset(asked, seed=0):
    """Water with random labels; `asked` holds (structure, level, quantities)."""
    rng = np.random.default_rng(seed)
    structures = tuple(water(i) for i in range(1 + max(i for i, _, _ in asked)))
    labels = {
        (i, LEVELS[level]): Label(
            -2000.0 - 76 * level + 0.3 * rng.normal(), internal(structures[i], rng)
        ).only(quantities)
        for i, level, quantities in asked
    }
    n_levels = 1 + max(level for _, level, _ in asked)
    return LabelledDataset(structures, tuple(map(Fidelity, LEVELS[:n_levels])), labels)


BOTH, E, F = ("energy", "forces"), ("energy",), ("forces",)
LOWEST = [(0, 0, BOTH), (1, 0, F), (2, 0, E), (3, 0, BOTH)]
MIXED = {  # missing quantities, structures with one, two or three labels
    2: [*LOWEST, (0, 1, BOTH), (1, 1, BOTH), (3, 1, E), (4, 1, F)],
    3: [
        *LOWEST,
        *[(0, 1, BOTH), (3, 1, F), (4, 1, BOTH)],
        *[(0, 2, E), (1, 2, BOTH), (3, 2, BOTH), (5, 2, F)],
    ],
}


def hyperparameters(*kernels, noise=None):
    """Different numbers at every level; `noise` is one number for all of it."""
    n = len(kernels)
    misfit = torch.tensor(
        [[0.05, 0.11, 0.3], [0.03, 0.07, 0.2], [0.02, 0.13, 0.1]], dtype=torch.float64
    )
    return Hyperparameters(
        kernels=kernels,
        lengthscale=torch.tensor([0.9, 0.6, 1.3], dtype=torch.float64)[:n],
        scale=torch.tensor([1.4, 0.7, 0.4], dtype=torch.float64)[:n],
        rho=torch.tensor([0.8, -1.3], dtype=torch.float64)[: n - 1],
        noise=misfit[:n] if noise is None else torch.full((n, 3), noise).double(),
    )


def potential(dataset, h, permutations="none"):
    """The model of these data with hyperparameters that are known."""
    unknown = torch.full((len(dataset.levels) - 1,), float("nan"), dtype=torch.float64)
    fit = Fit(h, (None,) * len(dataset.levels), unknown)
    return ExactPotential.with_fit(dataset, fit, permutations=permutations)


def observations_of(dataset):
    symbols = dataset.structures[0].get_chemical_symbols()
    return observe(dataset, RowBuilder(InverseDistances(symbols)))


def orders_of(symbols, permutations):
    return InverseDistances(symbols).orders(declared_group(permutations, symbols))


def as_molecule(observations):
    """The rows of a model in the form of the textbook, each observable named."""
    rows = observations.rows
    e = rows.environment
    observable = []
    for block, structure in enumerate(observations.structure):
        seen = {textbook.ENERGY: 0, textbook.FORCES: 0}
        for quantity in observations.block_quantity(block).tolist():
            observable.append((structure, quantity, seen[quantity]))
            seen[quantity] += 1
    return textbook.Molecule(
        rows.weight,
        rows.direction,
        rows.descriptor[e],
        rows.level[e],
        rows.counts[e],
        observations.n_atoms,
        observable,
    )


class Naive:
    """The posterior of a data set as one dense Gaussian of Cartesian rows.

    `data` are the rows of all labels; energies are taken relative to their mean at
    each level, forces keep all 3 n components.
    """

    def __init__(self, dataset, h, permutations="none"):
        self.h, self.dataset = h, dataset
        self.symbols = dataset.structures[0].get_chemical_symbols()
        permutations = () if permutations == "none" else permutations
        self.orders = orders_of(self.symbols, permutations)
        self.zero = {}
        for level in dataset.levels:
            energies = [lab.energy for _, n, lab in dataset if n == level]
            energies = [e for e in energies if e is not None]
            self.zero[level] = np.mean(energies) if energies else 0.0
        asked = [(i, n, lab) for i, n, lab in dataset]
        self.data = self.rows(
            [(i, dataset.structures[i], n, lab) for i, n, lab in asked]
        )
        self.values = np.concatenate([self.numbers(n, lab) for _, n, lab in asked])
        self.sigma = np.concatenate([self.own_sigma(lab) for *_, lab in asked])

    def rows(self, asked):
        return textbook.molecule_rows(
            [
                (name, atoms, self.dataset.levels.index(level), label.quantities)
                for name, atoms, level, label in asked
            ]
        )

    def numbers(self, level, label):
        energy = [] if label.energy is None else [label.energy - self.zero[level]]
        forces = [] if label.forces is None else label.forces.ravel()
        return np.concatenate([energy, forces])

    def own_sigma(self, label):
        sizes = {"energy": 1, "forces": 3 * len(self.symbols)}
        return np.concatenate(
            [np.full(sizes[q], label.sigma.get(q, 0.0)) for q in label.quantities]
        )

    def covariance(self, rows1, rows2, **own):
        smooth = textbook.smooth(self.h, rows1, rows2, self.orders)
        return (smooth + textbook.white(self.h, rows1, rows2, **own)).numpy()

    def predict(self, atoms, level, at_hand=None):
        """Mean and covariance of the latent rows, and of a new label's.

        Without a label at hand the latent function is the smooth part; with one it is
        the level without its own misfit. `at_hand` is (level, label).
        """
        full = Label(0.0, np.zeros((len(atoms), 3)))
        query = self.rows([("query", atoms, level, full)])
        data, values, sigma = self.data, self.values, self.sigma
        if at_hand is not None:
            extra = self.rows([("query", atoms, *at_hand)])
            data = textbook.Molecule(
                *(
                    torch.cat([a, b])
                    for a, b in zip(data[:-1], extra[:-1], strict=True)
                ),
                data.observable + extra.observable,
            )
            values = np.concatenate([values, self.numbers(*at_hand)])
            sigma = np.concatenate([sigma, self.own_sigma(at_hand[1])])
        observed = self.covariance(data, data) + np.diag(sigma**2)
        mean, total = textbook.conditioned(
            self.covariance(query, query),
            self.covariance(query, data),
            observed,
            values,
        )
        return mean, total

    def smooth_variance(self, atoms, level):
        """Posterior covariance of the smooth part alone."""
        full = Label(0.0, np.zeros((len(atoms), 3)))
        query = self.rows([("query", atoms, level, full)])
        observed = self.covariance(self.data, self.data) + np.diag(self.sigma**2)
        cross = textbook.smooth(self.h, query, self.data, self.orders).numpy()
        prior = textbook.smooth(self.h, query, query, self.orders).numpy()
        return textbook.conditioned(prior, cross, observed, self.values)[1]
