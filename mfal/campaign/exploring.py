"""On-the-fly learning: dynamics with the potential as it stands, and what they found.

What a step explores depends on the labels of earlier steps, the configuration and (seed,
step) alone, and is in the store, in one transaction with its record, before the step asks
for labels: a campaign that was killed goes on as one that was not.
"""

import json
from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import partial
from typing import Any

import numpy as np
from ase import Atoms
from ase.calculators.calculator import BaseCalculator

from mfal.calculators.biased import BiasedCalculator, RelativeTau
from mfal.calculators.exploring import FAILURES, Ensemble, Excursion, Flagged, excursion
from mfal.calculators.extrapolation import LEFT_OUT, QUANTILE, ExtrapolationMonitor
from mfal.calculators.force_sigma import NAME, ForceSigmaMonitor
from mfal.calculators.potential import MfalCalculator
from mfal.calculators.verdict import Monitor
from mfal.campaign.config import CampaignConfig
from mfal.campaign.explore_config import ExploreConfig
from mfal.campaign.geometries import unphysical
from mfal.campaign.records import StoredStep
from mfal.campaign.sifting import REASONS, Sifted, sift
from mfal.campaign.store import CampaignStore
from mfal.models.environment_rows import EnvironmentDescriber
from mfal.models.storage import Potential
from mfal.models.training_environments import MEASURES

NAMES = (NAME, *MEASURES)
"""Measures of the monitor `extrapolation`."""

WITH_TARGETS = ("target_information", "integrated_variance")
"""Acquisitions that ask what a label tells of the targets."""


def due(config: CampaignConfig, steps: Sequence[StoredStep], number: int) -> bool:
    """Whether a step explores: each `every`-th of the acquired ones, the first included."""
    before = sum(s.phase == "acquired" and s.step < number for s in steps)
    return config.explore is not None and before % config.explore.every == 0


def explored(
    config: CampaignConfig,
    store: CampaignStore,
    number: int,
    rebuilt: Callable[[], Potential],
    *,
    tell: Callable[[str], None],
    between: Callable[[], None],
) -> dict[str, Any]:
    """What the step found, as plain JSON; the structures are in the pool then.

    Done once: what is on record is given back. `rebuilt` makes the model of the step
    before from its record; `between` is called now and then and may raise to end it.
    """
    name = f"explored:{number}"
    if (known := store.meta(name)) is not None:
        return json.loads(known)
    pool = [s.atoms for s in store.structures()]
    structures, record = _explore(config, rebuilt(), pool, number, between)
    store.extend_structures(structures, name, json.dumps(record))
    tell(f"step {number}: {record['sentence']}")
    return record


def _explore(
    config: CampaignConfig,
    model: Potential,
    pool: Sequence[Atoms],
    number: int,
    between: Callable[[], None],
) -> tuple[list[tuple[Atoms, str]], dict[str, Any]]:
    """The structures that were found, with their roles, and the record."""
    explore = config.explore
    assert explore is not None  # the step would not explore else
    tolerance = config.acquisition.tolerance.forces
    soft, hard = explore.thresholds(tolerance)
    runs: list[Excursion] = []
    limits: dict[str, float] = {}
    failure = ""
    try:
        starts = _starts(model)
        judge = _judge(explore, model, len(starts), tolerance)
    except FAILURES as error:  # too little is known to explore from it
        failure = f"nothing was explored: {error}"
    else:
        if isinstance(judge, ExtrapolationMonitor):
            limits = {name: limit.value for name, limit in judge.thresholds.items()}
        runs = _runs(config, explore, model, starts, judge, number, between)
    flagged = _gathered(runs)
    found = Sifted()
    if flagged:
        found = sift(
            flagged,
            pool,
            EnvironmentDescriber(model).of_training,
            partial(unphysical, config),
            closest=explore.closest,
            most=explore.most,
        )
    roles = _roles(config, explore, len(found.kept), number)
    record: dict[str, Any] = {
        "soft": soft,
        "hard": hard,
        "thresholds": limits,
        "runs": [
            {"temperature": _ensemble(explore, k).temperature, **run.summary()}
            for k, run in enumerate(runs)
        ],
        "flagged": len(flagged),
        "gathered": len(found.kept),
        "targets": roles.count("target"),
        "refused": found.refused,
        "unphysical": found.unphysical[:5],
    }
    record["sentence"] = failure or _sentence(record)
    return list(zip(found.kept, roles, strict=True)), record


