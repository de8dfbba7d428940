"""Inducing environments: the few that stand for all, chosen from the data."""

import logging
import math
from collections.abc import Sequence

import numpy as np
import torch
from ase import Atoms
from jaxtyping import Float, Int
from torch import Tensor

from mfal.descriptors.soap import Soap
from mfal.models.features import KernelFeatures, normalised

_logger = logging.getLogger(__name__)

METHODS = ("cholesky", "farthest", "random")
CANDIDATES_PER_POINT = 6
RESIDUAL = 1e-8
"""Share of the second moment of the descriptors that the projection may lose."""
LARGEST_PROJECTION = 256
DUAL = 2000
"""Length of a descriptor above which its directions are found from as many rows."""
NEGLIGIBLE = 1e-10
"""Conditional variance below which no environment is worth a feature."""


def kernel_features(
    descriptor: Soap,
    structures: Sequence[Atoms],
    n_inducing: int,
    *,
    zeta: int = 2,
    softening: float = 0.0,
    method: str = "cholesky",
    seed: int = 0,
) -> KernelFeatures:
    """Features on inducing environments of these structures.

    Candidates are the environments of structures drawn at random until there are six
    for each inducing environment. "cholesky" takes the one of largest variance given
    those taken before (pivoted Cholesky), which shares them among the species as well;
    "farthest" the one of largest distance to all before; "random" any.

    Raises:
        ValueError: an unknown method, or no environments.
    """
    if method not in METHODS:
        raise ValueError(f"the method is one of {', '.join(METHODS)}, got {method!r}")
    if n_inducing < 1:
        raise ValueError(f"at least one inducing environment, got {n_inducing}")
    values, species = _candidates(descriptor, structures, n_inducing, seed)
    projection = leading_directions(values)
    u, _ = normalised(values, projection, softening)
    chosen = _choose(u, species, zeta, n_inducing, method, seed)
    _logger.info(
        "%d inducing environments of %d, %d of %d directions of the descriptor",
        len(chosen),
        len(u),
        projection.shape[1],
        projection.shape[0],
    )
    inducing = {
        int(z): u[chosen[species[chosen] == z]] for z in species[chosen].unique()
    }
    return KernelFeatures(projection, inducing, zeta, softening=softening)


def leading_directions(values: Float[Tensor, "n d"]) -> Float[Tensor, "d p"]:
    """Eigenvectors of the second moment that hold all but `RESIDUAL` of it.

    Where the descriptor is long (many species), from `DUAL` rows at equal distances and
    their scalar products: the same directions, at n^3 in the place of d^3.
    """
    if values.shape[1] <= DUAL:
        eigenvalues, vectors = torch.linalg.eigh(values.mT @ values / len(values))
        n = _number_kept(eigenvalues)
        return vectors[:, -n:].flip(1).contiguous()
    some = values[:: max(len(values) // DUAL, 1)][:DUAL]
    eigenvalues, vectors = torch.linalg.eigh(some @ some.mT / len(some))
    n = min(_number_kept(eigenvalues), int((eigenvalues > 1e-12).sum()))
    directions, _ = torch.linalg.qr(some.mT @ vectors[:, -n:].flip(1))
    return directions.contiguous()


def _number_kept(eigenvalues: Float[Tensor, " d"]) -> int:
    falling = eigenvalues.flip(0).clamp_min(0.0)
    lost = 1.0 - falling.cumsum(0) / falling.sum()
    return min(int((lost > RESIDUAL).sum()) + 1, LARGEST_PROJECTION, len(falling))


def pivoted_cholesky(
    u: Float[Tensor, "n p"],
    species: Int[Tensor, " n"],
    zeta: int,
    size: int,
) -> Int[Tensor, " m"]:
    """Indices of largest conditional variance of (u . u')^zeta, one after the other.

    Stops early when nothing is left that the chosen ones do not explain.
    """
    left = u.square().sum(1) ** zeta
    rows = u.new_zeros(size, len(u))
    chosen: list[int] = []
    for k in range(size):
        best = int(left.argmax())
        if left[best] < NEGLIGIBLE:
            break
        row = (u @ u[best]) ** zeta * (species == species[best])
        row -= rows[:k].mT @ rows[:k, best]
        rows[k] = row / math.sqrt(float(left[best]))
        left = left - rows[k].square()
        left[best] = -math.inf
        chosen.append(best)
    return torch.tensor(chosen)


def _choose(
    u: Tensor, species: Tensor, zeta: int, size: int, method: str, seed: int
) -> Int[Tensor, " m"]:
    size = min(size, len(u))
    if method == "cholesky":
        return pivoted_cholesky(u, species, zeta, size)
    generator = np.random.default_rng([seed, 1])
    if method == "random":
        return torch.from_numpy(np.sort(generator.permutation(len(u))[:size]))
    nearest = u.new_full((len(u),), math.inf)
    chosen = [int(generator.integers(len(u)))]
    while len(chosen) < size:
        last = chosen[-1]
        apart = 2 - 2 * u @ u[last] + 10.0 * (species != species[last])
        nearest = torch.minimum(nearest, apart)
        nearest[last] = -math.inf
        chosen.append(int(nearest.argmax()))
    return torch.tensor(chosen)


def _candidates(
    descriptor: Soap, structures: Sequence[Atoms], n_inducing: int, seed: int
) -> tuple[Float[Tensor, "n d"], Int[Tensor, " n"]]:
    wanted = CANDIDATES_PER_POINT * n_inducing
    order = np.random.default_rng([seed, 0]).permutation(len(structures))
    values, species, n = [], [], 0
    for i in order:
        values.append(descriptor.values(structures[i]))
        species.append(torch.from_numpy(structures[i].numbers).long())
        n += len(structures[i])
        if n >= wanted:
            break
    if not n:
        raise ValueError("there are no environments to choose from")
    return torch.cat(values), torch.cat(species)
