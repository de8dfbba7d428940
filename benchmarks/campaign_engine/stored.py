"""A store of many labels: how long `mfal status` and a resumption take on it.

    python -m benchmarks.campaign_engine.stored FOLDER document | resume

prints the wall and CPU seconds of one of them as JSON, in a process of its own.
"""

import json
import resource
import shutil
import subprocess
import sys
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from ase import Atoms
from ase.build import molecule

from benchmarks.derivative_kernel.measured import in_subprocess
from mfal.campaign.config import CampaignConfig
from mfal.campaign.document import results_document, system_of
from mfal.campaign.records import LabelRequest
from mfal.campaign.store import CampaignStore
from mfal.data import Label

BATCH = 500
N_PILOT = 20
COSTS = {"low": 1.0, "high": 10.0}
MODULE = "benchmarks.campaign_engine.stored"


def measured(folder: Path, n_labels: int, repeats: int = 3) -> dict[str, Any]:
    """Builds the store unless it is there, and times what a user waits for.

    `status` is the whole command in a new process, `imports` the same command on a
    campaign of a step; `document` what it does with the store; `resume` opens the store
    for writing, resets what was running and reads the data set.
    """
    built = _built(folder, n_labels)
    small = folder.with_name(f"{folder.name}_small")
    _built(small, 4 * N_PILOT)
    found: dict[str, Any] = {"n_labels": n_labels, "built_seconds": built}
    found["megabytes"] = (folder / "campaign.sqlite").stat().st_size / 1e6
    tasks: dict[str, Callable[[], dict[str, float]]] = {
        "status": lambda: _command(folder),
        "imports": lambda: _command(small),
    }
    for what in ("document", "resume"):
        words = ["-m", MODULE, str(folder), what]
        tasks[what] = partial(in_subprocess, words, 1)
    for what, task in tasks.items():
        runs = [task() for _ in range(repeats)]
        found[what] = min(runs, key=lambda run: run["seconds"])
    return found


def build(folder: Path, n_labels: int) -> None:
    """A campaign whose every label is done: a pilot, a sweep, and batches of a model."""
    n = n_labels // 2
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    config = configuration(n)
    rng = np.random.default_rng(0)
    with CampaignStore(folder / "campaign.sqlite") as store:
        store.set_meta("config", config.canonical_json())
        store.set_meta("folder", str(folder))
        store.set_meta("system", json.dumps(system_of(config)))
        store.set_meta("digest", config.digest())
        store.set_meta("plan", json.dumps(_plan(n)))
        store.add_structures([(_water(rng), "candidate") for _ in range(n)])
        for step, (phase, labels) in enumerate(_steps(n), start=1):
            gain = 1.0 / step if phase == "acquired" else None
            asked = [LabelRequest(i, level, phase, gain, gain) for i, level in labels]
            with store.batch():
                ids = store.open_step(step, phase, {}, asked)
                for label_id, (_, level) in zip(ids, labels, strict=True):
                    label = Label(rng.normal(), rng.normal(size=(3, 3)))
                    cost = COSTS[level] * rng.uniform(0.8, 1.2)
                    store.record(label_id, label, cost, cost, "here", {"ase": "3"})
                store.finish_step(step, _info(step))


def configuration(n_pool: int) -> CampaignConfig:
    """Water at two levels that are never run."""
    emt = {"code": "emt"}
    return CampaignConfig.model_validate(
        {
            "name": "large",
            "system": {"molecule": "H2O"},
            "levels": [{"name": name, "oracle": emt} for name in COSTS],
            "pool": {"size": n_pool, "level": "low"},
            "targets": 3,
            "validation": 0,
            "pilot": N_PILOT,
            "budget": {"highest_labels": 2 * n_pool},
        },
        context={"folder": Path.cwd()},
    )


def document(folder: Path) -> dict[str, float]:
    """Time of what `mfal status` says, from the store."""
    config = configuration(1000)
    begin = _clocks()
    with CampaignStore(folder / "campaign.sqlite", read_only=True) as store:
        results_document(config, store)
    return _since(begin)


