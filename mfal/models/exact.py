r"""The exact Gaussian process over molecules: any number of levels, forces, error bars.

E_l(R) = sum_s n_s e_(s, l) + f_l(q(R)) with f_0 = eps_0, f_l = rho_l f_(l-1) + delta_l,
energies and forces of every level being rows of one Gaussian process (`mfal.kernels`).
The energies of reference e_(s, l) have a wide prior around their least-squares
estimate. Cost: one Cholesky factor of all rows, n^3 / 3.
"""

from collections.abc import Mapping, Sequence
from copy import copy
from functools import cached_property

import torch
from ase import Atoms
from jaxtyping import Float, Int
from torch import Tensor

from mfal.data import Label, LabelledDataset, structure_key
from mfal.descriptors import InverseDistances, declared_group, find_group, identity
from mfal.kernels import GramProducts, Rows
from mfal.models.calibration import Recalibration
from mfal.models.cholesky import factorise, solve_lower
from mfal.models.fitting import Fit, fit_hyperparameters
from mfal.models.hyperparameters import Hyperparameters, coefficients
from mfal.models.memory import check_memory
from mfal.models.noise import data_noise, white_covariance, white_rows
from mfal.models.observations import (
    Observations,
    RowBuilder,
    StructureRows,
    matching_rows,
    observe,
)
from mfal.models.posterior import condition
from mfal.models.prediction import (
    Prediction,
    RowPrediction,
    StructurePrediction,
    StructurePredictions,
    cartesian,
    level_position,
    low_index,
)


