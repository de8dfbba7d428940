"""The campaigns whose stopping is judged: a molecule on replayed labels, a hot cluster."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import ase.io
import numpy as np
from ase import Atoms, units
from ase.calculators.emt import EMT
from ase.calculators.morse import MorsePotential
from ase.cluster import Icosahedron
from ase.md.langevin import Langevin
from ase.md.velocitydistribution import MaxwellBoltzmannDistribution

from benchmarks.reference_data import reference_data
from benchmarks.strategies_small.systems import METHANOL_EXCERPT

OUT_OF_REACH = {"forces_rmse": 1e-9, "energy_mae": 1e-9, "ece": 1e-9}
"""Targets that are never met: the campaign runs on and its errors are recorded."""
ERRORS = ("leave_one_out", "predicted")


@dataclass(frozen=True)
class Case:
    """Levels (cheap, dear), what is asked for, the pool as a file, the campaign's sizes."""

    title: str
    levels: tuple[str, str]
    targets: dict[str, dict[str, float]]
    pool: Callable[[Path, bool], list[Atoms]]
    sizes: dict[str, Any]
    smoke_sizes: dict[str, Any]

    def prepared(self, work: Path, name: str, smoke: bool) -> Path:
        """The file of all labels, made once, and beside it the system."""
        path = work / f"{name}_replay.extxyz"
        if not path.exists():
            work.mkdir(parents=True, exist_ok=True)
            frames = self.pool(work, smoke)
            ase.io.write(path, frames, format="extxyz")
            start = Atoms(frames[0].symbols, frames[0].positions)
            ase.io.write(work / f"{name}.xyz", start, format="xyz")
        return path

    def config(self, name: str, pool: Path, seed: int, smoke: bool) -> dict[str, Any]:
        """The campaign, whose targets are out of reach."""
        replay = {"code": "replay", "path": pool.name}
        sizes = self.smoke_sizes if smoke else self.sizes
        return {
            "name": "stopping",
            "seed": seed,
            "system": {"file": f"{name}.xyz"},
            "levels": [
                {"name": level, "oracle": {**replay, "level": level}}
                for level in self.levels
            ],
            "stopping": [
                {**OUT_OF_REACH, "errors": errors} for errors in (*ERRORS, "validation")
            ],
            "comparison": False,
            **sizes,
            "pool": {"sampler": "file", "path": pool.name, "size": sizes["pool"]},
            "acquisition": {
                "name": "target_information",
                "batch": sizes["acquisition"],
            },
        }


def _sizes(
    pool: int,
    targets: int,
    validation: int,
    probes: int,
    pilot: int,
    labels: int,
    batch: int,
    **model: Any,
) -> dict[str, Any]:
    """The part of a campaign that says how large it is."""
    return {
        "pool": pool,
        "targets": targets,
        "validation": validation,
        "probes": probes,
        "pilot": pilot,
        "budget": {"highest_labels": labels},
        "acquisition": batch,
        **model,
    }


def methanol(work: Path, smoke: bool) -> list[Atoms]:
    """GFN2-xTB and MP2 labels, every one a frame with its measured CPU time."""
    if smoke:
        frames = ase.io.read(METHANOL_EXCERPT, ":")
        for atoms in frames:
            atoms.calc = None
            atoms.info["mfal_cpu_seconds"] = (
                0.001 if atoms.info["mfal_fidelity"] == "gfn2" else 0.7
            )
        return frames
    folder = reference_data("generated", "methanol_gfn2_hf_mp2_ccsdt")
    return [
        _frame(
            Atoms(atoms.symbols, atoms.positions),
            level,
            float(atoms.info[f"{level}_energy"]),
            atoms.arrays[f"{level}_forces"],
            float(atoms.info[f"{level}_cpu_s"]),
        )
        for atoms in ase.io.read(folder / "frames.extxyz", ":")
        for level in ("gfn2", "mp2")
    ]


def cluster(work: Path, smoke: bool) -> list[Atoms]:
    """Thirteen copper atoms at 1500 K: Morse (declared cost 1) and EMT (10) labels."""
    atoms = Icosahedron("Cu", 2)
    atoms.calc = EMT()
    rng = np.random.default_rng(0)
    MaxwellBoltzmannDistribution(atoms, temperature_K=1500, rng=rng)
    moving = Langevin(
        atoms, 3 * units.fs, temperature_K=1500, friction=0.02 / units.fs, rng=rng
    )
    morse = MorsePotential(epsilon=0.34, r0=2.6, rho0=3.9, rcut1=1.9, rcut2=2.3)
    moving.run(1000)
    frames = []
    for _ in range(24 if smoke else 400):
        moving.run(50)
        for level, calculator, cost in (("morse", morse, 1.0), ("emt", EMT(), 10.0)):
            frame = Atoms(atoms.symbols, atoms.positions - atoms.positions.mean(axis=0))
            frame.calc = calculator
            energy, forces = frame.get_potential_energy(), frame.get_forces()
            frame.calc = None
            frames.append(_frame(frame, level, energy, forces, cost))
    return frames


def _frame(
    atoms: Atoms, level: str, energy: float, forces: np.ndarray, cost: float
) -> Atoms:
    atoms.info = {
        "mfal_fidelity": level,
        "REF_energy": energy,
        "mfal_cpu_seconds": cost,
    }
    atoms.arrays["REF_forces"] = forces
    return atoms


def _sparse(points: int) -> dict[str, Any]:
    sparse = {"n_inducing": points, "zeta": 3, "cutoffs": [5.0]}
    return {"kind": "sparse", "sparse": {**sparse, "max_radial": 7, "max_angular": 4}}


CASES = {
    "methanol": Case(
        "methanol, GFN2-xTB and MP2",
        ("gfn2", "mp2"),
        {
            "forces 0.15 eV/A": {"forces_rmse": 0.15},
            "forces 0.12 eV/A": {"forces_rmse": 0.12},
            "forces 0.10 eV/A": {"forces_rmse": 0.10},
            "energy 3 meV/atom": {"energy_mae": 0.003},
            "forces 0.12, energy 3, ECE 0.1": {
                "forces_rmse": 0.12,
                "energy_mae": 0.003,
                "ece": 0.1,
            },
        },
        methanol,
        _sizes(180, 20, 40, 20, 8, 70, 3),
        _sizes(24, 3, 6, 5, 4, 8, 2),
    ),
    "cluster": Case(
        "Cu13 at 1500 K, Morse and EMT",
        ("morse", "emt"),
        {
            "forces 0.035 eV/A": {"forces_rmse": 0.035},
            "forces 0.030 eV/A": {"forces_rmse": 0.030},
            "forces 0.025 eV/A": {"forces_rmse": 0.025},
            "energy 1 meV/atom": {"energy_mae": 0.001},
            "forces 0.030, energy 1, ECE 0.1": {
                "forces_rmse": 0.030,
                "energy_mae": 0.001,
                "ece": 0.1,
            },
        },
        cluster,
        _sizes(400, 20, 150, 60, 8, 50, 2, model=_sparse(300)),
        _sizes(24, 3, 6, 5, 4, 8, 2, model=_sparse(24)),
    ),
}
