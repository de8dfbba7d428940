r"""The exact Gaussian process over molecules: any number of levels, forces, error bars.

E_l(R) = sum_s n_s e_(s, l) + f_l(q(R)) with f_0 = eps_0, f_l = rho_l f_(l-1) + delta_l,
energies and forces of every level being rows of one Gaussian process (`mfal.kernels`).
The energies of reference e_(s, l) have a wide prior around their least-squares
estimate. Cost: one Cholesky factor of all rows, n^3 / 3.
"""

import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import psutil
import torch
from ase import Atoms
from jaxtyping import Float, Int
from torch import Tensor

from mfal.data import Label, LabelledDataset
from mfal.descriptors import InverseDistances, declared_group, find_group, identity
from mfal.kernels import GramProducts, Rows
from mfal.models.calibration import Recalibration
from mfal.models.cholesky import factorise, solve_lower
from mfal.models.evidence import Optimum, maximise_evidence, rho_standard_error
from mfal.models.hyperparameters import Hyperparameters, coefficients, default_prior
from mfal.models.observations import (
    ENERGY,
    FORCES,
    Observations,
    RowBuilder,
    StructureRows,
    observe,
    row_noise,
)
from mfal.models.posterior import condition

_logger = logging.getLogger(__name__)

_LABELS_FOR_KERNEL_CHOICE = 20


class TooLargeError(MemoryError):
    """A computation that would not fit into memory, refused before it starts."""


@dataclass(frozen=True)
class Prediction:
    """Energies (eV, total) and forces (eV/A) of structures with standard deviations.

    `*_sigma` is epistemic (the latent function), `*_noise` aleatoric (the noise of a
    label at that level); both are multiplied by the recalibration. Forces are arrays
    of structures x atoms x 3.
    """

    energy: Float[np.ndarray, "b"]
    energy_sigma: Float[np.ndarray, "b"]
    energy_noise: Float[np.ndarray, "b"]
    forces: Float[np.ndarray, "b n 3"]
    forces_sigma: Float[np.ndarray, "b n 3"]
    forces_noise: Float[np.ndarray, "b n 3"]

    def total_sigma(self, quantity: str) -> np.ndarray:
        """Standard deviation of a label: epistemic and noise together."""
        return np.hypot(
            getattr(self, f"{quantity}_sigma"), getattr(self, f"{quantity}_noise")
        )


