"""Small crystals and molecules, their labels, and a linear model's posterior as one
dense Gaussian."""

import math

import numpy as np
import textbook
import torch
from ase import Atoms
from ase.build import bulk, molecule
from ase.calculators.emt import EMT

from mfal import Fidelity, Label, LabelledDataset
from mfal.descriptors.soap import Soap
from mfal.models.feature_map import FeatureMap
from mfal.models.inducing import kernel_features
from mfal.models.weights import WeightHyperparameters

LEVELS = ("low", "middle", "high")
QUANTITIES = ("energy", "forces", "stress")
E, F, S = ("energy",), ("forces",), ("stress",)
EF, ALL = ("energy", "forces"), QUANTITIES


def cell(seed, symbol="Cu", width=0.15):
    """A rattled, strained cube of four atoms, smaller than the cutoffs."""
    atoms = bulk(symbol, "fcc", a=3.8, cubic=True)
    rng = np.random.default_rng(seed)
    strain = np.eye(3) + 0.04 * rng.normal(size=(3, 3))
    atoms.set_cell(atoms.cell.array @ strain, scale_atoms=True)
    atoms.positions += width * rng.normal(size=atoms.positions.shape)
    return atoms


def alloy(seed):
    """Two atoms of copper and one of gold in a skew cell."""
    rng = np.random.default_rng(seed)
    atoms = Atoms(
        "CuAuCu",
        [[0, 0, 0], [2.4, 1.2, 0.4], [1.0, 2.6, 2.3]],
        cell=[[3.9, 0.2, 0], [0.5, 4.1, 0.3], [0, -0.4, 4.6]],
        pbc=True,
    )
    atoms.positions += 0.1 * rng.normal(size=(3, 3))
    return atoms


def cluster(seed):
    """A molecule of the same species, without a cell."""
    rng = np.random.default_rng(seed)
    atoms = Atoms("CuAu", [[0, 0, 0], [2.5, 0.3, -0.2]])
    atoms.positions += 0.1 * rng.normal(size=(2, 3))
    return atoms


def water(seed):
    atoms = molecule("H2O")
    atoms.rattle(0.1, seed=seed)
    return atoms


def small_soap(*species, cutoffs=(3.5,), **options):
    sizes = {"max_radial": 3, "max_angular": 2, "scale": 2.2}
    return Soap(species, cutoffs=cutoffs, **{**sizes, **options})


def small_map(structures, n_inducing=6, *, zeta=2, **options):
    """One block of inducing environments."""
    numbers = sorted({int(z) for a in structures for z in a.numbers})
    symbols = sorted({s for a in structures for s in a.get_chemical_symbols()})
    descriptor = small_soap(*symbols, **options)
    features = kernel_features(descriptor, structures, n_inducing, zeta=zeta)
    return FeatureMap(tuple(numbers), ((descriptor, features),))


def structures_of(n):
    """Crystals, alloys and a molecule by turns."""
    kinds = (alloy, cell, alloy, cluster)
    return tuple(kinds[i % len(kinds)](i) for i in range(n))


def random_dataset(asked, seed=0, sigma=None, n_levels=None):
    """Random labels; `asked` holds (structure, level, quantities)."""
    rng = np.random.default_rng(seed)
    structures = structures_of(1 + max(i for i, _, _ in asked))
    n_levels = n_levels or 1 + max(level for _, level, _ in asked)
    labels = {}
    for i, level, quantities in asked:
        n = len(structures[i])
        own = (sigma or {}).get((i, level), {})
        label = Label(
            n * (-3.0 - level) + 0.3 * rng.normal(),
            0.5 * rng.normal(size=(n, 3)),
            0.05 * rng.normal(size=6) if structures[i].pbc.all() else None,
            own,
        )
        kept = label.only(quantities)
        sigmas = {q: s for q, s in own.items() if q in kept.quantities}
        labels[i, LEVELS[level]] = Label(kept.energy, kept.forces, kept.stress, sigmas)
    fidelities = [Fidelity(name, {}, ALL) for name in LEVELS[:n_levels]]
    return LabelledDataset(structures, tuple(fidelities), labels)


