"""Sparse and linear potentials: the posterior in weight space, for any composition.

The prior of each level is eps(q) = sum_k w_k phi_k(q) (`mfal.models.features`); all
labels enter through sufficient statistics (`mfal.models.moments`). The posterior of any
row z^T w is Gaussian, with mean z^T m and variance z^T C z. Cost: one pass over the data,
O(N M^2), and O((L M)^3) for each evaluation of the evidence, whatever the number of data.
"""

import time
from collections.abc import Callable, Sequence
from concurrent.futures import Executor
from typing import Any

import numpy as np
import torch
from ase import Atoms
from ase.data import chemical_symbols
from ase.neighborlist import neighbor_list
from jaxtyping import Float
from torch import Tensor

from mfal.data import LabelledDataset
from mfal.descriptors.environments import Descriptor
from mfal.descriptors.pair_distances import PairDistances
from mfal.descriptors.soap import Soap
from mfal.models.feature_map import FeatureMap, reference_energies
from mfal.models.features import Features, LinearFeatures
from mfal.models.gathering import (
    Gathered,
    gather,
)
from mfal.models.inducing import kernel_features
from mfal.models.left_out_weights import (
    LeftOutWeights,
    leave_out,
    left_out_errors,
)
from mfal.models.memory import check_bytes
from mfal.models.weight_fit import WeightFit, fit_weight_hyperparameters
from mfal.models.weight_potential import Training, WeightPotential, training_keys
from mfal.models.weights import (
    Prior,
    WeightHyperparameters,
    posterior,
)

N_INDUCING, ZETA = 1500, 4
CUTOFFS: tuple[float, ...] = (5.0, 6.5)
"""The defaults of a sparse potential (A), everywhere."""

_EVIDENCE_MATRICES = 16


class SparsePotential(WeightPotential):
    r"""A Gaussian process potential on inducing environments, for any composition.

    .. math:: E = \sum_s n_s e_s + \sum_i w^T L^{-1} k(Z, q_i), \qquad w \sim N(0, s^2 I)

    with the inducing environments Z of the species of atom i and L L^T = k(Z, Z); forces
    and stress are its derivatives, levels build on each other as in `ExactPotential`.

    Source: Bartok & Csanyi (2015), eqs. 13-18; Quinonero-Candela & Rasmussen (2005).

    >>> from ase.build import bulk
    >>> from mfal.data import Fidelity, Label, LabelledDataset
    >>> cells = [bulk("Cu", cubic=True) for _ in range(3)]
    >>> for k, atoms in enumerate(cells):
    ...     atoms.rattle(0.1, seed=k)
    >>> labels = {(k, "toy"): Label(energy=-14.0 + 0.1 * k) for k in range(3)}
    >>> data = LabelledDataset(tuple(cells), (Fidelity("toy", {}),), labels)
    >>> model = SparsePotential.fit(data, n_inducing=8)
    >>> model.predict(cells[:1])[0].forces.shape
    (4, 3)
    """

    @classmethod
    def fit(
        cls,
        dataset: LabelledDataset,
        feature_map: FeatureMap | None = None,
        *,
        n_inducing: int = N_INDUCING,
        zeta: int = ZETA,
        cutoffs: Sequence[float] = CUTOFFS,
        executor: Executor | None = None,
        seed: int = 0,
        progress: Callable[[int, int], None] | None = None,
    ) -> "SparsePotential":
        """Chooses inducing environments, streams the data once, fits hyperparameters.

        With a `feature_map` the number of points, `zeta` and `cutoffs` are its own.

        Raises:
            ValueError: no labels, a stress without a cell.
            TooLargeError: the matrices of the fit would not fit into memory.
        """
        begin = time.perf_counter()
        _check_labels(dataset)
        if feature_map is None:
            check_fit_memory(dataset, min(n_inducing, _n_environments(dataset)))
            feature_map = sparse_feature_map(
                dataset, n_inducing=n_inducing, zeta=zeta, cutoffs=cutoffs, seed=seed
            )
        model = _fitted(cls, dataset, feature_map, begin, executor, seed, progress)
        assert isinstance(model, SparsePotential)
        return model

    @classmethod
    def with_fit(
        cls,
        dataset: LabelledDataset,
        feature_map: FeatureMap,
        fitted: WeightFit,
        *,
        seed: int = 0,
    ) -> "SparsePotential":
        """The model with features and hyperparameters that are known already."""
        reference = reference_energies(dataset, feature_map.species)
        found = gather(dataset, feature_map, reference, seed=seed)
        model = _potential(cls, dataset, feature_map, reference, found, fitted)
        assert isinstance(model, SparsePotential)
        return model


