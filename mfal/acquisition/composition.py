"""Acquisition functions made of others: sums, products, and a schedule."""

import math
from collections.abc import Sequence

import torch
from jaxtyping import Float
from torch import Tensor

from mfal.acquisition.pool import PoolAcquisition


class WeightedSum(PoolAcquisition):
    r"""A weighted sum of parts: information and diversity, say.

    .. math:: a = \sum_i w_i a_i

    A sum of submodular criteria is submodular.

    Raises:
        ValueError: no parts, or parts with picks; weights that are not positive and one
            for each.
    """

    def __init__(
        self, parts: Sequence[PoolAcquisition], weights: Sequence[float | int]
    ) -> None:
        n_blocks = _checked(parts)
        if len(weights) != len(parts) or not all(w > 0 for w in weights):
            raise ValueError(
                f"each of the {len(parts)} parts of a sum has a positive weight, got "
                f"{list(weights)}"
            )
        super().__init__(n_blocks, parts)
        self._parts, self._weights = tuple(parts), tuple(weights)
        self.diminishing = all(p.diminishing for p in parts)
        self.submodular = all(p.submodular for p in parts)

    def value(self, blocks: Sequence[int]) -> float:
        """The weighted sum of the parts' values."""
        return math.fsum(
            w * p.value(blocks) for w, p in zip(self._weights, self._parts, strict=True)
        )

    def values(self, blocks: Sequence[int]) -> Float[Tensor, " b"]:
        """The same for each label."""
        terms = [
            w * p.values(blocks)
            for w, p in zip(self._weights, self._parts, strict=True)
        ]
        return torch.stack(terms).sum(0)


class Product(PoolAcquisition):
    r"""The product of parts that are never negative: uncertain and unlike the rest.

    .. math:: a = \prod_i a_i

    Where no part's value grows as labels are picked, the product's does not either; it
    is not submodular.

    Raises:
        ValueError: no parts, or parts with picks.
    """

    def __init__(self, parts: Sequence[PoolAcquisition]) -> None:
        super().__init__(_checked(parts), parts)
        self._parts = tuple(parts)
        self.diminishing = all(p.diminishing for p in parts)

    def value(self, blocks: Sequence[int]) -> float:
        """The product of the parts' values."""
        return math.prod(p.value(blocks) for p in self._parts)

    def values(self, blocks: Sequence[int]) -> Float[Tensor, " b"]:
        """The same for each label."""
        return torch.stack([p.values(blocks) for p in self._parts]).prod(0)


class Schedule(PoolAcquisition):
    """One acquisition function after the other: explore first, then refine.

    `until[i]` is the number of picks at which part i gives way to the next one. Picks
    are counted from `start`: with the number of labels that a campaign has bought (or
    its step times the batch) there, the schedule runs over the whole campaign.

    Raises:
        ValueError: no parts, or parts with picks; numbers that do not rise or are not
            one fewer than the parts.
    """

    def __init__(
        self, parts: Sequence[PoolAcquisition], until: Sequence[int], *, start: int = 0
    ) -> None:
        n_blocks = _checked(parts)
        rising = all(a < b for a, b in zip([0, *until], until, strict=False))
        if len(until) != len(parts) - 1 or not rising:
            raise ValueError(
                f"a schedule of {len(parts)} parts has {len(parts) - 1} numbers of picks "
                f"that rise from above zero, got {list(until)}"
            )
        super().__init__(n_blocks, parts)
        self._parts, self._until, self._start = tuple(parts), tuple(until), start

    @property
    def current(self) -> PoolAcquisition:
        """The part whose turn it is."""
        n = self._start + len(self.picked)
        return self._parts[sum(n >= u for u in self._until)]

    def value(self, blocks: Sequence[int]) -> float:
        """The value of the part whose turn it is."""
        return self.current.value(blocks)

    def values(self, blocks: Sequence[int]) -> Float[Tensor, " b"]:
        """The same for each label."""
        return self.current.values(blocks)


def _checked(parts: Sequence[PoolAcquisition]) -> int:
    """The number of blocks that all parts have (targets may stand behind them)."""
    if not parts or len(set(map(id, parts))) != len(parts):
        raise ValueError(
            "an acquisition function is made of one or more others, each with a memory of "
            f"its own, got {len(parts)} parts: make one anew for each place"
        )
    if any(p.picked for p in parts):
        raise ValueError(
            "the parts of an acquisition function start without picks, got "
            f"{[p.picked for p in parts]}: condition the whole on them"
        )
    return min(p.n_blocks for p in parts)
