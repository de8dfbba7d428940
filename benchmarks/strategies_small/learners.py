"""How labels become a model, and the model's view of labels that could be bought."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from types import SimpleNamespace
from typing import Any, Protocol

import torch
from jaxtyping import Float
from torch import Tensor

from benchmarks.strategies_small.compressed import CompressedPool, compressed_targets
from benchmarks.strategies_small.known_features import known_features
from benchmarks.strategies_small.systems import System
from mfal.acquisition import (
    IntegratedVariance,
    MaximumVariance,
    ParameterInformation,
    PoolAcquisition,
    TargetInformation,
    Tolerance,
)
from mfal.acquisition.reduced import (
    AssumedDiminishing,
    ReducedParameterInformation,
    ReducedTargetInformation,
)
from mfal.data import LabelledDataset
from mfal.descriptors import InverseDistances
from mfal.descriptors.soap import Soap
from mfal.models import ExactPotential, SparsePotential
from mfal.models.moments import ALONE
from mfal.models.observations import RowBuilder, observe
from mfal.models.pool import ExactPool, PoolEntry
from mfal.models.reduced_pool import ReducedEntry, ReducedPool
from mfal.models.sparse import sparse_feature_map
from mfal.models.weight_pool import WeightPool

METHYL = [[0, 1, 4, 3, 5, 2], [0, 1, 4, 3, 2, 5]]
"""Permutations of methanol's like atoms: rotation and reflection of the methyl group."""
TOLERANCE = Tolerance()
Label = tuple[int, str]


class View(Protocol):
    """Acquisition functions over labels that could be bought, targets behind them."""

    def maximum_variance(self) -> PoolAcquisition: ...
    def parameter_information(self) -> PoolAcquisition: ...
    def target_information(self) -> PoolAcquisition: ...
    def integrated_variance(self) -> PoolAcquisition: ...


class Learner(Protocol):
    """One engine: fits, holds hyperparameters, and shows a pool."""

    def fit(self, data: LabelledDataset, before: Any, hold_low: bool) -> Any: ...
    def hold(self, data: LabelledDataset, before: Any) -> Any: ...
    def view(
        self, model: Any, wanted: Sequence[Label], targets: Sequence[int], before: Any
    ) -> View: ...
    def descriptors(self) -> Float[Tensor, "n d"]: ...


# --- the exact model, for the molecule


@dataclass(frozen=True)
class ExactLearner:
    """`ExactPotential` with a fixed kernel and the known permutations."""

    system: System
    evidence_rows: int = 300

    def fit(
        self, data: LabelledDataset, before: ExactPotential | None, hold_low: bool
    ) -> ExactPotential:
        """New hyperparameters; with `hold_low` those of the low level stay."""
        return ExactPotential.fit(
            data,
            permutations=METHYL,
            kernel="rbf",
            start=None if before is None else before.hyperparameters,
            hold_below=1 if hold_low and before is not None else 0,
            evidence_rows=self.evidence_rows,
            reuse=before,
        )

    def hold(self, data: LabelledDataset, before: ExactPotential) -> ExactPotential:
        """The model of more labels with the hyperparameters there are."""
        builder, permutations = before.builder, before.permutations
        rows = observe(data, builder)
        return ExactPotential(
            data, builder, permutations, rows, before.fitted, reuse=before
        )

    def view(
        self,
        model: ExactPotential,
        wanted: Sequence[Label],
        targets: Sequence[int],
        before: "PosteriorView | None",
    ) -> "PosteriorView":
        """The joint posterior; what is unchanged is taken over from the view before."""
        structures = self.system.data.structures
        entries = [
            PoolEntry(structures[i], level, structure=i)
            for i, level in [*wanted, *((t, model.levels[-1]) for t in targets)]
        ]
        pool = ExactPool(model, entries, reuse=None if before is None else before.pool)
        return PosteriorView(pool, range(len(wanted), len(entries)))

    def descriptors(self) -> Float[Tensor, "n d"]:
        """Inverse distances, one row for each structure."""
        structures = self.system.data.structures
        descriptor = InverseDistances(structures[0].get_chemical_symbols())
        builder = RowBuilder(descriptor)
        rows = [builder(a, 0, ("energy",)).rows.descriptor for a in structures]
        return torch.cat(rows)


