"""How busy the workers of a campaign are: label after label, or batch after batch."""

import json
import math
import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from mfal.campaign import Campaign, CampaignConfig

MODULE = "benchmarks.campaign_engine.fake"
SHORTEST, LONGEST = 3.0, 30.0
"""Seconds of a label, log-uniform between them."""
N_PILOT, BATCH = 8, 4


def used(
    folder: Path, *, asynchronous: bool, n: int, workers: int, scale: float, seed: int
) -> dict[str, Any]:
    """A campaign of n labels that sleep, and what share of the workers' time they took.

    `whole` is from the begin of the first label that was chosen to the end of the last
    one, `steady` to the begin of the last one: after that some have nothing left.
    """
    shutil.rmtree(folder, ignore_errors=True)
    notes = folder / "notes"
    notes.mkdir(parents=True)
    ends = [scale * SHORTEST, scale * LONGEST]
    arguments = {"note": str(notes / "computations"), "seconds": ends, "seed": seed}
    oracle = {"code": "python", "factory": f"{MODULE}:Slow", "arguments": arguments}
    config = CampaignConfig.model_validate(
        {
            "name": "busy",
            "seed": seed,
            "system": {"molecule": "H2O"},
            "levels": [{"name": "slow", "oracle": oracle}],
            "pool": {"sampler": "rattle", "size": 2 * n, "rattle": 0.1},
            "targets": 10,
            "validation": 0,
            "pilot": N_PILOT,
            "budget": {"cost": float(n), "costs": {"slow": 1.0}},
            "acquisition": {"batch": BATCH},
            "comparison": False,
            "model": {"kernel": "matern52", "permutations": "none"},
            "execution": {
                "workers": workers,
                "asynchronous": asynchronous,
                "allowed_modules": [MODULE],
            },
        }
    )
    Campaign(config, folder / "campaign").run()
    lines = (notes / "computations").read_text().splitlines()
    return {
        "asynchronous": asynchronous,
        "n": n,
        "workers": workers,
        "scale": scale,
        "seed": seed,
        **shares([json.loads(line) for line in lines], workers),
    }


def shares(spans: Sequence[tuple[float, float]], workers: int) -> dict[str, float]:
    """Shares of the workers' time of the labels after the pilot; spans are begin, end.

    >>> found = shares([(0.0, 1.0)] * 8 + [(1.0, 3.0), (1.0, 2.0), (3.0, 4.0)], 2)
    >>> found["steady"], round(found["whole"], 3)
    (0.75, 0.667)
    """
    chosen = np.array(sorted(spans)[N_PILOT:])
    begin, last, end = chosen[0, 0], chosen[:, 0].max(), chosen[:, 1].max()

    def share(until: float) -> float:
        busy = math.fsum(np.minimum(chosen[:, 1], until) - chosen[:, 0])
        return busy / (workers * (until - begin))

    return {
        "steady": share(last),
        "whole": share(end),
        "wall_seconds": end - begin,
        "label_seconds": float(np.mean(chosen[:, 1] - chosen[:, 0])),
    }
