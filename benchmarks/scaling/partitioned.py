"""A simulated cluster: sums over parts of the data, picks of parts of the pool.

Two worker processes of dask, each with one thread. A part of the data is a file that only
its worker reads, and what comes back are sums; all else is done by mfal's own functions.
"""

import pickle
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Float

from benchmarks.local_dask import local_client
from benchmarks.scaling import cells
from benchmarks.scaling.measuring import stage
from benchmarks.selection import pool
from mfal.acquisition import (
    Candidate,
    ParameterInformation,
    ReducedParameterInformation,
    select_batch,
    select_partitioned,
)
from mfal.data import QUANTITIES, Fidelity, LabelledDataset, read_extxyz, write_extxyz
from mfal.data.joining import joined
from mfal.models import (
    PoolEntry,
    ReducedEntry,
    ReducedPool,
    SparsePotential,
    WeightPool,
    load_potential,
    open_features,
    save_potential,
)
from mfal.models.feature_map import FeatureMap, reference_energies
from mfal.models.gathering import KEPT_BYTES, Gathered, gather
from mfal.models.left_out_weights import leave_out
from mfal.models.moments import merged
from mfal.models.sparse import fit_to_statistics, sparse_feature_map
from mfal.models.weight_potential import Training, WeightPotential, training_keys
from mfal.models.weights import Prior

TOLERANCE = {
    "given": {"energy": 1e-9, "forces": 1e-8, "stress": 1e-9},
    "searched": {"energy": 1e-6, "forces": 1e-5, "stress": 1e-6},
}
"""By how much means and sigmas of the two fits may differ: eV per atom, eV/A, eV/A^3.

With hyperparameters that are given, and with those that each fit found: rounding may end
a search elsewhere on the flat top of the evidence.
"""

RELATIVE = 1e-5
"""By how much sums over parts may differ from those of the whole, of the largest."""

SHARE = 0.95
"""Of the information of plain greedy, what the batch of parts has at least."""

LEVELS = (Fidelity("emt"), Fidelity("pbe"))


@dataclass(frozen=True)
class Part:
    """What a worker knows of its part: sums, no structures."""

    gathered: Gathered
    n_labels: dict[str, dict[str, int]]
    keys: dict[str, frozenset[str]]


def part_of(file: Path) -> LabelledDataset:
    """The data set of a file, with both levels even if one has no label there."""
    found = read_extxyz(file)
    return LabelledDataset(found.structures, LEVELS, found.labels)


def energies_of(file: Path) -> LabelledDataset:
    """Compositions and energies of a part: all that reference energies are made of."""
    data = part_of(file)
    labels = {key: label.only(["energy"]) for key, label in data.labels.items()}
    return replace(data, labels=labels)


def sums_of(
    file: Path, first: int, feature_map: FeatureMap, reference: Any, kept_bytes: int
) -> Part:
    """The sums of a part; its structures have numbers from `first` on."""
    data = part_of(file)
    found = gather(data, feature_map, reference, kept_bytes=kept_bytes)
    kept = [replace(c, structure=first + c.structure) for c in found.kept]
    return Part(Gathered(found.statistics, kept), data.n_labels(), training_keys(data))


def squares_of(
    kept: Sequence[Any], model: WeightPotential
) -> Float[np.ndarray, "quantities 2"]:
    """Sum of squares and number of the left-out residuals of a part."""
    found = leave_out(kept, model.weights, model.hyperparameters)
    sums = np.zeros((len(QUANTITIES), 2))
    for k, quantity in enumerate(QUANTITIES):
        for r in found.residual.get(quantity, []):
            sums[k] += np.square(r).sum(), len(r)
    return sums


def gains_of(
    model: WeightPotential, entries: Sequence[PoolEntry]
) -> Float[np.ndarray, " n"]:
    """The information of each label about the parameters, in nats."""
    acquisition = ParameterInformation(WeightPool(model, entries))
    return acquisition.values(range(len(entries))).numpy()


