"""Campaigns of seconds: water at two levels of pair potentials, labels replayed."""

from concurrent.futures import Executor, Future
from itertools import combinations

import ase.io
import numpy as np
from ase.build import molecule

from mfal.campaign import Campaign, CampaignConfig

BASE = {
    "name": "water",
    "system": {"molecule": "H2O"},
    "pool": {"sampler": "file", "path": "pool.extxyz", "size": 24},
    "targets": 4,
    "validation": 4,
    "pilot": 3,
    "budget": {"highest_labels": 7},
    "acquisition": {"batch": 2},
    "model": {"kernel": "matern52"},
}
LEVELS = {  # depth (eV), slope (1/A), zero (eV), cost (CPU s)
    "low": (4.0, 1.8, -50.0, 1.0),
    "high": (4.7, 2.0, -80.0, 100.0),
}


class InProcess(Executor):
    """Runs what is submitted at once, here."""

    def submit(self, function, *arguments):
        future = Future()
        future.set_result(function(*arguments))
        return future


def water(seed):
    atoms = molecule("H2O")
    atoms.rattle(0.08, seed=seed)
    return atoms


def morse(atoms, depth, slope, zero):
    """Energy (eV) and forces (eV/A) of Morse bonds between all atoms."""
    rest = molecule("H2O").get_all_distances()
    energy, forces = zero, np.zeros((len(atoms), 3))
    for i, j in combinations(range(len(atoms)), 2):
        across = atoms.positions[i] - atoms.positions[j]
        r = np.linalg.norm(across)
        decay = np.exp(-slope * (r - rest[i, j]))
        energy += depth * (1 - decay) ** 2
        pull = 2 * depth * slope * (1 - decay) * decay * across / r
        forces[i] -= pull
        forces[j] += pull
    return energy, forces


def write_labels(folder, *, size=24, costs=True, useless_low=False, missing=()):
    """pool.extxyz and labels.extxyz; a label costs 20 % more or less than its level.

    `missing` holds (structure, level) that have no label to be replayed.
    """
    rng = np.random.default_rng(0)
    pool = [water(seed) for seed in range(size)]
    ase.io.write(folder / "pool.extxyz", pool)
    frames = []
    for i, atoms in enumerate(pool):
        for level, (*parameters, cost) in LEVELS.items():
            energy, forces = morse(atoms, *parameters)
            if useless_low and level == "low":
                forces = rng.normal(size=forces.shape)
            frame = atoms.copy()
            frame.info = {"REF_energy": energy, "mfal_fidelity": level}
            if costs:
                frame.info["mfal_cpu_seconds"] = cost * rng.uniform(0.8, 1.2)
            frame.arrays["REF_forces"] = forces
            if (i, level) not in missing:
                frames.append(frame)
    ase.io.write(folder / "labels.extxyz", frames)


def small_config(folder, *, levels=tuple(LEVELS), **changes):
    """The configuration of a small campaign on the labels in a folder."""
    oracle = {"code": "replay", "path": "labels.extxyz"}
    values = {**BASE, "levels": [{"name": n, "oracle": oracle} for n in levels]}
    return CampaignConfig.model_validate(
        {**values, **changes}, context={"folder": folder}
    )


def run(config, directory, **arguments):
    """The results of a campaign whose labels are made in this process."""
    return Campaign(config, directory, executor=InProcess(), **arguments).run()
