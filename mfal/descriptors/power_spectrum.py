r"""Projected power spectra straight from the density expansion.

Few directions P of the power spectrum p are wanted, never p itself: with the expansion
c_b[l, m, n] of the density of species b,

    P^T p = 1/2 sum_ab T_ab c_a c_b,   d(P^T p)/dr = sum_b (sum_a T_ab c_a) dc_b/dr,

T the projection as a symmetric tensor. The gradients of c are smaller than those of p
(by the number of species and more), so that time and memory are.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
import torch
from jaxtyping import Float, Int
from torch import Tensor

VOIGT = ((0, 0), (1, 1), (2, 2), (1, 2), (0, 2), (0, 1))
"""The components of a strain in the order of ASE: xx yy zz yz xz xy."""

_AT_ONCE = 64


@dataclass(frozen=True)
class Expansion:
    """Density coefficients of every environment and neighbour species, with gradients.

    The last axis of coefficients holds l, then m, then n. Gradients stand per neighbour
    species, for pairs (environment, atom) sorted by environment.
    """

    coefficients: Float[Tensor, "n_env s k"]
    environment: list[Int[Tensor, " _"]]
    atom: list[Int[Tensor, " _"]]
    gradients: list[Float[Tensor, "_ 3 k"]]
    strain: Float[Tensor, "n_env s 6 k"] | None


class _Samples(NamedTuple):
    """Environments and pairs of one centre and neighbour species, with their gradients."""

    who: np.ndarray
    pairs: np.ndarray | None
    gradients: np.ndarray
    strained: np.ndarray | None


def _samples(block: Any, size: int) -> _Samples:
    who = block.samples.values[:, 1]
    pairs, strained = None, None
    gradients = np.zeros((0, 3, size))
    if block.has_gradient("positions"):
        samples = block.gradient("positions").samples.values
        pairs = np.stack([who[samples[:, 0]], samples[:, 2]])
        gradients = np.zeros((len(samples), 3, size))
    if block.has_gradient("strain"):
        strained = who[block.gradient("strain").samples.values[:, 0]]
    return _Samples(who, pairs, gradients, strained)


def expansion(
    found: object, numbers: Sequence[int], n_env: int, size: int, n_max: int
) -> Expansion:
    """The expansion that featomic's `SphericalExpansion` gave, in dense arrays."""
    coefficients = np.zeros((n_env, len(numbers), size))
    strain: np.ndarray | None = None
    gradients: list[list[np.ndarray]] = [[] for _ in numbers]
    pairs: list[list[np.ndarray]] = [[] for _ in numbers]
    # the samples of a centre and a neighbour species are those of every l: they are read
    # once, since each reading costs memory that metatensor does not give back
    known: dict[tuple[int, int], _Samples] = {}
    for key, block in found.items():  # type: ignore[attr-defined]
        order, _, centre, neighbour = (int(v) for v in key)
        values = block.values
        if not len(values):
            continue
        s = numbers.index(neighbour)
        begin = n_max * order * order
        columns = slice(begin, begin + n_max * (2 * order + 1))
        if (centre, s) not in known:
            fresh = known[centre, s] = _samples(block, size)
            if fresh.pairs is not None:
                gradients[s].append(fresh.gradients)
                pairs[s].append(fresh.pairs)
        samples = known[centre, s]
        if len(values) != len(samples.who):
            raise RuntimeError("featomic gave other environments for another l")
        coefficients[samples.who, s, columns] = values.reshape(len(values), -1)
        if samples.pairs is not None:
            slope = block.gradient("positions").values
            if len(slope) != samples.pairs.shape[1]:
                raise RuntimeError("featomic gave other pairs for another l")
            samples.gradients[:, :, columns] = slope.reshape(len(slope), 3, -1)
        if samples.strained is not None:
            slope = block.gradient("strain").values
            if strain is None:
                strain = np.zeros((n_env, len(numbers), 6, size))
            for v, (i, j) in enumerate(VOIGT):
                both = 0.5 * (slope[:, i, j] + slope[:, j, i])
                strain[samples.strained, s, v, columns] = both.reshape(len(both), -1)
    environments, atoms, slopes = [], [], []
    for s in range(len(numbers)):
        if not pairs[s]:
            environments.append(torch.zeros(0, dtype=torch.long))
            atoms.append(torch.zeros(0, dtype=torch.long))
            slopes.append(torch.zeros(0, 3, size, dtype=torch.float64))
            continue
        both = np.concatenate(pairs[s], axis=1)
        joined = gradients[s][0]
        if len(gradients[s]) > 1:
            joined = np.concatenate(gradients[s])
        rising = np.argsort(both[0], kind="stable")
        if (np.diff(rising) != 1).any():
            both, joined = both[:, rising], joined[rising]
        environments.append(torch.from_numpy(both[0].astype(np.int64)))
        atoms.append(torch.from_numpy(both[1].astype(np.int64)))
        slopes.append(torch.from_numpy(joined))
    return Expansion(
        torch.from_numpy(coefficients),
        environments,
        atoms,
        slopes,
        None if strain is None else torch.from_numpy(strain),
    )


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
        self._n_max, self._l_max, self._n_species = n_max, l_max, n_species
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
                weight = torch.where(i == j, 2.0, 2**0.5).double()
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
        e, s, _ = coefficients.shape
        n, d = self._n_max, self.size
        parts = []
        for order in range(self._l_max + 1):
            m = 2 * order + 1
            begin = n * order * order
            c = coefficients[:, :, begin : begin + n * m].reshape(e, s, m, n)
            left = c.transpose(1, 2).reshape(e * m, s * n)
            flat = self._tensor[order].reshape(s * n, s * n * d)
            part = (left @ flat).reshape(e, m, s, n, d)
            parts.append(part.transpose(1, 2).reshape(e, s, m * n, d))
        return torch.cat(parts, dim=2)

    def project(self, coefficients: Float[Tensor, "e s k"]) -> Float[Tensor, "e d"]:
        """P^T p of each environment."""
        return torch.cat(
            [
                0.5 * torch.einsum("eskd,esk->ed", self.slopes(chunk), chunk)
                for chunk in coefficients.split(_AT_ONCE)
            ]
        )

    def pull_back(
        self, coefficients: Float[Tensor, "e s k"], slope: Float[Tensor, "e d"]
    ) -> Float[Tensor, "e s k"]:
        """dε/dc from dε/d(P^T p)."""
        e, s, _ = coefficients.shape
        n = self._n_max
        parts = []
        for order in range(self._l_max + 1):
            m = 2 * order + 1
            begin = n * order * order
            c = coefficients[:, :, begin : begin + n * m].reshape(e, s, m, n)
            left = c.transpose(1, 2).reshape(e, m, s * n)
            flat = self._tensor[order].reshape(-1, self.size)
            inner = (slope @ flat.mT).reshape(e, s * n, s * n)
            part = (left @ inner).reshape(e, m, s, n)
            parts.append(part.transpose(1, 2).reshape(e, s, m * n))
        return torch.cat(parts, dim=2)
