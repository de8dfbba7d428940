"""results.json: everything about a campaign in one document, made from its store."""

import itertools
import json
import math
from bisect import bisect_right
from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from typing import Any

import mfal
from mfal.campaign.baseline_words import verdicts
from mfal.campaign.config import CampaignConfig
from mfal.campaign.forecast import forecast, pool_counts
from mfal.campaign.ledger import Ledger
from mfal.campaign.reader import LabelEntry, StoreReader, Tally
from mfal.campaign.records import BUDGETED, GIVEN_UP, StoredStep
from mfal.campaign.stopping_rule import standing, state_of

FORMAT = 1


def results_document(
    config: CampaignConfig, store: StoreReader, *, bought: bool = True
) -> dict[str, Any]:
    """The document that `mfal status`, the report and a user's scripts read.

    Costs are in `budget.unit`; energies in meV per atom, forces in eV/A. What is not
    known yet is null. `bought`: with the list of all labels, which can be long.
    """
    plan = json.loads(store.meta("plan") or "null")
    tallies, steps = store.tallies(), store.steps()
    ledger, labels = Ledger(config, tallies), tallies.rows
    names = [level.name for level in config.levels]
    known = store.meta("system")
    system = system_of(config) if known is None else json.loads(known)
    evaluated = json.loads(store.meta("evaluation") or "null")
    rows = json.loads(store.meta("comparison") or "[]")
    finished = store.meta("evaluation") is not None
    estimates = ledger.estimates() if plan else {}
    ratio = None
    if len(names) > 1 and names[0] in estimates and names[-1] in estimates:
        ratio = estimates[names[-1]].mean / estimates[names[0]].mean
    counts = store.counts()
    left = _levels_left(store)
    used = [
        name
        for name in (plan["levels"] if plan else names)
        if name not in {x["level"] for x in left}
    ]
    document: dict[str, Any] = {
        "format": FORMAT,
        "mfal_version": mfal.__version__,
        "name": config.name,
        "finished": finished,
        "stopping_reason": store.meta("stopping_reason") if finished else None,
        "stopping": standing(
            config.stopping,
            state_of(steps, labels, left=math.inf, cheapest=None),
        ),
        "started": labels[0].requested_at if labels else None,
        "updated": datetime.now(UTC).isoformat(timespec="seconds"),
        "system": system,
        "levels": [
            {
                "name": level.name,
                "oracle": dict(level.oracle),
                "quantities": list(level.quantities),
            }
            for level in config.levels
        ],
        "plan": plan["sentences"] if plan else [],
        "levels_left": left,
        "batches": [
            {"step": step.step, **step.info["batch"]}
            for step in steps
            if "batch" in step.info
        ],
        "explorations": [
            {"step": step.step, **step.info["explored"]}
            for step in steps
            if "explored" in step.info
        ],
        "budget": {
            "unit": ledger.unit,
            "total": plan["budget"] if plan else None,
            "spent": ledger.spent(),
            "spent_per_level": {name: ledger.spent(name) for name in names},
            "reserved": (plan.get("reserve") or None) if plan else None,
            "outside": {"validation": ledger.spent(purposes=("validation",))},
        },
        "n_labels": {name: counts.get(name, {}) for name in names},
        "n_labels_outside": {
            name: sum(
                x.n_labels
                for x in labels
                if x.level == name and x.state == "done" and x.purpose not in BUDGETED
            )
            for name in names
        },
        "cost_model": {name: vars(cost) for name, cost in estimates.items()},
        "cost_ratio": ratio,
        "diagnosis": plan["diagnosis"] if plan else None,
        "model": _model(store, used, system["n_atoms"]),
        "learning_curve": _learning_curve(steps, labels, ledger, names),
        "evaluation": evaluated,
        "comparison": rows,
        "compared_after": json.loads(store.meta("compared_after") or "null"),
        "verdict": verdicts(rows, used),
        "rho": _last(store, "rho"),
        "rho_standard_error": _last(store, "rho_standard_error"),
        "failures": [_failure(x) for x in store.entries(states=GIVEN_UP)],
        "events": store.event_counts(),
        "notices": next(
            (
                [x for _, x in s.info.get("notices", [])]
                for s in reversed(steps)
                if "fit" in s.info
            ),
            [],
        ),
        "bought": [
            {
                "step": x.step,
                "rank": x.rank,
                "structure": x.structure_id,
                "level": x.level,
                "purpose": x.purpose,
                "gain": x.gain,
                "gain_per_cost": x.gain_per_cost,
                "cost": x.cpu_seconds,
            }
            for x in (store.entries(states=("done",)) if bought else ())
        ],
        "execution": {
            "workers": config.execution.workers,
            "wall_seconds": math.fsum(x.wall_seconds for x in labels),
            "resumed": int(store.meta("resumed") or 0),
            "versions": store.versions(),
        },
    }
    document["pool"] = pool_counts(store.roles(), labels)
    document["forecast"] = forecast(document)
    return document