class LinearPotential(WeightPotential):
    r"""The Bayesian linear potential: weights on plain descriptors, any composition.

    .. math:: E = \sum_s n_s e_s + \sum_i w_{s_i}^T q_i, \qquad w \sim N(0, s^2 I)

    Source: Thompson et al. (2015), eq. 9; with the prior, Bishop (2006), section 3.3.
    """

    @classmethod
    def fit(
        cls,
        dataset: LabelledDataset,
        descriptor: Descriptor | None = None,
        *,
        executor: Executor | None = None,
        seed: int = 0,
        progress: Callable[[int, int], None] | None = None,
    ) -> "LinearPotential":
        """Streams the data once and fits the prior's scale, rho and noise.

        Raises:
            ValueError: no labels, a stress without a cell.
            TooLargeError: the matrices of the fit would not fit into memory.
        """
        begin = time.perf_counter()
        _check_labels(dataset)
        species = species_of(dataset)
        if descriptor is None:
            descriptor = default_soap(dataset)
        size = descriptor(dataset.structures[0]).values.shape[1]
        feature_map = FeatureMap(
            species, ((descriptor, LinearFeatures(species, size)),)
        )
        model = _fitted(cls, dataset, feature_map, begin, executor, seed, progress)
        assert isinstance(model, LinearPotential)
        return model


def species_of(dataset: LabelledDataset) -> tuple[int, ...]:
    """Atomic numbers of all species of a data set."""
    return tuple(sorted({int(z) for a in dataset.structures for z in a.numbers}))


