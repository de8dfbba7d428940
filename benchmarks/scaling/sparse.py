"""Points of the sparse model: structures, atoms, inducing environments, levels.

Operations are counted for the algebra alone: pairs times inducing environments for the
rows, whitening, the products of the rows, factors. What the descriptors take is not.
"""

import pickle
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from ase import Atoms

from benchmarks.scaling import cells
from benchmarks.scaling.measuring import stage
from mfal.data import LabelledDataset
from mfal.models import SparsePotential
from mfal.models.feature_map import FeatureMap, reference_energies
from mfal.models.gathering import Gathered, gather
from mfal.models.inducing import pivoted_cholesky
from mfal.models.left_out_weights import leave_out
from mfal.models.sparse import fit_to_statistics, sparse_feature_map
from mfal.models.weight_fit import WeightFit
from mfal.models.weight_potential import training_keys
from mfal.models.weights import Prior, WeightHyperparameters, log_evidence, posterior

Stages = dict[str, Any]
REPEATED = 3
"""Evaluations of the evidence that a time is the mean of."""


def of_structures(size: int, settings: dict[str, Any], found: Stages) -> None:
    """A pass over cells of mlearn, the fit from its sums, and labels left out."""
    data = cells.copper(
        size, Path(settings["work"]), both=False, smoke=settings["smoke"]
    )
    feature_map = inducing(settings["n_inducing"], settings["smoke"])
    gathered = _gathered(data, feature_map, found)
    prior = Prior(feature_map.block)
    with stage(found, "hyperparameters") as about:
        fitted = fit_to_statistics(gathered, prior)
    q = gathered.statistics.n_features
    about |= {"flops": fitted.evaluations * q**3, "evaluations": fitted.evaluations}
    _leave_out(gathered, prior, fitted.hyperparameters, found)


def of_atoms(size: int, settings: dict[str, Any], found: Stages) -> None:
    """Features, mean and prediction of cells of so many atoms, 4 edge^3."""
    edge = round((size / 4) ** (1 / 3))
    data = cells.random_labels(cells.rattled(settings["n_cells"], edge))
    feature_map = inducing(settings["n_inducing"], settings["smoke"])
    _gathered(data, feature_map, found)
    none = torch.zeros(0, dtype=torch.float64)
    fitted = WeightFit(plain(1), none, 0.0, True, None, 0)
    model = SparsePotential.with_fit(data, feature_map, fitted)
    _ = model.weights, model.bars, model.level_weights
    structures, m = data.structures, feature_map.size
    rows = 1 + 3 * len(structures[0]) + 6
    flops = sum(_flops_of_rows(a, feature_map) for a in structures)
    with stage(found, "predict", flops=flops + len(structures) * rows * m**2):
        model.predict(structures)
    p = _directions(feature_map)
    flops = sum(4 * len(a) * p * m for a in structures)
    moved = sum(8 * 6 * cells.n_pairs(a) for a in structures)
    with stage(found, "mean", flops=flops, moved=moved):
        model.mean(structures)