def resume(folder: Path) -> dict[str, float]:
    """Time until the data of the next fit are there, with 16 labels interrupted."""
    config = configuration(1000)
    with CampaignStore(folder / "campaign.sqlite") as store, store.batch():
        store._execute(
            "UPDATE labels SET state = 'pending', result = NULL WHERE id < 17"
        )
        for label_id in range(1, 17):
            store.start(label_id)
    begin = _clocks()
    with CampaignStore(folder / "campaign.sqlite") as store:
        n_reset = store.reset_running()
        dataset, _ = store.dataset(config.fidelities())
        seconds = _since(begin)
        if len(dataset.labels) + n_reset < 32:
            raise RuntimeError("the store does not hold what was written")
        with store.batch():
            label = Label(0.0, np.zeros((3, 3)))
            for label_id in range(1, 17):
                store.record(label_id, label, 1.0, 1.0, "here", {"ase": "3"})
    return seconds


def _clocks() -> tuple[float, float]:
    """Wall and CPU time of this process and of its children that have ended."""
    children = resource.getrusage(resource.RUSAGE_CHILDREN)
    cpu = time.process_time() + children.ru_utime + children.ru_stime
    return time.perf_counter(), cpu


def _since(begin: tuple[float, float]) -> dict[str, float]:
    wall, cpu = (now - then for now, then in zip(_clocks(), begin, strict=True))
    return {"seconds": wall, "cpu_seconds": cpu}


def _command(folder: Path) -> dict[str, float]:
    code = "from mfal.cli import main; main()"
    words = [sys.executable, "-c", code, "status", str(folder)]
    begin = _clocks()
    subprocess.run(words, check=True, capture_output=True)
    return _since(begin)


def _built(folder: Path, n_labels: int) -> float | None:
    """Seconds that it took, `None` if it stood there."""
    done = folder / "done"
    if done.exists() and done.read_text() == str(n_labels):
        return None
    begin = time.perf_counter()
    build(folder, n_labels)
    done.write_text(str(n_labels))
    return time.perf_counter() - begin


def _water(rng: np.random.Generator) -> Atoms:
    atoms = molecule("H2O")
    atoms.positions += rng.normal(scale=0.05, size=(3, 3))
    return atoms


def _steps(n: int) -> list[tuple[str, list[tuple[int, str]]]]:
    pilot = [(i, level) for i in range(N_PILOT) for level in COSTS]
    steps = [("pilot", pilot), ("sweep", [(i, "low") for i in range(N_PILOT, n)])]
    for start in range(N_PILOT, n, BATCH):
        batch = [(i, "high") for i in range(start, min(start + BATCH, n))]
        steps.append(("acquired", batch))
    return steps


def _plan(n: int) -> dict[str, Any]:
    plan = {"levels": list(COSTS), "sweep": ["low"], "budget": 100.0 * n}
    return plan | {"sentences": [], "diagnosis": None, "excluded": []}


def _info(step: int) -> dict[str, Any]:
    """What a finished step says of its fit: errors that fall slowly."""
    error = {"mae": 1.0 / step, "rmse": 1.2 / step, "ece": 0.05}
    two = [1.0, 1.0]
    found = {
        "kernels": ["matern52"] * 2,
        "lengthscale": two,
        "scale": two,
        "rho": [1.0],
    }
    noise = [[1e-3, 1e-2, 1e-3]] * 2
    fit = {"hyperparameters": found | {"noise": noise}, "rho_error": [0.1]}
    factors = {"energy": 1.0, "forces": 1.0}
    return {
        "fit": fit | {"log_evidence": 1.0, "converged": True},
        "levels": list(COSTS),
        "left": [],
        "judged": {},
        "loo": {"energy_mae": 1.0 / step, "forces_mae": 0.1 / step},
        "loo_mode": "at_hand",
        "recalibration": {"standalone": factors, "at_hand": factors},
        "jitter": 0.0,
        "heldout": {"at_hand": {"energy": error, "forces": error}},
    }


if __name__ == "__main__":
    verb = {"document": document, "resume": resume}[sys.argv[2]]
    sys.stdout.write(json.dumps(verb(Path(sys.argv[1]))) + "\n")