def fit_in_parts(
    client: Any,
    files: Sequence[Path],
    sizes: Sequence[int],
    feature_map: FeatureMap,
    *,
    seed: int = 0,
) -> SparsePotential:
    """The sparse model of all files, from sums that workers make of their own file."""
    executor = client.get_executor()
    light = joined(list(executor.map(energies_of, files)))
    reference = reference_energies(light, feature_map.species)
    firsts = np.concatenate([[0], np.cumsum(sizes)[:-1]]).tolist()
    shared = client.scatter(feature_map, broadcast=True)
    futures = [
        client.submit(sums_of, file, first, shared, reference, KEPT_BYTES // len(files))
        for file, first in zip(files, firsts, strict=True)
    ]
    parts: list[Part] = client.gather(futures)
    statistics = merged(p.gathered.statistics for p in parts)
    kept = [c for p in parts for c in p.gathered.kept]
    prior = Prior(feature_map.block)
    fitted = fit_to_statistics(Gathered(statistics, kept), prior, seed)
    names = [level.name for level in LEVELS]
    training = Training(
        LEVELS,
        reference,
        {
            n: {q: sum(p.n_labels[n][q] for p in parts) for q in QUANTITIES}
            for n in names
        },
        {n: frozenset().union(*(p.keys[n] for p in parts)) for n in names},
    )
    return SparsePotential(feature_map, training, statistics, fitted, kept=kept)


def fit_compared(size: int, settings: dict[str, Any], found: dict[str, Any]) -> None:
    """One fit in this process, one from sums of parts on the cluster, side by side.

    Sums of the parts are judged by the model of the parts, those of the whole by that of
    this process.

    Raises:
        AssertionError: predictions differ by more than `TOLERANCE`, or sums over parts of
            left-out residuals or gains of candidates differ from those of the whole.
    """
    work = Path(settings["work"]) / "parts"
    work.mkdir(parents=True, exist_ok=True)
    n_test, n_parts = settings["n_test"], settings["n_parts"]
    data = cells.copper(size + n_test, work.parent, both=True, smoke=settings["smoke"])
    test = data.structures[size:]
    files, sizes = [], []
    for k, part in enumerate(np.array_split(np.arange(size), n_parts)):
        files.append(work / f"part_{k}.extxyz")
        sizes.append(len(part))
        write_extxyz(files[-1], data.subset(part.tolist()))
    whole = joined([part_of(file) for file in files])
    feature_map = sparse_feature_map(whole, n_inducing=settings["n_inducing"])
    with stage(found, "here"):
        here = SparsePotential.fit(whole, feature_map)
    with local_client(2, processes=not settings["smoke"]) as client:
        with stage(found, "there") as about:
            there = fit_in_parts(client, files, sizes, feature_map)
        about["bytes_of_sums"] = len(pickle.dumps(there.statistics))
        about["bytes_of_data"] = len(pickle.dumps(whole))
        shared = client.scatter(there, broadcast=True)
        dealt = client.scatter([list(there.kept[k::n_parts]) for k in range(n_parts)])
        parts = client.gather([client.submit(squares_of, d, shared) for d in dealt])
        entries = [
            PoolEntry(a, level.name)
            for a in cells.rattled(settings["candidates"] // 2, 2, seed=5)
            for level in LEVELS
        ]
        split = [entries[:2], entries[2:]]
        gains = client.gather([client.submit(gains_of, shared, e) for e in split])
    squares = squares_of(here.kept, here)
    gained = gains_of(here, entries)
    given = SparsePotential(feature_map, there.training, there.statistics, here.fitted)
    differences = {
        "given": apart(here, given, test),
        "searched": apart(here, there, test),
        "sums": {
            "left_out": _relative(sum(parts), squares),
            "information": _relative(np.concatenate(gains), gained),
        },
    }
    about |= {
        "differences": differences,
        "same_kept": len(here.kept) == len(there.kept),
    }
    about |= {"n_parts": n_parts, "n_test": len(test), "gains": len(gained)}
    check_agreement(differences)


def apart(
    here: WeightPotential, there: WeightPotential, structures: Sequence[Any]
) -> dict[str, float]:
    """The largest differences of predictions: energies per atom, means and sigmas."""
    found: dict[str, float] = {}
    both = [m.predict(structures) for m in (here, there)]
    for atoms, a, b in zip(structures, *both, strict=True):
        for quantity in QUANTITIES:
            scale = 1 / len(atoms) if quantity == "energy" else 1.0
            for name in (quantity, f"{quantity}_sigma"):
                x, y = getattr(a, name), getattr(b, name)
                if x is not None:
                    most = float(np.max(np.abs(np.asarray(x) - np.asarray(y))))
                    found[name] = max(found.get(name, 0.0), scale * most)
    return found


def check_agreement(differences: Mapping[str, Mapping[str, float]]) -> None:
    """Raises the `AssertionError` of `fit_compared`."""
    for way, found in differences.items():
        for name, most in found.items():
            if not most <= allowed(way, name):
                raise AssertionError(
                    f"{name} ({way}): a fit from sums of parts differs by {most:.2g} from "
                    f"that in one process, allowed are {allowed(way, name):g}"
                )


def allowed(way: str, name: str) -> float:
    """The largest difference that may be."""
    return TOLERANCE.get(way, {}).get(name.removesuffix("_sigma"), RELATIVE)


@dataclass(frozen=True)
class InformationOfPart:
    """The information of a part of a pool, made where it is asked for, from files."""

    model: Path
    features: Path

    def __call__(self, part: Sequence[int]) -> ReducedParameterInformation:
        """The acquisition of candidates k: structure k // 2 at level k % 2."""
        model = load_potential(self.model)
        assert isinstance(model, WeightPotential)
        entries = [ReducedEntry(k // 2, k % 2) for k in part]
        stored = open_features(self.features)
        return ReducedParameterInformation(ReducedPool(model, stored, entries))


def selection_compared(
    size: int, settings: dict[str, Any], found: dict[str, Any]
) -> None:
    """Plain greedy in this process, and the picks of parts that compete again.

    Raises:
        AssertionError: the batch of parts has less than `SHARE` of the information.
    """
    work = Path(settings["work"]) / "pool"
    work.mkdir(parents=True, exist_ok=True)
    smoke = settings["smoke"]
    model = pool.model_of(
        work, settings["n_structures"], settings["n_inducing"], smoke=smoke
    )
    save_potential(model, work / "model")
    (work / "features.f32").unlink(missing_ok=True)  # of a run that was interrupted
    with stage(found, "features") as about:
        stored = pool.stored(model, size, work / "features.f32")
    about |= {"cells": len(stored), "columns": stored.n_features}
    candidates = [
        Candidate(k // 2, model.levels[k % 2], pool.COSTS[k % 2])
        for k in range(2 * size)
    ]
    factory = InformationOfPart(work / "model", work / "features.f32")
    batch = settings["batch"]
    with stage(found, "greedy") as plain:
        whole = factory(range(len(candidates)))
        here = select_batch(whole, candidates, batch)
    with (
        local_client(2, processes=not smoke) as client,
        stage(found, "in parts") as parted,
    ):
        there = select_partitioned(
            factory,
            candidates,
            batch,
            client.get_executor(),
            n_parts=settings["n_parts"],
            seed=0,
        )
    judge = factory(range(len(candidates)))
    picks = [[p.position for p in b] for b in (here, there)]
    with stage(found, "judge", count=2):
        worth = [judge.value(p) for p in picks]
    plain |= {"worth": worth[0], "cost": here.cost, "evaluations": here.evaluations}
    parted |= {
        "worth": worth[1],
        "cost": there.cost,
        "evaluations": there.evaluations,
        "in_common": len(set(picks[0]) & set(picks[1])),
        "share": worth[1] / there.cost * here.cost / worth[0],
        "batch": batch,
        "n_parts": settings["n_parts"],
    }
    if parted["share"] < SHARE:
        raise AssertionError(
            f"the batch of parts has {parted['share']:.3f} of the information per cost of "
            f"plain greedy, promised are {SHARE}"
        )


def _relative(left: Any, right: Any) -> float:
    return float(np.max(np.abs(np.asarray(left) - right)) / np.max(np.abs(right)))
