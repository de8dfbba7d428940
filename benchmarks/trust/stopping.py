"""Does a campaign stop where its held-out targets are met, and not before?

Each campaign runs to its whole budget on labels that are there already (methanol with
GFN2-xTB and MP2; a hot copper cluster with a pair potential and EMT) and keeps at every
step what a stopping rule would read: errors of labels left out one configuration at a
time, those predicted at probes, and those of the held-out labels. Where a rule would have
stopped it, and where the held-out labels first met its targets, is read from that record.
"""

from collections.abc import Mapping, Sequence
from itertools import product
from pathlib import Path
from typing import Any

import numpy as np
import yaml

from benchmarks.in_process import InProcess
from benchmarks.trust.stopping_cases import CASES, ERRORS
from mfal.campaign import Campaign, load_campaign
from mfal.campaign.reader import StoreReader
from mfal.campaign.stopping import State
from mfal.campaign.stopping_config import StoppingConfig
from mfal.campaign.stopping_rule import conditions, patient


def recorded(name: str, seed: int, work: Path, smoke: bool) -> dict[str, Any]:
    """Spent cost and all kinds of errors at every step of one campaign of a case."""
    case = CASES[name]
    pool = case.prepared(work, smoke)
    file = work / f"{name}_{seed}.yaml"
    file.write_text(yaml.safe_dump(case.config(pool, seed, smoke)))
    folder = work / f"{name}_{seed}"
    done = Campaign(load_campaign(file), folder, executor=InProcess()).run()
    cost = {point["step"]: point["cost"] for point in done["learning_curve"]}
    reader = StoreReader(folder / "campaign.sqlite", read_only=True)
    steps = [s for s in reader.steps() if s.step in cost]
    reader.close()
    return {
        "spent": [cost[s.step] for s in steps],
        "judged": [s.info["judged"] for s in steps],
    }


def stops(
    record: Mapping[str, Any],
    targets: Mapping[str, float],
    patience: int,
    errors: str,
) -> dict[str, float | None]:
    """Where the rule on these errors stops, and where held-out labels meet it first.

    Costs, `None` for never; a rule needs its targets in `patience` steps in a row, the
    held-out labels are asked once.
    """
    rule = patient(StoppingConfig(**targets, patience=patience, errors=errors))
    truth = conditions(StoppingConfig(**targets, errors="validation"))
    judged, spent = record["judged"], record["spent"]
    states = [State(tuple(judged[: k + 1])) for k in range(len(spent))]
    return {
        "stopped": next(
            (c for s, c in zip(states, spent, strict=True) if rule(s).met), None
        ),
        "met": next(
            (c for s, c in zip(states, spent, strict=True) if truth(s).met), None
        ),
    }


def summary(case: str, records: Sequence[Mapping[str, Any]]) -> list[dict]:
    """For each set of targets: ratios of the two costs over the seeds."""
    rows = []
    asked = CASES[case].targets.items()
    for (name, targets), errors, patience in product(asked, ERRORS, (1, 2)):
        found = [stops(r, targets, patience, errors) for r in records]
        both = [f for f in found if f["stopped"] is not None and f["met"] is not None]
        ratios = [f["stopped"] / f["met"] for f in both]
        rows.append(
            {
                "case": CASES[case].title,
                "targets": name,
                "errors": errors,
                "patience": patience,
                "seeds": len(found),
                "neither": sum(
                    f["stopped"] is None and f["met"] is None for f in found
                ),
                "stopped_unmet": sum(
                    f["stopped"] is not None and f["met"] is None for f in found
                ),
                "met_unstopped": sum(
                    f["stopped"] is None and f["met"] is not None for f in found
                ),
                "ratios": ratios,
                "within_20": sum(0.8 <= r <= 1.2 for r in ratios),
                "early": sum(r < 0.8 for r in ratios),
                "late": sum(r > 1.2 for r in ratios),
                "median": float(np.median(ratios)) if ratios else None,
            }
        )
    return rows
