"""Campaigns of seconds: water at two levels of pair potentials, labels replayed."""

from concurrent.futures import Executor, Future
from itertools import combinations

import ase.io
import numpy as np
import yaml
from ase.build import molecule

from mfal.campaign import Campaign, CampaignConfig
from mfal.campaign.choosing import assign_roles, pilot_requests
from mfal.campaign.records import StoredStructure

BASE = {
    "name": "water",
    "system": {"molecule": "H2O"},
    "pool": {"sampler": "file", "path": "pool.extxyz", "size": 16},
    "targets": 3,
    "validation": 3,
    "pilot": 3,
    "budget": {"highest_labels": 6},
    "acquisition": {"batch": 2},
    "model": {"kernel": "matern52", "permutations": "none"},
}
LEVELS = {  # depth (eV), slope (1/A), zero (eV), cost (CPU s)
    "low": (4.0, 1.8, -50.0, 1.0),
    "middle": (4.4, 1.9, -60.0, 10.0),
    "high": (4.7, 2.0, -80.0, 100.0),
}
DECLARED = {"low": 1.0, "high": 10.0}  # a ratio that asks for no sweep


class InProcess(Executor):
    """Runs what is submitted at once, here."""

    def submit(self, function, *arguments):
        future = Future()
        future.set_result(function(*arguments))
        return future


def water(seed, name="H2O"):
    """Water, or another molecule by name, out of equilibrium."""
    atoms = molecule(name)
    atoms.rattle(0.08, seed=seed)
    return atoms


def morse(atoms, depth, slope, zero, name="H2O"):
    """Energy (eV) and forces (eV/A) of Morse bonds between all atoms.

    The more atoms, the weaker each bond: the depth is that of three atoms.
    """
    depth = depth * 3 / len(atoms)
    rest = molecule(name).get_all_distances()
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


def write_labels(
    folder,
    *,
    size=16,
    costs=True,
    useless_low=False,
    scrambled=(),
    missing=(),
    spoiled=(),
    name="H2O",
):
    """pool.extxyz and labels.extxyz; a label costs 20 % more or less than its level.

    `missing` holds (structure, level) that have no label to be replayed, `spoiled`
    structures whose labels are nonsense, `scrambled` levels whose labels belong to
    other geometries.
    """
    folder.mkdir(parents=True, exist_ok=True)
    rng = np.random.default_rng(0)
    pool = [water(seed, name) for seed in range(size)]
    ase.io.write(folder / "pool.extxyz", pool)
    frames = []
    for i, atoms in enumerate(pool):
        for level, (*parameters, cost) in LEVELS.items():
            of = pool[(5 * i + 3) % size] if level in scrambled else atoms
            energy, forces = morse(of, *parameters, name)
            cost = cost * rng.uniform(0.8, 1.2)
            if (useless_low and level == "low") or i in spoiled:
                forces = np.random.default_rng(i).normal(size=forces.shape)
            frame = atoms.copy()
            frame.info = {"REF_energy": energy, "mfal_fidelity": level}
            if costs:
                frame.info["mfal_cpu_seconds"] = cost
            frame.arrays["REF_forces"] = forces
            if (i, level) not in missing:
                frames.append(frame)
    ase.io.write(folder / "labels.extxyz", frames)


REPLAY = {"code": "replay", "path": "labels.extxyz"}


def small_config(
    folder, *, levels=("low", "high"), oracle=REPLAY, bounds=None, **changes
):
    """The configuration of a small campaign on the labels in a folder.

    `bounds` are further keys of its levels.
    """
    levels = [
        {"name": n, "oracle": oracle, **(bounds or {}).get(n, {})} for n in levels
    ]
    values = {**BASE, "levels": levels}
    return CampaignConfig.model_validate(
        {**values, **changes}, context={"folder": folder}
    )


def write_yaml(folder, **changes):
    """campaign.yaml for `mfal run` on the labels in a folder."""
    levels = [{"name": n, "oracle": REPLAY} for n in ("low", "high")]
    path = folder / "campaign.yaml"
    path.write_text(yaml.safe_dump({**BASE, "levels": levels, **changes}))
    return path


def run(config, directory, **arguments):
    """The results of a campaign whose labels are made in this process."""
    return Campaign(config, directory, executor=InProcess(), **arguments).run()


def bought(results, **wanted):
    """(structure, level) of what was bought, in order."""
    return [
        (b["structure"], b["level"])
        for b in results["bought"]
        if all(b[key] == value for key, value in wanted.items())
    ]


def roles(config):
    """The structures of each role."""
    found = assign_roles(config, config.pool.size)
    return {r: {i for i, x in enumerate(found) if x == r} for r in set(found)}


def pilot(config):
    """The structures of the pilot."""
    stored = [
        StoredStructure(i, water(i), role, str(i))
        for i, role in enumerate(assign_roles(config, config.pool.size))
    ]
    return sorted({r.structure_id for r in pilot_requests(config, stored)})


def gains(results):
    """What the budget bought, in order, with the gain it was chosen by."""
    return [
        (b["step"], b["rank"], b["structure"], b["level"], b["gain"])
        for b in results["bought"]
        if b["purpose"] != "validation"
    ]
