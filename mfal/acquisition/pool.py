"""What all acquisition functions over a pool have in common: picks, sets, BoTorch.

`forward(X)` takes X of shape b x q x 1 that holds positions in the pool (as floats,
BoTorch's way) and returns b values, the joint value of q labels given those already
picked (`condition_on`, `X_pending`).
"""

from collections.abc import Sequence
from typing import Protocol, runtime_checkable

import torch
from botorch.acquisition import AcquisitionFunction
from jaxtyping import Float
from torch import Tensor


@runtime_checkable
class PickState(Protocol):
    """What a criterion remembers of the picks: it grows with them and is cut back."""

    def condition_on(self, block: int) -> None:
        """Takes one more label as bought."""
        ...

    def keep(self, n_picks: int) -> None:
        """Takes back all picks but the first ones."""
        ...


@runtime_checkable
class Blocks(Protocol):
    """A pool of which nothing is asked but how many blocks it has."""

    @property
    def slices(self) -> Sequence[slice]: ...


class PoolAcquisition(AcquisitionFunction):
    """Abstract: a value of labels of a pool, given those that are picked or running.

    What depends on the picks is held by `states`, which are updated in their order; an
    acquisition function is a state itself, so that those made of others hold them.
    """

    diminishing: bool = False
    """Whether the value of one label never grows as labels are picked: then a value that
    was worked out before is an upper bound, and lazy evaluation is exact."""

    submodular: bool = False
    """Whether values are increments of a monotone submodular function of the set of
    labels: then a greedy batch is within 1 - 1/e of the best one. Implies the above."""

    def __init__(self, n_blocks: int, states: Sequence[PickState] = ()) -> None:
        super().__init__(model=None)  # type: ignore[arg-type]
        self.n_blocks = n_blocks
        self._states = tuple(states)
        self._picked: list[int] = []

    @property
    def picked(self) -> tuple[int, ...]:
        """Blocks that are conditioned on, in order."""
        return tuple(self._picked)

    @property
    def X_pending(self) -> Float[Tensor, "m 1"] | None:  # type: ignore[override]
        """The blocks that are conditioned on, in BoTorch's form."""
        if not self._picked:
            return None
        return torch.tensor(self._picked, dtype=torch.float64).unsqueeze(-1)

    def condition_on(self, block: int) -> None:
        """Takes a label as bought (or running), with a value not known yet."""
        for state in self._states:
            state.condition_on(block)
        self._picked.append(block)

    def keep(self, n_picks: int) -> None:
        """Takes back all picks but the first ones."""
        if n_picks == len(self._picked):
            return
        for state in self._states:
            state.keep(n_picks)
        del self._picked[n_picks:]

    def set_X_pending(self, X_pending: Float[Tensor, "m 1"] | None = None) -> None:
        """BoTorch's protocol: condition on these labels, in place of all so far."""
        wanted = [] if X_pending is None else _positions(X_pending).flatten().tolist()
        kept = 0
        while self._picked[kept : kept + 1] == wanted[kept : kept + 1] != []:
            kept += 1
        self.keep(kept)
        for block in wanted[kept:]:
            self.condition_on(block)

    def value(self, blocks: Sequence[int]) -> float:
        """The value of these labels together, given the picks."""
        raise NotImplementedError

    def values(self, blocks: Sequence[int]) -> Float[Tensor, " b"]:
        """The value of each of these labels by itself, given the picks.

        Criteria that can work on many labels at once do; here it is one by one.
        """
        return torch.tensor([self.value([b]) for b in blocks], dtype=torch.float64)

    def forward(self, X: Float[Tensor, "b q 1"]) -> Float[Tensor, " b"]:
        """Values of sets of q labels, given by their positions in the pool."""
        sets = _positions(X).squeeze(-1).tolist()
        if X.shape[1] == 1:
            return self.values([block for (block,) in sets]).to(X)
        return X.new_tensor([self.value(blocks) for blocks in sets])


class Random(PoolAcquisition):
    """A random value for each label: the honest baseline.

    The values are drawn once, from the seed, and those of a set are summed.
    """

    diminishing = submodular = True

    def __init__(self, pool: Blocks, seed: int) -> None:
        n_blocks = len(pool.slices)
        super().__init__(n_blocks)
        generator = torch.Generator().manual_seed(seed)
        self._values = torch.rand(n_blocks, generator=generator, dtype=torch.float64)

    def value(self, blocks: Sequence[int]) -> float:
        """The sum of the labels' random values."""
        return float(self._values[list(blocks)].sum())

    def values(self, blocks: Sequence[int]) -> Float[Tensor, " b"]:
        """The labels' random values."""
        return self._values[list(blocks)]


def _positions(X: Tensor) -> Tensor:
    return X.round().long()
