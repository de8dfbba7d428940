"""A potential that is linear in its weights: the posterior of any row of features.

The posterior of a row z^T w is Gaussian, with mean z^T m and variance z^T C z, plus the
part of the prior variance of energies that the features do not carry.
"""

from collections.abc import Mapping, Sequence
from copy import copy
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import torch
from ase import Atoms
from jaxtyping import Float
from torch import Tensor

from mfal.data import QUANTITIES, Fidelity, Label, LabelledDataset, structure_key
from mfal.data.joining import joined
from mfal.descriptors.environments import Environments
from mfal.kernels import path_weights
from mfal.models.calibration import Recalibration
from mfal.models.cholesky import solve_lower
from mfal.models.error_bars import ErrorBars, error_bars
from mfal.models.feature_map import FeatureMap
from mfal.models.gathering import (
    Configuration,
    gather,
    observed,
    quantity_rows,
)
from mfal.models.moments import Statistics
from mfal.models.prediction import (
    StructurePrediction,
    StructurePredictions,
    level_position,
    low_index,
    sigmas,
)
from mfal.models.weight_fit import WeightFit
from mfal.models.weights import (
    Prior,
    WeightHyperparameters,
    Weights,
    level_rows,
    posterior,
    unexplained_variance,
)


@dataclass(frozen=True)
class Training:
    """What is remembered of the training data beside their statistics."""

    fidelities: tuple[Fidelity, ...]
    reference: Float[Tensor, "levels s"]
    n_labels: dict[str, dict[str, int]]
    keys: dict[str, frozenset[str]]
    """Hashes of the structures with a label, by level."""


