r"""Information of labels of a large pool, whose Gaussian is an r x r matrix.

With the rows Y of a label in the r directions of the pool (`mfal.models.reduced_pool`)
and the covariance S of these directions given the picks (1 at first),

.. math:: Σ_c = Y S Y^T, \qquad S \leftarrow S - S Y^T (Y S Y^T + N)^{-1} Y S

for every pick: memory and time do not grow with the pool, and no label is held.
"""

from collections.abc import Sequence

import torch
from jaxtyping import Float
from torch import Tensor

from mfal.acquisition.pool import PoolAcquisition
from mfal.models.posterior import log_det
from mfal.models.reduced_pool import ReducedPool

_TARGETS = 64
"""Targets that are conditioned on at once."""


class ReducedGaussian:
    """The covariance of the r directions given the picks (a `PickState`)."""

    def __init__(self, pool: ReducedPool) -> None:
        self.pool = pool
        self.start = torch.eye(pool.rank, dtype=torch.float64)
        self.covariance = self.start
        self.picked: list[int] = []

    def below(self, block: int, picked: Sequence[int]) -> int:
        """The level known below a block: by the data, or by one of these picks."""
        entry = self.pool.entries[block]
        found = [self.pool.entries[b] for b in picked]
        lower = [
            e.level
            for e in found
            if e.structure == entry.structure and e.level < entry.level
        ]
        return max([entry.below, *lower])

    def above(self, block: int) -> list[int]:
        """Picked labels of the structure of a block at higher levels, lowest first."""
        entry = self.pool.entries[block]
        found = [
            b
            for b in self.picked
            if self.pool.entries[b].structure == entry.structure
            and self.pool.entries[b].level > entry.level
        ]
        return sorted(found, key=lambda b: self.pool.entries[b].level)

    def condition_on(self, block: int) -> None:
        """Takes a label as bought."""
        upper = self.above(block)
        self.covariance = self._with(self._without(upper), [block, *upper])
        self.picked.append(block)

    def keep(self, n_picks: int) -> None:
        """Takes back all picks but the first ones."""
        kept = self.picked[:n_picks]
        self.picked, self.covariance = [], self.start
        for block in kept:
            self.condition_on(block)

    def know(self, y: Float[Tensor, "c r"], noise: Float[Tensor, " c"]) -> None:
        """Takes rows as known from the start, for good; before any pick."""
        precision = torch.linalg.inv(self.start) + y.mT @ (y / noise.unsqueeze(1))
        self.start = torch.cholesky_inverse(torch.linalg.cholesky(precision))
        self.covariance = self.start

    def late_gain(self, block: int) -> float:
        """What a label tells after higher ones of its structure, by the chain rule.

        I(low | high) = I(low, high) - I(high): the higher ones are taken out, and put
        back above the new one.
        """
        upper = self.above(block)
        without = self._without(upper)
        return self._chain(without, [block, *upper]) - self._chain(without, upper)

    def _rows(self, block: int, below: int) -> tuple[Tensor, Tensor]:
        ((_, y, noise),) = self.pool.rows([block], [below])
        return y[0], noise[0]

    def _without(self, blocks: Sequence[int]) -> Float[Tensor, "r r"]:
        """The covariance if these picks had not been made: S^-1 - Y^T N^-1 Y inverted."""
        covariance = self.covariance
        for block in blocks:
            y, noise = self._rows(block, self.below(block, self.picked))
            covariance = -_given(-covariance, y, noise)
        return covariance

    def _with(
        self, covariance: Float[Tensor, "r r"], blocks: Sequence[int]
    ) -> Float[Tensor, "r r"]:
        """The covariance given these labels, each above the one before it."""
        known = [*self.picked]
        for block in blocks:
            known.append(block)
            covariance = _given(
                covariance, *self._rows(block, self.below(block, known))
            )
        return covariance

    def _chain(self, covariance: Float[Tensor, "r r"], blocks: Sequence[int]) -> float:
        """The information of these labels, each above the one before it."""
        total, known = 0.0, [b for b in self.picked if b not in blocks]
        for k, block in enumerate(blocks):
            below = self.below(block, [*known, *blocks[:k]])
            y, noise = self._rows(block, below)
            total += float(_information(y[None], noise[None], covariance)[0])
            total += _of_misfits(self.pool, block, below)
            covariance = _given(covariance, y, noise)
        return total


def gains(
    states: Sequence[ReducedGaussian], blocks: Sequence[int]
) -> Float[Tensor, "s b"]:
    r"""I(y; f) of each label in each state, with the same picks; rows are read once.

    .. math:: I(y; f) = 1/2 [\log\det(Y S Y^T + N) - \log\det N_0]

    N_0 is the noise of the label's own level, N that with the misfits it inherits.
    """
    first = states[0]
    pool = first.pool
    found = torch.zeros(len(states), len(blocks), dtype=torch.float64)
    structures = {pool.entries[b].structure for b in first.picked}
    late = {
        k
        for k, b in enumerate(blocks)
        if pool.entries[b].structure in structures and first.above(b)
    }
    for k in late:
        for s, state in enumerate(states):
            found[s, k] = state.late_gain(blocks[k])
    plain = [k for k in range(len(blocks)) if k not in late]
    some = [blocks[k] for k in plain]
    below = [
        first.below(b, first.picked)
        if pool.entries[b].structure in structures
        else pool.entries[b].below
        for b in some
    ]
    for places, y, noise in pool.rows(some, below):
        at = torch.tensor([plain[p] for p in places])
        misfits = torch.tensor([_of_misfits(pool, some[p], below[p]) for p in places])
        for s, state in enumerate(states):
            found[s, at] = _information(y, noise, state.covariance) + misfits
    return found


