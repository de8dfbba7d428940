"""Does a campaign stop where its held-out targets are met, and not before?

Each campaign runs to its whole budget on replayed labels of methanol (GFN2-xTB, MP2) and
keeps at every step what a stopping rule would read: errors of labels left out one
configuration at a time, those predicted at probes, and those of the held-out labels.
Where a rule would have stopped it, and where the held-out labels first met its targets,
is read from that record.
"""

from collections.abc import Mapping, Sequence
from itertools import product
from pathlib import Path
from typing import Any

import ase.io
import numpy as np
import yaml

from benchmarks.in_process import InProcess
from benchmarks.reference_data import reference_data
from benchmarks.strategies_small.systems import METHANOL_EXCERPT
from mfal.campaign import Campaign, load_campaign
from mfal.campaign.reader import StoreReader
from mfal.campaign.stopping import State
from mfal.campaign.stopping_config import StoppingConfig
from mfal.campaign.stopping_rule import conditions, patient

LEVELS = ("gfn2", "mp2")
TARGETS: dict[str, dict[str, float]] = {
    "forces 0.15 eV/A": {"forces_rmse": 0.15},
    "forces 0.12 eV/A": {"forces_rmse": 0.12},
    "forces 0.10 eV/A": {"forces_rmse": 0.10},
    "energy 3 meV/atom": {"energy_mae": 0.003},
    "forces 0.12, energy 3, ECE 0.1": {
        "forces_rmse": 0.12,
        "energy_mae": 0.003,
        "ece": 0.1,
    },
}
ERRORS = ("leave_one_out", "predicted")
OUT_OF_REACH = {"forces_rmse": 1e-9, "energy_mae": 1e-9, "ece": 1e-9}
"""Targets that are never met: the campaign runs on and its errors are recorded."""


def recorded(seed: int, work: Path, smoke: bool) -> dict[str, Any]:
    """Spent cost and both kinds of errors at every step of one campaign."""
    pool = _pool(work, smoke)
    file = work / f"stopping_{seed}.yaml"
    file.write_text(yaml.safe_dump(_config(pool, seed, smoke)))
    folder = work / f"stopping_{seed}"
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


def summary(records: Sequence[Mapping[str, Any]]) -> list[dict]:
    """For each set of targets: ratios of the two costs over the seeds."""
    rows = []
    for (name, targets), errors, patience in product(TARGETS.items(), ERRORS, (1, 2)):
        found = [stops(r, targets, patience, errors) for r in records]
        both = [f for f in found if f["stopped"] is not None and f["met"] is not None]
        ratios = [f["stopped"] / f["met"] for f in both]
        rows.append(
            {
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


def _pool(work: Path, smoke: bool) -> Path:
    """Every label as a frame of its own, with its measured cost."""
    path = work / "methanol_replay.extxyz"
    if path.exists():
        return path
    work.mkdir(parents=True, exist_ok=True)
    if smoke:
        frames = ase.io.read(METHANOL_EXCERPT, ":")
        for atoms in frames:
            atoms.calc = None
            atoms.info["mfal_cpu_seconds"] = (
                0.001 if atoms.info["mfal_fidelity"] == "gfn2" else 0.7
            )
    else:
        folder = reference_data("generated", "methanol_gfn2_hf_mp2_ccsdt")
        frames = []
        for atoms in ase.io.read(folder / "frames.extxyz", ":"):
            for level in LEVELS:
                frame = ase.Atoms(atoms.symbols, atoms.positions)
                frame.info = {
                    "mfal_fidelity": level,
                    "REF_energy": float(atoms.info[f"{level}_energy"]),
                    "mfal_cpu_seconds": float(atoms.info[f"{level}_cpu_s"]),
                }
                frame.arrays["REF_forces"] = atoms.arrays[f"{level}_forces"]
                frames.append(frame)
    ase.io.write(path, frames, format="extxyz")
    start = ase.Atoms(frames[0].symbols, frames[0].positions)
    ase.io.write(work / "methanol.xyz", start, format="xyz")
    return path


def _config(pool: Path, seed: int, smoke: bool) -> dict[str, Any]:
    replay = {"code": "replay", "path": pool.name}
    return {
        "name": "stopping",
        "seed": seed,
        "system": {"file": "methanol.xyz"},
        "levels": [
            {"name": name, "oracle": {**replay, "level": name}} for name in LEVELS
        ],
        "pool": {"sampler": "file", "path": pool.name, "size": 24 if smoke else 180},
        "targets": 3 if smoke else 20,
        "validation": 6 if smoke else 40,
        "pilot": 4 if smoke else 8,
        "budget": {"highest_labels": 8 if smoke else 70},
        "acquisition": {"name": "target_information", "batch": 2 if smoke else 3},
        "stopping": [
            {**OUT_OF_REACH, "errors": errors} for errors in (*ERRORS, "validation")
        ],
        "probes": 5 if smoke else 20,
        "comparison": False,
    }