class WeightPotential:
    """A potential that is linear in its weights: what sparse and linear ones share.

    Energies in eV, forces in eV/A, stresses in eV/A^3 (positive in tension, Voigt order
    xx yy zz yz xz xy).
    """

    def __init__(
        self,
        feature_map: FeatureMap,
        training: Training,
        statistics: Statistics,
        fitted: WeightFit,
        recalibrations: Mapping[str, Recalibration] | None = None,
        kept: Sequence[Configuration] = (),
        dataset: LabelledDataset | None = None,
    ) -> None:
        self.feature_map = feature_map
        self.training = training
        self.statistics = statistics
        self.fitted = fitted
        self.recalibrations = dict(recalibrations or {})
        self.kept = tuple(kept)
        self.dataset = dataset
        """The labels of the fit; `None` in a model that was loaded."""
        self.seconds: dict[str, float] = {}
        self.levels = tuple(f.name for f in training.fidelities)

    @property
    def hyperparameters(self) -> WeightHyperparameters:
        """The hyperparameters of the fit."""
        return self.fitted.hyperparameters

    @property
    def prior(self) -> Prior:
        """The prior of the weights."""
        return Prior(self.feature_map.block)

    @cached_property
    def weights(self) -> Weights:
        """The posterior of the weights of all levels."""
        return posterior(self.statistics, self.prior, self.hyperparameters)

    @cached_property
    def bars(self) -> ErrorBars | None:
        """What sigmas are made of where fewer points do (`mfal.models.error_bars`)."""
        return error_bars(self.feature_map, self.statistics, self.hyperparameters)

    @cached_property
    def path(self) -> Float[Tensor, "levels levels"]:
        """c_lm, the products of rho."""
        return path_weights(self.hyperparameters.rho)

    @property
    def jitter(self) -> float:
        """What had to be added to the precision of the weights, in units of the prior's."""
        return self.weights.jitter

    @property
    def structures(self) -> tuple[Atoms, ...]:
        """The structures of the fit, if they are known."""
        return () if self.dataset is None else self.dataset.structures

    def level_index(self, level: str | None) -> int:
        """Position of a level by name; the highest for `None`.

        Raises:
            ValueError: a level that the model does not know.
        """
        return level_position(self.levels, level)

    def seen(self, level: str) -> frozenset[str]:
        """Hashes of the structures that had a label of a level in the fit."""
        return self.training.keys.get(level, frozenset())

    def with_recalibrations(
        self, recalibrations: Mapping[str, Recalibration]
    ) -> "WeightPotential":
        """The same model with other factors on its sigmas, per way of deployment."""
        model = copy(self)
        model.recalibrations = dict(recalibrations)
        return model

    def with_labels(self, dataset: LabelledDataset) -> "WeightPotential":
        """The model with more labels: their statistics are added, the rest is kept.

        Inducing environments, hyperparameters and recalibration stay.

        Raises:
            ValueError: other levels, an unknown species, or a structure that has a
                label in the model already.
        """
        if dataset.levels != self.levels:
            raise ValueError(
                f"the model has the levels {self.levels}, got {dataset.levels}"
            )
        known = self.training
        counts = dataset.n_labels()
        n_labels = {
            level: {q: known.n_labels[level][q] + counts[level][q] for q in QUANTITIES}
            for level in self.levels
        }
        keys = training_keys(dataset)
        old = frozenset().union(*known.keys.values())
        if any(keys[level] & old for level in self.levels):
            raise ValueError(
                "a structure among the new labels has a label in the model already: "
                "fit the model again to all of them"
            )
        more = gather(dataset, self.feature_map, known.reference)
        known_data = self.dataset
        training = Training(
            known.fidelities,
            known.reference,
            n_labels,
            {level: known.keys[level] | keys[level] for level in self.levels},
        )
        return type(self)(
            self.feature_map,
            training,
            self.statistics + more.statistics,
            self.fitted,
            self.recalibrations,
            self.kept,
            None if known_data is None else joined([known_data, dataset]),
        )

    def mean(
        self,
        structures: Sequence[Atoms],
        level: str | None = None,
        *,
        quantities: Sequence[str] = QUANTITIES,
    ) -> StructurePredictions:
        """Energies, forces and stresses without error bars: no rows of features.

        Without "stress" among the `quantities` none is computed, which saves a third.
        """
        index = self.level_index(level)
        weights = self.level_weights[index]
        stress = "stress" in quantities
        return StructurePredictions(
            [self._mean(atoms, index, weights, stress) for atoms in structures]
        )

    def predict(
        self,
        structures: Sequence[Atoms],
        level: str | None = None,
        *,
        at_hand: Sequence[Label] | None = None,
        at_hand_level: str | None = None,
        calibrated: bool = True,
        quantities: Sequence[str] = QUANTITIES,
    ) -> StructurePredictions:
        """Energies, forces and stresses at a level with standard deviations.

        Without "stress" among the `quantities` none is computed, which saves time.

        With `at_hand`, the labels of the structures themselves at a lower level (the
        lowest, unless `at_hand_level` names one), each structure is conditioned on its
        own label as well: f_H | f_L(x), deployment with the low level at hand. A
        quantity that the label at hand lacks is predicted standalone.

        Raises:
            ValueError: an unknown level, one at hand that is not below, or a species
                that was not in the training data.
        """
        index = self.level_index(level)
        low = low_index(self, index, structures, at_hand, at_hand_level)
        factor = Recalibration()
        if calibrated:
            mode = "standalone" if at_hand is None else "at_hand"
            factor = self.recalibrations.get(mode, factor)
        return StructurePredictions(
            [
                self._predict(
                    atoms,
                    index,
                    None if at_hand is None else at_hand[i],
                    low,
                    factor.unexplained,
                    "stress" in quantities,
                ).scaled(factor)
                for i, atoms in enumerate(structures)
            ]
        )

    @cached_property
    def level_weights(self) -> Float[Tensor, "levels p"]:
        """Weights of f_l itself: sum_m c_lm w_m."""
        return self.path @ self.weights.mean.reshape(len(self.levels), -1)

    def _mean(
        self, atoms: Atoms, level: int, weights: Tensor, stress_too: bool
    ) -> StructurePrediction:
        counts = self.feature_map.counts(atoms)
        periodic = stress_too and bool(atoms.pbc.all())
        energy, forces, virial = self.feature_map.energy_and_slopes(
            atoms, weights, strain=periodic
        )
        stress = None
        if periodic and virial is not None:
            stress = (virial / float(atoms.cell.volume)).numpy()
        zero = float(self.training.reference[level] @ counts)
        return StructurePrediction(zero + energy, forces.numpy(), stress)

    def _predict(
        self,
        atoms: Atoms,
        level: int,
        at_hand: Label | None,
        low: int,
        unexplained_factor: float,
        stress_too: bool,
    ) -> StructurePrediction:
        bars = self.bars
        feature_map = self.feature_map if bars is None else bars.feature_map
        weights = self.weights if bars is None else bars.weights
        environments = feature_map.environments(atoms, strain=stress_too)
        rows = feature_map.rows(atoms, environments)
        counts = feature_map.counts(atoms)
        h, n = self.hyperparameters, len(atoms)
        found: dict[str, np.ndarray] = {}
        with_stress = stress_too and rows.stress is not None
        names = ["energy", "forces", *(["stress"] if with_stress else [])]
        features = {name: quantity_rows(rows, name) for name in names}
        conditioned = self._conditioning(features, counts, at_hand, low, n)
        means: dict[int, dict[str, Tensor]] = {}
        for number, name in enumerate(names):
            below = -1
            zero = float(self.training.reference[level] @ counts)
            offset = counts.new_full((1,), zero if name == "energy" else 0.0)
            if at_hand is not None and getattr(at_hand, name) is not None:
                below = low
                lower = float(self.training.reference[low] @ counts)
                offset = offset + self.path[level, low] * observed(at_hand, name, lower)
            z = level_rows(features[name], self.path, level, below)
            if bars is None:
                mean = offset + z @ weights.mean
            else:
                if below not in means:
                    means[below] = self._means(
                        atoms, environments, level, below, with_stress
                    )
                mean = offset + means[below][name]
            v = weights.whiten(z)
            variance = v.square().sum(0)
            if conditioned is not None:
                told, white = conditioned
                half = told @ v
                mean = mean + half.mT @ white
                variance = variance - half.square().sum(0)
            span = slice(below + 1, level + 1)
            squares = self.path[level, span].square() * h.noise[span, number].square()
            # what levels between the one at hand and this one miss is not its own noise
            own = h.noise[level, number].square()
            inherited = (squares.sum() - own).clamp_min(0.0)
            noise = own if below >= 0 else squares.sum()
            if below >= 0:
                variance = variance + inherited * (n if name == "energy" else 1)
            if name == "energy":
                noise = n * noise
                if unexplained_factor:
                    left = feature_map.unexplained(environments)
                    variance = variance + unexplained_factor**2 * unexplained_variance(
                        left, h, self.path, level, below
                    )
            found[name] = mean.numpy()
            found[f"{name}_sigma"] = sigmas(variance)
            found[f"{name}_noise"] = noise.sqrt().expand(len(mean)).numpy()
        return StructurePrediction.from_rows(found, n)

    def _means(
        self,
        atoms: Atoms,
        environments: Sequence[Environments],
        level: int,
        below: int,
        stress_too: bool,
    ) -> dict[str, Float[Tensor, " r"]]:
        """Rows of z^T m of all weights, without z, from environments that are known."""
        parts = self.weights.mean.reshape(len(self.levels), -1)
        span = slice(below + 1, level + 1)
        energy, forces, virial = self.feature_map.energy_and_slopes(
            atoms, self.path[level, span] @ parts[span], environments, strain=stress_too
        )
        found = {"energy": forces.new_tensor([energy]), "forces": forces.flatten()}
        if virial is not None:
            found["stress"] = virial / float(atoms.cell.volume or 1.0)
        return found

    def _conditioning(
        self,
        features: Mapping[str, Tensor],
        counts: Tensor,
        at_hand: Label | None,
        low: int,
        n_atoms: int,
    ) -> tuple[Float[Tensor, "r q"], Float[Tensor, " r"]] | None:
        """What the label at hand tells of the weights: G^-1 V^T and G^-1 r.

        G G^T is the covariance of the label, r its residual. Zero effect if every label
        of the levels above has one below it.
        """
        if at_hand is None or not self.statistics.levels_share:
            return None
        parts, residuals, noises = [], [], []
        for number, name in enumerate(QUANTITIES):
            if getattr(at_hand, name) is None or name not in features:
                continue
            rows = level_rows(features[name], self.path, low)
            zero = float(self.training.reference[low] @ counts)
            parts.append(rows)
            residuals.append(observed(at_hand, name, zero) - rows @ self.weights.mean)
            noise = (
                self.path[low, : low + 1].square()
                * self.hyperparameters.noise[: low + 1, number].square()
            ).sum() * (n_atoms if name == "energy" else 1)
            noise = noise + at_hand.sigma.get(name, 0.0) ** 2
            noises.append(noise.expand(len(rows)))
        v = self.weights.whiten(torch.cat(parts))
        gain = torch.linalg.cholesky(v.mT @ v + torch.cat(noises).diag())
        right = torch.cat([v.mT, torch.cat(residuals).unsqueeze(1)], dim=1)
        solved = solve_lower(gain, right)
        return solved[:, :-1], solved[:, -1]


def training_keys(dataset: LabelledDataset) -> dict[str, frozenset[str]]:
    """Hashes of the structures with a label, by level."""
    return {
        level: frozenset(
            structure_key(dataset.structures[i]) for i in dataset.labelled(level)
        )
        for level in dataset.levels
    }