class ExactPotential:
    """A potential of one molecule, learned from all levels at once.

    Make one with `ExactPotential.fit`; hyperparameters and data never change later.
    """

    def __init__(
        self,
        levels: Sequence[str],
        builder: RowBuilder,
        permutations: Int[Tensor, "g n"],
        observations: Observations,
        optimum: Optimum,
        rho_error: Float[Tensor, "steps"],
        recalibrations: Mapping[str, Recalibration] | None = None,
    ) -> None:
        self.levels = tuple(levels)
        self.builder = builder
        self.permutations = permutations
        self.observations = observations
        self.optimum = optimum
        self.rho_error = rho_error
        self.recalibrations = dict(recalibrations or {})
        self._orders = builder.descriptor.orders(permutations)
        check_memory(len(observations), what="the exact model")
        self._factor, self.jitter = factorise(self._covariance_of_data)
        half = solve_lower(self._factor, observations.values.unsqueeze(-1))
        self._alpha = torch.linalg.solve_triangular(self._factor.mT, half, upper=True)

    @classmethod
    def fit(
        cls,
        dataset: LabelledDataset,
        *,
        permutations: str | Sequence[Sequence[int]] = "auto",
        kernel: str = "auto",
        start: Hyperparameters | None = None,
        seed: int = 0,
        evidence_rows: int = 1500,
        restarts: int = 1,
    ) -> "ExactPotential":
        """Fits hyperparameters by evidence and conditions on all labels.

        The hyperparameters are the most probable ones given at most `evidence_rows`
        rows (all labels of the highest level first, then the labels of the same
        structures at lower levels, then others at random); the posterior takes every
        label. `start` are hyperparameters to begin from, e.g. of the fit before; else
        the search begins at the prior's mean and `restarts` further points drawn from
        the prior. With kernel "auto", each level takes the RBF or Matern-5/2,
        whichever has the larger evidence once it has 20 labels (Matern-5/2 before).

        Raises:
            ValueError: no labels, other molecules among the structures, stresses.
            TooLargeError: the covariance matrix would not fit into memory.
        """
        if not len(dataset):
            raise ValueError("the data set is empty: there is nothing to fit")
        descriptor = InverseDistances(dataset.structures[0].get_chemical_symbols())
        builder = RowBuilder(descriptor)
        n_rows = sum(
            ("energy" in label.quantities)
            + max(3 * builder.counts.sum() - 6, 1) * ("forces" in label.quantities)
            for _, _, label in dataset
        )
        check_memory(int(n_rows), what="the exact model")
        observations = observe(dataset, builder)
        group = _group(permutations, dataset.structures, descriptor)
        orders = descriptor.orders(group)
        subset = _evidence_subset(observations, evidence_rows, seed)
        keep = GramProducts.bytes_kept(len(subset), len(orders)) < 2**30
        products = GramProducts(subset.rows, orders=orders, keep=keep)
        typical = products.squared[0][products.squared[0] > 0].sqrt()
        if not len(typical):
            raise ValueError(
                "all structures are the same geometry: a fit needs at least two"
            )
        prior = default_prior(len(dataset.levels), float(typical.median()))
        kernels = ("matern52",) * len(dataset.levels)
        if kernel != "auto":
            kernels = (kernel,) * len(dataset.levels)
        elif start is not None:
            kernels = start.kernels
        centre = _at_prior_mean(kernels, prior.mean)
        starts = [centre]
        if start is not None:
            starts = [start.with_kernels(kernels)]
        else:
            generator = torch.Generator().manual_seed(seed)
            for _ in range(restarts):
                draw = torch.randn(len(prior.mean), generator=generator).double()
                vector = prior.mean + 0.7 * prior.deviation * draw
                starts.append(centre.from_vector(vector.clamp(prior.low, prior.high)))
        optimum = maximise_evidence(subset, products, prior, starts)
        if kernel == "auto":
            for level in range(len(dataset.levels)):
                if observations.level.count(level) < _LABELS_FOR_KERNEL_CHOICE:
                    continue
                other = list(optimum.hyperparameters.kernels)
                other[level] = "rbf" if other[level] == "matern52" else "matern52"
                trial = maximise_evidence(
                    subset,
                    products,
                    prior,
                    [optimum.hyperparameters.with_kernels(other)],
                )
                if trial.log_posterior > optimum.log_posterior:
                    optimum = trial
        error = rho_standard_error(optimum.hyperparameters, subset, products, prior)
        return cls(dataset.levels, builder, group, observations, optimum, error)

    @property
    def hyperparameters(self) -> Hyperparameters:
        """The hyperparameters of the fit."""
        return self.optimum.hyperparameters

    def level_index(self, level: str | None) -> int:
        """Position of a level by name; the highest for `None`.

        Raises:
            ValueError: a level that the model does not know.
        """
        if level is None:
            return len(self.levels) - 1
        if level not in self.levels:
            raise ValueError(f"no level {level!r} here; the model has {self.levels}")
        return self.levels.index(level)

    def covariance(
        self, left: Rows, right: Rows | None = None
    ) -> Float[Tensor, "n m"]:
        """Prior covariance of rows; with one argument the lower triangle only."""
        products = GramProducts(left, right, orders=self._orders)
        other = left if right is None else right
        return products.assemble(
            coefficients(self.hyperparameters, products.squared, left, other)
        )

    def project(self, rows: Rows) -> tuple[Float[Tensor, "n"], Float[Tensor, "d n"]]:
        """Posterior mean of rows and V = L^-1 K(data, rows).

        The posterior covariance of two sets of rows is K - V^T V'.
        """
        cross = self.covariance(self.observations.rows, rows)
        mean = cross.mT @ self._alpha
        return mean.squeeze(-1), solve_lower(self._factor, cross)

    def label_noise(self, block: StructureRows) -> Float[Tensor, "n"]:
        """Variance of the noise of a label with these rows."""
        return row_noise(
            self.hyperparameters.noise,
            block.rows.level[block.rows.environment],
            block.quantity,
            torch.full((len(block.rows),), block.n_atoms),
        )

    def mean(
        self, structures: Sequence[Atoms], level: str | None = None
    ) -> tuple[Float[np.ndarray, "b"], Float[np.ndarray, "b n 3"]]:
        """Energies (eV) and forces (eV/A) without error bars: no triangular solve."""
        index = self.level_index(level)
        zero = float(self.observations.reference[index] @ self.builder.counts)
        energies, forces = [], []
        for atoms in structures:
            block = self.builder(atoms, index, ("energy", "forces"))
            cross = self.covariance(block.rows, self.observations.rows)
            value = (cross @ self._alpha).squeeze(-1)
            energies.append(zero + float(value[0]))
            forces.append((block.basis @ value[1:]).reshape(-1, 3).numpy())
        return np.array(energies), np.array(forces)

    def predict(
        self,
        structures: Sequence[Atoms],
        level: str | None = None,
        *,
        at_hand: Sequence[Label] | None = None,
        at_hand_level: str | None = None,
        calibrated: bool = True,
    ) -> Prediction:
        """Energies and forces at a level with standard deviations.

        With `at_hand`, the labels of the structures themselves at a lower level (the
        lowest, unless `at_hand_level` names one), each structure is conditioned on its
        own label as well: f_H | f_L(x), deployment with the low level at hand.
        """
        index = self.level_index(level)
        if at_hand is not None and len(at_hand) != len(structures):
            raise ValueError(
                f"one label at hand per structure: got {len(at_hand)} labels for "
                f"{len(structures)} structures"
            )
        low = 0 if at_hand_level is None else self.level_index(at_hand_level)
        if at_hand is not None and low >= index:
            raise ValueError(
                f"the level at hand must be below {self.levels[index]!r}, got "
                f"{self.levels[low]!r}"
            )
        factor = Recalibration()
        if calibrated:
            mode = "standalone" if at_hand is None else "at_hand"
            factor = self.recalibrations.get(mode, factor)
        results = []
        for begin in range(0, len(structures), 16):
            chunk = structures[begin : begin + 16]
            labels = None if at_hand is None else at_hand[begin : begin + 16]
            results += self._predict_chunk(chunk, index, labels, low)
        return _as_prediction(results, factor)

    def _predict_chunk(
        self,
        structures: Sequence[Atoms],
        level: int,
        at_hand: Sequence[Label] | None,
        low: int,
    ) -> list[tuple[StructureRows, Tensor, Tensor, Tensor, float]]:
        high = [self.builder(a, level, ("energy", "forces")) for a in structures]
        below: list[StructureRows] = []
        if at_hand is not None:
            below = [
                self.builder(a, low, label.quantities)
                for a, label in zip(structures, at_hand, strict=True)
            ]
        stacked = Rows.stack([b.rows for b in [*high, *below]])
        mean, v = self.project(stacked)
        sizes = [len(b.rows) for b in [*high, *below]]
        means, vs = mean.split(sizes), v.split(sizes, dim=1)
        zero = self.observations.reference @ self.builder.counts
        results = []
        for k, block in enumerate(high):
            mu, vk = means[k], vs[k]
            sigma = self._full(block.rows) - vk.mT @ vk
            if at_hand is not None:
                other, vo = below[k], vs[len(high) + k]
                label = at_hand[k]
                noise = self.label_noise(other) + other.label_variance(label)
                observed = self._full(other.rows) - vo.mT @ vo + noise.diag()
                cross = self.covariance(other.rows, block.rows) - vo.mT @ vk
                residual = other.observed(label, float(zero[low]))
                residual = residual - means[len(high) + k]
                mu, sigma = condition(mu, sigma, cross, observed, residual)
            results.append((block, mu, sigma, self.label_noise(block), float(zero[level])))
        return results

    def _full(self, rows: Rows) -> Tensor:
        return self.covariance(rows, rows)

    def _covariance_of_data(self) -> Tensor:
        matrix = self.covariance(self.observations.rows)
        matrix.diagonal().add_(
            self.observations.noise_variance(self.hyperparameters.noise)
        )
        return matrix


