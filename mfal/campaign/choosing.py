"""What is asked for next: the pilot, the sweep of a cheap level, the best labels."""

import math
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np

from mfal.acquisition import (
    Batch,
    Candidate,
    CostEstimate,
    IntegratedVariance,
    MaximumVariance,
    ParameterInformation,
    Pick,
    PoolAcquisition,
    Random,
    TargetInformation,
    Tolerance,
    select_batch,
)
from mfal.campaign.config import AcquisitionConfig, CampaignConfig
from mfal.campaign.engines import Engine, Pool
from mfal.campaign.records import LabelRequest, StoredStructure
from mfal.models.pool import PoolEntry
from mfal.models.storage import Potential


class Choice(NamedTuple):
    """Labels that are asked for, the pool they were chosen from, and how well.

    `report` is plain JSON: `worth`, the gains together, and the `upper_bound` of that of
    any batch (`None` where the criterion is not submodular); `evaluations` of gains, and
    `evaluations_saved` of those that plain greedy choice would have made.
    """

    requests: list[LabelRequest]
    pool: Pool
    report: dict[str, Any]


def assign_roles(config: CampaignConfig, n_structures: int) -> list[str]:
    """The role of each structure: held out, targets and probes at random, the rest
    candidates."""
    order = np.random.default_rng([config.seed, 1]).permutation(n_structures)
    roles = ["candidate"] * n_structures
    for i in order[: config.validation]:
        roles[i] = "heldout"
    for i in order[config.validation : config.validation + config.targets]:
        roles[i] = "target"
    first = config.validation + config.targets
    for i in order[first : first + config.n_probes]:
        roles[i] = "probe"
    return roles


def pilot_requests(
    config: CampaignConfig, structures: Sequence[StoredStructure]
) -> list[LabelRequest]:
    """Random candidates, each at every level."""
    candidates = [s.id for s in structures if s.role == "candidate"]
    chosen = np.random.default_rng([config.seed, 2]).choice(
        candidates, size=config.pilot, replace=False
    )
    return [
        LabelRequest(int(i), level.name, "pilot")
        for level in config.levels
        for i in sorted(chosen)
    ]


def heldout_requests(
    levels: Sequence[str], structures: Sequence[StoredStructure]
) -> list[LabelRequest]:
    """These levels of the held-out structures."""
    return [
        LabelRequest(s.id, level, "validation")
        for level in levels
        for s in structures
        if s.role == "heldout"
    ]


def sweep_requests(
    structures: Sequence[StoredStructure], level: str, asked: set[tuple[int, str]]
) -> list[LabelRequest]:
    """A level of all candidates and targets that do not have it yet."""
    return [
        LabelRequest(s.id, level, "sweep")
        for s in structures
        if s.role in ("candidate", "target") and (s.id, level) not in asked
    ]


def missing_labels(
    structures: Sequence[StoredStructure],
    levels: Sequence[str],
    asked: set[tuple[int, str]],
) -> list[tuple[int, str]]:
    """What can be chosen: candidates at every level.

    Targets stand for all the places where the potential will be used. A label of their
    own would be worth more to them than to what they stand for, and once each had its
    lower labels those of candidates would seem worthless.
    """
    return [
        (s.id, level)
        for s in structures
        for level in levels
        if (s.id, level) not in asked and s.role == "candidate"
    ]


def best_requests(
    config: CampaignConfig,
    model: Potential,
    structures: Sequence[StoredStructure],
    positions: Mapping[int, int],
    wanted: Sequence[tuple[int, str]],
    costs: Mapping[str, CostEstimate],
    left: float,
    step: int,
    *,
    engine: Engine,
    pending: Sequence[tuple[int, str]] = (),
    reuse: Pool | None = None,
) -> Choice:
    """The next batch by the acquisition function per expected cost.

    `positions` are the structures' places in the model's data set, `wanted` are the
    labels to choose from, `pending` those that were asked for and are not in the data,
    `left` is what is left of the budget. The choice depends on nothing but these and the
    seed; `reuse`, the pool of the step before, saves time.
    """
    by_id = {s.id: s for s in structures}
    targets = [s.id for s in structures if s.role == "target"]
    low, high = model.levels[0], model.levels[-1]
    at_hand: list[int] = []
    if config.acquisition.deployment == "at_hand" and low != high:
        assert model.dataset is not None  # a campaign's model has its data
        known = model.dataset.labels
        at_hand = [i for i in targets if (positions.get(i), low) not in known]
    about = [*((i, high) for i in targets), *((i, low) for i in at_hand)]
    # structures that the data do not hold yet get numbers of their own after theirs:
    # their labels at two levels have something in common, too
    entries = [
        PoolEntry(
            by_id[i].atoms,
            level,
            _quantities(config, level),
            positions.get(i, len(positions) + i),
        )
        for i, level in [*wanted, *about, *pending]
    ]
    n_known = len(wanted) + len(about)
    pool = engine.pool(model, entries, reuse)
    acquisition = _acquisition(
        config.acquisition,
        pool,
        list(range(len(wanted), len(wanted) + len(targets))),
        list(range(len(wanted) + len(targets), n_known)),
        int(np.random.default_rng([config.seed, 3, step]).integers(2**31)),
    )
    candidates = [Candidate(i, level, costs[level].mean) for i, level in wanted]
    size = batch_size(config.acquisition.batch, left, [c.cost for c in candidates])
    running = list(range(n_known, len(entries)))
    picks = select_batch(acquisition, candidates, size, budget=left, pending=running)
    return Choice([_request(pick) for pick in picks], pool, _report(picks))


def batch_size(batch: int, left: float, costs: Sequence[float]) -> int:
    """The size of the next batch: the configured one, or all that the budget still pays.

    If what is left pays for at most one and a half batches of the cheapest label, it is
    spent at once: a fit for the sake of one or two last labels costs more than it tells.

    >>> batch_size(8, left=100.0, costs=[10.0]), batch_size(8, 130.0, [10.0])
    (10, 8)
    """
    labels = left / min(costs)
    return max(int(labels), 1) if labels <= 1.5 * batch else batch


def _report(batch: Batch) -> dict[str, Any]:
    certificate = batch.certificate
    return {
        "worth": math.fsum(batch.gains),
        "upper_bound": None if certificate is None else certificate.upper_bound,
        "evaluations": batch.evaluations,
        "evaluations_saved": batch.evaluations_saved,
    }


def _request(pick: Pick) -> LabelRequest:
    chosen = pick.candidate
    return LabelRequest(
        chosen.structure, chosen.level, "acquired", pick.gain, pick.gain_per_cost
    )


def _quantities(config: CampaignConfig, level: str) -> tuple[str, ...]:
    return next(v.quantities for v in config.levels if v.name == level)


def _acquisition(
    config: AcquisitionConfig,
    pool: Pool,
    targets: list[int],
    at_hand: list[int],
    seed: int,
) -> PoolAcquisition:
    if config.name == "random":
        return Random(pool, seed)
    if config.name == "maximum_variance":
        return MaximumVariance(pool)
    if config.name == "parameter_information":
        return ParameterInformation(pool)
    wanted = Tolerance(config.tolerance.energy, config.tolerance.forces)
    variances = wanted.variances(pool, targets)
    if config.name == "integrated_variance":
        return IntegratedVariance(pool, targets, 1 / variances)
    return TargetInformation(pool, targets, variances, at_hand=at_hand)
