r"""Projected power spectra straight from the density expansion.

Few directions P of the power spectrum p are wanted, never p itself: with the expansion
c_b[l, m, n] of the density of species b,

    P^T p = 1/2 sum_ab T_ab c_a c_b,   d(P^T p)/dr = sum_b (sum_a T_ab c_a) dc_b/dr,

T the projection as a symmetric tensor. The gradients of c are smaller than those of p
(by the number of species and more), so that time and memory are.
"""

from collections.abc import Iterator

import numpy as np
import torch
from jaxtyping import Float, Int
from torch import Tensor


class Layout:
    """Where the entries of a block of featomic stand in the descriptor of all species."""

    def __init__(
        self, numbers: list[int], max_radial: int, max_angular: int, begin: int
    ) -> None:
        n, n_l = max_radial, max_angular + 1
        self._offset: dict[tuple[int, int], int] = {}
        self._order = list(numbers)
        self._like, self._unlike = n * (n + 1) // 2 * n_l, n * n * n_l
        offset = begin
        for i, a in enumerate(numbers):
            for b in numbers[i:]:
                self._offset[a, b] = offset
                offset += self._like if a == b else self._unlike
        self.end = offset

    def pairs(self) -> Iterator[tuple[tuple[int, int], slice]]:
        """Positions of two species (a <= b) in the list, and their columns."""
        numbers = sorted({a for a, _ in self._offset}, key=self._order.index)
        for (a, b), begin in self._offset.items():
            size = self._like if a == b else self._unlike
            yield (numbers.index(a), numbers.index(b)), slice(begin, begin + size)

    def columns(
        self, key: tuple[int, ...], properties: object
    ) -> tuple[slice, Int[np.ndarray, " c"], Float[np.ndarray, " c"]]:
        """Columns of the descriptor, columns of the block that go there, weights."""
        _, a, b = key
        values = np.asarray(properties.values)  # type: ignore[attr-defined]
        if a != b:
            rows = np.arange(len(values))
            weights = np.ones(len(rows))  # featomic has taken them times √2
        else:
            rows = np.flatnonzero(values[:, 1] <= values[:, 2])
            off = values[rows, 1] < values[rows, 2]
            weights = np.where(off, np.sqrt(2.0), 1.0)
        begin = self._offset[a, b]
        return slice(begin, begin + len(rows)), rows, weights


class Contraction:
    """T of a projection for one cutoff, with what follows from it.

    Args:
        blocks: rows of the projection of each pair of species a <= b, weighted as in
            the spectrum: for a = b only n <= n', times √2 where they differ; for a < b
            all (n, n'), times √2.
    """

    def __init__(
        self,
        blocks: dict[tuple[int, int], Float[Tensor, "r d"]],
        n_species: int,
        n_max: int,
        l_max: int,
    ) -> None:
        self._n_max, self._l_max = n_max, l_max
        d = next(iter(blocks.values())).shape[1]
        self.size = d
        tensor = torch.zeros(
            l_max + 1, n_species, n_max, n_species, n_max, d, dtype=torch.float64
        )
        upper = torch.triu_indices(n_max, n_max)
        for (a, b), rows in blocks.items():
            if a == b:
                part = rows.reshape(l_max + 1, -1, d)
                i, j = upper
                weight = torch.full(i.shape, 2**0.5, dtype=torch.float64)
                weight[i == j] = 2.0
                half = part * weight.unsqueeze(1)
                tensor[:, a, i, a, j] = half
                tensor[:, a, j, a, i] = half
            else:
                part = 2**0.5 * rows.reshape(l_max + 1, n_max, n_max, d)
                tensor[:, a, :, b, :] = part
                tensor[:, b, :, a, :] = part.transpose(1, 2)
        order = torch.arange(l_max + 1)
        # featomic's sign: the scalar product of two l is (-1)^l / (2 l + 1)^1/2 of it
        norm = (2 * order + 1).double().sqrt() * (1 - 2 * (order % 2))
        self._tensor = tensor / norm.view(-1, 1, 1, 1, 1, 1)

    def slopes(self, coefficients: Float[Tensor, "e s k"]) -> Float[Tensor, "e s k d"]:
        """d(P^T p)/dc = sum_a T_ab c_a; P^T p is half its product with c."""
        e, s, k = coefficients.shape
        n, d = self._n_max, self.size
        found = coefficients.new_empty(e, s, k, d)
        for order, columns in self._orders():
            c = coefficients[:, :, columns].reshape(e, s, -1, n)
            m = c.shape[2]
            left = c.transpose(1, 2).reshape(e * m, s * n)
            flat = self._tensor[order].reshape(s * n, s * n * d)
            part = (left @ flat).view(e, m, s, n, d).transpose(1, 2)
            found[:, :, columns] = part.reshape(e, s, m * n, d)
        return found

    def project(self, coefficients: Float[Tensor, "e s k"]) -> Float[Tensor, "e d"]:
        """P^T p of each environment: half of T times c c^T, summed over m."""
        e, s, _ = coefficients.shape
        n = self._n_max
        found = coefficients.new_zeros(e, self.size)
        for order, columns in self._orders():
            c = coefficients[:, :, columns].reshape(e, s, -1, n)
            c = c.transpose(1, 2).reshape(e, -1, s * n)
            flat = self._tensor[order].reshape(-1, self.size)
            found.addmm_((c.mT @ c).flatten(1), flat, alpha=0.5)
        return found

    def pull_back(
        self, coefficients: Float[Tensor, "e s k"], slope: Float[Tensor, "e d"]
    ) -> Float[Tensor, "e s k"]:
        """dε/dc from dε/d(P^T p)."""
        e, s, _ = coefficients.shape
        n = self._n_max
        found = torch.empty_like(coefficients)
        for order, columns in self._orders():
            c = coefficients[:, :, columns].reshape(e, s, -1, n)
            m = c.shape[2]
            left = c.transpose(1, 2).reshape(e, m, s * n)
            flat = self._tensor[order].reshape(-1, self.size)
            inner = (slope @ flat.mT).view(e, s * n, s * n)
            part = (left @ inner).view(e, m, s, n).transpose(1, 2)
            found[:, :, columns] = part.reshape(e, s, m * n)
        return found

    def _orders(self) -> Iterator[tuple[int, slice]]:
        """l and its columns among (l, m, n)."""
        n = self._n_max
        for order in range(self._l_max + 1):
            yield order, slice(n * order**2, n * (order + 1) ** 2)