def check_memory(n_rows: int, *, what: str, matrices: float = 1.5) -> int:
    """The bytes that `matrices` square matrices of so many rows take.

    Raises:
        TooLargeError: if less than that is available.
    """
    needed = int(8 * matrices * n_rows**2)
    available = psutil.virtual_memory().available
    if needed > available:
        raise TooLargeError(
            f"{what} of {n_rows} rows needs {needed / 2**30:.1f} GiB, "
            f"{available / 2**30:.1f} GiB are free: use fewer low-level labels, leave "
            "out forces, or fit the sparse model"
        )
    return needed


def _group(
    permutations: str | Sequence[Sequence[int]],
    structures: Sequence[Atoms],
    descriptor: InverseDistances,
) -> Int[Tensor, "g n"]:
    if permutations == "none":
        return identity(len(descriptor.symbols))
    if permutations == "auto":
        for atoms in structures:
            descriptor(atoms)  # refuses a structure that is not this molecule
        return find_group(structures)
    if isinstance(permutations, str):
        raise ValueError(
            f"permutations are 'auto', 'none' or a list of them, got {permutations!r}"
        )
    return declared_group(permutations, descriptor.symbols)


def _at_prior_mean(
    kernels: Sequence[str], mean: Float[Tensor, "p"]
) -> Hyperparameters:
    n = len(kernels)
    one = torch.ones(n, dtype=torch.float64)
    blank = Hyperparameters(tuple(kernels), one, one, one[1:], one.expand(3, n).T)
    return blank.from_vector(mean)