@dataclass(frozen=True)
class PosteriorView:
    """Acquisition functions by the joint covariance of the pool's rows."""

    pool: ExactPool
    targets: Sequence[int]

    def maximum_variance(self) -> PoolAcquisition:
        """Mean variance of the rows of a label."""
        return MaximumVariance(self.pool)

    def parameter_information(self) -> PoolAcquisition:
        """Information about the latent functions of all levels."""
        return ParameterInformation(self.pool)

    def target_information(self) -> PoolAcquisition:
        """Information about the high level on the targets."""
        targets = list(self.targets)
        tolerated = TOLERANCE.variances(self.pool, targets)
        return TargetInformation(self.pool, targets, tolerated)

    def integrated_variance(self) -> PoolAcquisition:
        """Fall of the targets' variance, in what is tolerated."""
        targets = list(self.targets)
        weights = 1 / TOLERANCE.variances(self.pool, targets)
        return IntegratedVariance(self.pool, targets, weights)


# --- the sparse model, for the metal


class SparseLearner:
    """`SparsePotential` on inducing environments that are the same for all.

    They are chosen from the geometries of the pool, which need no label.
    """

    def __init__(self, system: System, work: Path, n_inducing: int) -> None:
        self.system = system
        n_pool = len(system.data) - system.published
        chosen_from = system.data.subset(list(range(n_pool)))
        self._map = sparse_feature_map(
            chosen_from, n_inducing=n_inducing, zeta=2, cutoffs=(5.0,)
        )
        self.features = known_features(
            self._map, system.data.structures, work / f"features_{n_inducing}.bin"
        )

    def fit(
        self, data: LabelledDataset, before: SparsePotential | None, hold_low: bool
    ) -> SparsePotential:
        """New hyperparameters of all levels."""
        del before, hold_low
        return SparsePotential.fit(data, self.features)

    def hold(self, data: LabelledDataset, before: SparsePotential) -> SparsePotential:
        """The model of more labels with the hyperparameters there are."""
        return SparsePotential.with_fit(data, self.features, before.fitted)

    def view(
        self,
        model: SparsePotential,
        wanted: Sequence[Label],
        targets: Sequence[int],
        before: Any,
    ) -> "SparseView":
        """The pool in few directions."""
        del before
        return SparseView(self, model, tuple(wanted), tuple(targets))

    def descriptors(self) -> Float[Tensor, "n d"]:
        """Mean power spectra (`mean_descriptors` without derivatives)."""
        soap = self._map.parts[0][0]
        assert isinstance(soap, Soap)
        return torch.stack(
            [soap.values(atoms).mean(0) for atoms in self.system.data.structures]
        )


@dataclass(frozen=True)
class SparseView:
    """Acquisition functions by the directions of the weights that matter.

    Those of targets are evaluated lazily as if their values only fell.
    """

    learner: SparseLearner
    model: SparsePotential
    wanted: tuple[Label, ...]
    target_structures: tuple[int, ...]

    def maximum_variance(self) -> PoolAcquisition:
        """Mean variance of the rows of a label."""
        structures = self.learner.system.data.structures
        entries = [PoolEntry(structures[i], n, structure=i) for i, n in self.wanted]
        return MaximumVariance(WeightPool(self.model, entries))

    def parameter_information(self) -> PoolAcquisition:
        """Information about the weights of all levels."""
        return ReducedParameterInformation(self._pool())

    def target_information(self) -> PoolAcquisition:
        """Information about the high level on the targets."""
        pool = self._pool()
        return AssumedDiminishing(
            ReducedTargetInformation(pool, self._targets, self._tolerated(pool))
        )

    def integrated_variance(self) -> PoolAcquisition:
        """Fall of the targets' variance, in what is tolerated."""
        pool = self._pool()
        weights = 1 / self._tolerated(pool)
        rows = compressed_targets(pool, self._targets, weights)
        whole = CompressedPool(pool, range(len(self.wanted)), rows)
        return AssumedDiminishing(IntegratedVariance(whole, [len(self.wanted)]))

    def _pool(self) -> ReducedPool:
        model = self.model
        top = model.levels[-1]
        known = model.dataset.labels if model.dataset is not None else {}
        entries = []
        for i, name in [*self.wanted, *((t, top) for t in self.target_structures)]:
            level = model.level_index(name)
            below = 0 if level and (i, model.levels[0]) in known else ALONE
            entries.append(ReducedEntry(i, level, below=below))
        assert self.learner.features.stored is not None
        return ReducedPool(model, self.learner.features.stored, entries)

    @property
    def _targets(self) -> list[int]:
        first = len(self.wanted)
        return list(range(first, first + len(self.target_structures)))

    def _tolerated(self, pool: ReducedPool) -> Float[Tensor, " t"]:
        return TOLERANCE.variances(
            SimpleNamespace(quantity=pool.quantity),
            self._targets,
        )


def learner_of(system: System, work: Path, smoke: bool) -> Learner:
    """The engine of a system: exact for one molecule, sparse for the metal."""
    if system.name == "methanol":
        return ExactLearner(system, 80 if smoke else 300)
    return SparseLearner(system, work, 20 if smoke else 150)
