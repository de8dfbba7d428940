"""Calculators that fail in every way seen in practice; workers import this module."""

import itertools
import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import psutil
from ase.calculators.emt import EMT
from threadpoolctl import threadpool_info

ALLOWED = ("faulty_codes", "ase.calculators.emt")
"""Modules of which these tests let a level name a factory."""


class Sound(EMT):
    """Effective medium theory that says that it converged."""

    converged = True

    def calculate(self, atoms=None, properties=("energy",), system_changes=("pos",)):
        self.misbehave()
        super().calculate(atoms, list(properties), list(system_changes))
        self.falsify()

    def misbehave(self):
        """What goes wrong while the code runs."""

    def falsify(self):
        """What is wrong about the results."""


class Flipped(Sound):
    def falsify(self):
        self.results["forces"] = -self.results["forces"]


class WrongStress(Sound):
    def falsify(self):
        self.results["stress"] = self.results["stress"][[0, 1, 2, 5, 4, 3]] * 160.2


class Restless(Sound):
    calls = itertools.count()

    def falsify(self):
        self.results["energy"] += 0.01 * next(self.calls)


class Unconverged(Sound):
    converged = False


class NotFinite(Sound):
    def __init__(self, quantity, value, place=-1):
        super().__init__()
        self.quantity, self.value, self.place = quantity, float(value), place

    def falsify(self):
        spoiled = np.array(self.results[self.quantity], dtype=float)
        spoiled.flat[self.place % spoiled.size] = self.value
        self.results[self.quantity] = spoiled if spoiled.shape else float(spoiled)


class Raises(Sound):
    def misbehave(self):
        raise ZeroDivisionError("deep inside")


class Dies(Sound):
    """Kills its process: always, or until the file `mark` exists."""

    def __init__(self, mark=None, with_signal=int(signal.SIGKILL)):
        super().__init__()
        self.mark, self.with_signal = mark, with_signal

    def misbehave(self):
        if self.mark is not None:
            if Path(self.mark).exists():
                return
            Path(self.mark).touch()
        os.kill(os.getpid(), self.with_signal)


class Hangs(Sound):
    """Starts a child, writes down both process ids, and sleeps."""

    def __init__(self, note, seconds=300):
        super().__init__()
        self.note, self.seconds = note, seconds

    def misbehave(self):
        child = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(300)"])
        write(self.note, [os.getpid(), child.pid])
        time.sleep(self.seconds)


class Slow(Sound):
    """Takes its time, and counts in the file `note` how often it was run."""

    def __init__(self, note, seconds):
        super().__init__()
        self.note, self.seconds = note, seconds

    def misbehave(self):
        with open(self.note, "a") as file:
            file.write("run\n")
        time.sleep(self.seconds)


class Loads(Sound):
    """Counts in the file `note` how often it was loaded."""

    def __init__(self, note):
        super().__init__()
        with open(note, "a") as file:
            file.write("load\n")


class Hungry(Sound):
    def misbehave(self):
        np.ones(2**33)


class Reports(Sound):
    """Writes down what the worker has loaded and how many threads it has."""

    def __init__(self, note):
        super().__init__()
        self.note = note

    def misbehave(self):
        np.ones((64, 64)) @ np.ones((64, 64))
        write(
            self.note,
            {
                "threads": [pool["num_threads"] for pool in threadpool_info()],
                "pid": os.getpid(),
                "torch": "torch" in sys.modules,
                "OMP_NUM_THREADS": os.environ.get("OMP_NUM_THREADS"),
                "main": getattr(sys.modules["__main__"], "__file__", None),
            },
        )


def number(value=3):
    """A factory that gives no calculator."""
    return value


def write(path, value):
    temporary = Path(f"{path}.tmp")
    temporary.write_text(json.dumps(value))
    temporary.rename(path)


def ended(pid):
    """Whether a process is gone, within a few seconds."""
    for _ in range(50):
        if not psutil.pid_exists(pid):
            return True
        if psutil.Process(pid).status() == psutil.STATUS_ZOMBIE:
            return True
        time.sleep(0.1)
    return False
