"""The campaigns whose stopping is judged: a molecule on replayed labels, a hot cluster."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
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
class Sizes:
    """How large a campaign is: geometries of each use, labels, and its model if any."""

    pool: int
    targets: int
    validation: int
    probes: int
    pilot: int
    highest_labels: int
    batch: int
    model: dict[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class Case:
    """Levels (cheap, dear), what is asked for, the labels of the pool, the sizes."""

    name: str
    title: str
    levels: tuple[str, str]
    targets: dict[str, dict[str, float]]
    labels: Callable[[bool], list[Atoms]]
    sizes: Sizes
    smoke_sizes: Sizes

    def prepared(self, work: Path, smoke: bool) -> Path:
        """The file of all labels, made once, and beside it the system."""
        path = work / f"{self.name}_replay.extxyz"
        if not path.exists():
            work.mkdir(parents=True, exist_ok=True)
            frames = self.labels(smoke)
            ase.io.write(path, frames, format="extxyz")
            start = Atoms(frames[0].symbols, frames[0].positions)
            ase.io.write(work / f"{self.name}.xyz", start, format="xyz")
        return path

    def config(self, pool: Path, seed: int, smoke: bool) -> dict[str, Any]:
        """The campaign, whose targets are out of reach."""
        replay = {"code": "replay", "path": pool.name}
        sizes = self.smoke_sizes if smoke else self.sizes
        return {
            "name": "stopping",
            "seed": seed,
            "system": {"file": f"{self.name}.xyz"},
            "levels": [
                {"name": level, "oracle": {**replay, "level": level}}
                for level in self.levels
            ],
            "pool": {"sampler": "file", "path": pool.name, "size": sizes.pool},
            "targets": sizes.targets,
            "validation": sizes.validation,
            "pilot": sizes.pilot,
            "budget": {"highest_labels": sizes.highest_labels},
            "model": sizes.model,
            "acquisition": {"name": "target_information", "batch": sizes.batch},
            "stopping": [
                {**OUT_OF_REACH, "errors": errors} for errors in (*ERRORS, "validation")
            ],
            "probes": sizes.probes,
            "comparison": False,
        }


def _targets(forces: Sequence[str], energy: int) -> dict[str, dict[str, float]]:
    """Three force errors (eV/A), an energy error (meV/atom), and the middle of all."""
    alone = {f"forces {f} eV/A": {"forces_rmse": float(f)} for f in forces}
    mae = {"energy_mae": energy / 1000}
    middle = forces[1]
    return {
        **alone,
        f"energy {energy} meV/atom": mae,
        f"forces {middle}, energy {energy}, ECE 0.1": {
            "forces_rmse": float(middle),
            **mae,
            "ece": 0.1,
        },
    }


def methanol(smoke: bool) -> list[Atoms]:
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


def cluster(smoke: bool) -> list[Atoms]:
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
    case.name: case
    for case in (
        Case(
            "methanol",
            "methanol, GFN2-xTB and MP2",
            ("gfn2", "mp2"),
            _targets(("0.15", "0.12", "0.10"), energy=3),
            methanol,
            Sizes(180, 20, 40, 20, 8, 70, 3),
            Sizes(24, 3, 6, 5, 4, 8, 2),
        ),
        Case(
            "cluster",
            "Cu13 at 1500 K, Morse and EMT",
            ("morse", "emt"),
            _targets(("0.035", "0.030", "0.025"), energy=1),
            cluster,
            Sizes(400, 20, 150, 60, 8, 50, 2, _sparse(300)),
            Sizes(24, 3, 6, 5, 4, 8, 2, _sparse(24)),
        ),
    )
}