def of_inducing(size: int, settings: dict[str, Any], found: Stages) -> None:
    """Choosing environments, features on them, the evidence, labels left out."""
    feature_map = inducing(size, settings["smoke"])
    descriptor, features = feature_map.parts[0]
    wanted = cells.rattled(-(-6 * size // 108), 3, seed=7)
    values = torch.cat([descriptor.values(a) for a in wanted])[: 6 * size]  # type: ignore[attr-defined]
    u, _ = features.normalised(values)  # type: ignore[attr-defined]
    species = torch.full((len(u),), 29)
    n, m = len(u), size
    with stage(found, "choice", flops=n * m**2, moved=8 * n * m**2 / 2, held=8 * n * m):
        pivoted_cholesky(u, species, 4, m)
    data = cells.random_labels(cells.rattled(settings["n_cells"], 3))
    gathered = _gathered(data, feature_map, found)
    prior = Prior(feature_map.block)
    _evidence(gathered, prior, 1, found)
    _leave_out(gathered, prior, plain(1), found)


def of_levels(size: int, settings: dict[str, Any], found: Stages) -> None:
    """Features, one evaluation of the evidence and the fit with so many levels."""
    data = cells.with_levels(cells.rattled(settings["n_cells"], 2), size)
    feature_map = inducing(settings["n_inducing"], settings["smoke"])
    gathered = _gathered(data, feature_map, found)
    prior = Prior(feature_map.block)
    _evidence(gathered, prior, size, found)
    q = size * gathered.statistics.n_features
    with stage(found, "hyperparameters") as about:
        fitted = fit_to_statistics(gathered, prior)
    about |= {"flops": fitted.evaluations * q**3, "evaluations": fitted.evaluations}


def of_check(size: int, settings: dict[str, Any], found: Stages) -> None:
    """A pass at sizes that no other point has, to test the product of the laws."""
    structures = cells.rattled(size, settings["edge"], seed=3)
    data = cells.random_labels(structures, settings["n_levels"])
    feature_map = inducing(settings["n_inducing"], settings["smoke"])
    _gathered(data, feature_map, found)


def of_dataset(size: int, settings: dict[str, Any], found: Stages) -> None:
    """Structures of 64 atoms with a label in the memory of one process."""
    rng = np.random.default_rng(0)
    first = Atoms("Cu64", positions=rng.normal(size=(64, 3)), cell=[9.0] * 3, pbc=True)
    held = size * 64 * (8 + 24 + 24)
    with stage(found, "memory", moved=2 * held, held=held):
        structures = []
        for _ in range(size):
            atoms = first.copy()
            atoms.positions += rng.normal(size=(64, 3))
            structures.append(atoms)
        data = cells.random_labels(structures)
    with stage(found, "keys", moved=held):
        training_keys(data)
    with stage(found, "pickle", moved=2 * held, held=held) as about:
        about["bytes"] = len(pickle.dumps(data))


def inducing(n_inducing: int, smoke: bool) -> FeatureMap:
    """Environments of cells of 108 atoms (of 32 for a tiny run), and a first pass.

    The first pass of a process loads what later ones have.
    """
    edge = 2 if smoke else 3
    n_cells = -(-6 * n_inducing // (4 * edge**3))
    structures = cells.rattled(n_cells, edge, seed=1)
    data = cells.random_labels(structures)
    feature_map = sparse_feature_map(
        data, n_inducing=n_inducing, cutoffs=cells.CUTOFFS, seed=0
    )
    few = data.subset([0])
    gather(few, feature_map, reference_energies(few, feature_map.species))
    return feature_map


def plain(n_levels: int) -> WeightHyperparameters:
    """Hyperparameters as they are usual for a metal; times do not depend on them."""
    return WeightHyperparameters(
        torch.full((n_levels, 1), 1.0, dtype=torch.float64),
        torch.ones(n_levels - 1, dtype=torch.float64),
        torch.tensor([[0.02, 0.1, 0.005]], dtype=torch.float64).repeat(n_levels, 1),
    )


def _gathered(
    data: LabelledDataset, feature_map: FeatureMap, found: Stages
) -> Gathered:
    """The pass over the data, measured as the stage "features"."""
    reference = reference_energies(data, feature_map.species)
    m = feature_map.size
    flops, moved, held = 0.0, 0.0, 8.0 * (m + 2) ** 2 * 2 * len(data.levels)
    for i, atoms in enumerate(data.structures):
        labels = sum((i, level) in data.labels for level in data.levels)
        rows = 1 + 3 * len(atoms)
        flops += _flops_of_rows(atoms, feature_map) + labels * rows * (m + 2) ** 2
        moved += 8 * labels * rows * (m + 2)
        held += 8 * labels * rows * (m + 2)
    with stage(found, "features", flops=flops, moved=moved, held=held):
        return gather(data, feature_map, reference)


def _flops_of_rows(atoms: Atoms, feature_map: FeatureMap) -> float:
    p, m = _directions(feature_map), feature_map.size
    pairs, n = cells.n_pairs(atoms), len(atoms)
    return 2 * (3 * pairs + n) * p * m + (1 + 3 * n) * m**2


def _directions(feature_map: FeatureMap) -> int:
    return feature_map.parts[0][1].projection.shape[1]  # type: ignore[attr-defined]


def _evidence(gathered: Gathered, prior: Prior, n_levels: int, found: Stages) -> None:
    statistics, h = gathered.statistics, plain(n_levels)
    q = n_levels * statistics.n_features
    with stage(
        found,
        "evidence",
        count=REPEATED,
        flops=q**3,
        moved=8 * 3 * q**2,
        held=8 * q**2,
    ):
        for _ in range(REPEATED):
            scale = h.scale.clone().requires_grad_(True)
            free = WeightHyperparameters(scale, h.rho, h.noise)
            log_evidence(statistics, prior, free).backward()


def _leave_out(
    gathered: Gathered, prior: Prior, h: WeightHyperparameters, found: Stages
) -> None:
    weights = posterior(gathered.statistics, prior, h)
    q = len(weights.mean)
    sizes = _sizes(gathered)
    flops = sum(q**2 * c + q * c**2 + c**3 for c in sizes)
    moved = sum(8 * (q**2 / 2 + 3 * q * c) for c in sizes)
    with stage(found, "leave_out", flops=flops, moved=moved) as about:
        leave_out(gathered.kept, weights, h)
    about["kept"] = len(sizes)


def _sizes(gathered: Gathered) -> Sequence[int]:
    return [sum(len(b.augmented) for b in c.blocks) for c in gathered.kept]
