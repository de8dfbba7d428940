"""The engine of a campaign: how its model is fitted, kept on record, and built again."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol, runtime_checkable

from mfal.campaign.learning import fit_from_record, fit_record
from mfal.campaign.settings import SparseConfig
from mfal.data import LabelledDataset
from mfal.models.exact import ExactPotential
from mfal.models.level_evidence import StepEvidence, step_evidence
from mfal.models.pool import ExactPool, PoolEntry
from mfal.models.sparse import SparsePotential, sparse_feature_map
from mfal.models.storage import Potential
from mfal.models.weight_fit import WeightFit
from mfal.models.weight_pool import WeightPool
from mfal.models.weight_potential import WeightPotential

Pool = ExactPool | WeightPool


@runtime_checkable
class Engine(Protocol):
    """One way to learn from labels; a model is built again from its record."""

    def fit(
        self,
        dataset: LabelledDataset,
        *,
        start: Mapping[str, Any] | None,
        hold_below: int,
        reuse: Potential | None,
    ) -> Potential:
        """The model of all labels; the search begins at the record `start`."""
        ...

    def rebuild(self, dataset: LabelledDataset, record: Mapping[str, Any]) -> Potential:
        """The model of the same labels with the fit of a record."""
        ...

    def record(self, model: Any) -> dict[str, Any]:
        """The fit as plain JSON, to the last bit."""
        ...

    def pool(self, model: Any, entries: Sequence[PoolEntry], reuse: Any | None) -> Pool:
        """The joint posterior of labels that could be asked for."""
        ...

    def evidence(self, model: Any, level: int) -> StepEvidence | None:
        """The labels of a level explained with and without the levels below it."""
        ...


@dataclass(frozen=True)
class ExactEngine:
    """`ExactPotential`: one molecule, factors reused from step to step."""

    kernel: str
    group: Callable[[], list[list[int]] | str]
    seed: int
    evidence_rows: int

    def fit(
        self,
        dataset: LabelledDataset,
        *,
        start: Mapping[str, Any] | None,
        hold_below: int,
        reuse: Potential | None,
    ) -> ExactPotential:
        """The model of all labels; levels below `hold_below` keep those of `start`."""
        return ExactPotential.fit(
            dataset,
            permutations=self.group(),
            kernel=self.kernel,
            start=None if start is None else fit_from_record(start).hyperparameters,
            hold_below=hold_below,
            seed=self.seed,
            evidence_rows=self.evidence_rows,
            reuse=reuse if isinstance(reuse, ExactPotential) else None,
        )

    def rebuild(
        self, dataset: LabelledDataset, record: Mapping[str, Any]
    ) -> ExactPotential:
        """The model of the same labels with the fit of a record."""
        return ExactPotential.with_fit(
            dataset, fit_from_record(record), permutations=self.group()
        )

    def record(self, model: ExactPotential) -> dict[str, Any]:
        """The fit as plain JSON, to the last bit."""
        return fit_record(model.fitted)

    def pool(
        self,
        model: ExactPotential,
        entries: Sequence[PoolEntry],
        reuse: ExactPool | None,
    ) -> ExactPool:
        """The joint posterior of labels; what belongs to unchanged levels is reused."""
        return ExactPool(model, entries, reuse=reuse)

    def evidence(self, model: ExactPotential, level: int) -> StepEvidence | None:
        """From Gram products of a random part of the rows."""
        return step_evidence(model, level, seed=self.seed)


@dataclass(frozen=True)
class SparseEngine:
    """`SparsePotential`: any composition; features are chosen anew at every fit."""

    options: SparseConfig
    seed: int

    def fit(
        self,
        dataset: LabelledDataset,
        *,
        start: Mapping[str, Any] | None,
        hold_below: int,
        reuse: Potential | None,
    ) -> SparsePotential:
        """The model of all labels; nothing is held or reused."""
        del start, hold_below, reuse
        feature_map = sparse_features(dataset, self.options, self.seed)
        return SparsePotential.fit(dataset, feature_map, seed=self.seed)

    def rebuild(
        self, dataset: LabelledDataset, record: Mapping[str, Any]
    ) -> SparsePotential:
        """The same features (they follow from data and seed) with the fit of a record."""
        feature_map = sparse_features(dataset, self.options, self.seed)
        fitted = WeightFit.from_json(record)
        return SparsePotential.with_fit(dataset, feature_map, fitted, seed=self.seed)

    def record(self, model: WeightPotential) -> dict[str, Any]:
        """The fit as plain JSON, to the last bit."""
        return model.fitted.to_json()

    def pool(
        self,
        model: WeightPotential,
        entries: Sequence[PoolEntry],
        reuse: WeightPool | None,
    ) -> WeightPool:
        """The joint posterior of labels."""
        del reuse
        return WeightPool(model, entries)

    def evidence(self, model: WeightPotential, level: int) -> StepEvidence | None:
        """From the sufficient statistics: no label is read again."""
        return step_evidence(model, level)


def sparse_features(dataset: LabelledDataset, options: SparseConfig, seed: int) -> Any:
    """The feature map that a section `sparse` describes."""
    return sparse_feature_map(
        dataset,
        n_inducing=options.n_inducing,
        zeta=options.zeta,
        method=options.method,
        pairs=options.pairs,
        seed=seed,
        cutoffs=options.cutoffs,
        width=options.width,
        **descriptor_options(options),
    )


def descriptor_options(options: SparseConfig) -> dict[str, Any]:
    """What a section `sparse` says of the power spectra beside cutoffs and width."""
    found: dict[str, Any] = {
        "max_radial": options.max_radial,
        "max_angular": options.max_angular,
    }
    return found if options.scale is None else {**found, "scale": options.scale}