NESTED = {
    1: [(0, 0, ALL), (1, 0, EF), (2, 0, F), (3, 0, EF)],
    2: [*[(i, 0, ALL) for i in range(4)], (0, 1, ALL), (3, 1, EF)],
    3: [*[(i, 0, ALL) for i in range(4)], (0, 1, ALL), (3, 1, EF), (0, 2, ALL)],
}
PARTLY = {
    1: [(0, 0, E), (1, 0, ALL), (2, 0, S), (3, 0, F)],
    2: [(0, 0, E), (1, 0, ALL), (3, 0, F), (0, 1, ALL), (1, 1, EF), (4, 1, EF)],
    3: [
        *[(0, 0, ALL), (1, 0, EF), (3, 0, E)],
        *[(0, 1, E), (4, 1, ALL), (3, 1, F)],
        *[(0, 2, ALL), (1, 2, ALL), (3, 2, EF), (4, 2, F), (2, 2, ALL)],
    ],
}
APART = {
    2: [(0, 0, ALL), (1, 0, EF), (2, 1, ALL), (3, 1, EF)],
    3: [(0, 0, ALL), (1, 1, ALL), (3, 1, EF), (2, 2, ALL), (4, 2, EF)],
}
DESIGNS = {
    f"{name}-{n}": design
    for name, designs in (("nested", NESTED), ("partly", PARTLY), ("apart", APART))
    for n, design in designs.items()
}


def hyperparameters(n_levels, n_blocks=1):
    """Different numbers at every level, one rho negative."""
    scale = torch.tensor([[1.4, 0.6], [0.7, 0.9], [0.4, 0.3]], dtype=torch.float64)
    noise = torch.tensor(
        [[0.05, 0.11, 0.006], [0.03, 0.07, 0.009], [0.02, 0.13, 0.004]],
        dtype=torch.float64,
    )
    rho = torch.tensor([0.8, -1.3], dtype=torch.float64)
    return WeightHyperparameters(
        scale[:n_levels, :n_blocks], rho[: n_levels - 1], noise[:n_levels]
    )


def reference_of(dataset, feature_map):
    """Some energies per species at each level, eV."""
    n = len(dataset.levels) * len(feature_map.species)
    values = torch.linspace(-4.0, -2.5, n, dtype=torch.float64)
    return values.reshape(len(dataset.levels), -1)


def emt_dataset(structures, levels=("emt",)):
    """Energies, forces and stresses of EMT; of further levels a distorted copy."""
    labels = {}
    for i, atoms in enumerate(structures):
        atoms = atoms.copy()
        atoms.calc = EMT()
        energy, forces = atoms.get_potential_energy(), atoms.get_forces()
        stress = atoms.get_stress() if atoms.pbc.all() else None
        for number, name in enumerate(levels):
            share = 1.0 + 0.2 * number
            labels[i, name] = Label(
                share * energy + 0.5 * number * len(atoms),
                share * forces,
                None if stress is None else share * stress,
            )
    fidelities = tuple(Fidelity(name, {}, ALL) for name in levels)
    return LabelledDataset(tuple(structures), fidelities, labels)


class Observation:
    """The rows of one quantity of one label: what they are and what was seen."""

    def __init__(self, name, level, quantity, n_atoms, features, values, sigma):
        self.name, self.level, self.quantity = name, level, quantity
        self.n_atoms, self.features = n_atoms, features
        self.values, self.sigma = values, sigma


