r"""Diversity: labels that are unlike those known, by descriptors alone.

Each block of the pool has one descriptor, such as the mean over its environments
(`mean_descriptors`); two labels of one structure have the same one, unless the caller
makes the level a part of it. No model is asked.
"""

from collections.abc import Callable, Sequence

import torch
from ase import Atoms
from jaxtyping import Float
from torch import Tensor

from mfal.acquisition.conditioned import ConditionedPool
from mfal.acquisition.pool import PoolAcquisition
from mfal.acquisition.similarity import KernelPool, Similarity
from mfal.descriptors.environments import Descriptor
from mfal.models.posterior import log_det

_AT_ONCE = 2**22
"""Similarities that are held at once (32 MB)."""


class KernelVolume(PoolAcquisition):
    r"""Log volume that labels span in the space of a kernel, in nats.

    .. math:: 1/2 \log\det(1 + K / σ^2)

    K is the kernel matrix of the descriptors of the labels, known ones left out of the
    volume by conditioning. With a small `noise` σ^2 (default 1e-3 of a kernel with
    k(x, x) = 1) it orders labels as the volume sqrt(det K) does, the greedy choice being
    that of pivoted Cholesky; but it never falls below zero, so that it can be divided by
    a cost. Monotone and submodular.

    Source: Kulesza & Taskar (2012), Found. Trends Mach. Learn. 5, 123 (determinantal
    point processes); Chen, Zhang, Zhou (2018), NeurIPS, for the greedy choice.

    Raises:
        ValueError: descriptors that do not match, or a noise that is not positive.
    """

    diminishing = submodular = True

    def __init__(
        self,
        descriptors: Float[Tensor, "n d"],
        kernel: Similarity,
        known: Float[Tensor, "m _"] | None = None,
        *,
        noise: float = 1e-3,
    ) -> None:
        pool = KernelPool(descriptors, kernel, known, noise=noise)
        self._given = given = ConditionedPool(pool)
        super().__init__(len(descriptors), [given])
        self._noise = noise

    def value(self, blocks: Sequence[int]) -> float:
        """Half the log det of the labels' kernel matrix in units of the noise."""
        return 0.5 * float(log_det(self._given.labels(blocks) / self._noise))

    def values(self, blocks: Sequence[int]) -> Float[Tensor, " b"]:
        """The same for each label."""
        found = torch.empty(len(blocks), dtype=torch.float64)
        for places, labels in self._given.single_labels(blocks):
            found[places] = 0.5 * (labels[:, 0, 0] / self._noise).log()
        return found


class MinimumDistance(PoolAcquisition):
    r"""Distance to the nearest label that is known or picked (farthest point sampling).

    .. math:: \min_{p \in known, picks} |x - x_p|

    In the unit of the descriptors; of a set, the smallest one, distances within the set
    included. While nothing is known it is the same for all (twice the radius of the
    pool), and the first candidate is taken. Not submodular: the batch covers the pool
    with at most twice the smallest radius possible.

    Source: Gonzalez (1985), Theor. Comput. Sci. 38, 293; Sener & Savarese (2018), ICLR.

    Raises:
        ValueError: known descriptors of another length.
    """

    diminishing = True

    def __init__(
        self,
        descriptors: Float[Tensor, "n d"],
        known: Float[Tensor, "m _"] | None = None,
    ) -> None:
        known = _known(descriptors, known)
        self._descriptors = descriptors
        centre = descriptors.mean(0, keepdim=True)
        radius = torch.cdist(descriptors, centre).max()
        nearest = (2 * radius).expand(len(descriptors))
        if len(known):
            nearest = _rowwise(descriptors, known, lambda d: d.min(1).values)
        self._nearest = [nearest]
        super().__init__(len(descriptors))

    def condition_on(self, block: int) -> None:
        """Takes a label as bought."""
        super().condition_on(block)
        found = torch.cdist(self._descriptors, self._descriptors[[block]]).squeeze(1)
        self._nearest.append(self._nearest[-1].minimum(found))

    def keep(self, n_picks: int) -> None:
        """Takes back all picks but the first ones."""
        super().keep(n_picks)
        del self._nearest[n_picks + 1 :]

    def value(self, blocks: Sequence[int]) -> float:
        """The smallest distance of the set."""
        some = self._descriptors[list(blocks)]
        within = torch.pdist(some) if len(some) > 1 else some.new_zeros(0)
        return float(torch.cat([self.values(blocks), within]).min())

    def values(self, blocks: Sequence[int]) -> Float[Tensor, " b"]:
        """The distance of each label."""
        return self._nearest[-1][list(blocks)]