class ExactPotential:
    r"""A potential of one molecule, learned from all levels at once.

    .. math:: E_l(R) = \sum_s n_s e_{sl} + f_l(q(R)), \quad f_0 = \epsilon_0, \quad
        f_l = \rho_l f_{l-1} + \delta_l

    with reference energies e of species s at level l and independent Gaussian processes
    in inverse distances q; energies (eV) and forces (eV/A) of all levels are rows of one
    process. Make one with `ExactPotential.fit`; hyperparameters and data never change
    later. Cost: one Cholesky factor of n rows, n^3 / 3; memory n^2.

    Source: Kennedy & O'Hagan (2000) for the levels; Chmiela et al. (2018) for permutations
    of like atoms.
    """

    def __init__(
        self,
        dataset: LabelledDataset,
        builder: RowBuilder,
        permutations: Int[Tensor, "g n"],
        observations: Observations,
        fitted: Fit,
        recalibrations: Mapping[str, Recalibration] | None = None,
        reuse: "ExactPotential | None" = None,
    ) -> None:
        self.dataset = dataset
        self.levels = dataset.levels
        self.structures = dataset.structures
        self.builder = builder
        self.permutations = permutations
        self.observations = observations
        self.fitted = fitted
        self.recalibrations = dict(recalibrations or {})
        self._orders = builder.descriptor.orders(permutations)
        check_memory(len(observations), what="the exact model")
        self.n_reused = 0 if reuse is None else self.rows_in_common(reuse)
        if reuse is None or not self.n_reused:
            self._factor, self.jitter = factorise(self._covariance_of_data)
        else:
            self._factor, self.jitter = self._extended(reuse)
        half = solve_lower(self._factor, observations.values.unsqueeze(-1))
        self.white_values = half.squeeze(-1)
        self.weights = torch.linalg.solve_triangular(self._factor.mT, half, upper=True)

    @classmethod
    def fit(
        cls,
        dataset: LabelledDataset,
        *,
        permutations: str | Sequence[Sequence[int]] = "auto",
        kernel: str = "auto",
        start: Hyperparameters | None = None,
        hold_below: int = 0,
        seed: int = 0,
        evidence_rows: int = 2500,
        restarts: int = 1,
        reuse: "ExactPotential | None" = None,
    ) -> "ExactPotential":
        """Fits hyperparameters by evidence and conditions on all labels.

        See `mfal.models.fitting.fit_hyperparameters` for `kernel`, `start`,
        `hold_below`, `evidence_rows` and `restarts`. `permutations` is "auto" (found
        from the structures), "none", or a list of permutations of the atoms that
        generate the group. Every label enters the posterior. Of a model to `reuse`,
        the factor of the levels that have the same labels and hyperparameters is taken
        over; the result is the same to rounding.

        Raises:
            ValueError: no labels, other molecules among the structures, stresses.
            TooLargeError: the covariance matrix would not fit into memory.
        """
        if not len(dataset):
            raise ValueError("the data set is empty: there is nothing to fit")
        descriptor = InverseDistances(dataset.structures[0].get_chemical_symbols())
        builder = RowBuilder(descriptor)
        n_rows = sum(
            int(label.energy is not None)
            + (0 if label.forces is None else max(label.forces.size - 6, 1))
            for _, _, label in dataset
        )
        check_memory(n_rows, what="the exact model")
        observations = observe(dataset, builder)
        group = _group(permutations, dataset.structures, descriptor)
        fit = fit_hyperparameters(
            observations,
            descriptor.orders(group),
            len(dataset.levels),
            kernel=kernel,
            start=start,
            hold_below=hold_below,
            seed=seed,
            evidence_rows=evidence_rows,
            restarts=restarts,
        )
        return cls(dataset, builder, group, observations, fit, reuse=reuse)

    @classmethod
    def with_fit(
        cls,
        dataset: LabelledDataset,
        fitted: Fit,
        *,
        permutations: str | Sequence[Sequence[int]] = "auto",
    ) -> "ExactPotential":
        """The model with hyperparameters that are known already."""
        descriptor = InverseDistances(dataset.structures[0].get_chemical_symbols())
        builder = RowBuilder(descriptor)
        group = _group(permutations, dataset.structures, descriptor)
        return cls(dataset, builder, group, observe(dataset, builder), fitted)

    @property
    def hyperparameters(self) -> Hyperparameters:
        """The hyperparameters of the fit."""
        return self.fitted.hyperparameters

    def seen(self, level: str) -> frozenset[str]:
        """Hashes of the structures that had a label of a level in the fit."""
        labelled = self.dataset.labelled(level)
        return frozenset(structure_key(self.dataset.structures[i]) for i in labelled)

    def level_index(self, level: str | None) -> int:
        """Position of a level by name; the highest for `None`.

        Raises:
            ValueError: a level that the model does not know.
        """
        return level_position(self.levels, level)

    def covariance(self, left: Rows, right: Rows | None = None) -> Float[Tensor, "n m"]:
        """Prior covariance of rows; with one argument the lower triangle only."""
        products = GramProducts(left, right, orders=self._orders)
        other = left if right is None else right
        return products.assemble(
            coefficients(self.hyperparameters, products.squared, left, other)
        )

    def project(self, rows: Rows) -> tuple[Float[Tensor, " n"], Float[Tensor, "d n"]]:
        """Posterior mean of rows and V = L^-1 K(data, rows).

        The posterior covariance of two sets of rows is K - V^T V'.
        """
        cross = self.covariance(self.observations.rows, rows)
        mean = cross.mT @ self.weights
        return mean.squeeze(-1), self.whiten(cross)

    def whiten(self, right: Float[Tensor, "n m"]) -> Float[Tensor, "n m"]:
        """L^-1 right, with the Cholesky factor of the data's covariance."""
        return solve_lower(self._factor, right)

    def whiten_on(
        self, done: Float[Tensor, "k m"], right: Float[Tensor, "l m"]
    ) -> Float[Tensor, "n m"]:
        """L^-1 of right-hand sides whose first rows are solved already."""
        k = len(done)
        rest = right - self._factor[k:, :k] @ done
        return torch.cat([done, solve_lower(self._factor[k:, k:], rest)])

    def inverse_columns(self, rows: Int[Tensor, " r"]) -> Float[Tensor, "k r"]:
        """The part that is not zero of L^-1 e_i for some rows i: X^T X = [K^-1]_rows."""
        first = int(rows.min())
        unit = torch.zeros(len(self.weights) - first, len(rows), dtype=torch.float64)
        unit[rows - first, torch.arange(len(rows))] = 1.0
        return solve_lower(self._factor[first:, first:], unit)

    def with_recalibrations(
        self, recalibrations: Mapping[str, Recalibration]
    ) -> "ExactPotential":
        """The same model with other factors on its sigmas, per way of deployment."""
        model = copy(self)
        model.recalibrations = dict(recalibrations)
        return model

    @cached_property
    def bases(self) -> list[Float[Tensor, "c k"]]:
        """The directions of the forces of each label, see `StructureRows`."""
        return [
            self.builder(self.structures[structure], level, ("energy", "forces")).basis
            for structure, level in zip(
                self.observations.structure, self.observations.level, strict=True
            )
        ]

    def mean(
        self, structures: Sequence[Atoms], level: str | None = None
    ) -> StructurePredictions:
        """Energies (eV) and forces (eV/A) without error bars: no triangular solve."""
        index = self.level_index(level)
        zero = float(self.observations.reference[index] @ self.builder.counts)
        found = []
        for atoms in structures:
            block = self.builder(atoms, index, ("energy", "forces"))
            cross = self.covariance(block.rows, self.observations.rows)
            value = (cross @ self.weights).squeeze(-1)
            forces = (block.basis @ value[1:]).reshape(-1, 3).numpy()
            found.append(StructurePrediction(zero + float(value[0]), forces))
        return StructurePredictions(found)

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
        low = low_index(self, index, structures, at_hand, at_hand_level)
        factor = Recalibration()
        if calibrated:
            mode = "standalone" if at_hand is None else "at_hand"
            factor = self.recalibrations.get(mode, factor)
        results = []
        for begin in range(0, len(structures), 16):
            chunk = structures[begin : begin + 16]
            labels = None if at_hand is None else at_hand[begin : begin + 16]
            results += self._predict_chunk(chunk, index, labels, low)
        return cartesian(results, factor)

    def _predict_chunk(
        self,
        structures: Sequence[Atoms],
        level: int,
        at_hand: Sequence[Label] | None,
        low: int,
    ) -> list[RowPrediction]:
        high = [self.builder(a, level, ("energy", "forces")) for a in structures]
        below: list[StructureRows] = []
        if at_hand is not None:
            below = [
                self.builder(a, low, label.quantities)
                for a, label in zip(structures, at_hand, strict=True)
            ]
        blocks = [*high, *below]
        mean, v = self.project(Rows.stack([b.rows for b in blocks]))
        sizes = [len(b.rows) for b in blocks]
        means, vs = mean.split(sizes), v.split(sizes, dim=1)
        zero = (self.observations.reference @ self.builder.counts).tolist()
        white = white_covariance(self.hyperparameters)
        results = []
        for k, block in enumerate(high):
            mu, vk = means[k], vs[k]
            sigma = self.covariance(block.rows, block.rows) - vk.mT @ vk
            noise = white_rows(white[level, level], block)
            if at_hand is not None:
                other, vo = below[k], vs[len(high) + k]
                observed = self.covariance(other.rows, other.rows) - vo.mT @ vo
                observed = (
                    observed
                    + (
                        white_rows(white[low, low], other)
                        + other.label_variance(at_hand[k])
                    ).diag()
                )
                cross = self.covariance(other.rows, block.rows) - vo.mT @ vk
                i, j = matching_rows(other.quantity, block.quantity)
                shared = white_rows(white[low, level], other)[i]
                cross[i, j] += shared
                # what the label at hand tells of the misfit is not noise any more
                inherited = shared.square() / white_rows(white[low, low], other)[i]
                noise[j] -= inherited
                sigma[j, j] += inherited
                residual = other.observed(at_hand[k], zero[low]) - means[len(high) + k]
                mu, sigma = condition(mu, sigma, cross, observed, residual)
            results.append(RowPrediction(block, mu, sigma, noise, zero[level]))
        return results

    def rows_in_common(self, other: "ExactPotential") -> int:
        """Number of leading rows of equal covariance and values: whole levels."""
        mine, theirs = self.observations, other.observations
        if self.levels != other.levels or not torch.equal(self._orders, other._orders):
            return 0
        common = 0
        for level in range(len(self.levels)):
            blocks = [
                [s for s, at in zip(o.structure, o.level, strict=True) if at == level]
                for o in (mine, theirs)
            ]
            n = int((mine.row_level == level).sum())
            rows = slice(common, common + n)
            if (
                not self.hyperparameters.same_level(other.hyperparameters, level)
                or len(blocks[0]) != len(blocks[1])
                or n != int((theirs.row_level == level).sum())
                or not all(
                    torch.equal(a[rows], b[rows])
                    for a, b in (
                        (mine.values, theirs.values),
                        (mine.label_variance, theirs.label_variance),
                        (mine.rows.direction, theirs.rows.direction),
                        (_row_descriptors(mine), _row_descriptors(theirs)),
                    )
                )
            ):
                break
            common += n
        return common

    def _extended(self, other: "ExactPotential") -> tuple[Tensor, float]:
        """The Cholesky factor from that of the leading rows.

        [L_00, 0; L_10, L_11] with L_10^T = L_00^-1 K_01, L_11 = chol(K_11 - L_10 L_10^T).
        """
        data, n0 = self.observations, self.n_reused
        factor = torch.zeros(len(data), len(data), dtype=torch.float64)
        factor[:n0, :n0] = other._factor[:n0, :n0]
        if n0 == len(data):
            return factor, other.jitter
        first = int(data.rows.environment[n0])
        last = len(data.rows.descriptor)
        bottom = self.covariance(data.rows.environments(range(first, last)), data.rows)
        variance, shared = data_noise(self.hyperparameters, data)
        bottom[torch.arange(len(bottom)), torch.arange(n0, len(data))] += variance[n0:]
        later, earlier = data.pairs
        new = later >= n0
        bottom[later[new] - n0, earlier[new]] += shared[new]
        half = solve_lower(other._factor[:n0, :n0], bottom[:, :n0].mT)
        factor[n0:, :n0] = half.mT
        rest, jitter = factorise(
            lambda: (bottom[:, n0:] - half.mT @ half).contiguous(),
            what="covariance of the new rows",
        )
        factor[n0:, n0:] = rest
        return factor, max(jitter, other.jitter)

    def _covariance_of_data(self) -> Tensor:
        matrix = self.covariance(self.observations.rows)
        variance, shared = data_noise(self.hyperparameters, self.observations)
        matrix.diagonal().add_(variance)
        later, earlier = self.observations.pairs
        matrix[later, earlier] += shared
        return matrix


def _row_descriptors(observations: Observations) -> Float[Tensor, "n d"]:
    rows = observations.rows
    return rows.descriptor[rows.environment]


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
