r"""Information of labels of a large pool, whose Gaussian is an r x r matrix.

With the rows Y of a label in the r directions of the pool (`mfal.models.reduced_pool`)
and the covariance S of these directions given the picks (1 at first),

.. math:: Σ_c = Y S Y^T, \qquad S \leftarrow S - S Y^T (Y S Y^T + N)^{-1} Y S

for every pick: memory and time do not grow with the pool, and no label is held.

What is known of the targets adds X = Y_T^T N_T^{-1} Y_T to the inverse of S, whatever is
picked. In the basis Q with S = Q Q^T that makes Q^T X Q = diag(μ), and with V = Y Q,

.. math:: Y S Y^T = V V^T, \qquad Y S_T Y^T = V (1 + μ)^{-1} V^T:

rows are made in Q at once, and one V serves for both.
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
        self.told = torch.zeros_like(self.start)
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
        told = y.mT @ (y / noise.unsqueeze(1))
        self.told = self.told + told
        precision = torch.linalg.inv(self.start) + told
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
            total += float(_information(y, noise, covariance))
            total += _of_misfits(self.pool, block, below)
            covariance = _given(covariance, y, noise)
        return total


class _Basis:
    """The pool in the basis Q, and the variance 1 / (1 + μ) that targets leave of each."""

    def __init__(self, given: ReducedGaussian, known: ReducedGaussian | None) -> None:
        self.made_for = given.covariance
        basis = torch.linalg.cholesky(given.covariance)
        self._left: Tensor | None = None
        if known is not None:
            inner = basis.mT @ known.told @ basis
            told, vectors = torch.linalg.eigh(0.5 * (inner + inner.mT))
            basis = basis @ vectors
            self._left = (1.0 + told).rsqrt()
        self.pool = given.pool.turned(basis)

    def information(
        self, v: Float[Tensor, "b c r"], noise: Float[Tensor, "b c"]
    ) -> Float[Tensor, " b"]:
        """I(y; f), or I(y; f_T) if targets are known."""
        if v.shape[-2] > v.shape[-1]:
            white = v / noise.sqrt().unsqueeze(-1)
            v = torch.linalg.qr(white, mode="r").R  # of the same V^T N^-1 V
            noise = torch.ones_like(v[..., 0])
        total = _log_det_with(v, noise)
        if self._left is None:
            return 0.5 * (total - noise.log().sum(-1))
        return 0.5 * (total - _log_det_with(v * self._left, noise))


class _Gains:
    r"""I(y; f), or I(y; f_T) if targets are known, of labels given the picks.

    .. math:: I(y; f) = 1/2 [\log\det(Y S Y^T + N) - \log\det N_0]

    N_0 is the noise of the label's own level, N that with the misfits it inherits; these
    tell nothing of targets. The basis is kept while the picks are the same.
    """

    def __init__(
        self, given: ReducedGaussian, known: ReducedGaussian | None = None
    ) -> None:
        self._given, self._known = given, known
        self._basis: _Basis | None = None

    def __call__(self, blocks: Sequence[int]) -> Float[Tensor, " b"]:
        given, pool = self._given, self._given.pool
        found = torch.zeros(len(blocks), dtype=torch.float64)
        structures = {pool.entries[b].structure for b in given.picked}
        plain, below = [], []
        for k, block in enumerate(blocks):
            entry = pool.entries[block]
            if entry.structure not in structures:
                plain.append(k)
                below.append(entry.below)
            elif given.above(block):
                found[k] = given.late_gain(block)
                if self._known is not None:
                    found[k] -= self._known.late_gain(block)
            else:
                plain.append(k)
                below.append(given.below(block, given.picked))
        if self._basis is None or self._basis.made_for is not given.covariance:
            self._basis = _Basis(given, self._known)
        some = [blocks[k] for k in plain]
        for places, y, noise in self._basis.pool.rows(some, below):
            at = torch.tensor([plain[p] for p in places])
            found[at] = self._basis.information(y, noise)
            if self._known is None:
                misfits = [_of_misfits(pool, some[p], below[p]) for p in places]
                found[at] += torch.tensor(misfits)
        return found


class ReducedParameterInformation(PoolAcquisition):
    """`ParameterInformation` of a label of a large pool, in nats (see `gains`).

    Source: Lindley (1956); Houlsby et al. (2011), arXiv:1112.5745, for a GP.
    """

    diminishing = submodular = True

    def __init__(self, pool: ReducedPool) -> None:
        given = ReducedGaussian(pool)
        super().__init__(len(pool), [given])
        self._gains = _Gains(given)

    def value(self, blocks: Sequence[int]) -> float:
        """The information of the labels together: each given those before it."""
        return _joint(self, blocks)

    def values(self, blocks: Sequence[int]) -> Float[Tensor, " b"]:
        """The information of each label by itself."""
        return self._gains(blocks)


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
        given, known = ReducedGaussian(pool), ReducedGaussian(pool)
        super().__init__(len(pool), [given, known])
        self._gains = _Gains(given, known)
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
        return self._gains(blocks)


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


def _log_det_with(
    v: Float[Tensor, "*b c r"], noise: Float[Tensor, "*b c"]
) -> Float[Tensor, "*b"]:
    """log det(V V^T + N)."""
    inner = v @ v.mT
    inner.diagonal(dim1=-2, dim2=-1).add_(noise)
    return log_det(inner)


def _information(
    y: Float[Tensor, "c r"],
    noise: Float[Tensor, " c"],
    covariance: Float[Tensor, "r r"],
) -> Float[Tensor, ""]:
    """1/2 log det(1 + N^-1/2 Y S Y^T N^-1/2)."""
    inner = y @ covariance @ y.mT + noise.diag()
    return 0.5 * (log_det(0.5 * (inner + inner.mT)) - noise.log().sum())


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