def _evidence_subset(
    observations: Observations, largest: int, seed: int
) -> Observations:
    """Labels for the evidence: highest level, their pairs, then others at random."""
    starts = observations.rows.starts
    generator = np.random.default_rng([seed, 77])
    order = generator.permutation(len(observations.structure))
    top = max(observations.level)
    paired = {
        s
        for s, level in zip(observations.structure, observations.level, strict=True)
        if level == top
    }
    ranked = sorted(
        order,
        key=lambda i: (
            0 if observations.level[i] == top else 1,
            0 if observations.structure[i] in paired else 1,
        ),
    )
    chosen: list[int] = []
    n = 0
    # the higher levels take at most two thirds, so that every level is heard
    for i in ranked:
        size = starts[i + 1] - starts[i]
        share = 1.0 if observations.level[i] < top or top == 0 else 2 / 3
        if n + size <= share * largest:
            chosen.append(int(i))
            n += size
    return observations.blocks(sorted(chosen))


def _as_prediction(
    results: Sequence[tuple[StructureRows, Tensor, Tensor, Tensor, float]],
    factor: Recalibration,
) -> Prediction:
    columns: dict[str, list] = {
        f"{q}{k}": [] for q in ("energy", "forces") for k in ("", "_sigma", "_noise")
    }
    for block, mean, covariance, noise, zero in results:
        energy, forces = block.quantity == ENERGY, block.quantity == FORCES
        columns["energy"].append(zero + float(mean[energy][0]))
        columns["energy_sigma"].append(_root(covariance[energy][:, energy].diagonal()))
        columns["energy_noise"].append(noise[energy].sqrt().numpy())
        u = block.basis
        inner = covariance[forces][:, forces]
        columns["forces"].append((u @ mean[forces]).reshape(-1, 3).numpy())
        columns["forces_sigma"].append(_root(((u @ inner) * u).sum(1)).reshape(-1, 3))
        spread = (u.square() @ noise[forces]).sqrt()
        columns["forces_noise"].append(spread.reshape(-1, 3).numpy())
    scale = {"energy": factor.energy, "forces": factor.forces}
    arrays = {}
    for name, values in columns.items():
        quantity = name.split("_")[0]
        array = np.array(values)
        array = array.reshape(len(values)) if quantity == "energy" else array
        arrays[name] = array if name == quantity else array * scale[quantity]
    return Prediction(**arrays)


def _root(variance: Float[Tensor, "n"]) -> np.ndarray:
    """Square roots; rounding below zero is cut, anything more is an error."""
    if (variance < -1e-6 * variance.abs().max() - 1e-12).any():
        raise ArithmeticError(
            f"a posterior variance came out negative ({float(variance.min()):.2e}): "
            "the covariance matrix is too ill-conditioned"
        )
    return variance.clamp_min(0.0).sqrt().numpy()
