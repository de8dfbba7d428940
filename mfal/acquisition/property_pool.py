"""A pool with a block for each property, so that labels can be bought for its sake."""

from collections.abc import Sequence
from typing import Protocol, runtime_checkable

import torch
from ase import Atoms
from jaxtyping import Float, Int
from torch import Tensor

from mfal.acquisition.properties import Property, PropertyTerm
from mfal.data import QUANTITIES, structure_key
from mfal.models.observations import FORCES
from mfal.models.pool import PoolEntry
from mfal.models.posterior import LabelPool


def property_entries(properties: Sequence[Property], level: str) -> list[PoolEntry]:
    """The blocks that a pool must hold for these properties, each structure once.

    Each asks for the quantities that some term needs, in the order energy, forces,
    stress; `WithProperties` finds them among the blocks of the pool.
    """
    found: dict[str, tuple[Atoms, set[str]]] = {}
    for one in properties:
        for term in one.terms:
            key = structure_key(term.atoms)
            found.setdefault(key, (term.atoms, set()))[1].add(term.quantity)
    return [
        PoolEntry(atoms, level, tuple(q for q in QUANTITIES if q in names))
        for atoms, names in found.values()
    ]


@runtime_checkable
class EntryPool(LabelPool, Protocol):
    """A pool that knows which label each block stands for."""

    @property
    def entries(self) -> tuple[PoolEntry, ...]: ...


class WithProperties:
    """A pool with one block more for each property: a linear combination of its rows.

    The pool holds the blocks of `property_entries` at the `level`, beside the
    candidates; it may be that of any engine. `property_blocks` are the blocks to name as
    targets: `TargetInformation(pool, pool.property_blocks, tolerance)` buys the labels
    that sharpen the properties, tolerance in the square of their units.

    Raises:
        ValueError: a structure of a property that the pool does not hold.
    """

    def __init__(
        self, pool: EntryPool, properties: Sequence[Property], level: str
    ) -> None:
        self.pool, self.properties = pool, tuple(properties)
        n_blocks, n_rows = len(pool.slices), pool.slices[-1].stop
        blocks: dict[str, list[int]] = {}
        for i, entry in enumerate(pool.entries):
            if entry.level == level:
                blocks.setdefault(structure_key(entry.atoms), []).append(i)
        self.property_blocks = range(n_blocks, n_blocks + len(self.properties))
        self.slices = [
            *pool.slices,
            *(slice(n_rows + i, n_rows + i + 1) for i in range(len(self.properties))),
        ]
        self._cross = torch.stack(
            [self._covariance_with_pool(one, blocks) for one in self.properties]
        )
        among = [self._combined(one, blocks, self._cross) for one in self.properties]
        self._among = torch.stack(among)

    def noise(self, block: int) -> Float[Tensor, " r"]:
        """Variance of the noise of each row of a block's label.

        Raises:
            ValueError: a property, which is no label.
        """
        if block in self.property_blocks:
            name = self.properties[block - self.property_blocks.start].name
            raise ValueError(
                f"the property {name!r} is no label and has no noise: name it as a "
                "target, and keep it out of the candidates"
            )
        return self.pool.noise(block)

    def covariance(self, block: int) -> Float[Tensor, "r r"]:
        """Posterior covariance of the latent values within a block."""
        if block in self.property_blocks:
            i = block - self.property_blocks.start
            return self._among[i, i].reshape(1, 1)
        return self.pool.covariance(block)

    def cross(self, blocks: Sequence[int]) -> Float[Tensor, "r n"]:
        """Posterior covariance of the rows of some blocks with those of all blocks."""
        parts = []
        for b in blocks:
            if b in self.property_blocks:
                i = b - self.property_blocks.start
                parts.append(torch.cat([self._cross[i], self._among[i]]).unsqueeze(0))
            else:
                own = self._cross[:, self.slices[b]].mT
                parts.append(torch.cat([self.pool.cross([b]), own], dim=1))
        return torch.cat(parts)

    def quantity(self, block: int) -> Int[Tensor, " r"]:
        """The quantity of each row of a label."""
        return self.pool.quantity(block)

    def n_atoms(self, block: int) -> int:
        """Number of atoms of a label's structure."""
        return self.pool.n_atoms(block)

    def force_basis(self, block: int) -> Float[Tensor, "c k"]:
        """U of the Cartesian forces F = U f, f the rows of forces of a label."""
        return self.pool.force_basis(block)

    def _covariance_with_pool(
        self, one: Property, blocks: dict[str, list[int]]
    ) -> Float[Tensor, " n"]:
        total = torch.zeros(self.pool.slices[-1].stop, dtype=torch.float64)
        for term in one.terms:
            block = self._block(one, term, blocks)
            total = total + self._weights(term, block) @ self.pool.cross([block])
        return total

    def _combined(
        self, one: Property, blocks: dict[str, list[int]], rows: Float[Tensor, "p n"]
    ) -> Float[Tensor, " p"]:
        """The property's combination of the columns of some rows."""
        total = rows.new_zeros(len(rows))
        for term in one.terms:
            block = self._block(one, term, blocks)
            total = total + rows[:, self.slices[block]] @ self._weights(term, block)
        return total

    def _weights(self, term: PropertyTerm, block: int) -> Float[Tensor, " r"]:
        """The weights of a term, on the rows of its block."""
        index = QUANTITIES.index(term.quantity)
        rows = self.pool.quantity(block) == index
        weights = torch.tensor(term.weights)
        if index == FORCES:
            weights = self.pool.force_basis(block).mT @ weights
        full = torch.zeros(len(rows), dtype=torch.float64)
        full[rows] = weights
        return full

    def _block(
        self, one: Property, term: PropertyTerm, blocks: dict[str, list[int]]
    ) -> int:
        for block in reversed(blocks.get(structure_key(term.atoms), [])):
            if term.quantity in self.pool.entries[block].quantities:
                return block
        raise ValueError(
            f"the pool does not hold the {term.quantity} of "
            f"{term.atoms.get_chemical_formula()} that the property {one.name!r} is made "
            "of: add `property_entries(properties, level)` to its entries"
        )
