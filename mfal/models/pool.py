"""The exact model's joint posterior of a pool of labels that could be asked for."""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

import torch
from ase import Atoms
from jaxtyping import Float
from torch import Tensor

from mfal.kernels import Rows
from mfal.models.exact import ExactPotential, check_memory
from mfal.models.noise import white_covariance, white_rows
from mfal.models.observations import StructureRows, matching_rows


@dataclass(frozen=True)
class PoolEntry:
    """A label that could be asked for.

    `structure` is the position of the structure in the data set that the model was
    fitted to, if it is there: its labels at other levels share the misfit of the levels
    below (`mfal.models.noise`).
    """

    atoms: Atoms
    level: str
    quantities: tuple[str, ...] = ("energy", "forces")
    structure: int | None = None


class ExactPool:
    """`mfal.models.posterior.PoolPosterior` of an `ExactPotential`.

    Keeps V = L^-1 K(data, pool), so memory is data rows x pool rows.

    Raises:
        TooLargeError: if V would not fit into memory.
    """

    def __init__(self, model: ExactPotential, entries: Sequence[PoolEntry]) -> None:
        self.model = model
        self.entries = tuple(entries)
        self.blocks: list[StructureRows] = [
            model.builder(e.atoms, model.level_index(e.level), e.quantities)
            for e in self.entries
        ]
        stops = torch.tensor([len(b.rows) for b in self.blocks]).cumsum(0).tolist()
        self.slices = [
            slice(a, b) for a, b in zip([0, *stops[:-1]], stops, strict=True)
        ]
        n_data = len(model.observations)
        check_memory(
            int((n_data * stops[-1]) ** 0.5),
            what="the posterior of the pool",
            matrices=3,
        )
        self.rows = Rows.stack([b.rows for b in self.blocks])
        self._white = white_covariance(model.hyperparameters)
        self._mixed = white_covariance(model.hyperparameters, labels=(True, False))
        self._latent = white_covariance(model.hyperparameters, labels=(False, False))
        cross = model.covariance(model.observations.rows, self.rows)
        self._add_shared_with_data(cross)
        self.mean = (cross.mT @ model.weights).squeeze(-1)
        self._v = model.whiten(cross)
        self._kept: dict[int, Tensor] = {}

    def noise(self, block: int) -> Float[Tensor, " r"]:
        """Variance of the misfit of the label's own level."""
        level = self._level(block)
        own = self._white[level, level] - self._latent[level, level]
        return white_rows(own, self.blocks[block])

    def covariance(self, block: int) -> Float[Tensor, "r r"]:
        """Posterior covariance of the latent values within a block."""
        if block not in self._kept:
            self._kept[block] = self._covariance(block)
        return self._kept[block]

    def _covariance(self, block: int) -> Float[Tensor, "r r"]:
        part = self.blocks[block]
        v = self._v[:, self.slices[block]]
        level = self._level(block)
        inherited = white_rows(self._latent[level, level], part)
        return self.model.covariance(part.rows, part.rows) - v.mT @ v + inherited.diag()

    def cross(self, blocks: Sequence[int]) -> Float[Tensor, "r n"]:
        """Posterior covariance of the rows of some blocks with those of all blocks."""
        left = Rows.stack([self.blocks[b].rows for b in blocks])
        v = torch.cat([self._v[:, self.slices[b]] for b in blocks], dim=1)
        covariance = self.model.covariance(left, self.rows) - v.mT @ self._v
        start = 0
        for b in blocks:
            for other in self._same_structure(b):
                i, j = matching_rows(
                    self.blocks[b].quantity, self.blocks[other].quantity
                )
                shared = self._latent[self._level(b), self._level(other)]
                covariance[start + i, self.slices[other].start + j] += white_rows(
                    shared, self.blocks[b]
                )[i]
            start += len(self.blocks[b].rows)
        return covariance

    def _level(self, block: int) -> int:
        return int(self.blocks[block].rows.level[0])

    def _same_structure(self, block: int) -> list[int]:
        structure = self.entries[block].structure
        return [block] if structure is None else self._by_structure[structure]

    @cached_property
    def _by_structure(self) -> dict[int, list[int]]:
        found: dict[int, list[int]] = {}
        for i, entry in enumerate(self.entries):
            if entry.structure is not None:
                found.setdefault(entry.structure, []).append(i)
        return found

    def _add_shared_with_data(self, cross: Tensor) -> None:
        data = self.model.observations
        for k, structure in enumerate(data.structure):
            for block in self._by_structure.get(structure, []):
                i, j = matching_rows(
                    data.block_quantity(k), self.blocks[block].quantity
                )
                shared = self._mixed[data.level[k], self._level(block)]
                cross[data.rows.starts[k] + i, self.slices[block].start + j] += (
                    white_rows(shared, self.blocks[block])[j]
                )
