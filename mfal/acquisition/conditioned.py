r"""A pool's Gaussian given labels whose values are not known yet.

The variance of a Gaussian does not need the values, so picks and pending labels are
exact. With the rows P of all labels known so far,

.. math:: Σ | P = Σ - U^T U, \quad U = M^{-1} Σ(P, pool),

M the Cholesky factor of the covariance of the labels P (noise included). One more label
appends its rows to U, an update of low rank in place of a fit; the last ones are taken
back by cutting U.

Source: Rasmussen & Williams (2006), eq. A.6, block by block.
"""

from collections.abc import Iterator, Sequence

import torch
from jaxtyping import Float, Int
from torch import Tensor

from mfal.models.posterior import PoolPosterior

_ELEMENTS = 2**22
"""Numbers that are gathered at once when many labels are looked at (32 MB)."""


class ConditionedPool:
    """The joint Gaussian of a pool given the picks (a `PickState`).

    `known` are blocks whose labels are taken as known from the start, for good.
    """

    def __init__(self, posterior: PoolPosterior, known: Sequence[int] = ()) -> None:
        self.posterior = posterior
        n_rows = posterior.slices[-1].stop
        self.updates = torch.zeros(0, n_rows, dtype=torch.float64)
        if known:
            self.observe(known, self.noise(known))
        self._stops = [len(self.updates)]

    def observe(self, blocks: Sequence[int], noise: Float[Tensor, " r"]) -> None:
        """Conditions on the rows of some blocks, seen with this noise, for good."""
        columns = self.columns(blocks)
        given = self.updates
        cross = self.posterior.cross(blocks) - given[:, columns].mT @ given
        factor = torch.linalg.cholesky(cross[:, columns] + noise.diag())
        update = torch.linalg.solve_triangular(factor, cross, upper=False)
        self.updates = torch.cat([given, update])
        self._stops = [len(self.updates)]

    def condition_on(self, block: int) -> None:
        """Takes a label as bought (or running)."""
        stops = self._stops
        self.observe([block], self.posterior.noise(block))
        self._stops = [*stops, len(self.updates)]

    def keep(self, n_picks: int) -> None:
        """Takes back all picks but the first ones."""
        del self._stops[n_picks + 1 :]
        self.updates = self.updates[: self._stops[-1]]

    def columns(self, blocks: Sequence[int]) -> Int[Tensor, " r"]:
        """Where the rows of some blocks stand among all rows."""
        slices = [self.posterior.slices[b] for b in blocks]
        return torch.cat([torch.arange(s.start, s.stop) for s in slices])

    def noise(self, blocks: Sequence[int]) -> Float[Tensor, " r"]:
        """Noise variance of several blocks' labels, one after the other."""
        return torch.cat([self.posterior.noise(b) for b in blocks])

    def covariance(self, blocks: Sequence[int]) -> Float[Tensor, "r r"]:
        """Covariance of the latent values of several blocks together."""
        columns = self.columns(blocks)
        update = self.updates[:, columns]
        prior = (
            self.posterior.covariance(blocks[0])
            if len(blocks) == 1
            else self.posterior.cross(blocks)[:, columns]
        )
        return prior - update.mT @ update

    def labels(self, blocks: Sequence[int]) -> Float[Tensor, "r r"]:
        """Covariance of the labels of several blocks together, noise included."""
        return self.covariance(blocks) + self.noise(blocks).diag()

    def single_covariances(
        self, blocks: Sequence[int], n_beside: int = 0
    ) -> Iterator[tuple[list[int], Float[Tensor, "b r r"]]]:
        """`covariance` of each block, in stacks of equal size.

        With each stack come the places of its blocks in `blocks`. A stack is so small
        that its user can hold `n_beside` numbers for each of its rows.
        """
        update = self.updates
        n_more = len(update) + n_beside
        for places in _stacks([self.n_rows(b) for b in blocks], n_more):
            some = [blocks[p] for p in places]
            prior = torch.stack([self.posterior.covariance(b) for b in some])
            if len(update):
                given = update[:, self.columns(some)]
                given = given.reshape(len(update), len(some), -1).transpose(0, 1)
                prior = prior - given.mT @ given
            yield places, prior

    def single_labels(
        self, blocks: Sequence[int], n_beside: int = 0
    ) -> Iterator[tuple[list[int], Float[Tensor, "b r r"]]]:
        """`labels` of each block, in stacks of equal size."""
        for places, latent in self.single_covariances(blocks, n_beside):
            noise = torch.stack([self.posterior.noise(blocks[p]) for p in places])
            yield places, latent + noise.diag_embed()

    def n_rows(self, block: int) -> int:
        """Number of rows of a block."""
        where = self.posterior.slices[block]
        return where.stop - where.start


class TargetCovariance:
    """Covariance of targets with the whole pool, given the picks (a `PickState`).

    Follows a `ConditionedPool`, and is updated after it: by the rows that were added.
    """

    def __init__(self, given: ConditionedPool, targets: Sequence[int]) -> None:
        self.given = given
        self.rows = given.columns(targets)
        self._prior = given.posterior.cross(targets)
        self.cross, self._n_done = self._anew()

    def condition_on(self, block: int) -> None:
        """Takes off what the rows of the label explain."""
        del block  # the pool knows it by now
        new = self.given.updates[self._n_done :]
        self.cross = self.cross - new[:, self.rows].mT @ new
        self._n_done = len(self.given.updates)

    def keep(self, n_picks: int) -> None:
        """Starts again from the picks that are left."""
        del n_picks
        self.cross, self._n_done = self._anew()

    def of(self, blocks: Sequence[int]) -> Float[Tensor, "b t r"]:
        """Covariance of the targets with each of some blocks of equal size."""
        columns = self.cross[:, self.given.columns(blocks)]
        return columns.reshape(len(self.rows), len(blocks), -1).transpose(0, 1)

    def _anew(self) -> tuple[Float[Tensor, "t n"], int]:
        updates = self.given.updates
        return self._prior - updates[:, self.rows].mT @ updates, len(updates)


def _stacks(sizes: Sequence[int], n_more: int) -> Iterator[list[int]]:
    """Places of equal sizes r, so many at once that r (r + n_more) each fit."""
    by_size: dict[int, list[int]] = {}
    for place, size in enumerate(sizes):
        by_size.setdefault(size, []).append(place)
    for size, places in by_size.items():
        at_once = max(1, _ELEMENTS // (size * (size + n_more)))
        for begin in range(0, len(places), at_once):
            yield places[begin : begin + at_once]
