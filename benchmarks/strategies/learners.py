"""How labels become a model, and the model's view of labels that could be bought."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import SimpleNamespace
from typing import Any, Protocol

from jaxtyping import Float
from torch import Tensor

from benchmarks.strategies.systems import System
from benchmarks.strategies_small.compressed import CompressedPool, compressed_targets
from benchmarks.strategies_small.known_features import known_features
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
from mfal.models import ExactPotential, SparsePotential
from mfal.models.moments import ALONE
from mfal.models.observations import observe
from mfal.models.pool import ExactPool, PoolEntry
from mfal.models.reduced_pool import ReducedEntry, ReducedPool
from mfal.models.sparse import sparse_feature_map
from mfal.models.weight_pool import WeightPool

EVIDENCE_ROWS = 300
"""Rows of a level of the exact model that its hyperparameters are fitted to."""
N_INDUCING = 150
"""Environments of the sparse model."""
CUTOFF = 5.0
Label = tuple[int, str]


@dataclass(frozen=True)
class Wanted:
    """Labels that could be bought, and structures whose top level shall be known.

    `quantities` are those of a label at each level, `asked` those of the targets; `given`
    is the level whose labels are at hand for the targets, if there is one.
    """

    labels: tuple[Label, ...]
    targets: tuple[int, ...]
    quantities: Mapping[str, tuple[str, ...]]
    asked: tuple[str, ...]
    given: str | None = None


class View(Protocol):
    """Acquisition functions over labels that could be bought, targets behind them."""

    def maximum_variance(self) -> PoolAcquisition: ...
    def parameter_information(self) -> PoolAcquisition: ...
    def target_information(self) -> PoolAcquisition: ...
    def integrated_variance(self) -> PoolAcquisition: ...


class Learner(Protocol):
    """One engine: fits, holds hyperparameters, and shows a pool."""

    def fit(self, data: LabelledDataset, before: Any, hold_below: int) -> Any: ...
    def hold(self, data: LabelledDataset, before: Any) -> Any: ...
    def view(self, model: Any, wanted: Wanted, before: Any) -> View: ...


# --- the exact model, for molecules


@dataclass(frozen=True)
class ExactLearner:
    """`ExactPotential` with a fixed kernel and the known permutations."""

    system: System

    def fit(
        self, data: LabelledDataset, before: ExactPotential | None, hold_below: int
    ) -> ExactPotential:
        """New hyperparameters; levels below `hold_below` keep those of before."""
        known = before is not None and before.levels == data.levels
        return ExactPotential.fit(
            data,
            permutations=[list(p) for p in self.system.permutations],
            kernel="rbf",
            start=before.hyperparameters if before is not None and known else None,
            hold_below=hold_below if known else 0,
            evidence_rows=EVIDENCE_ROWS,
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
        self, model: ExactPotential, wanted: Wanted, before: "PosteriorView | None"
    ) -> "PosteriorView":
        """The joint posterior; what is unchanged is taken over from the view before."""
        structures = self.system.data.structures
        entries = [
            PoolEntry(structures[i], level, wanted.quantities[level], structure=i)
            for i, level in wanted.labels
        ]
        entries += [
            PoolEntry(structures[t], model.levels[-1], wanted.asked, structure=t)
            for t in wanted.targets
        ]
        first, last = len(wanted.labels), len(entries)
        if wanted.given is not None:
            given = wanted.quantities[wanted.given]
            entries += [
                PoolEntry(structures[t], wanted.given, given, structure=t)
                for t in wanted.targets
            ]
        same = before is not None and before.pool.model.levels == model.levels
        pool = ExactPool(model, entries, reuse=before.pool if before and same else None)
        tolerance = Tolerance(*self.system.tolerated)
        return PosteriorView(
            pool, range(first, last), range(last, len(entries)), tolerance
        )


@dataclass(frozen=True)
class PosteriorView:
    """Acquisition functions by the joint covariance of the pool's rows."""

    pool: ExactPool
    targets: Sequence[int]
    at_hand: Sequence[int]
    tolerance: Tolerance

    def maximum_variance(self) -> PoolAcquisition:
        """Mean variance of the rows of a label."""
        return MaximumVariance(self.pool)

    def parameter_information(self) -> PoolAcquisition:
        """Information about the latent functions of all levels."""
        return ParameterInformation(self.pool)

    def target_information(self) -> PoolAcquisition:
        """Information about the high level on the targets."""
        targets = list(self.targets)
        tolerated = self.tolerance.variances(self.pool, targets)
        return TargetInformation(
            self.pool, targets, tolerated, at_hand=list(self.at_hand)
        )

    def integrated_variance(self) -> PoolAcquisition:
        """Fall of the targets' variance, in what is tolerated."""
        targets = list(self.targets)
        weights = 1 / self.tolerance.variances(self.pool, targets)
        return IntegratedVariance(self.pool, targets, weights)


