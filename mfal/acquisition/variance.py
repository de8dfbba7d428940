r"""Variance of labels of a pool, and of what they take away from that of targets."""

from collections.abc import Callable, Sequence
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor

from mfal.acquisition.conditioned import ConditionedPool, TargetCovariance
from mfal.acquisition.pool import PoolAcquisition
from mfal.models.observations import ENERGY, FORCES
from mfal.models.posterior import LabelPool, PoolPosterior

Measure = Callable[[Any, int, Float[Tensor, "r r"]], Float[Tensor, ""]]
"""From a pool, a block and the covariance of its rows to one number, a variance."""


def mean_variance(
    pool: PoolPosterior, block: int, covariance: Float[Tensor, "r r"]
) -> Float[Tensor, ""]:
    """The mean over all rows, energies and forces in their units."""
    del pool, block
    return covariance.diagonal().mean()


def energy_variance(
    pool: LabelPool, block: int, covariance: Float[Tensor, "r r"]
) -> Float[Tensor, ""]:
    """Of the energy, eV^2; zero for a label without one."""
    return covariance.diagonal()[pool.quantity(block) == ENERGY].sum()


def energy_variance_per_atom(
    pool: LabelPool, block: int, covariance: Float[Tensor, "r r"]
) -> Float[Tensor, ""]:
    """Of the energy per atom, eV^2: the variance of E over n_atoms^2."""
    return energy_variance(pool, block, covariance) / pool.n_atoms(block) ** 2


def force_variance(
    pool: LabelPool, block: int, covariance: Float[Tensor, "r r"]
) -> Float[Tensor, ""]:
    """Of the norm of all forces, eV^2/A^2: E|F - E F|^2, the trace over the forces."""
    return covariance.diagonal()[pool.quantity(block) == FORCES].sum()


def force_variance_per_atom(
    pool: LabelPool, block: int, covariance: Float[Tensor, "r r"]
) -> Float[Tensor, ""]:
    """`force_variance` over n_atoms, eV^2/A^2: large cells are not preferred."""
    return force_variance(pool, block, covariance) / pool.n_atoms(block)


def largest_force_variance(
    pool: LabelPool, block: int, covariance: Float[Tensor, "r r"]
) -> Float[Tensor, ""]:
    """Of the Cartesian force component that is known worst, eV^2/A^2.

    max_i [U Σ_f U^T]_ii with the rows f of forces and F = U f; zero without forces.
    """
    rows = pool.quantity(block) == FORCES
    if not rows.any():
        return covariance.new_zeros(())
    basis = pool.force_basis(block)
    return ((basis @ covariance[rows][:, rows]) * basis).sum(1).max()


class MaximumVariance(PoolAcquisition):
    """Posterior variance of a label, in the `measure` that is handed in.

    The values of a set are summed: what its labels tell of each other is only counted
    through picks.

    Source: MacKay (1992), Neural Comput. 4, 590, section 3.
    """

    diminishing = True

    def __init__(
        self, posterior: PoolPosterior, measure: Measure = mean_variance
    ) -> None:
        self._given = given = ConditionedPool(posterior)
        super().__init__(len(posterior.slices), [given])
        self._measure = measure

    def value(self, blocks: Sequence[int]) -> float:
        """The sum of the labels' variances."""
        return float(self.values(blocks).sum())

    def values(self, blocks: Sequence[int]) -> Float[Tensor, " b"]:
        """The variance of each label."""
        found = torch.empty(len(blocks), dtype=torch.float64)
        for places, covariances in self._given.single_covariances(blocks):
            for place, one in zip(places, covariances, strict=True):
                found[place] = self._measure(self._given.posterior, blocks[place], one)
        return found


class IntegratedVariance(PoolAcquisition):
    r"""Reduction of the summed variance of target rows by a label.

    .. math:: \sum_t w_t [Σ_{Tc} (Σ_c + N)^{-1} Σ_{cT}]_{tt}

    The expected fall of the squared error of the targets, as the posterior sees it.
    `targets` are blocks of the pool; `weights`, one per row of theirs (default 1), make
    one number of rows in different units: 1 / tolerance counts in what is tolerated
    (`mfal.acquisition.tolerance`). `at_hand` as in `TargetInformation`.

    Source: Cohn (1996), Neural Netw. 9, 1071; Seo et al. (2000), IJCNN 3, 241.

    Raises:
        ValueError: no targets, or weights that are negative or not one per row.
    """

    def __init__(
        self,
        posterior: PoolPosterior,
        targets: Sequence[int],
        weights: Float[Tensor, " t"] | None = None,
        *,
        at_hand: Sequence[int] = (),
    ) -> None:
        n_rows = sum(
            posterior.slices[t].stop - posterior.slices[t].start for t in targets
        )
        weights = torch.ones(n_rows).double() if weights is None else weights
        check_weights(weights, n_rows)
        self._given = given = ConditionedPool(posterior, at_hand)
        self._covariance = TargetCovariance(given, targets)
        super().__init__(len(posterior.slices), [given, self._covariance])
        self._weights = weights

    def value(self, blocks: Sequence[int]) -> float:
        """What the labels take away from the variance of the targets."""
        cross = torch.cat([self._covariance.of([b])[0] for b in blocks], dim=1)
        observed = self._given.labels(blocks)
        return float(explained_variance(observed, cross, self._weights))

    def values(self, blocks: Sequence[int]) -> Float[Tensor, " b"]:
        """The same for each label, many at once."""
        found = torch.empty(len(blocks), dtype=torch.float64)
        for places, observed in self._given.single_labels(blocks, len(self._weights)):
            cross = self._covariance.of([blocks[p] for p in places])
            found[places] = explained_variance(observed, cross, self._weights)
        return found


def explained_variance(
    observed: Float[Tensor, "*b r r"],
    cross: Float[Tensor, "*b t r"],
    weights: Float[Tensor, " t"],
) -> Float[Tensor, "*b"]:
    """sum_t w_t [C S^-1 C^T]_tt: variance of targets that labels of covariance S explain.

    C is the covariance of the targets with the labels.
    """
    factor = torch.linalg.cholesky(observed)
    half = torch.linalg.solve_triangular(factor, cross.mT, upper=False)
    return (half.square() * weights).sum((-2, -1))


def check_weights(weights: Tensor, n_targets: int) -> None:
    """Raises a ValueError unless there are targets, each with a weight >= 0."""
    if not n_targets or weights.shape != (n_targets,) or not (weights >= 0).all():
        raise ValueError(
            f"integrated variance needs targets with one weight >= 0 each, got "
            f"{n_targets} targets and weights of shape {tuple(weights.shape)}"
        )
