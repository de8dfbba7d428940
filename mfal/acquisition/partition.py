"""Partitioned greedy: batches from pools that do not fit into one process."""

from collections.abc import Callable, Sequence
from concurrent.futures import Executor

import numpy as np

from mfal.acquisition.batch import Batch, select_batch
from mfal.acquisition.candidates import Candidate
from mfal.acquisition.greedy import Pick
from mfal.acquisition.pool import PoolAcquisition

Factory = Callable[[Sequence[int]], PoolAcquisition]
"""Makes the acquisition of a part of the pool: its block j is the candidate part[j].
Blocks beyond, such as targets, are as it likes. It must be picklable."""


def select_partitioned(
    factory: Factory,
    candidates: Sequence[Candidate],
    size: int,
    executor: Executor,
    *,
    n_parts: int,
    seed: int,
) -> Batch:
    """A batch by GreeDi: each part of the pool picks one, and the picks compete again.

    The pool is dealt out at random. The batch is the greedy one of all picks together,
    or that of a part if it tells more per cost. For a monotone submodular criterion at
    equal costs it reaches (1 - 1/e) / min(sqrt(q), n_parts) of the best batch in the
    worst case, and half of greedy's expected value for a random partition; mostly it is
    as good as greedy. `evaluations` counts those of all parts.

    Source: Mirzasoleiman et al. (2013), NIPS 26, 2049, algorithm 2; Barbosa et al.
    (2015), ICML, for random partitions.

    Raises:
        ValueError: no parts, or more of them than candidates.
    """
    if not 1 <= n_parts <= len(candidates):
        raise ValueError(
            f"the pool of {len(candidates)} candidates can be dealt out in 1 to as many "
            f"parts, got {n_parts}"
        )
    order = np.random.default_rng(seed).permutation(len(candidates))
    parts = [sorted(order[k::n_parts].tolist()) for k in range(n_parts)]
    futures = [
        executor.submit(
            select_from_part, factory, part, [candidates[i] for i in part], size
        )
        for part in parts
    ]
    found = [future.result() for future in futures]
    union = sorted(pick.position for batch in found for pick in batch)
    merged = select_from_part(factory, union, [candidates[i] for i in union], size)
    every = [*found, merged]
    judge = factory(union)
    best, best_score = merged, _per_cost(judge, union, merged)
    for batch in found:
        score = _per_cost(judge, union, batch)
        if score > best_score * (1 + 1e-9):
            best, best_score = batch, score
    return Batch(
        best.picks,
        sum(batch.evaluations for batch in every),
        sum(batch.evaluations_saved for batch in every),
        None,  # no part has seen the whole pool
    )


def select_from_part(
    factory: Factory, part: Sequence[int], candidates: Sequence[Candidate], size: int
) -> Batch:
    """The batch of one part, with positions in the whole pool: the work of a process."""
    batch = select_batch(factory(part), candidates, size)
    picks = tuple(
        Pick(part[p.position], p.candidate, p.gain, p.gain_per_cost) for p in batch
    )
    return Batch(picks, batch.evaluations, batch.evaluations_saved, batch.certificate)


def _per_cost(judge: PoolAcquisition, union: Sequence[int], batch: Batch) -> float:
    places = [union.index(pick.position) for pick in batch]
    return judge.value(places) / batch.cost
