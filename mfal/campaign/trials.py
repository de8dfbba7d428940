"""The strategies of a shadow baseline, trained on labels that are there, and tested.

Random labels are held-out ones: n of the three quarters outside a fold, tested on the
fold, in turn. Chosen labels are the first n that were bought. Levels below the highest
have the labels of the end of the campaign throughout.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property

import numpy as np

from mfal.campaign.engines import Engine
from mfal.campaign.learning import HeldOut
from mfal.campaign.paired_errors import Errors, joined, structure_errors
from mfal.data import LabelledDataset
from mfal.models.exact import ExactPotential
from mfal.models.hyperparameters import Hyperparameters
from mfal.models.storage import Potential
from mfal.models.weight_potential import WeightPotential

FOLDS = 4
SMALLEST = 4
"""Labels of the highest level that the learning curves begin at, at the least."""

Tested = Mapping[str, Errors]
"""Errors on held-out structures by way of deployment, in the order of the structures."""


@dataclass(frozen=True)
class Trials:
    """Every strategy, trained on n labels of the highest level and tested.

    `between` is called before each, and may raise to end it.
    """

    model: Potential
    heldout: HeldOut
    bought: list[int]
    seed: int
    engine: Engine | None
    between: Callable[[], None] = lambda: None
    known: dict[tuple[str, str, int], Tested] = field(default_factory=dict)
    starts: dict[int, Hyperparameters] = field(default_factory=dict)
    """By the number of labels: the first fit of the highest level alone, at which the
    fits of others begin."""

    @cached_property
    def order(self) -> np.ndarray:
        """The held-out structures in a random order."""
        rng = np.random.default_rng([self.seed, 4])
        return rng.permutation(len(self.heldout.structures))

    @cached_property
    def folds(self) -> list[np.ndarray]:
        """Quarters of the held-out structures."""
        return np.array_split(self.order, FOLDS)

    @property
    def sizes(self) -> list[int]:
        """Numbers of labels: the most that both sides have, a half, and a quarter."""
        most = len(self.order) - max(map(len, self.folds))
        most = min(most, len(self.bought))
        halvings = 2 if isinstance(self.model, WeightPotential) else 3  # refitted whole
        found = {most // 2**k for k in range(halvings)}
        return sorted({n for n in found if n >= SMALLEST} | {most})

    def tested(self, kind: str, labels: str, n: int) -> Tested:
        """The errors of a strategy with n labels of the highest level; made once."""
        key = (kind, labels, n)
        if key not in self.known:
            self.between()
            trial = self._random if labels == "random" else self._chosen
            self.known[key] = trial(kind, n)
        return self.known[key]

    def _random(self, kind: str, n: int) -> Tested:
        """Trained on n held-out labels outside each fold, tested on the fold."""
        parts = []
        for fold in self.folds:
            keep = [i for i in self.order.tolist() if i not in set(fold.tolist())][:n]
            if kind == "alone":
                model = self._alone(self._outside(keep, self.model.levels[-1:]))
            else:
                below = _data(self.model).at_levels(self.model.levels[:-1])
                model = self._joint(
                    _joined(below, self._outside(keep, self.model.levels))
                )
            parts.append(errors_on(model, self.heldout, fold))
        return self._together(parts)

    def _chosen(self, kind: str, n: int) -> Tested:
        """Trained on the first n labels that were bought, tested on every fold."""
        first = self.bought[:n]
        if kind == "alone":
            alone = _data(self.model).at_levels(self.model.levels[-1:])
            model = self._alone(alone.subset(first))
        else:
            model = self._joint(_only(self.model, first))
        return self._together([errors_on(model, self.heldout, self.order)])

    def _together(self, parts: Sequence[Tested]) -> Tested:
        return {
            mode: joined([p[mode] for p in parts], self.order.tolist())
            for mode in parts[0]
        }

    def _outside(self, keep: Sequence[int], levels: Sequence[str]) -> LabelledDataset:
        """The labels of these held-out structures."""
        labels = {
            (k, level): self.heldout.labels(level)[i]
            for level in levels
            for k, i in enumerate(keep)
        }
        structures = tuple(self.heldout.structures[i] for i in keep)
        fidelities = self.heldout.dataset.at_levels(levels).fidelities
        return LabelledDataset(structures, fidelities, labels)

    def _alone(self, dataset: LabelledDataset) -> Potential:
        if isinstance(self.model, WeightPotential):
            assert self.engine is not None  # only the exact model can do without
            return self.engine.fit(dataset, start=None, hold_below=0, reuse=None)
        start = self.starts.get(len(dataset))
        model = ExactPotential.fit(
            dataset,
            permutations=self.model.permutations.tolist(),
            start=start,
            seed=self.seed,
            restarts=0,
        )
        self.starts.setdefault(len(dataset), model.hyperparameters)
        return model

    def _joint(self, dataset: LabelledDataset) -> Potential:
        """The joint model; of an exact one the levels below the highest are held."""
        if isinstance(self.model, WeightPotential):
            return self._alone(dataset)
        return ExactPotential.fit(
            dataset,
            permutations=self.model.permutations.tolist(),
            start=self.model.hyperparameters,
            hold_below=len(self.model.levels) - 1,
            seed=self.seed,
            reuse=self.model,
        )


def _joined(below: LabelledDataset, more: LabelledDataset) -> LabelledDataset:
    """The labels of both; the structures are different ones."""
    shift = len(below)
    labels = {(i + shift, level): x for (i, level), x in more.labels.items()}
    return LabelledDataset(
        (*below.structures, *more.structures),
        more.fidelities,
        {**below.labels, **labels},
    )


def _only(model: Potential, chosen: Sequence[int]) -> LabelledDataset:
    """The model's data with only these labels of the highest level."""
    high, dataset, kept = model.levels[-1], _data(model), set(chosen)
    labels = {k: x for k, x in dataset.labels.items() if k[1] != high or k[0] in kept}
    return LabelledDataset(dataset.structures, dataset.fidelities, labels)


def _data(model: Potential) -> LabelledDataset:
    assert model.dataset is not None  # a model of this campaign
    return model.dataset


def errors_on(model: Potential, heldout: HeldOut, fold: np.ndarray) -> Tested:
    """Errors of a model on some of the held-out structures, in this order."""
    structures = [heldout.structures[i] for i in fold]
    truth = [heldout.labels(model.levels[-1])[i] for i in fold]
    found = {"standalone": structure_errors(model.predict(structures), truth)}
    if len(model.levels) > 1:
        low = [heldout.labels(model.levels[0])[i] for i in fold]
        at_hand = model.predict(structures, at_hand=low)
        found["at_hand"] = structure_errors(at_hand, truth)
    return found
