"""A batch of (configuration, level) pairs from a large pool of cells, and what it takes.

The model: EMT below PBE for copper (mlearn), 1,000 inducing environments. The pool:
rattled and strained cells of 64 atoms, each at either level with energy and forces.
"""

import json
import logging
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from ase import Atoms
from ase.build import bulk
from ase.calculators.emt import EMT

from benchmarks.derivative_kernel.measured import cost
from benchmarks.published_tables.sets import mlearn, prepared
from mfal.acquisition import Candidate, PoolAcquisition, select_batch
from mfal.acquisition.reduced import (
    AssumedDiminishing,
    ReducedParameterInformation,
    ReducedTargetInformation,
)
from mfal.data import Fidelity, Label, LabelledDataset, read_extxyz
from mfal.models import SparsePotential
from mfal.models.reduced_pool import ReducedEntry, ReducedPool, pool_features
from mfal.models.sparse import sparse_feature_map
from mfal.models.storage import load_potential
from mfal.models.stored_features import StoredFeatures, open_features, store_features
from mfal.models.weight_potential import WeightPotential

COSTS = (1.0, 30.0)
"""A cell of 64 atoms with a coarse and with a converged plane-wave calculation."""

N_TARGETS = 20
TOLERANCE = {"energy": 0.02, "forces": 0.1}

_logger = logging.getLogger(__name__)


def cells(n: int, seed: int = 0) -> list[Atoms]:
    """Copper, 64 atoms, rattled by up to 0.25 A and strained by up to 4 %."""
    rng = np.random.default_rng(seed)
    found = []
    for _ in range(n):
        atoms = bulk("Cu", "fcc", a=3.63) * (4, 4, 4)
        strain = rng.normal(0.0, 0.02, (3, 3))
        atoms.set_cell(atoms.cell @ (np.eye(3) + 0.5 * (strain + strain.T)), True)
        atoms.positions += rng.normal(0.0, rng.uniform(0.02, 0.25), (64, 3))
        found.append(atoms)
    return found


def model_of(
    work: Path, n_structures: int, n_inducing: int, *, smoke: bool
) -> WeightPotential:
    """The model of EMT below PBE: twice as many structures with EMT as with PBE."""
    if (work / "model").exists():
        return load_potential(work / "model")  # type: ignore[return-value]
    files = prepared("Cu", mlearn(smoke), work)
    train = read_extxyz(files.train, level="pbe")
    order = np.random.default_rng(0).permutation(len(train))[: 2 * n_structures]
    structures = [train.structures[i] for i in order]
    labels = {}
    for k, i in enumerate(order):
        atoms = structures[k].copy()
        atoms.calc = EMT()
        labels[k, "emt"] = Label(atoms.get_potential_energy(), atoms.get_forces())
        if k < n_structures:
            labels[k, "pbe"] = train.labels[int(i), "pbe"]
    levels = (Fidelity("emt"), Fidelity("pbe"))
    dataset = LabelledDataset(tuple(structures), levels, labels)
    feature_map = sparse_feature_map(dataset, n_inducing=n_inducing)
    return SparsePotential.fit(dataset, feature_map)


def stored(model: WeightPotential, n: int, file: Path) -> StoredFeatures:
    """The features of the pool and of its targets, once computed."""
    if file.exists():
        found = open_features(file)
        if len(found) == n + N_TARGETS:
            return found
    structures = [*cells(n), *cells(N_TARGETS, seed=1)]
    return store_features(structures, pool_features(model), file)


def selected(
    model: WeightPotential,
    features: StoredFeatures,
    n_pool: int,
    size: int,
    criterion: str,
) -> dict[str, Any]:
    """One batch: what it cost after the features are there, and how it was found.

    A pool larger than the number of stored cells holds them several times: its time and
    memory are those of a pool that large, its features on disk are not.
    """
    found: dict[str, Any] = {"n_pool": n_pool, "criterion": criterion}
    n_stored = len(features) - N_TARGETS
    with cost(found):
        chosen = [i % n_stored for i in range(n_pool)]
        entries = [ReducedEntry(i, level) for i in chosen for level in (0, 1)]
        targets = [ReducedEntry(n_stored + i, 1) for i in range(N_TARGETS)]
        began = time.perf_counter()
        pool = ReducedPool(model, features, [*entries, *targets])
        found["seconds_directions"] = time.perf_counter() - began
        candidates = [
            Candidate(k // 2, model.levels[e.level], COSTS[e.level])
            for k, e in enumerate(entries)
        ]
        acquisition = _acquisition(criterion, pool, range(len(entries), len(pool)))
        batch = select_batch(acquisition, candidates, size)
    found |= {
        "n_candidates": len(entries),
        "batch": size,
        "rank": pool.rank,
        "weights": len(model.weights.mean),
        "nats_lost": pool.lost,
        "nats": pool.information,
        "evaluations": batch.evaluations,
        "evaluations_saved": batch.evaluations_saved
        / (batch.evaluations + batch.evaluations_saved),
        "certificate": None
        if batch.certificate is None
        else batch.certificate.fraction,
        "levels": [
            sum(p.candidate.level == name for p in batch) for name in model.levels
        ],
        "gains": batch.gains,
    }
    return found


def _acquisition(
    criterion: str, pool: ReducedPool, targets: Sequence[int]
) -> PoolAcquisition:
    if criterion == "parameters":
        return ReducedParameterInformation(pool)
    tolerance = []
    for t in targets:
        energy = TOLERANCE["energy"] ** 2
        quantity = pool.quantity(t)
        tolerance.append(torch.where(quantity == 0, energy, TOLERANCE["forces"] ** 2))
    return AssumedDiminishing(
        ReducedTargetInformation(pool, list(targets), torch.cat(tolerance).double())
    )


def main() -> None:
    """One measurement in a process of its own: its arguments as JSON, its result too."""
    import sys

    options = json.loads(sys.argv[1])
    work = Path(options["work"])
    torch.set_num_threads(options["threads"])
    model = load_potential(work / "model")
    features = open_features(work / "features.f32")
    result = selected(
        model,
        features,
        options["n_pool"],
        options["batch"],
        options["criterion"],
    )
    print(json.dumps(result))


if __name__ == "__main__":
    main()