def _starts(model: Potential) -> list[Atoms]:
    """Where runs may start: the structures that the highest level is known of."""
    dataset = model.dataset
    assert dataset is not None  # rebuilt from the labels of the store
    known = dataset.labelled(model.levels[-1])
    if not known:
        raise ValueError("no structure has a label of the highest level")
    return [dataset.structures[i] for i in known]


def _judge(
    explore: ExploreConfig, model: Potential, n_starts: int, tolerance: float
) -> ExtrapolationMonitor | None:
    """The monitor with thresholds, if one is wanted.

    The largest left-out value of each measure while there are few, as high a quantile as
    they tell of. What was learned from exploring raises thresholds that come from the
    training set; that of the force sigma stays at the tolerance of forces (eV/A) or
    below, so that the two do not run away with each other.
    """
    if explore.monitor == "force_sigma":
        return None
    n = min(n_starts, LEFT_OUT)
    known = 1 - len(NAMES) / (n + 1)
    found = ExtrapolationMonitor.of(
        MfalCalculator(model), measures=NAMES, quantile=min(QUANTILE, known)
    )
    limit = found.thresholds[NAME]
    found.thresholds[NAME] = replace(limit, value=min(limit.value, tolerance))
    return found


def _runs(
    config: CampaignConfig,
    explore: ExploreConfig,
    model: Potential,
    starts: Sequence[Atoms],
    judge: ExtrapolationMonitor | None,
    number: int,
    between: Callable[[], None],
) -> list[Excursion]:
    """The runs, each from a start and with momenta of its own."""
    soft, hard = explore.thresholds(config.acquisition.tolerance.forces)
    rng = np.random.default_rng([config.seed, 6, number])
    chosen = rng.choice(len(starts), explore.runs, replace=explore.runs > len(starts))
    runs = []
    for k, start in enumerate(chosen):
        plain = MfalCalculator(model)
        calculator: BaseCalculator = plain
        if explore.bias:
            calculator = BiasedCalculator(model, RelativeTau(explore.bias))
            plain = calculator.unbiased
        monitor: Monitor = ForceSigmaMonitor(plain)
        if judge is not None:  # of what the run computes anyhow
            monitor = ExtrapolationMonitor(plain, judge.thresholds, judge.environments)
        runs.append(
            excursion(
                starts[start],
                calculator,
                monitor,
                _ensemble(explore, k),
                steps=explore.steps,
                soft=soft,
                hard=hard,
                interval=explore.interval,
                seed=[config.seed, 6, number, k],
                between=between,
            )
        )
    return runs


def _ensemble(explore: ExploreConfig, run: int) -> Ensemble:
    return Ensemble(
        explore.temperatures[run % len(explore.temperatures)],
        pressure=explore.pressure if explore.ensemble == "npt" else None,
        timestep=explore.timestep,
        friction=explore.friction,
    )


def _gathered(runs: Sequence[Excursion]) -> list[Flagged]:
    """What was flagged, and the last structure before a stop, after these."""
    found = [f for run in runs for f in run.flagged]
    return found + [Flagged(run.last, 0.0) for run in runs if run.last is not None]


def _roles(
    config: CampaignConfig, explore: ExploreConfig, n: int, number: int
) -> list[str]:
    """Targets at random, where the acquisition has any; the rest are candidates."""
    roles = ["candidate"] * n
    if config.acquisition.name in WITH_TARGETS:
        order = np.random.default_rng([config.seed, 7, number]).permutation(n)
        for i in order[: round(explore.targets * n)]:
            roles[i] = "target"
    return roles


def _sentence(record: dict[str, Any]) -> str:
    runs = record["runs"]
    refused = [f"{record['refused'][r]} {r}" for r in REASONS if record["refused"][r]]
    sigmas = [r["largest_sigma"] for r in runs if r["largest_sigma"] is not None]
    heat = sorted({f"{r['temperature']:g}" for r in runs}, key=float)
    return (
        f"explored {sum(r['steps'] for r in runs)} steps in {len(runs)} runs at "
        f"{', '.join(heat)} K, {sum(bool(r['reason']) for r in runs)} ended early: "
        f"{record['gathered']} of {record['flagged']} structures gathered"
        f"{' (refused: ' + ', '.join(refused) + ')' if refused else ''}, "
        f"{record['targets']} of them as targets"
        + (f"; largest force sigma {max(sigmas):.3g} eV/A" if sigmas else "")
    )
