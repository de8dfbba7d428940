r"""A large pool of labels of a sparse model, in the directions that matter to it.

The latent values of a label are V^T v with v ~ N(0, 1) for the posterior of the weights,
V = L^-1 D z^T (`mfal.models.weights`). Of the second moment of the whitened rows of all
labels over their noise,

.. math:: C = \frac1n \sum_c V_c N_c^{-1} V_c^T = U \Lambda U^T,

only the r largest directions are kept, as many as leave out little information: what is
dropped tells at most 1/2 sum of the dropped eigenvalues of a label, on average, in nats
(log det(1 + X) <= tr X), of at most 1/2 log det(1 + C) in all. A label is then r numbers
per row, Y = U_r^T V, with a posterior that is an r x r matrix, whatever the size of the
pool; rows are made from their features when they are asked for and not kept.

Large models are seen through their first points, as error bars are
(`mfal.models.error_bars`): `pool_features` says which features to store.

Labels of one structure share the misfits of the levels below them
(`mfal.models.noise`): once the lower label is known, the difference of the upper one to
rho times it is what counts, which has no noise in common with it.
"""

import logging
from collections.abc import Iterator, Sequence
from copy import copy
from dataclasses import dataclass

import torch
from jaxtyping import Float, Int
from torch import Tensor

from mfal.data import QUANTITIES
from mfal.models import gathering
from mfal.models.feature_map import FeatureMap
from mfal.models.moments import ALONE
from mfal.models.stored_features import StoredFeatures
from mfal.models.weight_potential import WeightPotential
from mfal.models.weights import Prior, Weights, posterior

_logger = logging.getLogger(__name__)

SAMPLED = 512
"""Structures from which the directions that matter are found."""

_AT_ONCE = 2**18
"""Numbers of rows that are held at once, unless one label has more: they stay in cache."""


@dataclass(frozen=True)
class ReducedEntry:
    """A label that could be asked for: a stored structure at a level.

    `below` is the highest lower level whose label of the structure is known, if any.
    """

    structure: int
    level: int
    quantities: tuple[str, ...] = ("energy", "forces")
    below: int = ALONE


