"""The sparse model's joint posterior of a pool of labels that could be asked for."""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from jaxtyping import Float, Int
from torch import Tensor

from mfal.data import QUANTITIES
from mfal.models.gathering import quantity_rows
from mfal.models.memory import check_memory
from mfal.models.moments import ALONE
from mfal.models.pool import PoolEntry
from mfal.models.weight_potential import WeightPotential
from mfal.models.weights import level_rows


@dataclass(frozen=True)
class PoolBlock:
    """The rows of one label of the pool.

    The quantity of each row is 0 for an energy, 1 for forces, 2 for stress.
    """

    quantity: Int[Tensor, " r"]
    level: int
    below: int
    n_atoms: int


class WeightPool:
    """`mfal.models.posterior.LabelPool` of a potential that is linear in its weights.

    A label whose structure has one at a lower level in the data is given that one, as
    in the fit (`mfal.models.moments`); labels of one structure share the misfits of the
    levels below them. Keeps V, the whitened rows, so memory is weights x pool rows. The
    prior variance that inducing environments do not explain is left out: it is the
    same before and after a label.

    Raises:
        TooLargeError: if V would not fit into memory.
    """

    def __init__(self, model: WeightPotential, entries: Sequence[PoolEntry]) -> None:
        self.model = model
        self.entries = tuple(entries)
        levels = [model.level_index(e.level) for e in self.entries]
        n_rows = sum(
            1 + 3 * len(e.atoms) if "forces" in e.quantities else 1
            for e in self.entries
        )
        size = len(model.weights.mean)
        check_memory(
            int((n_rows * size) ** 0.5), what="the posterior of the pool", matrices=3.0
        )
        self.blocks: list[PoolBlock] = []
        self.slices: list[slice] = []
        parts, means, begin = [], [], 0
        for entry, level in zip(self.entries, levels, strict=True):
            below = self._below(entry, level)
            rows = model.feature_map.rows(
                entry.atoms, strain="stress" in entry.quantities
            )
            names = [q for q in QUANTITIES if q in entry.quantities]
            chosen = [quantity_rows(rows, name) for name in names]
            quantity = torch.cat(
                [
                    torch.full((len(c),), QUANTITIES.index(name))
                    for c, name in zip(chosen, names, strict=True)
                ]
            )
            z = level_rows(torch.cat(chosen), model.path, level, below)
            parts.append(model.weights.whiten(z))
            means.append(z @ model.weights.mean)
            self.blocks.append(PoolBlock(quantity, level, below, len(entry.atoms)))
            self.slices.append(slice(begin, begin + len(z)))
            begin += len(z)
        self._v = torch.cat(parts, dim=1)
        self.mean = torch.cat(means)

    def noise(self, block: int) -> Float[Tensor, " r"]:
        """Variance of the misfit of the label's own level."""
        part = self.blocks[block]
        own = self.model.hyperparameters.noise[part.level].square()
        return self._per_row(own, part)

    def quantity(self, block: int) -> Int[Tensor, " r"]:
        """The quantity of each row of a block: 0 energy, 1 forces, 2 stress."""
        return self.blocks[block].quantity

    def n_atoms(self, block: int) -> int:
        """Number of atoms of a block's structure."""
        return self.blocks[block].n_atoms

    def force_basis(self, block: int) -> Float[Tensor, "c c"]:
        """The identity: the rows of forces are Cartesian."""
        return torch.eye(int((self.quantity(block) == 1).sum()), dtype=torch.float64)

    def covariance(self, block: int) -> Float[Tensor, "r r"]:
        """Posterior covariance of the latent values within a block."""
        v = self._v[:, self.slices[block]]
        part = self.blocks[block]
        inherited = self._shared(block, block)
        return v.mT @ v + self._per_row(inherited, part).diag()

    def cross(self, blocks: Sequence[int]) -> Float[Tensor, "r n"]:
        """Posterior covariance of the rows of some blocks with those of all blocks."""
        left = torch.cat([self._v[:, self.slices[b]] for b in blocks], dim=1)
        covariance = left.mT @ self._v
        start = 0
        for b in blocks:
            mine = self.blocks[b]
            for other in self._same_structure(b):
                theirs = self.blocks[other]
                shared = self._per_row(self._shared(b, other), mine)
                for q in range(len(QUANTITIES)):
                    i = (mine.quantity == q).nonzero().squeeze(1)
                    j = (theirs.quantity == q).nonzero().squeeze(1)
                    if len(i) and len(j):
                        where = self.slices[other].start + j
                        covariance[start + i, where] += shared[i]
            start += len(mine.quantity)
        return covariance

    def _shared(self, left: int, right: int) -> Float[Tensor, " 3"]:
        """Variance of the misfits that two labels of one structure have in common.

        Those of the levels above the ones known below both, up to the lower of the two
        levels; of one level that of the level itself is its noise and left out.
        """
        a, b = self.blocks[left], self.blocks[right]
        path, noise = self.model.path, self.model.hyperparameters.noise
        lower = min(a.level, b.level)
        stop = lower if a.level == b.level else lower + 1
        span = slice(max(a.below, b.below) + 1, stop)
        weights = path[a.level, span] * path[b.level, span]
        return (weights.unsqueeze(1) * noise[span].square()).sum(0)

    def _per_row(self, values: Float[Tensor, " 3"], part: PoolBlock) -> Tensor:
        rows = values[part.quantity]
        return torch.where(part.quantity == 0, rows * part.n_atoms, rows)

    def _same_structure(self, block: int) -> list[int]:
        structure = self.entries[block].structure
        if structure is None:
            return [block]
        return [i for i, e in enumerate(self.entries) if e.structure == structure]

    def _below(self, entry: PoolEntry, level: int) -> int:
        """The nearest lower level that has a label of the structure in the data."""
        dataset = self.model.dataset
        if entry.structure is None or dataset is None:
            return ALONE
        if entry.structure >= len(dataset):
            return ALONE  # a number of its own: not in the data
        have = [
            number
            for number, name in enumerate(self.model.levels[:level])
            if (entry.structure, name) in dataset.labels
        ]
        return max(have, default=ALONE)
