"""A small campaign in a store, every way to write to it, and what it then holds."""

import os
import traceback
import warnings

import numpy as np
from ase import Atoms

from mfal.campaign.store import CampaignStore
from mfal.data import Fidelity, Label

LOW, HIGH = Fidelity("low"), Fidelity("high")
VERSIONS = {"mfal": "0.1.0", "tblite": "0.4"}
POOL = [
    *((i, "candidate") for i in range(6)),
    *((i, "target") for i in range(6, 8)),
    *((i, "heldout") for i in range(8, 10)),
]


def molecule(i):
    positions = np.random.default_rng(i).normal(size=(3, 3))
    return Atoms("OH2", positions=positions, cell=[0, 0, i], pbc=[False, False, i % 2])


def result(i=0.0):
    forces = np.random.default_rng(int(i)).normal(size=(3, 3)) / 3
    return Label(energy=-76.1 - i / 7, forces=forces, sigma={"energy": 0.1 + 0.2})


def pool():
    return [(molecule(i), role) for i, role in POOL]


def campaign(path):
    """A store with a pool and a first step of six labels: one running, two done."""
    store = CampaignStore(path)
    store.set_meta("config", "{}")
    store.add_structures(pool())
    requests = [(i, level, "pilot", None, None) for i in range(3) for level in "ab"]
    store.open_step(0, "pilot", {"rho": 0.1 + 0.2}, requests)
    for label_id in (1, 2, 3):
        store.start(label_id)
    store.record(1, result(1), 1.0, 2.0, "here", VERSIONS)
    store.record(2, result(2), 1.0, 2.0, "here", VERSIONS)
    return store


def contents(path):
    """Every table without its times."""
    with CampaignStore(path, read_only=True) as store:
        connection = store._connection
        tables = [r[0] for r in connection.execute("SELECT name FROM sqlite_master")]
        return {
            table: [
                {k: v for k, v in dict(row).items() if k != "time" and k[-3:] != "_at"}
                for row in connection.execute(f"SELECT * FROM {table}")
            ]
            for table in ("meta", "structures", "steps", "labels", "events")
            if table in tables
        }


def forked(function):
    """Runs `function` in a forked process; its number."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)  # fork beside BLAS threads
        child = os.fork()
    if child == 0:
        try:
            function()
        except BaseException:
            traceback.print_exc()
            os._exit(1)
        os._exit(0)
    return child


def in_child(function):
    """Runs `function` in a forked process; its exit status as `waitpid` gives it."""
    return os.waitpid(forked(function), 0)[1]


def finished(path):
    """Two steps, validation labels outside the budget, everything done but one."""
    store = CampaignStore(path)
    store.add_structures(pool())
    first = [(i, "low", "pilot", None, None) for i in (5, 0, 7)]
    second = [
        (5, "high", "acquired", 1.0, 0.1),
        (2, "high", "acquired", 0.5, 0.1),
        (8, "high", "validation", None, None),
    ]
    for step, requests in enumerate((first, second)):
        for label_id in store.open_step(step, "x", {}, requests):
            label = store.label(label_id)
            if label.structure_id != 2:
                value = result(label.structure_id + 100 * (label.level == "high"))
                store.record(label_id, value, 1.0, 10.0**step, "here", {})
    return store


WRITES = {
    "set_meta": lambda s: s.set_meta("config", "new"),
    "open_step": lambda s: s.open_step(
        1, "acquire", {"x": 1}, [(i, "b", "acquired", 1.5, 0.5) for i in range(3, 6)]
    ),
    "begin_step": lambda s: s.begin_step(1, "acquire", {"x": 1}),
    "finish_step": lambda s: s.finish_step(0, {"mae": 0.3}),
    "request_labels": lambda s: s.request_labels(
        1, [(i, "b", "acquired", 1.5, 0.5) for i in range(3, 6)]
    ),
    "start": lambda s: s.start(4),
    "record": lambda s: s.record(3, result(3), 1.0, 1.0, "here", VERSIONS),
    "record a conflict": lambda s: s.record(1, result(9), 1.0, 1.0, "here", VERSIONS),
    "retry": lambda s: s.record_failure(3, "scf", "no", 1.0, 1.0, retry=True),
    "quarantine": lambda s: s.record_failure(3, "scf", "no", 1.0, 1.0, retry=False),
    "reset_running": lambda s: s.reset_running(),
    "log_event": lambda s: s.log_event("note", "told", 1),
    "batch": lambda s: batch(s),
    "extend_structures": lambda s: s.extend_structures(
        [(molecule(i), "candidate") for i in (20, 21)], "explored:1", "{}"
    ),
}


def batch(store):
    with store.batch():
        store.start(4)
        store.record(3, result(3), 1.0, 1.0, "here", VERSIONS)
        store.record(4, result(4), 1.0, 1.0, "here", VERSIONS)