class ReducedPool:
    """Rows of labels in r directions of unit prior variance, and their noise.

    Args:
        model: a fitted sparse or linear potential.
        features: of the structures, from `pool_features` or all of the model.
        entries: the labels, targets among them.
        lost: share of the information of a label that may be left out, on average.

    Raises:
        ValueError: features of another map, a structure or a level that is not there, or
            a quantity that is not energy or forces.
    """

    def __init__(
        self,
        model: WeightPotential,
        features: StoredFeatures,
        entries: Sequence[ReducedEntry],
        *,
        lost: float = 0.01,
    ) -> None:
        self._weights = weights_of(model, features)
        check_entries(model, features, entries)
        self.model, self.features, self.entries = model, features, tuple(entries)
        self._noise = model.hyperparameters.noise.square()
        self._variances: dict[tuple, Tensor] = {}
        path = model.path
        self._path = path
        moment = self._moment()
        values, vectors = torch.linalg.eigh(moment)
        dropped = 0.5 * values.clamp_min(0.0).cumsum(0)
        self.information = float(0.5 * values.clamp_min(0.0).log1p().sum())
        n_dropped = int((dropped <= lost * self.information).sum())
        self.lost = float(dropped[n_dropped - 1]) if n_dropped else 0.0
        kept = vectors[:, n_dropped:]
        weights = self._weights
        whitener = torch.linalg.solve_triangular(weights.factor.mT, kept, upper=True)
        columns = (weights.deviations[:, None] * whitener).reshape(
            len(path), features.n_features, -1
        )
        self._set_directions(
            {
                (level, below): torch.einsum(
                    "m,mpr->pr", self._span(level, below), columns
                )
                for level in range(len(path))
                for below in range(ALONE, level)
            }
        )
        _logger.info(
            "pool of %d labels in %d of %d directions: at most %.2g nats lost of %.3g",
            len(self.entries),
            self.rank,
            len(moment),
            self.lost,
            self.information,
        )

    def __len__(self) -> int:
        return len(self.entries)

    @property
    def rank(self) -> int:
        """r, the number of directions."""
        return next(iter(self._columns.values())).shape[1]

    def turned(self, basis: Float[Tensor, "r k"]) -> "ReducedPool":
        """The same labels with rows Y times a basis, without a product of their own."""
        other = copy(self)
        other._set_directions({k: d @ basis for k, d in self._directions.items()})
        return other

    def rows(
        self, blocks: Sequence[int], below: Sequence[int]
    ) -> Iterator[tuple[list[int], Float[Tensor, "b c r"], Float[Tensor, "b c"]]]:
        """Y of each block and the variance of its noise, in stacks of equal shape.

        `below[k]` is the level known below block k. With each stack come the places of
        its blocks in `blocks`. The noise holds what the label inherits of the misfits of
        the levels between.
        """
        for places in self._stacks(blocks, below):
            first = self.entries[blocks[places[0]]]
            columns = self._columns[first.level, below[places[0]]]
            taken = [self._taken(self.entries[blocks[p]]) for p in places]
            stacked = torch.stack(taken)
            y = (stacked.reshape(-1, stacked.shape[-1]) @ columns).double()
            noise = [self.noise(blocks[p], below[p]) for p in places]
            yield places, y.reshape(*stacked.shape[:-1], -1), torch.stack(noise)

    def noise(self, block: int, below: int) -> Float[Tensor, " c"]:
        """Variance of the misfits of a label that no other one shares."""
        return self._variance(block, range(below + 1, self.entries[block].level + 1))

    def inherited(self, block: int, below: int) -> Float[Tensor, " c"]:
        """The part of `noise` that is of the levels between."""
        return self._variance(block, range(below + 1, self.entries[block].level))

    def quantity(self, block: int) -> Int[Tensor, " c"]:
        """Quantity of each row: 0 energy, 1 forces."""
        entry = self.entries[block]
        n = 3 * self.features.n_atoms[entry.structure]
        sizes = [1 if q == "energy" else n for q in _ordered(entry.quantities)]
        kinds = [QUANTITIES.index(q) for q in _ordered(entry.quantities)]
        return torch.tensor(kinds).repeat_interleave(torch.tensor(sizes))

    def _n_rows(self, entry: ReducedEntry) -> int:
        n = 3 * self.features.n_atoms[entry.structure]
        return sum(1 if q == "energy" else n for q in _ordered(entry.quantities))

    def _set_directions(self, directions: dict[tuple[int, int], Tensor]) -> None:
        self._directions = directions
        self._columns = {k: d.to(torch.float32) for k, d in directions.items()}

    def _variance(self, block: int, levels: range) -> Float[Tensor, " c"]:
        entry = self.entries[block]
        n_atoms = self.features.n_atoms[entry.structure]
        kind = (entry.level, levels, n_atoms, entry.quantities)
        if kind not in self._variances:
            quantity = self.quantity(block)
            total = torch.zeros(len(quantity), dtype=torch.float64)
            for m in levels:
                rows = self._noise[m][quantity] * self._path[entry.level, m] ** 2
                total += torch.where(quantity == 0, rows * n_atoms, rows)
            self._variances[kind] = total
        return self._variances[kind]

    def _span(self, level: int, below: int) -> Float[Tensor, " levels"]:
        """What each level's weights count in rows of a level, one below being known."""
        c = torch.zeros_like(self._path[level])
        c[below + 1 : level + 1] = self._path[level, below + 1 : level + 1]
        return c

    def _taken(self, entry: ReducedEntry) -> Float[Tensor, "c p"]:
        rows = self.features.rows(entry.structure)
        if entry.quantities == ("energy",):
            return rows[:1]
        return rows if "energy" in entry.quantities else rows[1:]

    def _stacks(
        self, blocks: Sequence[int], below: Sequence[int]
    ) -> Iterator[list[int]]:
        kinds: dict[tuple[int, int, int], list[int]] = {}
        for place, (block, known) in enumerate(zip(blocks, below, strict=True)):
            entry = self.entries[block]
            size = self._n_rows(entry)
            kinds.setdefault((entry.level, known, size), []).append(place)
        for (_, _, size), places in kinds.items():
            width = max(1, _AT_ONCE // (size * self.rank))
            for begin in range(0, len(places), width):
                yield places[begin : begin + width]

    def _moment(self) -> Float[Tensor, "q q"]:
        """C, from evenly spaced labels of the pool."""
        step = -(-len(self.entries) // SAMPLED)
        sampled = range(0, len(self.entries), step)
        p = self.features.n_features
        grams: dict[tuple[int, int], Tensor] = {}
        for block in sampled:
            entry = self.entries[block]
            rows = self._taken(entry).double()
            gram = rows.mT @ (rows / self.noise(block, entry.below).unsqueeze(1))
            kind = (entry.level, entry.below)
            grams[kind] = grams[kind] + gram if kind in grams else gram
        size = len(self._path) * p
        total = torch.zeros(size, size, dtype=torch.float64)
        for kind, gram in grams.items():
            c = self._span(*kind)
            total += torch.kron(torch.outer(c, c), gram)
        weights = self._weights
        total *= torch.outer(weights.deviations, weights.deviations) / len(sampled)
        half = torch.linalg.solve_triangular(weights.factor, total, upper=False)
        found = torch.linalg.solve_triangular(weights.factor, half.mT, upper=False)
        return 0.5 * (found + found.mT)


def pool_features(model: WeightPotential) -> FeatureMap:
    """What to store of a pool: the features that error bars are made of."""
    return model.feature_map.leading(gathering.BAR_POINTS)[0]


def weights_of(model: WeightPotential, features: StoredFeatures) -> Weights:
    """The posterior of the weights of the features that are stored.

    Raises:
        ValueError: they are neither all features of the model nor its first ones.
    """
    if features.n_features == model.feature_map.size:
        return model.weights
    few, columns = model.feature_map.leading(gathering.BAR_POINTS)
    if features.n_features != few.size:
        raise ValueError(
            f"the features hold {features.n_features} columns, but the model has "
            f"{model.feature_map.size}, or {few.size} for error bars: store them with "
            "pool_features(model)"
        )
    statistics = model.statistics.of_columns(columns)
    return posterior(statistics, Prior(few.block), model.hyperparameters)


def check_entries(
    model: WeightPotential, features: StoredFeatures, entries: Sequence[ReducedEntry]
) -> None:
    """Raises the `ValueError` of `ReducedPool`."""
    if not entries:
        raise ValueError("a pool has at least one label")
    for entry in entries:
        if not 0 <= entry.structure < len(features):
            raise ValueError(
                f"structure {entry.structure} is not among the {len(features)} stored"
            )
        if not ALONE <= entry.below < entry.level < len(model.levels):
            raise ValueError(
                f"levels are 0 to {len(model.levels) - 1} and the one known below is "
                f"lower, got level {entry.level} over {entry.below}"
            )
        odd = set(entry.quantities) - {"energy", "forces"}
        if odd or not entry.quantities:
            raise ValueError(
                "labels of a reduced pool are energy, forces or both, got "
                f"{entry.quantities}"
            )


def _ordered(quantities: Sequence[str]) -> list[str]:
    return [q for q in QUANTITIES if q in quantities]