def nearest_neighbour(structures: Sequence[Atoms]) -> float:
    """Median distance (A) of atoms to their nearest neighbours; 2 A if there are none."""
    found: list[float] = []
    for atoms in structures[:: max(len(structures) // 32, 1)]:
        centre, apart = neighbor_list("id", atoms, 5.0)
        nearest = np.full(len(atoms), np.inf)
        np.minimum.at(nearest, centre, apart)
        found += nearest[np.isfinite(nearest)].tolist()
    return float(np.median(found)) if found else 2.0


def default_soap(
    dataset: LabelledDataset, cutoffs: Sequence[float] = CUTOFFS, **options: Any
) -> Soap:
    """Power spectra, radial scaling at 0.85 times the nearest-neighbour distance."""
    symbols = [chemical_symbols[z] for z in species_of(dataset)]
    scale = 0.85 * nearest_neighbour(dataset.structures)
    return Soap(symbols, cutoffs=cutoffs, **{"scale": scale, **options})


def sparse_feature_map(
    dataset: LabelledDataset,
    *,
    n_inducing: int = N_INDUCING,
    zeta: int = ZETA,
    cutoffs: Sequence[float] = CUTOFFS,
    method: str = "cholesky",
    pairs: bool = False,
    seed: int = 0,
    **options: Any,
) -> FeatureMap:
    """The default features: inducing environments on power spectra.

    With `pairs` a block of pair potentials stands beside them, with a scale of its own.
    """
    descriptor = default_soap(dataset, cutoffs, **options)
    features = kernel_features(
        descriptor,
        dataset.structures,
        n_inducing,
        zeta=zeta,
        method=method,
        seed=seed,
    )
    species = species_of(dataset)
    parts: tuple[tuple[Descriptor, Features], ...] = ((descriptor, features),)
    if pairs:
        two_body = PairDistances(descriptor.species, cutoff=max(cutoffs))
        parts += ((two_body, LinearFeatures(species, two_body.size)),)
    return FeatureMap(species, parts)


def check_fit_memory(dataset: LabelledDataset, n_features: int) -> int:
    """The bytes that a fit of so many features takes, whatever the number of labels.

    With p features and L levels: 16 matrices of (L p)^2 while the evidence is maximised
    (12 to 16 were measured, `benchmarks/scaling`), and the sums of every level and
    quantity, p^2 each.

    Raises:
        TooLargeError: if less than that is available.
    """
    levels = len(dataset.levels)
    sums = {(level, q) for _, level, label in dataset for q in label.quantities}
    rows = n_features + 2
    matrices = _EVIDENCE_MATRICES * levels**2 + len(sums)
    return check_bytes(
        int(8 * matrices * rows**2),
        what=f"a fit of {n_features} features at {levels} levels",
        advice="use fewer inducing environments (n_inducing), or fewer levels",
    )


def _n_environments(dataset: LabelledDataset) -> int:
    return sum(len(atoms) for atoms in dataset.structures)


def _check_labels(dataset: LabelledDataset) -> None:
    if not dataset.labels:
        raise ValueError("the data set holds no label: there is nothing to fit")


LEFT_OUT_FOR_FACTORS = 160
"""Configurations from which the factors on sigma are taken."""

LEFT_OUT_FOR_RATIO = 128
"""Configurations on which the noise of energies is chosen."""


def _fitted(
    kind: type[WeightPotential],
    dataset: LabelledDataset,
    feature_map: FeatureMap,
    begin: float,
    executor: Executor | None,
    seed: int,
    progress: Callable[[int, int], None] | None,
) -> WeightPotential:
    chosen = time.perf_counter()
    check_fit_memory(dataset, feature_map.size)
    reference = reference_energies(dataset, feature_map.species)
    found = gather(
        dataset, feature_map, reference, executor=executor, seed=seed, progress=progress
    )
    gathered = time.perf_counter()
    fitted = fit_to_statistics(found, Prior(feature_map.block), seed)
    model = _potential(kind, dataset, feature_map, reference, found, fitted)
    model.seconds = {
        "descriptors": chosen - begin,
        "features": gathered - chosen,
        "hyperparameters": time.perf_counter() - gathered,
    }
    return model


def _potential(
    kind: type[WeightPotential],
    dataset: LabelledDataset,
    feature_map: FeatureMap,
    reference: Tensor,
    found: Gathered,
    fitted: WeightFit,
) -> WeightPotential:
    training = Training(
        dataset.fidelities, reference, dataset.n_labels(), training_keys(dataset)
    )
    return kind(
        feature_map,
        training,
        found.statistics,
        fitted,
        kept=tuple(found.kept),
        dataset=dataset,
    )


def fit_to_statistics(found: Gathered, prior: Prior, seed: int = 0) -> WeightFit:
    """Hyperparameters by evidence, the noise of energies by leave-one-out."""
    paired = [c for c in found.kept if len({b.group.quantity for b in c.blocks}) > 1]
    order = np.random.default_rng([seed, 6]).permutation(len(paired))
    some = [paired[i] for i in order[:LEFT_OUT_FOR_RATIO]]

    def error(h: WeightHyperparameters) -> Float[np.ndarray, "n q"]:
        with torch.no_grad():
            return left_out_errors(some, posterior(found.statistics, prior, h), h)

    return fit_weight_hyperparameters(
        found.statistics, prior, error if len(some) >= 2 else None
    )


def calibrated_weights(
    model: WeightPotential, standalone: LeftOutWeights | None = None
) -> WeightPotential:
    """The sparse or linear model, its sigmas recalibrated by leave-one-configuration-out.

    Epistemic sigma and noise get factors of their own where labels are enough for two,
    for each way of deployment. `standalone` is what left-out labels of all that is kept
    gave, if it is known.
    """
    factors = {}
    order = np.random.default_rng(8).permutation(len(model.kept))
    some = [model.kept[i] for i in order[:LEFT_OUT_FOR_FACTORS]]
    for mode in ("standalone", "at_hand"):
        if mode == "standalone" and standalone is not None:
            found = standalone.of_structures({c.structure for c in some})
        else:
            found = leave_out(
                some, model.weights, model.hyperparameters, mode=mode, bars=model.bars
            )
        if found.residual:
            factors[mode] = found.recalibration()
    return model.with_recalibrations(factors)
