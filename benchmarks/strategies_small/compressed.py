r"""A pool whose labels are r rows each, however many atoms they have.

In the r directions of a `ReducedPool` a label of rows Y and noise N tells what R tells
with unit noise, where R^T R = Y^T N^-1 Y; and the weighted variance of all targets,
\sum_t w_t y_t S y_t^T, is that of the rows of A with A^T A = \sum_t w_t y_t^T y_t.
So the integrated variance of hundreds of force rows is that of r rows.

Labels of one structure are taken as if their misfits were not shared within a batch.
"""

from collections.abc import Sequence

import torch
from jaxtyping import Float
from torch import Tensor

from mfal.models.reduced_pool import ReducedPool


class CompressedPool:
    """`mfal.models.posterior.PoolPosterior` of labels, with the targets as last block."""

    def __init__(
        self, pool: ReducedPool, blocks: Sequence[int], targets: Float[Tensor, "r r"]
    ) -> None:
        r = pool.rank
        found = torch.zeros(len(blocks) + 1, r, r, dtype=torch.float64)
        below = [pool.entries[b].below for b in blocks]
        for places, y, noise in pool.rows(list(blocks), below):
            white = y / noise.sqrt().unsqueeze(-1)
            found[places] = _roots(white.mT @ white)
        found[-1] = targets
        self._rows = found.reshape(-1, r)
        self.slices = [slice(i * r, (i + 1) * r) for i in range(len(found))]
        self._noise = torch.ones(r, dtype=torch.float64)

    def noise(self, block: int) -> Float[Tensor, " r"]:
        """One for all rows."""
        del block
        return self._noise

    def covariance(self, block: int) -> Float[Tensor, "r r"]:
        """Covariance within a block."""
        rows = self._rows[self.slices[block]]
        return rows @ rows.mT

    def cross(self, blocks: Sequence[int]) -> Float[Tensor, "r n"]:
        """Covariance of some blocks with all."""
        some = torch.cat([self._rows[self.slices[b]] for b in blocks])
        return some @ self._rows.mT


def compressed_targets(
    pool: ReducedPool, targets: Sequence[int], weights: Float[Tensor, " t"]
) -> Float[Tensor, "r r"]:
    """A with A^T A = sum_t w_t y_t^T y_t over all rows of the targets."""
    sizes = [len(pool.quantity(t)) for t in targets]
    parts = weights.split(sizes)
    total = torch.zeros(pool.rank, pool.rank, dtype=torch.float64)
    below = [pool.entries[t].below for t in targets]
    for places, y, _ in pool.rows(list(targets), below):
        for place, one in zip(places, y, strict=True):
            total += one.mT @ (parts[place].unsqueeze(1) * one)
    return _roots(total)


def _roots(gram: Float[Tensor, "*b r r"]) -> Float[Tensor, "*b r r"]:
    """R with R^T R = gram, from its eigenvectors."""
    values, vectors = torch.linalg.eigh(gram)
    return values.clamp_min(0.0).sqrt().unsqueeze(-1) * vectors.mT
