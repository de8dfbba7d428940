"""A potential of a cold copper cluster in hot runs, with EMT as the judge of every force.

The potential learns an icosahedron of 13 atoms at 300 K; runs at that temperature and
above start from a training structure. Hot clusters leave the icosahedron. A free run takes
full steps whatever comes. A watched one is a `TrustRegionMD` that ends at the hard
threshold. Every structure on the way is judged by EMT: the true error is the largest
|F - F_EMT| of its atoms.
"""

from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
from ase import Atoms, units
from ase.calculators.emt import EMT
from ase.cluster import Icosahedron
from ase.md.langevin import Langevin

from mfal import Fidelity, Label, LabelledDataset
from mfal.calculators import (
    ExtrapolationMonitor,
    ForceSigmaMonitor,
    MfalCalculator,
    TrustRegionMD,
)
from mfal.calculators.trust_record import SAFE, WATCHED
from mfal.calculators.verdict import Monitor
from mfal.models import SparsePotential, calibrated_weights
from mfal.models.sparse import sparse_feature_map

LIMIT = 0.5
"""A true force error (eV/A) that is too large."""
FRICTION = 0.02 / units.fs
MONITORS = ("sigma", "grade")
"""Force sigma in eV/A, with thresholds from the tolerance; every measure, with those of
the left-out training set."""


@dataclass(frozen=True)
class Setting:
    """What an experiment is made with: training set, potential, runs, thresholds.

    Soft and hard thresholds of the monitor "sigma" are in eV/A, of "grade" in units of
    the quantile of the left-out training set.
    """

    n_train: int = 80
    interval: int = 25
    n_inducing: int = 100
    cutoff: float = 5.0
    trained_at: float = 300.0
    timestep_fs: float = 4.0
    steps: int = 500
    judge_every: int = 1
    soft_sigma: float = LIMIT / 5
    hard_sigma: float = LIMIT / 2
    soft_grade: float = 1.0
    hard_grade: float = 2.0
    halvings: int = 2
    quantile: float = 0.95

    def to_json(self) -> dict[str, Any]:
        """Plain values."""
        return asdict(self)


SMOKE = Setting(n_train=16, interval=10, n_inducing=24, steps=20)


@dataclass(frozen=True)
class Prepared:
    """The potential of the experiment and its monitors."""

    setting: Setting
    model: SparsePotential
    monitors: dict[str, Monitor]
    start: Atoms
    calculator: MfalCalculator


def prepare(setting: Setting) -> Prepared:
    """Training data at the temperature of training, the potential, its thresholds."""
    structures = trained_structures(setting)
    labels = {(i, "emt"): _label(atoms) for i, atoms in enumerate(structures)}
    data = LabelledDataset(tuple(structures), (Fidelity("emt"),), labels)
    features = sparse_feature_map(
        data, n_inducing=setting.n_inducing, zeta=2, cutoffs=(setting.cutoff,)
    )
    model = calibrated_weights(SparsePotential.fit(data, features))
    assert isinstance(model, SparsePotential)
    calculator = MfalCalculator(model)
    monitors: dict[str, Monitor] = {
        "sigma": ForceSigmaMonitor(),
        "grade": ExtrapolationMonitor.of(calculator, quantile=setting.quantile),
    }
    return Prepared(setting, model, monitors, structures[-1], calculator)


def trained_structures(setting: Setting) -> list[Atoms]:
    """The cluster at the temperature of training, by Langevin dynamics with EMT."""
    atoms = Icosahedron("Cu", 2)
    atoms = Atoms(atoms.numbers, atoms.positions)
    atoms.calc = EMT()
    dynamics = _langevin(atoms, setting, setting.trained_at, seed=0)
    dynamics.run(8 * setting.interval)
    structures = []
    for _ in range(setting.n_train):
        dynamics.run(setting.interval)
        structures.append(atoms.copy())
    return structures


