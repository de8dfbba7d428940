r"""Sufficient statistics of labels for a linear model: what is left of a data set.

A label y_l of level l is conditioned on the label y_k of the same structure at the
nearest level k below that has one. Since the misfit of a level is inherited (see
`mfal.models.noise`), the row

    y_l - c_lk y_k = sum_{k < m <= l} c_lm (Phi w_m + noise_m)

has white noise that no other row shares, and the labels of all levels are independent
rows given the weights. Rows with the same (level, level below, quantity, own sigma) form
a group; a group enters the evidence and the posterior only through the products of its
rows [Phi, y_l, y_k]. Energies are divided by sqrt(n_atoms), so that their noise is one
number. Groups of parts of a data set are added.
"""

from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import NamedTuple

import torch
from jaxtyping import Float, Int
from torch import Tensor

ALONE = -1
"""`below` of a label without one at a lower level."""


class Group(NamedTuple):
    """What rows have in common: level, level below, quantity (0 energy, 1 forces, 2
    stress) and the standard deviation that the labels bring."""

    level: int
    below: int
    quantity: int
    sigma: float = 0.0


class Rows(NamedTuple):
    """Rows of a group: features, labels, labels below (zero if there are none)."""

    features: Float[Tensor, "n p"]
    values: Float[Tensor, " n"]
    below: Float[Tensor, " n"]

    @property
    def augmented(self) -> Float[Tensor, "n q"]:
        """[Phi, y, y_below]."""
        columns = (self.features, self.values.unsqueeze(1), self.below.unsqueeze(1))
        return torch.cat(columns, dim=1)


@dataclass
class Moments:
    """Products of the augmented rows of a group, their number, and sum log n_atoms.

    The products are summed as they are: features are whitened before (`KernelFeatures`),
    and then this agrees with a streamed QR factorisation of the rows to 1e-9.
    """

    products: Float[Tensor, "q q"]
    n_rows: int = 0
    log_atoms: float = 0.0

    @staticmethod
    def empty(n_features: int) -> "Moments":
        """The moments of no rows."""
        n = n_features + 2
        return Moments(torch.zeros(n, n, dtype=torch.float64))

    def add(self, augmented: Float[Tensor, "n q"], log_atoms: float) -> None:
        """Adds rows."""
        self.products.addmm_(augmented.mT, augmented)
        self.n_rows += len(augmented)
        self.log_atoms += log_atoms

    def __add__(self, other: "Moments") -> "Moments":
        return Moments(
            self.products + other.products,
            self.n_rows + other.n_rows,
            self.log_atoms + other.log_atoms,
        )


@dataclass
class Statistics:
    """The moments of every group of a data set."""

    n_features: int
    n_levels: int
    groups: dict[Group, Moments] = field(default_factory=dict)

    def add(self, group: Group, augmented: Tensor, log_atoms: float) -> None:
        """Adds rows of a group."""
        if group not in self.groups:
            self.groups[group] = Moments.empty(self.n_features)
        self.groups[group].add(augmented, log_atoms)

    def __add__(self, other: "Statistics") -> "Statistics":
        if (self.n_features, self.n_levels) != (other.n_features, other.n_levels):
            raise ValueError(
                "only statistics of the same features and levels can be merged, got "
                f"{self.n_features} and {other.n_features} features"
            )
        merged = Statistics(self.n_features, self.n_levels)
        for part in (self, other):
            for group, moments in part.groups.items():
                known = merged.groups.get(group, Moments.empty(self.n_features))
                merged.groups[group] = known + moments  # never the part's own
        return merged

    @property
    def levels_share(self) -> bool:
        """Whether any label of an upper level is not conditioned on one below it."""
        return any(g.level > 0 and g.below < g.level - 1 for g in self.groups)

    def of_columns(self, columns: Int[Tensor, " p"]) -> "Statistics":
        """The statistics of some of the features."""
        last = torch.tensor([self.n_features, self.n_features + 1])
        kept = torch.cat([columns, last])
        groups = {
            group: Moments(m.products[kept][:, kept], m.n_rows, m.log_atoms)
            for group, m in self.groups.items()
        }
        return Statistics(len(columns), self.n_levels, groups)

    @property
    def n_rows(self) -> int:
        """Number of rows of all groups."""
        return sum(m.n_rows for m in self.groups.values())


class RowBuffer:
    """Rows gathered until a block is worth a matrix product."""

    def __init__(self, statistics: Statistics, size: int = 2048) -> None:
        self._statistics = statistics
        self._size = size
        self._waiting: dict[Group, list[tuple[Tensor, float]]] = {}

    def add(self, group: Group, rows: Tensor, log_atoms: float) -> None:
        """Adds rows of a group, now or with others."""
        waiting = self._waiting.setdefault(group, [])
        waiting.append((rows, log_atoms))
        if sum(len(r) for r, _ in waiting) >= self._size:
            self._send(group)

    def flush(self) -> Statistics:
        """Sends what is waiting; the statistics of all rows."""
        for group in list(self._waiting):
            self._send(group)
        return self._statistics

    def _send(self, group: Group) -> None:
        waiting = self._waiting.pop(group, [])
        if waiting:
            rows = torch.cat([r for r, _ in waiting])
            self._statistics.add(group, rows, sum(log for _, log in waiting))


def merged(parts: Iterable[Statistics]) -> Statistics:
    """The statistics of a data set from those of its parts, in whatever order."""
    total: Statistics | None = None
    for part in parts:
        total = part if total is None else total + part
    if total is None:
        raise ValueError("there are no parts to merge")
    return total
