"""Errors and speed of a potential of gap_fit; run by a Python that has quippy-ase.

    python peer.py POTENTIAL.xml TEST.extxyz RESULT.json

Writes what `mfal evaluate --json` writes, without error bars.
"""

import json
import sys
import time
from importlib.metadata import version

import ase.io
import numpy as np
from quippy.potential import Potential

PROPERTIES = ["energy", "forces"]


def main() -> None:
    potential = Potential("", param_filename=sys.argv[1])
    frames = ase.io.read(sys.argv[2], index=":")
    n_atoms = sum(len(frame) for frame in frames)
    potential.calculate(frames[0], PROPERTIES)  # once before the clock is started
    wall, cpu = time.perf_counter(), time.process_time()
    energy, forces = zip(*(predicted(potential, f) for f in frames), strict=True)
    wall, cpu = time.perf_counter() - wall, time.process_time() - cpu
    per_atom = [
        1e3 * (found - frame.info["REF_energy"]) / len(frame)
        for found, frame in zip(energy, frames, strict=True)
    ]
    components = [
        (found - frame.arrays["REF_forces"]).ravel()
        for found, frame in zip(forces, frames, strict=True)
    ]
    result = {
        "n_structures": len(frames),
        "n_atoms": n_atoms,
        "energy": errors(np.array(per_atom)),
        "forces": errors(np.concatenate(components)),
        "seconds_per_atom": {"energy+forces": wall / n_atoms},
        "cpu_seconds_per_atom": {"energy+forces": cpu / n_atoms},
        "versions": {n: version(n) for n in ("quippy-ase", "ase", "numpy")},
    }
    with open(sys.argv[3], "w") as file:
        json.dump(result, file, indent=1)


def predicted(potential, frame):
    """Energy (eV) and forces (eV/A) of a structure."""
    potential.calculate(frame, PROPERTIES)
    return potential.results["energy"], np.array(potential.results["forces"])


def errors(residuals):
    """The moments of residuals (meV/atom or eV/A)."""
    size = np.abs(residuals)
    return {
        "mae": float(size.mean()),
        "rmse": float(np.sqrt(np.square(residuals).mean())),
        "max": float(size.max()),
    }


if __name__ == "__main__":
    main()