def free(prepared: Prepared, temperature: float, seed: int) -> dict[str, Any]:
    """A run with full steps and no monitor: when it goes beyond the limit."""
    setting = prepared.setting
    atoms = prepared.start.copy()
    atoms.calc = MfalCalculator(prepared.model, uncertainties=False)
    dynamics = _langevin(atoms, setting, temperature, seed)
    errors: list[tuple[float, float]] = []

    def judge() -> None:
        time = dynamics.nsteps * setting.timestep_fs
        errors.append((time, true_error(atoms)))

    dynamics.attach(judge, interval=setting.judge_every)
    ended = ""
    try:
        dynamics.run(setting.steps)
    except ValueError as error:  # it blew up
        ended = str(error)
    beyond = [t for t, e in errors if not e <= LIMIT]
    return {
        "exceeds_at_fs": min(beyond, default=None),
        "largest_error": max(e for _, e in errors),
        "errors": errors,
        "ended": ended,
    }


def watched(
    prepared: Prepared, monitor: str, temperature: float, seed: int
) -> dict[str, Any]:
    """The same within the trust region: where it ends, and how wrong forces were."""
    setting = prepared.setting
    atoms = prepared.start.copy()
    atoms.calc = prepared.calculator
    dynamics = _langevin(atoms, setting, temperature, seed)
    refused: list[float] = []

    def refuse(structure: Atoms, _: object) -> None:
        structure.calc = prepared.calculator
        refused.append(true_error(structure))

    md = TrustRegionMD(
        dynamics,
        soft=getattr(setting, f"soft_{monitor}"),
        hard=getattr(setting, f"hard_{monitor}"),
        monitor=prepared.monitors[monitor],
        halvings=setting.halvings,
        on_hard=refuse,
    )
    errors: list[tuple[float, float]] = []
    dynamics.attach(lambda: errors.append((md.time / units.fs, true_error(atoms))))
    done = md.run(setting.steps)
    moves = [s for s in md.record if s.event in (SAFE, WATCHED)]
    return {
        "done": done,
        "reason": md.reason,
        "time_fs": md.time / units.fs,
        "moves": len(md.record) - 1,
        "soft_moves": sum(s.event == WATCHED for s in moves),
        "full_steps": md.time / units.fs / setting.timestep_fs,
        "largest_error": max((e for _, e in errors), default=0.0),
        "refused_error": refused[0] if refused else None,
        "errors": errors,
        "record": md.record.to_json(),
    }


def true_error(atoms: Atoms) -> float:
    """Largest |F - F_EMT| of the atoms (eV/A)."""
    reference = atoms.copy()
    reference.calc = EMT()
    gap = reference.get_forces() - atoms.get_forces()
    return float(np.linalg.norm(gap, axis=1).max())


def outcome(runs: list[dict[str, Any]], limit: float = LIMIT) -> dict[str, Any]:
    """Counts over pairs of a free and a watched run of one temperature and monitor."""
    bad = [r for r in runs if r["free"]["exceeds_at_fs"] is not None]
    caught = [
        r
        for r in bad
        if not r["watched"]["done"] and r["watched"]["largest_error"] <= limit
    ]
    stopped = [r for r in runs if not r["watched"]["done"]]
    moves = sum(r["watched"]["moves"] for r in runs)
    steps = sum(r["watched"]["full_steps"] for r in runs)
    return {
        "n": len(runs),
        "exceed": len(bad),
        "caught": len(caught),
        "stopped": len(stopped),
        "soft_share": sum(r["watched"]["soft_moves"] for r in runs) / max(moves, 1),
        "extra_moves": moves / max(steps, 1e-9) - 1.0,
        "largest_error_free": max(r["free"]["largest_error"] for r in runs),
        "largest_error_watched": max(r["watched"]["largest_error"] for r in runs),
    }


def _langevin(
    atoms: Atoms, setting: Setting, temperature: float, seed: int
) -> Langevin:
    """Langevin dynamics with momenta of the temperature."""
    rng = np.random.RandomState(seed)
    width = np.sqrt(units.kB * temperature * atoms.get_masses())[:, None]
    momenta = width * rng.standard_normal((len(atoms), 3))
    atoms.set_momenta(momenta - momenta.mean(axis=0))
    return Langevin(
        atoms,
        setting.timestep_fs * units.fs,
        temperature_K=temperature,
        friction=FRICTION,
        rng=rng,
        fixcm=False,
    )


def _label(atoms: Atoms) -> Label:
    atoms.calc = EMT()
    label = Label(atoms.get_potential_energy(), atoms.get_forces())
    atoms.calc = None
    return label