class Dense:
    """All labels of a data set as one Gaussian vector of rows.

    Features give the covariance of the smooth parts; the misfit of each level of each
    observable is a white variable of its own that the levels above inherit.
    """

    def __init__(self, dataset, feature_map, reference, h, reference_width=1.0):
        self.h, self.feature_map, self.reference = h, feature_map, reference
        self.levels = dataset.levels
        scale = torch.cat(
            [h.scale, torch.full((len(h.scale), 1), reference_width).double()], dim=1
        )
        self.variances = scale[:, feature_map.block].square()
        self.rows = []
        for i, name, label in dataset:
            self.rows += self.observations(
                i, dataset.structures[i], self.levels.index(name), label
            )
        self.covariance = self.between(self.rows, self.rows)
        self.values = torch.cat([r.values for r in self.rows])

    def observations(self, name, atoms, level, label):
        found = self.feature_map.rows(atoms)
        zero = float(self.reference[level] @ self.feature_map.counts(atoms))
        rows = []
        for quantity in label.quantities:
            values = torch.tensor(np.ravel(getattr(label, quantity)))
            features = getattr(found, quantity).reshape(len(values), -1)
            rows.append(
                Observation(
                    *(name, level, quantity, len(atoms), features),
                    values - (zero if quantity == "energy" else 0.0),
                    label.sigma.get(quantity, 0.0),
                )
            )
        return rows

    def loadings(self, row):
        """The row in the weights of all levels."""
        c = textbook.recursion(self.h.rho, row.level)
        return torch.cat([weight * row.features for weight in c], dim=1)

    def between(self, rows1, rows2, *, misfit=True, own=True):
        """Covariance of rows; of latent ones (`own` false) on the left."""
        prior = self.variances.flatten()
        left = torch.cat([self.loadings(r) for r in rows1])
        right = torch.cat([self.loadings(r) for r in rows2])
        total = (left * prior) @ right.T
        if misfit:
            lines = [
                torch.cat([self.white(a, b, own) for b in rows2], dim=1) for a in rows1
            ]
            total = total + torch.cat(lines)
        return total

    def white(self, a, b, own):
        n, m = len(a.features), len(b.features)
        if (a.name, a.quantity) != (b.name, b.quantity):
            return torch.zeros(n, m).double()
        q = QUANTITIES.index(a.quantity)
        left, right = (textbook.recursion(self.h.rho, r.level) for r in (a, b))
        shared = [
            left[k] * right[k] * self.h.noise[k, q] ** 2
            for k in range(min(a.level, b.level) + 1)
            if own or k < a.level
        ]
        variance = sum(shared) * (a.n_atoms if a.quantity == "energy" else 1)
        if a is b:
            variance = variance + a.sigma**2
        return variance * torch.eye(n).double()

    def log_evidence(self):
        return textbook.log_normal(self.values, self.covariance)

    def weights(self):
        """Mean and covariance of the weights of all levels."""
        prior = self.variances.flatten()
        x = torch.cat([self.loadings(r) for r in self.rows])
        return textbook.conditioned(
            prior.diag().numpy(),
            (prior.unsqueeze(1) * x.T).numpy(),
            self.covariance.numpy(),
            self.values.numpy(),
        )

    def predict(self, atoms, level, at_hand=None):
        """Means and variances per quantity; at hand: (level, label) of the structure.

        Without a label at hand the smooth part, with one the level without its misfit.
        """
        quantities = ALL if atoms.pbc.all() else EF
        n = len(atoms)
        full = Label(0.0, np.zeros((n, 3)), np.zeros(6) if quantities == ALL else None)
        query = self.observations("query", atoms, level, full)
        data = list(self.rows)
        if at_hand is not None:
            data += self.observations("query", atoms, *at_hand)
        values = torch.cat([r.values for r in data])
        misfit = at_hand is not None
        mean, covariance = textbook.conditioned(
            self.between(query, query, misfit=misfit, own=False).numpy(),
            self.between(query, data, misfit=misfit, own=False).numpy(),
            self.between(data, data).numpy(),
            values.numpy(),
        )
        zero = float(self.reference[level] @ self.feature_map.counts(atoms))
        found, begin = {}, 0
        for row in query:
            rows = slice(begin, begin + len(row.features))
            shift = zero if row.quantity == "energy" else 0.0
            found[row.quantity] = mean[rows] + shift, np.diag(covariance)[rows]
            begin = rows.stop
        return found


def inherited_noise(h, level, quantity, n_atoms):
    """Standard deviation of the misfit of a label, all levels together."""
    c = textbook.recursion(h.rho, level)
    q = QUANTITIES.index(quantity)
    extent = math.sqrt(n_atoms) if quantity == "energy" else 1.0
    return extent * float((c * h.noise[:, q]).norm())