class Coverage(PoolAcquisition):
    r"""How much better labels represent a set of structures (facility location).

    .. math:: \sum_{x \in C} [\max_{p \in known, picks, labels} k(x, x_p)
                              - \max_{p \in known, picks} k(x, x_p)]

    C is the pool, unless `covered` names other descriptors (a trajectory of production).
    The similarity k is at least zero, and zero while nothing is known. Monotone and
    submodular.

    Source: Wei, Iyer, Bilmes (2015), ICML; Cornuejols, Fisher, Nemhauser (1977), Manag.
    Sci. 23, 789.

    Raises:
        ValueError: descriptors of other lengths, or a similarity below zero.
    """

    diminishing = submodular = True

    def __init__(
        self,
        descriptors: Float[Tensor, "n d"],
        kernel: Similarity,
        known: Float[Tensor, "m _"] | None = None,
        *,
        covered: Float[Tensor, "c _"] | None = None,
    ) -> None:
        known = _known(descriptors, known)
        covered = descriptors if covered is None else _known(descriptors, covered)
        self._descriptors, self._covered, self._kernel = descriptors, covered, kernel
        nearest = descriptors.new_zeros(len(covered))
        if len(known):
            for part in known.split(max(1, _AT_ONCE // len(covered))):
                nearest = nearest.maximum(self._similarity(part).max(1).values)
        self._nearest = [nearest]
        super().__init__(len(descriptors))

    def condition_on(self, block: int) -> None:
        """Takes a label as bought."""
        super().condition_on(block)
        found = self._similarity(self._descriptors[[block]]).squeeze(1)
        self._nearest.append(self._nearest[-1].maximum(found))

    def keep(self, n_picks: int) -> None:
        """Takes back all picks but the first ones."""
        super().keep(n_picks)
        del self._nearest[n_picks + 1 :]

    def value(self, blocks: Sequence[int]) -> float:
        """What the set adds to the similarities of what is covered."""
        found = self._similarity(self._descriptors[list(blocks)]).max(1).values
        return float((found - self._nearest[-1]).clamp_min(0.0).sum())

    def values(self, blocks: Sequence[int]) -> Float[Tensor, " b"]:
        """The same for each label, many at once."""
        some = self._descriptors[list(blocks)]
        nearest = self._nearest[-1].unsqueeze(1)
        parts = some.split(max(1, _AT_ONCE // len(nearest)))
        return torch.cat(
            [(self._similarity(p) - nearest).clamp_min(0.0).sum(0) for p in parts]
        )

    def _similarity(self, points: Float[Tensor, "b d"]) -> Float[Tensor, "c b"]:
        found = self._kernel(self._covered, points)
        if (found < 0).any():
            raise ValueError(
                f"a similarity is at least zero, got {float(found.min()):.3g}: take a "
                "kernel that is never negative, such as SquaredExponential"
            )
        return found


def mean_descriptors(
    descriptor: Descriptor, structures: Sequence[Atoms]
) -> Float[Tensor, "n d"]:
    """One descriptor for each structure: the mean over its environments.

    Source: De, Bartok, Csanyi, Ceriotti (2016), Phys. Chem. Chem. Phys. 18, 13754
    (average kernel).
    """
    return torch.stack([descriptor(atoms).values.mean(0) for atoms in structures])


def _known(descriptors: Tensor, others: Tensor | None) -> Tensor:
    others = descriptors[:0] if others is None else others
    if others.shape[1] != descriptors.shape[1]:
        raise ValueError(
            f"descriptors of the pool have {descriptors.shape[1]} entries, those of "
            f"what is known or covered {others.shape[1]}: make them the same way"
        )
    return others


def _rowwise(left: Tensor, right: Tensor, reduce: Callable[[Tensor], Tensor]) -> Tensor:
    parts = left.split(max(1, _AT_ONCE // len(right)))
    return torch.cat([reduce(torch.cdist(p, right)) for p in parts])