# --- the sparse model, for cells


class SparseLearner:
    """`SparsePotential` on inducing environments that are the same for all.

    They are chosen from the geometries of the pool, which need no label.
    """

    def __init__(self, system: System, work: Path, n_inducing: int) -> None:
        self.system = system
        n_pool = len(system.data) - system.published
        chosen_from = system.data.subset(list(range(n_pool)))
        chosen = sparse_feature_map(
            chosen_from, n_inducing=n_inducing, zeta=2, cutoffs=(CUTOFF,)
        )
        file = work / f"{system.name}_features_{n_inducing}.bin"
        self.features = known_features(chosen, system.data.structures, file)

    def fit(
        self, data: LabelledDataset, before: SparsePotential | None, hold_below: int
    ) -> SparsePotential:
        """New hyperparameters of all levels."""
        del before, hold_below
        return SparsePotential.fit(data, self.features)

    def hold(self, data: LabelledDataset, before: SparsePotential) -> SparsePotential:
        """The model of more labels with the hyperparameters there are."""
        return SparsePotential.with_fit(data, self.features, before.fitted)

    def view(
        self, model: SparsePotential, wanted: Wanted, before: Any
    ) -> "DirectionsView":
        """The pool in few directions."""
        del before
        return DirectionsView(self, model, wanted)


@dataclass(frozen=True)
class DirectionsView:
    """Acquisition functions by the directions of the weights that matter.

    Those of targets are evaluated lazily as if their values only fell.
    """

    learner: SparseLearner
    model: SparsePotential
    wanted: Wanted

    def maximum_variance(self) -> PoolAcquisition:
        """Mean variance of the rows of a label."""
        structures, wanted = self.learner.system.data.structures, self.wanted
        entries = [
            PoolEntry(structures[i], name, wanted.quantities[name], structure=i)
            for i, name in wanted.labels
        ]
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
        whole = CompressedPool(pool, range(len(self.wanted.labels)), rows)
        return AssumedDiminishing(IntegratedVariance(whole, [len(self.wanted.labels)]))

    def _pool(self) -> ReducedPool:
        model, wanted = self.model, self.wanted
        known = model.dataset.labels if model.dataset is not None else {}
        entries = []
        for i, name in wanted.labels:
            level = model.level_index(name)
            below = max(
                (k for k in range(level) if (i, model.levels[k]) in known),
                default=ALONE,
            )
            entries.append(ReducedEntry(i, level, wanted.quantities[name], below))
        top = len(model.levels) - 1
        given = ALONE if wanted.given is None else model.level_index(wanted.given)
        entries += [ReducedEntry(t, top, wanted.asked, given) for t in wanted.targets]
        assert self.learner.features.stored is not None
        return ReducedPool(model, self.learner.features.stored, entries)

    @property
    def _targets(self) -> list[int]:
        first = len(self.wanted.labels)
        return list(range(first, first + len(self.wanted.targets)))

    def _tolerated(self, pool: ReducedPool) -> Float[Tensor, " t"]:
        tolerance = Tolerance(*self.learner.system.tolerated)
        return tolerance.variances(
            SimpleNamespace(quantity=pool.quantity), self._targets
        )


def learner_of(system: System, work: Path, smoke: bool) -> Learner:
    """The engine of a system: exact for molecules, sparse for cells."""
    if system.molecular:
        return ExactLearner(system)
    return SparseLearner(system, work, 20 if smoke else N_INDUCING)
