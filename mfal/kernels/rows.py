r"""Matrices of covariances between rows, assembled from three Gram products.

Rows that belong to one environment share its descriptor, so everything that depends on
hyperparameters lives on pairs of environments, not of rows. With products

    V_ij = v_i · P v'_j,   A_iJ = v_i · (q_I - P q'_J),   A'_Ij = P v'_j · (q_I - P q'_J)

(rows i, j of the environments I, J; P a permutation of the descriptor's entries),

    cov(y_i, y_j) = sum_P C0 b b' + 2 C1 (A b' - b A') - 4 C2 A A' - 2 C1 V,

where C0, C1, C2 (number of permutations x environments x environments) hold the sums
over the levels of c c' s^2 (φ, φ' / ℓ^2, φ'' / ℓ^4). A change of hyperparameters, and
any number of levels, costs elementwise work on pairs of environments and one pass over
the matrix; the gradient of a loss of the matrix is one pass more. The covariance is
linear in (b, v): seen from environment I, row j is a value and a gradient, summed over
the permutations once and not for each row of I (see `GramProducts`).
"""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import NamedTuple

import torch
from jaxtyping import Float, Int
from torch import Tensor


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
    """The products A' and |q - P q'|² of two sets of rows, and what V and A are made of.

    Seen from environment I, row j of the right is a value x0 and a gradient x,

        x0_j = sum_P C0 b' - 2 C1 A',
        x_j  = sum_P 2 C1 (b' (q_I - P q'_J) - P v'_j) - 4 C2 A' (q_I - P q'_J),

    and cov(y_i, y_j) = b_i x0_j + v_i · x_j: one matrix product per environment, whatever
    the number of permutations. The products do not depend on hyperparameters. A' (rows x
    environments x permutations) is kept if `keep` is set.

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
        self._q_right = self.right.descriptor[:, orders] - centre  # m_env g d
        self._v_right = self.right.direction[:, orders]  # m g d
        self.squared = (
            self._q.square().sum(-1)[None, :, None]
            + self._q_right.square().sum(-1).T[:, None, :]
            - 2 * self._q @ self._q_right.permute(1, 2, 0)
        ).clamp_min(0.0)
        self._right_slope = torch.einsum(
            "mgd,mgd->mg", self._v_right, self._q_right[self.right.environment]
        )
        self._weights = self.right.weight.unsqueeze(-1)
        self._any_energy = bool((self.right.weight != 0).any())
        sizes = set(self.right.environment.bincount().tolist())
        self._per_environment = sizes.pop() if len(sizes) == 1 else -1
        self._kept: list[Tensor] | None = None
        if keep:
            self._kept = [self._slopes(i) for i in range(len(left.descriptor))]

    @property
    def n_permutations(self) -> int:
        """Number of permutations that are summed over."""
        return self._q_right.shape[1]

    @staticmethod
    def bytes_kept(n_rows: int, n_permutations: int) -> int:
        """Memory that `keep` takes at most for a symmetric matrix of so many rows."""
        return 4 * n_rows * n_rows * n_permutations

    def _columns(self, i: int) -> tuple[int, int]:
        """How many environments and rows of the right stand in line i."""
        n_env = i + 1 if self.symmetric else len(self.right.descriptor)
        return n_env, self.right.starts[n_env]

    def _slopes(self, i: int) -> Tensor:
        """A' (m g) of environment i."""
        if self._kept is not None:
            return self._kept[i]
        _, m = self._columns(i)
        return self._v_right[:m] @ self._q[i] - self._right_slope[:m]

    def _of_environments(self, rows: Tensor, matrices: Tensor) -> Tensor:
        """Each row times the matrix of its environment."""
        n_env, m = len(matrices), len(rows)
        if m == n_env * self._per_environment:
            return torch.bmm(rows.reshape(n_env, -1, rows.shape[1]), matrices).flatten(
                0, 1
            )
        starts = self.right.starts[: n_env + 1]
        return torch.cat(
            [
                rows[a:b] @ matrix
                for a, b, matrix in zip(starts, starts[1:], matrices, strict=False)
            ]
        )

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
            here = self.right.environment[:m]
            b = self._weights[:m]
            slope = self._slopes(i)
            first = -2 * coefficients.first[:, i, :n_env].T.index_select(0, here)
            along = (
                -4 * coefficients.second[:, i, :n_env].T.index_select(0, here) * slope
            )
            value = (first * slope).sum(1)
            if self._any_energy:
                zeroth = coefficients.value[:, i, :n_env].sum(0)
                value += b[:, 0] * zeroth.index_select(0, here)
                along -= first * b
            gradient = _weighted(first, self._v_right[:m])
            gradient.addcmul_(along.sum(1, keepdim=True), self._q[i])
            gradient -= self._of_environments(along, self._q_right[:n_env])
            block = out[start:stop, :m]
            torch.mm(self.left.direction[start:stop], gradient.T, out=block)
            block.addr_(self.left.weight[start:stop], value)
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
            b = self._weights[:m]
            slope = self._slopes(i)
            of_value = (self.left.weight[start:stop] @ g).unsqueeze(1)
            of_gradient = (g.T @ self.left.direction[start:stop]).unsqueeze(2)
            apart = (of_gradient[..., 0] @ self._q[i]).unsqueeze(1) - (
                self._of_environments(of_gradient[..., 0], self._q_right[:n_env].mT)
            )
            first = torch.bmm(self._v_right[:m], of_gradient).squeeze(2)
            first += of_value * slope
            if self._any_energy:
                first -= b * apart
                slopes.value[:, i, :n_env].index_add_(
                    1, here, (b * of_value).T.expand(self.n_permutations, -1)
                )
            slopes.first[:, i, :n_env].index_add_(1, here, first.T, alpha=-2)
            slopes.second[:, i, :n_env].index_add_(1, here, (slope * apart).T, alpha=-4)
            if self.symmetric:
                for part in slopes:
                    part[:, i, :i] *= 2
        return slopes


def _weighted(weights: Float[Tensor, "m g"], of: Float[Tensor, "m g d"]) -> Tensor:
    """sum_P weights times vectors, for every row."""
    return torch.bmm(weights.unsqueeze(1), of).squeeze(1)
