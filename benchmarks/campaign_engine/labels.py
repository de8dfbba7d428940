"""A thousand labels through an executor: what was lost, computed twice, and waited for."""

import json
import logging
import platform
import shutil
import time
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import Executor
from contextlib import contextmanager
from pathlib import Path
from threading import Event
from typing import Any

from benchmarks.campaign_engine.fake import TIMEOUT, Script, structure
from benchmarks.local_dask import local_client
from mfal.campaign.config import ExecutionConfig
from mfal.campaign.labelling import label_step
from mfal.campaign.store import CampaignStore
from mfal.data import Fidelity
from mfal.oracles import GuardedExecutor, LabelPool

MODULE = "benchmarks.campaign_engine.fake"
EXECUTORS = ("pebble", "dask-guarded", "dask")


def labelled(
    name: str, folder: Path, *, n: int, workers: int, seed: int, scale: float
) -> dict[str, Any]:
    """Labels the step of one script with fresh files in a folder, and counts."""
    shutil.rmtree(folder, ignore_errors=True)
    notes = folder / "notes"
    notes.mkdir(parents=True)
    arguments = {"folder": str(notes), "n": n, "seed": seed, "scale": scale}
    oracle = {"code": "python", "factory": f"{MODULE}:Sleeping", "arguments": arguments}
    level = Fidelity("sleeping", oracle)
    execution = ExecutionConfig(
        workers=workers, timeout=scale * TIMEOUT, max_attempts=3
    )
    with _quiet(), CampaignStore(folder / "campaign.sqlite") as store:
        store.add_structures([(structure(i), "candidate") for i in range(n)])
        store.open_step(1, "pilot", {}, [(i, level.name, "pilot") for i in range(n)])
        with _executor(name, workers, execution.timeout) as executor:
            begin = time.time()
            label_step(
                store,
                1,
                {level.name: level},
                execution,
                executor,
                folder / "spool",
                Event(),
                lambda text: None,
                allowed_modules=(MODULE,),
            )
            wall = time.time() - begin
        script = Script.of(n, seed, scale)
        lines = (notes / "computations").read_text().splitlines()
        notes_read = [json.loads(line) for line in lines]
        work = script.work(kills=name != "dask")
        ideal = max(work / workers, max(script.durations))
        return {
            "executor": name,
            "n": n,
            "workers": workers,
            "seed": seed,
            "scale": scale,
            "timeout": execution.timeout,
            "ideal_seconds": ideal,
            "wall_seconds": wall,
            "over_ideal": wall / ideal - 1,
            **counted(store, notes_read, script),
            "spans": spans(notes_read, begin, wall, execution.timeout),
            "python": platform.python_version(),
        }


@contextmanager
def _quiet() -> Iterator[None]:
    """Without a warning for each of the failures that are meant."""
    logger = logging.getLogger("mfal")
    before = logger.level
    logger.setLevel(logging.ERROR)
    try:
        yield
    finally:
        logger.setLevel(before)


def counted(
    store: CampaignStore, notes: list[dict[str, Any]], script: Script
) -> dict[str, Any]:
    """What the store holds beside what the notes of the computations say.

    `again` are computations beyond the first of labels whose first one was neither
    killed, ended by its timeout nor unconverged: the promise is that there are none.
    `completed_twice` are labels of which two computations went well.
    """
    labels = store.labels()
    done = [x for x in labels if x.result is not None]
    begun = Counter(x["label"] for x in notes if x["what"] == "begin")
    went_well = Counter(x["label"] for x in notes if x["what"] == "end")
    sound = [i for i, fault in enumerate(script.faults) if fault is None]
    return {
        "done": len(done),
        "lost": len(labels) - len(done),
        "wrong": sum(x.result.energy != x.structure_id for x in done if x.result),
        "computations": sum(begun.values()),
        "again": sum(begun[i] - 1 for i in sound),
        "completed_twice": sum(count > 1 for count in went_well.values()),
        "attempts": sum(x.attempts for x in labels),
        "faults": dict(Counter(fault for fault in script.faults if fault)),
        "events": store.event_counts(),
    }


def spans(
    notes: list[dict[str, Any]], begin: float, wall: float, timeout: float
) -> list[tuple[float, float, str]]:
    """Begin and end of each computation (s since the first submission), and how it ended.

    One without an end was killed at its timeout, or went on when the step was over.
    """
    started = {
        (x["label"], x["attempt"]): x["time"] for x in notes if x["what"] == "begin"
    }
    found = []
    ended = set()
    for x in notes:
        key = (x["label"], x["attempt"])
        if x["what"] != "begin":
            ended.add(key)
            late = x["what"] == "end" and x["time"] - started[key] > 1.5 * timeout
            how = "hanging" if late else x["what"]
            found.append((started[key] - begin, x["time"] - begin, how))
    for key, start in started.items():
        if key not in ended:
            end = min(start - begin + timeout, wall)
            found.append((start - begin, end, "hanging"))
    return sorted((round(a, 3), round(b, 3), how) for a, b, how in found)


@contextmanager
def _executor(
    name: str, workers: int, timeout: float
) -> Iterator[LabelPool | Executor]:
    """The executor of a name; that of dask once all its workers are there."""
    if name == "pebble":
        with LabelPool(workers, timeout=timeout) as pool:
            yield pool
        return
    with local_client(workers) as client:
        plain = client.get_executor()
        guarded = name == "dask-guarded"
        yield GuardedExecutor(plain, timeout=timeout) if guarded else plain
