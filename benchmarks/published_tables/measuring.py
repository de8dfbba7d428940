"""Costs of commands, and results that outlive an interrupted run."""

import json
import os
import subprocess
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from benchmarks.derivative_kernel.measured import THREADS, machine
from mfal.data.files import write_text

LAUNCHER = Path(__file__).with_name("launcher.py")


def measured(command: Sequence[str], folder: Path, name: str, threads: int) -> dict:
    """Runs a command in a folder; its wall and CPU seconds and its peak memory.

    What it says goes to the file `name`.log of the folder.

    Raises:
        RuntimeError: the command failed, with the end of what it said.
    """
    cost, log = folder / f"{name}.cost", folder / f"{name}.log"
    cost.unlink(missing_ok=True)
    subprocess.run(
        [sys.executable, str(LAUNCHER), cost.name, log.name, *command],
        env=os.environ | dict.fromkeys(THREADS, str(threads)),
        cwd=folder,
        check=True,
    )
    found = json.loads(cost.read_text())
    if code := found.pop("exit_code"):
        raise RuntimeError(
            f"{' '.join(command)} ended with {code}, see {log}:\n"
            f"{log.read_text(errors='replace')[-2000:]}"
        )
    return found


def kept(
    file: Path, settings: dict[str, Any], compute: Callable[[], dict[str, Any]]
) -> dict[str, Any]:
    """The result in the file if it was computed with these settings, else computed now.

    The result holds the settings, and the machine with its load before.
    """
    if file.exists():
        found = json.loads(file.read_text())
        if found["settings"] == settings:
            print(f"{file}: kept", flush=True)
            return found
    facts = machine(settings["threads"])
    found = {"settings": settings, "machine": facts, **compute()}
    write_text(file, json.dumps(found, indent=1))
    print(f"{file}: {found['wall_seconds']:.1f} s", flush=True)
    return found