def system_of(config: CampaignConfig) -> dict[str, Any]:
    """Formula and number of atoms of the system, as the store keeps them."""
    atoms = config.start()
    return {"formula": atoms.get_chemical_formula(), "n_atoms": len(atoms)}


def _learning_curve(
    steps: Sequence[StoredStep],
    labels: Sequence[Tally],
    ledger: Ledger,
    names: list[str],
) -> list[dict[str, Any]]:
    fitted = [step for step in steps if "fit" in step.info]
    done = [x for x in labels if x.state == "done" and x.purpose in BUDGETED]
    gains: dict[int, float] = {}
    for x in done:
        if x.gain_per_cost is not None:
            gains[x.step] = max(gains.get(x.step, -math.inf), x.gain_per_cost)
    spent = ledger.spent_by_step([step.step for step in fitted])
    n_done = {name: _numbers([x for x in done if x.level == name]) for name in names}
    return [
        {
            "step": step.step,
            "phase": step.phase,
            "cost": sum(per_level.values()),
            "spent_per_level": per_level,
            "n_labels": {name: n_done[name](step.step) for name in names},
            "loo": step.info["loo"],
            "loo_mode": step.info["loo_mode"],
            "heldout": step.info["heldout"],
            "judged": step.info.get("judged", {}),
            **_rho(step),
            "gain_per_cost": gains.get(step.step),
        }
        for step, per_level in zip(fitted, spent, strict=True)
    ]


def _numbers(done: Sequence[Tally]) -> Callable[[int], int]:
    """Number of labels up to a step."""
    steps = [x.step for x in done]  # rising
    total = [0, *itertools.accumulate(x.n_labels for x in done)]
    return lambda step: total[bisect_right(steps, step)]


def _levels_left(store: StoreReader) -> list[dict[str, Any]]:
    """The levels that the guard stopped buying, with the step and the reason."""
    return [
        {"step": step.step, **left}
        for step in store.steps()
        for left in step.info.get("left", [])
    ]


def _rho(step: StoredStep) -> dict[str, Any]:
    fit = step.info["fit"]
    return {
        "rho": fit["hyperparameters"]["rho"],
        "rho_standard_error": fit["rho_error"],
    }


def _last(store: StoreReader, key: str) -> Any:
    steps = [s for s in store.steps() if "fit" in s.info]
    return _rho(steps[-1])[key] if steps else None


def _model(
    store: StoreReader, levels: list[str], n_atoms: int
) -> dict[str, Any] | None:
    steps = [s for s in store.steps() if "fit" in s.info]
    if not steps:
        return None
    info = steps[-1].info
    h = info["fit"]["hyperparameters"]
    names = info["levels"]
    own: dict[str, Any] = {"kind": "sparse"}
    if "kernels" in h:
        group = json.loads(store.meta("permutations") or "[0]")
        own = {
            "kind": "exact",
            "kernels": dict(zip(names, h["kernels"], strict=True)),
            "n_permutations": len(group),
            "lengthscale": dict(zip(names, h["lengthscale"], strict=True)),
        }
    return {
        **own,
        "levels": names,
        "rho": h["rho"],
        "rho_standard_error": info["fit"]["rho_error"],
        "noise": {
            name: {
                "energy": 1e3 * h["noise"][i][0] / math.sqrt(n_atoms),
                "forces": h["noise"][i][1],
            }
            for i, name in enumerate(names)
        },
        "log_evidence": info["fit"]["log_evidence"],
        "recalibration": info["recalibration"],
        "repairs": {
            "jitter_raised": sum(s.info["jitter"] > 0 for s in steps),
            "fits_not_converged": sum(not s.info["fit"]["converged"] for s in steps),
        },
    }


def _failure(label: LabelEntry) -> dict[str, Any]:
    return {
        "structure": label.structure_id,
        "level": label.level,
        "state": label.state,
        "kind": label.error_kind,
        "message": label.error_message,
        "attempts": label.attempts,
        "cost": label.cpu_seconds,
    }
