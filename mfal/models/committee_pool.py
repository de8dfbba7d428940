r"""A committee's joint posterior of a pool of labels that could be asked for.

With the deviations D (K x n) of the members from their mean, all rows of the pool side by
side, the covariance of the latent values is D^T D / (K - 1): of rank K - 1, whatever the
number of rows.
"""

from collections.abc import Mapping, Sequence

import numpy as np
import torch
from jaxtyping import Float, Int
from torch import Tensor

from mfal.data import QUANTITIES
from mfal.models.committee import Committee
from mfal.models.pool import PoolEntry


class CommitteePool:
    """`mfal.models.posterior.LabelPool` of a committee.

    `noise` holds the standard deviation of the noise of a label per quantity: of
    energies per sqrt(atom) (eV), of forces (eV/A), of stresses (eV/A^3). The level of an
    entry is a name only: a committee speaks at one level.

    Raises:
        ValueError: no entries, a quantity that a member does not give, or a noise that
            is missing or not positive.
    """

    def __init__(
        self,
        committee: Committee,
        entries: Sequence[PoolEntry],
        *,
        noise: Mapping[str, float],
    ) -> None:
        self.entries = tuple(entries)
        asked = {q for e in self.entries for q in e.quantities}
        wrong = [q for q in sorted(asked) if not noise.get(q, 0.0) > 0]
        if wrong or not asked:
            raise ValueError(
                "a pool has entries, and a positive noise (standard deviation) for each "
                f"quantity of theirs; got {dict(noise)} for "
                f"{', '.join(sorted(asked)) or 'no entries'}"
            )
        self._noise = {q: float(s) for q, s in noise.items()}
        self._quantity: list[Int[Tensor, " r"]] = []
        self.predictions: list[Float[Tensor, "k r"]] = []
        self.slices: list[slice] = []
        begin = 0
        for entry in self.entries:
            rows, quantity = _rows(committee, entry)
            self.predictions.append(rows)
            self._quantity.append(quantity)
            self.slices.append(slice(begin, begin + len(quantity)))
            begin += len(quantity)
        every = torch.cat(self.predictions, dim=1)
        self.mean = every.mean(0)
        factor = torch.tensor(
            [committee.recalibration.on_sigma(q) for q in QUANTITIES],
            dtype=torch.float64,
        )[torch.cat(self._quantity)]
        self._v = factor * (every - self.mean) / (len(every) - 1) ** 0.5

    def noise(self, block: int) -> Float[Tensor, " r"]:
        """Variance of the noise of each row of a block's label."""
        quantity = self._quantity[block]
        sigma = torch.tensor(
            [self._noise.get(q, 0.0) for q in QUANTITIES], dtype=torch.float64
        )
        variance = sigma.square()[quantity]
        return torch.where(quantity == 0, variance * self.n_atoms(block), variance)

    def covariance(self, block: int) -> Float[Tensor, "r r"]:
        """Covariance of the latent values within a block."""
        v = self._v[:, self.slices[block]]
        return v.mT @ v

    def cross(self, blocks: Sequence[int]) -> Float[Tensor, "r n"]:
        """Covariance of the rows of some blocks with those of all blocks."""
        v = torch.cat([self._v[:, self.slices[b]] for b in blocks], dim=1)
        return v.mT @ self._v

    def quantity(self, block: int) -> Int[Tensor, " r"]:
        """The quantity of each row of a block: 0 energy, 1 forces, 2 stress."""
        return self._quantity[block]

    def n_atoms(self, block: int) -> int:
        """Number of atoms of a block's structure."""
        return len(self.entries[block].atoms)

    def force_basis(self, block: int) -> Float[Tensor, "c c"]:
        """The identity: the rows of forces are Cartesian."""
        n = int((self._quantity[block] == 1).sum())
        return torch.eye(n, dtype=torch.float64)


def _rows(
    committee: Committee, entry: PoolEntry
) -> tuple[Float[Tensor, "k r"], Int[Tensor, " r"]]:
    """The rows of a label as each member predicts them, and their quantities."""
    members = committee.predictions(entry.atoms)
    values, quantities = [], []
    for number, name in enumerate(QUANTITIES):
        if name not in entry.quantities:
            continue
        found = [getattr(m, name) for m in members]
        if any(f is None for f in found):
            raise ValueError(
                f"not every member gives the {name} of this structure: leave it out of "
                "the quantities of the pool"
            )
        rows = torch.from_numpy(np.array(found, dtype=float))
        values.append(rows.reshape(len(members), -1))
        quantities.append(torch.full((values[-1].shape[1],), number))
    return torch.cat(values, dim=1), torch.cat(quantities)
