r"""Matrices of covariances between rows, assembled from three Gram products.

Rows that belong to one environment share its descriptor, so everything that depends on
hyperparameters lives on pairs of environments, not of rows. With products

    V_ij = v_i · P v'_j,   A_iJ = v_i · (q_I - P q'_J),   A'_Ij = P v'_j · (q_I - P q'_J)

(rows i, j of the environments I, J; P a permutation of the descriptor's entries),

    cov(y_i, y_j) = sum_P C0 b b' + 2 C1 (A b' - b A') - 4 C2 A A' - 2 C1 V,

where C0, C1, C2 (number of permutations x environments x environments) hold the sums
over the levels of c c' s^2 (φ, φ' / ℓ^2, φ'' / ℓ^4). A change of hyperparameters, and
any number of levels, costs elementwise work on pairs of environments and one pass over
the matrix; the gradient of a loss of the matrix is one pass more.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import NamedTuple

import torch
from jaxtyping import Float, Int
from torch import Tensor

_CACHED = 300_000
"""Numbers of a product that stay in the cache while they are used."""


@dataclass(frozen=True)
class Rows:
    """Linear functionals y_i = b_i f(q_I) + v_i · ∇f(q_I) of f at a level.

    `environment` is the index I of each row; it never decreases, and every
    environment has at least one row. `level` and `counts` (the number of atoms of each
    species, for the reference energies) belong to environments.

    Raises:
        ValueError: sizes that do not fit, or rows that are not sorted.
    """

    weight: Float[Tensor, " n"]
    direction: Float[Tensor, "n d"]
    environment: Int[Tensor, " n"]
    descriptor: Float[Tensor, "n_env d"]
    level: Int[Tensor, " n_env"]
    counts: Float[Tensor, "n_env n_species"]

    def __post_init__(self) -> None:
        n, d = self.direction.shape
        sizes = (len(self.weight), len(self.environment), len(self.level))
        n_env = len(self.descriptor)
        if sizes != (n, n, n_env) or len(self.counts) != n_env:
            raise ValueError(
                f"rows do not fit together: {n} directions, {sizes[0]} weights, "
                f"{sizes[1]} environment indices; {n_env} descriptors, {sizes[2]} levels"
            )
        if self.descriptor.shape[1] != d:
            raise ValueError(
                f"descriptors have {self.descriptor.shape[1]} entries, directions {d}"
            )
        if n and (
            (self.environment.diff() < 0).any()
            or int(torch.unique_consecutive(self.environment).numel()) != n_env
        ):
            raise ValueError(
                "rows must be sorted by environment, with a row for each of them"
            )

    def __len__(self) -> int:
        return len(self.weight)

    @cached_property
    def starts(self) -> list[int]:
        """First row of each environment, and the number of rows."""
        counts = torch.bincount(self.environment, minlength=len(self.descriptor))
        return [0, *counts.cumsum(0).tolist()]

    def at_level(self, level: int) -> "Rows":
        """The same functionals of the function at another level."""
        return Rows(
            self.weight,
            self.direction,
            self.environment,
            self.descriptor,
            torch.full_like(self.level, level),
            self.counts,
        )

    @staticmethod
    def stack(parts: Sequence["Rows"]) -> "Rows":
        """All rows, one part after the other."""
        if not parts:
            raise ValueError("there are no rows to stack")
        offsets = [0]
        for part in parts:
            offsets.append(offsets[-1] + len(part.descriptor))
        return Rows(
            torch.cat([p.weight for p in parts]),
            torch.cat([p.direction for p in parts]),
            torch.cat(
                [p.environment + o for p, o in zip(parts, offsets, strict=False)]
            ),
            torch.cat([p.descriptor for p in parts]),
            torch.cat([p.level for p in parts]),
            torch.cat([p.counts for p in parts]),
        )

    def environments(self, indices: Sequence[int]) -> "Rows":
        """The rows of these environments only, in this order."""
        starts = self.starts
        rows = torch.cat([torch.arange(starts[i], starts[i + 1]) for i in indices]).to(
            self.environment.device
        )
        sizes = [starts[i + 1] - starts[i] for i in indices]
        environment = torch.repeat_interleave(
            torch.arange(len(indices)), torch.tensor(sizes)
        ).to(self.environment)
        chosen = torch.as_tensor(list(indices), device=self.environment.device)
        return Rows(
            self.weight[rows],
            self.direction[rows],
            environment,
            self.descriptor[chosen],
            self.level[chosen],
            self.counts[chosen],
        )


class Coefficients(NamedTuple):
    """C0, C1, C2 of the covariance, each permutations x environments x environments."""

    value: Tensor
    first: Tensor
    second: Tensor


class GramProducts:
    """The products V, A, A' and |q - P q'|² of two sets of rows.

    They do not depend on hyperparameters. V (rows x rows x permutations) is kept if
    `keep` is set, else it is made anew, environment by environment, at each use: for
    descriptors of up to about 50 entries that takes no longer than reading it back.

    If `right` is omitted the matrix is symmetric and only its lower triangle is made.
    """

    def __init__(
        self,
        left: Rows,
        right: Rows | None = None,
        *,
        orders: Int[Tensor, "g d"] | None = None,
        keep: bool = False,
    ) -> None:
        self.symmetric = right is None
        self.left = left
        self.right = left if right is None else right
        d = left.descriptor.shape[1]
        if orders is None:
            orders = torch.arange(d, device=left.descriptor.device).unsqueeze(0)
        centre = left.descriptor.mean(dim=0)  # differences of small numbers only
        self._q = left.descriptor - centre
        self._q_right = self.right.descriptor[:, orders].transpose(0, 1) - centre
        self._v_right = self.right.direction[:, orders].transpose(0, 1).contiguous()
        self.squared = (
            self._q.square().sum(-1)[None, :, None]
            + self._q_right.square().sum(-1)[:, None, :]
            - 2 * self._q @ self._q_right.mT
        ).clamp_min(0.0)
        self._left_slope = (left.direction * self._q[left.environment]).sum(-1)
        self._right_slope = (
            self._v_right * self._q_right[:, self.right.environment]
        ).sum(-1)
        self._energy_left = torch.zeros(len(left.descriptor), dtype=torch.bool)
        self._energy_left[left.environment[left.weight != 0].cpu()] = True
        self._energy_right = (self.right.weight != 0).nonzero().squeeze(-1)
        self._energies_before = [
            0,
            *torch.cumsum(self.right.weight != 0, dim=0).tolist(),
        ]
        everything = slice(0, len(orders))
        self._kept = (
            [self._slice(i, everything) for i in range(len(left.descriptor))]
            if keep
            else None
        )

    @property
    def n_permutations(self) -> int:
        """Number of permutations that are summed over."""
        return len(self._q_right)

    @staticmethod
    def bytes_kept(n_rows: int, n_permutations: int) -> int:
        """Memory that `keep` takes for a symmetric matrix of so many rows."""
        return 4 * n_rows * n_rows * n_permutations

    def _columns(self, i: int) -> tuple[int, int]:
        """How many environments and rows of the right stand in line i."""
        n_env = i + 1 if self.symmetric else len(self.right.descriptor)
        return n_env, self.right.starts[n_env]

    def _slice(self, i: int, group: slice) -> tuple[Tensor, Tensor, Tensor]:
        """V (g r m), A (g r m_env) and A' (g m) of the rows of environment i."""
        n_env, m = self._columns(i)
        start, stop = self.left.starts[i], self.left.starts[i + 1]
        v = self.left.direction[start:stop]
        right = self._v_right[group, :m]
        across = v @ right.mT
        slope = self._left_slope[start:stop, None] - v @ self._q_right[group, :n_env].mT
        slope_right = right @ self._q[i] - self._right_slope[group, :m]
        return across, slope, slope_right

    def _products(self, i: int) -> Iterator[tuple[slice, Tensor, Tensor, Tensor]]:
        """The products of environment i, in groups of permutations that fit the cache."""
        if self._kept is not None:
            yield slice(0, self.n_permutations), *self._kept[i]
            return
        n_rows = self.left.starts[i + 1] - self.left.starts[i]
        size = max(1, _CACHED // max(n_rows * self._columns(i)[1], 1))
        for p in range(0, self.n_permutations, size):
            group = slice(p, min(p + size, self.n_permutations))
            yield group, *self._slice(i, group)

    def assemble(
        self, coefficients: Coefficients, out: Float[Tensor, "n m"] | None = None
    ) -> Float[Tensor, "n m"]:
        """The covariance matrix; of a symmetric one the blocks on and below the diagonal.

        What `out` held is overwritten; above the diagonal blocks it is left as it was.
        """
        if out is None:
            out = self.left.weight.new_zeros(len(self.left), len(self.right))
        for i in range(len(self.left.descriptor)):
            n_env, m = self._columns(i)
            start, stop = self.left.starts[i], self.left.starts[i + 1]
            block = out[start:stop, :m].zero_()
            here = self.right.environment[:m]
            energies = self._energy_right[: self._energies_before[m]]
            b = self.left.weight[start:stop, None]
            for group, across, slope, slope_right in self._products(i):
                c0, c1, c2 = (c[group, i, :n_env] for c in coefficients)
                first = -2 * c1.index_select(1, here)
                second = (-4 * c2.index_select(1, here)).mul_(slope_right)
                for p in range(len(first)):
                    block.addcmul_(across[p], first[p])
                    block.addcmul_(slope[p].index_select(1, here), second[p])
                if self._energy_left[i]:
                    block.addcmul_(b, (first * slope_right).sum(0))
                if len(energies):
                    pulled = slope[..., here[energies]] * first[:, None, energies]
                    value = c0.index_select(1, here[energies]).sum(0)
                    block[:, energies] += (b * value - pulled.sum(0)) * (
                        self.right.weight[energies]
                    )
        return out

    def contract(self, loss_slope: Float[Tensor, "n m"]) -> Coefficients:
        """d loss / d(C0, C1, C2) from d loss / d matrix.

        Of a symmetric matrix only the blocks on and below the diagonal are read; those
        below it count twice, as in the sum over the whole matrix.
        """
        shape = self.squared.shape
        slopes = Coefficients(*(self.squared.new_zeros(shape) for _ in range(3)))
        for i in range(len(self.left.descriptor)):
            n_env, m = self._columns(i)
            start, stop = self.left.starts[i], self.left.starts[i + 1]
            g = loss_slope[start:stop, :m]
            here = self.right.environment[:m]
            energies = self._energy_right[: self._energies_before[m]]
            of_energy, b_right = here[energies], self.right.weight[energies]
            bg = (self.left.weight[start:stop, None] * g).sum(0)
            for group, across, slope, slope_right in self._products(i):
                first = -2 * (across * g).sum(1)
                second = -4 * (slope.index_select(2, here) * g).sum(1) * slope_right
                if self._energy_left[i]:
                    first.addcmul_(bg.unsqueeze(0), slope_right, value=-2.0)
                    slopes.value[group, i, :n_env].index_add_(
                        1, of_energy, (bg[energies] * b_right).expand(len(first), -1)
                    )
                if len(energies):
                    pulled = (g[:, energies] * slope[..., of_energy]).sum(1)
                    first[:, energies] += 2 * pulled * b_right
                slopes.first[group, i, :n_env].index_add_(1, here, first)
                slopes.second[group, i, :n_env].index_add_(1, here, second)
            if self.symmetric:
                for part in slopes:
                    part[:, i, :i] *= 2
        return slopes
