"""The exact model's joint posterior of a pool of labels that could be asked for."""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

import torch
from ase import Atoms
from jaxtyping import Float, Int
from torch import Tensor

from mfal.data import structure_key
from mfal.kernels import Rows
from mfal.models.exact import ExactPotential
from mfal.models.memory import check_memory
from mfal.models.noise import white_covariance, white_rows
from mfal.models.observations import StructureRows, matching_rows


@dataclass(frozen=True)
class PoolEntry:
    """A label that could be asked for: `quantities` of `atoms` at `level`, together.

    Its rows are those of energy (1) and forces (3 per atom), in this order, as far as
    they are asked for. `structure` is the position of the structure in the data set
    that the model was fitted to, if it is there: its labels at other levels share the
    misfit of the levels below (`mfal.models.noise`).
    """

    atoms: Atoms
    level: str
    quantities: tuple[str, ...] = ("energy", "forces")
    structure: int | None = None

    @cached_property
    def key(self) -> tuple[str, str, tuple[str, ...], bool]:
        """What makes two entries the same label, whatever the data set."""
        known = self.structure is not None
        return structure_key(self.atoms), self.level, self.quantities, known


class ExactPool:
    """`mfal.models.posterior.LabelPool` of an `ExactPotential`.

    Labels of one structure share the misfits of the levels below (`mfal.models.noise`),
    with each other and with the data: `cross` and `noise` together are the covariance
    of labels, whatever the levels.

    Keeps V = L^-1 K(data, pool), so memory is data rows x pool rows. From a pool to
    `reuse`, made for the model before, what belongs to unchanged levels is taken over:
    there the columns of an entry only scale with the rho above those levels.

    Raises:
        TooLargeError: if V would not fit into memory.
    """

    def __init__(
        self,
        model: ExactPotential,
        entries: Sequence[PoolEntry],
        *,
        reuse: "ExactPool | None" = None,
    ) -> None:
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
            matrices=3.0,
        )
        self.rows = Rows.stack([b.rows for b in self.blocks])
        self._white = white_covariance(model.hyperparameters)
        self._latent = white_covariance(model.hyperparameters, labels=(False, False))
        known = None if reuse is None else self._known_columns(reuse)
        self._v = self._columns(0, None) if known is None else self._columns(*known)
        self.mean = self._v.mT @ model.white_values
        self._kept: dict[int, Tensor] = {}

    def noise(self, block: int) -> Float[Tensor, " r"]:
        """Variance of the misfit of the label's own level."""
        level = self._level(block)
        own = self._white[level, level] - self._latent[level, level]
        return white_rows(own, self.blocks[block])

    def quantity(self, block: int) -> Int[Tensor, " r"]:
        """The quantity of each row of a block: 0 energy, 1 forces."""
        return self.blocks[block].quantity

    def n_atoms(self, block: int) -> int:
        """Number of atoms of a block's structure."""
        return self.blocks[block].n_atoms

    def force_basis(self, block: int) -> Float[Tensor, "c k"]:
        """U of the Cartesian forces F = U f, f the rows of forces of a block."""
        return self.blocks[block].basis

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
                shared = self._shared(self._level(b), self._level(other))
                covariance[start + i, self.slices[other].start + j] += white_rows(
                    shared, self.blocks[b]
                )[i]
            start += len(self.blocks[b].rows)
        return covariance

    def _shared(self, left: int, right: int) -> Float[Tensor, " 3"]:
        """What the misfits add to the covariance of two labels of one structure.

        Two levels share the misfit of the lower one, which is its `noise`: it is no
        noise to the level above. At one level the misfit of that level is left out.
        """
        return (self._latent if left == right else self._white)[left, right]

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

    def _columns(self, first: int, done: Tensor | None) -> Tensor:
        """V, given its rows that belong to the labels before the `first`."""
        model, data = self.model, self.model.observations
        labels = range(first, len(data.structure))
        if not labels:
            assert done is not None  # a model has labels
            return done
        rows = data.rows if first == 0 else data.rows.environments(labels)
        cross = model.covariance(rows, self.rows)
        offset = data.rows.starts[first]
        for k in labels:
            for block in self._by_structure.get(data.structure[k], []):
                i, j = matching_rows(
                    data.block_quantity(k), self.blocks[block].quantity
                )
                shared = self._shared(data.level[k], self._level(block))
                cross[
                    data.rows.starts[k] - offset + i, self.slices[block].start + j
                ] += white_rows(shared, self.blocks[block])[j]
        return model.whiten(cross) if done is None else model.whiten_on(done, cross)

    def _known_columns(self, before: "ExactPool") -> tuple[int, Tensor] | None:
        """The first label whose rows of V are new, and the rows above it, if known.

        For entries above the unchanged levels, cov(label, entry) is proportional to the
        product of the rho above those levels.
        """
        n, data = self.model.rows_in_common(before.model), self.model.observations
        if not n:
            return None
        where = {e.key: k for k, e in enumerate(before.entries)}
        first = data.rows.starts.index(n)
        unchanged = data.level[first - 1]
        columns = []
        for entry in self.entries:
            k = where.get(entry.key)
            level = self.model.level_index(entry.level)
            if k is None or level <= unchanged:
                return None
            rho = [
                m.hyperparameters.rho[unchanged:level].prod()
                for m in (self.model, before.model)
            ]
            if not rho[1].abs() > 0.05:  # no digits are left to scale back
                return None
            columns.append(before._v[:n, before.slices[k]] * (rho[0] / rho[1]))
        return first, torch.cat(columns, dim=1)