class ReducedParameterInformation(PoolAcquisition):
    """`ParameterInformation` of a label of a large pool, in nats (see `gains`).

    Source: Lindley (1956); Houlsby et al. (2011), arXiv:1112.5745, for a GP.
    """

    diminishing = submodular = True

    def __init__(self, pool: ReducedPool) -> None:
        self._given = given = ReducedGaussian(pool)
        super().__init__(len(pool), [given])

    def value(self, blocks: Sequence[int]) -> float:
        """The information of the labels together: each given those before it."""
        return _joint(self, blocks)

    def values(self, blocks: Sequence[int]) -> Float[Tensor, " b"]:
        """The information of each label by itself."""
        return gains([self._given], blocks)[0]


class ReducedTargetInformation(PoolAcquisition):
    r"""`TargetInformation` of a label of a large pool, in nats.

    .. math:: I(y_c; f_T) = 1/2 [\log\det(Y S Y^T + N) - \log\det(Y S_T Y^T + N)]

    S_T is S given the rows of the targets, blocks of the pool, known up to `tolerance`
    (a variance per row of theirs) and the misfits they inherit.

    Source: Cover & Thomas (2006), eq. 8.48.

    Raises:
        ValueError: no targets, or a tolerance that is not a positive variance per row.
    """

    def __init__(
        self, pool: ReducedPool, targets: Sequence[int], tolerance: Float[Tensor, " t"]
    ) -> None:
        n_rows = sum(len(pool.quantity(t)) for t in targets)
        if not targets or len(tolerance) != n_rows or not (tolerance > 0).all():
            raise ValueError(
                "target information needs targets and a tolerance, a positive variance "
                f"for each of their {n_rows} rows, got {len(targets)} targets and "
                f"{len(tolerance)} values"
            )
        self._given, self._known = given, known = (
            ReducedGaussian(pool),
            ReducedGaussian(pool),
        )
        super().__init__(len(pool), [given, known])
        stops = (
            torch.tensor([len(pool.quantity(t)) for t in targets]).cumsum(0).tolist()
        )
        parts = dict(zip(targets, tolerance.tensor_split(stops[:-1]), strict=True))
        for begin in range(0, len(targets), _TARGETS):
            some = list(targets[begin : begin + _TARGETS])
            below = [pool.entries[t].below for t in some]
            for places, y, _ in pool.rows(some, below):
                wanted = [
                    parts[some[p]] + pool.inherited(some[p], below[p]) for p in places
                ]
                known.know(y.flatten(0, 1), torch.cat(wanted))

    def value(self, blocks: Sequence[int]) -> float:
        """The information of the labels together: each given those before it."""
        return _joint(self, blocks)

    def values(self, blocks: Sequence[int]) -> Float[Tensor, " b"]:
        """The information of each label by itself."""
        without, given = gains([self._given, self._known], blocks)
        return without - given


class AssumedDiminishing(PoolAcquisition):
    """Another acquisition function, evaluated lazily as if its values only fell.

    For criteria of which that is nearly true, such as target information, on pools too
    large to work out every value after every pick. The batch can differ from that of
    plain greedy choice, and no certificate is given.
    """

    diminishing = True

    def __init__(self, acquisition: PoolAcquisition) -> None:
        super().__init__(acquisition.n_blocks, [acquisition])
        self.acquisition = acquisition

    def value(self, blocks: Sequence[int]) -> float:
        """That of the acquisition function."""
        return self.acquisition.value(blocks)

    def values(self, blocks: Sequence[int]) -> Float[Tensor, " b"]:
        """Those of the acquisition function."""
        return self.acquisition.values(blocks)


def _information(
    y: Float[Tensor, "b c r"],
    noise: Float[Tensor, "b c"],
    covariance: Float[Tensor, "r r"],
) -> Float[Tensor, " b"]:
    """1/2 log det(1 + N^-1/2 Y S Y^T N^-1/2), the smaller of the two determinants."""
    white = y / noise.sqrt().unsqueeze(-1)
    if y.shape[-2] <= y.shape[-1]:
        inner = white @ covariance @ white.mT
    else:
        root = torch.linalg.cholesky(covariance)
        inner = root.mT @ (white.mT @ white) @ root
    one = torch.eye(inner.shape[-1], dtype=inner.dtype)
    return 0.5 * log_det(0.5 * (inner + inner.mT) + one)


def _given(
    covariance: Float[Tensor, "r r"],
    y: Float[Tensor, "c r"],
    noise: Float[Tensor, " c"],
) -> Float[Tensor, "r r"]:
    """S - S Y^T (Y S Y^T + N)^-1 Y S; of -S it is that of -S' without the label."""
    cross = y @ covariance
    factor = torch.linalg.cholesky(cross @ y.mT + noise.diag())
    half = torch.linalg.solve_triangular(factor, cross, upper=False)
    return covariance - half.mT @ half


def _of_misfits(pool: ReducedPool, block: int, below: int) -> float:
    """1/2 log det N / N_0: what a label tells of the misfits that it inherits."""
    share = pool.inherited(block, below) / pool.noise(block, below)
    return float(-0.5 * torch.log1p(-share).sum())


def _joint(acquisition: PoolAcquisition, blocks: Sequence[int]) -> float:
    """The chain rule: each label given the picks and those before it."""
    if len(blocks) == 1:
        return float(acquisition.values(blocks)[0])
    n_picks, total = len(acquisition.picked), 0.0
    for k, block in enumerate(blocks):
        total += float(acquisition.values([block])[0])
        if k < len(blocks) - 1:
            acquisition.condition_on(block)
    acquisition.keep(n_picks)
    return total
