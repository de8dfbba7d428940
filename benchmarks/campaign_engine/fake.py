"""A reference code that only sleeps, and fails in the ways that real ones do.

What a label does is written in its geometry: the distance of its two atoms is its number.
Every computation leaves a line in a file when it begins and one when it ends, so that it
can be counted afterwards what was computed, however the labels came back.
"""

import json
import math
import os
import signal
import time
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from ase import Atoms
from ase.calculators.calculator import Calculator, all_changes
from ase.calculators.emt import EMT

SHORTEST, LONGEST = 0.05, 5.0
"""Seconds of a label, log-uniform between them, before they are scaled."""

SHARES = {"killed": 0.05, "hanging": 0.02, "unconverged": 0.03}
"""What goes wrong in the first attempt, and at how many of the labels."""

NEAREST, STEP = 2.2, 1e-3
TIMEOUT = 2.0 * LONGEST
HANG = 3.0 * TIMEOUT
"""Seconds after which a label is ended, and for which a hanging one sleeps (unscaled)."""


@dataclass(frozen=True)
class Script:
    """What n labels do: their durations in seconds, and the fault of each or none."""

    durations: tuple[float, ...]
    faults: tuple[str | None, ...]
    scale: float

    @classmethod
    def of(cls, n: int, seed: int, scale: float) -> "Script":
        """The script of a seed; exactly the share of each fault, at random labels."""
        rng = np.random.default_rng([seed, n])
        logs = rng.uniform(math.log(SHORTEST), math.log(LONGEST), n)
        faults: list[str | None] = [None] * n
        order = iter(rng.permutation(n))
        for fault, share in SHARES.items():
            for _ in range(round(share * n)):
                faults[next(order)] = fault
        durations = tuple((scale * np.exp(logs)).tolist())
        return cls(durations, tuple(faults), scale)

    def work(self, *, kills: bool) -> float:
        """Seconds that all attempts take by themselves, with an executor that kills.

        A killed attempt lasts half of its duration; a hanging one until its timeout, or,
        where nothing kills it, until it ends by itself.
        """
        total = math.fsum(self.durations)
        for duration, fault in zip(self.durations, self.faults, strict=True):
            if fault == "killed":
                total += 0.5 * duration
            elif fault == "unconverged":
                total += duration
            elif fault == "hanging":
                total += self.scale * TIMEOUT if kills else self.scale * HANG - duration
        return total


def structure(number: int) -> Atoms:
    """The geometry that says which label it is."""
    return Atoms("Cu2", [[0, 0, 0], [NEAREST + STEP * number, 0, 0]])


class Sleeping(Calculator):
    """Sleeps as the script says; the energy (eV) is the number of the label."""

    implemented_properties = ["energy", "forces"]  # noqa: RUF012 (of ASE)

    def __init__(self, folder: str, n: int, seed: int, scale: float) -> None:
        super().__init__()
        self.folder, self.script = Path(folder), Script.of(n, seed, scale)
        self.converged = True

    def calculate(self, atoms=None, properties=("energy",), system_changes=all_changes):  # type: ignore[no-untyped-def]
        super().calculate(atoms, properties, system_changes)
        assert atoms is not None  # ASE gives them
        number = round((atoms.get_distance(0, 1) - NEAREST) / STEP)
        attempt = self._next_attempt(number)
        duration, fault = self.script.durations[number], self.script.faults[number]
        if attempt > 1:
            fault = None
        self._note("begin", number, attempt)
        if fault == "killed":
            time.sleep(0.5 * duration)
            self._note("killed", number, attempt)
            os.kill(os.getpid(), signal.SIGKILL)
        time.sleep(self.script.scale * HANG if fault == "hanging" else duration)
        self._note("unconverged" if fault == "unconverged" else "end", number, attempt)
        self.converged = fault != "unconverged"
        self.results = {"energy": float(number), "forces": np.zeros((2, 3))}

    def _next_attempt(self, number: int) -> int:
        """Counts computations, in whichever process."""
        attempt = 1
        while True:
            try:
                (self.folder / f"{number}.{attempt}").touch(exist_ok=False)
                return attempt
            except FileExistsError:
                attempt += 1

    def _note(self, what: str, number: int, attempt: int) -> None:
        line = {"what": what, "label": number, "attempt": attempt, "time": time.time()}
        with (self.folder / "computations").open("a") as file:  # one write, appended
            file.write(json.dumps(line | {"process": os.getpid()}) + "\n")


class Slow(EMT):
    """Effective medium theory that takes its time: log-uniform between two ends.

    How long depends on the geometry and the seed alone, so that two campaigns that ask
    for the same label wait as long for it. Begin and end are noted in a file.
    """

    converged = True

    def __init__(self, note: str, seconds: list[float], seed: int) -> None:
        super().__init__()
        self.note, self.ends, self.seed = Path(note), seconds, seed

    def calculate(self, atoms=None, properties=("energy",), changes=all_changes):  # type: ignore[no-untyped-def]
        begin = time.time()
        where = np.frombuffer(atoms.positions.round(6).tobytes(), dtype=np.uint32)
        shortest, longest = self.ends
        share = np.random.default_rng([self.seed, *where.tolist()]).uniform()
        time.sleep(shortest * (longest / shortest) ** share)
        super().calculate(atoms, list(properties), list(changes))
        with self.note.open("a") as file:  # one write, appended
            file.write(json.dumps([begin, time.time()]) + "\n")
