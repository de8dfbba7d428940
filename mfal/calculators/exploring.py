"""Dynamics that look for structures a potential does not know: one run, and what it saw."""

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from ase import Atoms, units
from ase.calculators.calculator import BaseCalculator
from ase.md.langevin import Langevin
from ase.md.md import MolecularDynamics
from ase.md.nose_hoover_chain import IsotropicMTKNPT

from mfal.calculators.dynamics import TrustRegionMD
from mfal.calculators.trust_record import REJECTED, TrustRecord
from mfal.calculators.verdict import Monitor, Verdict
from mfal.data.dataset import canonical
from mfal.oracles.oracle import OracleError
from mfal.oracles.sampling import astray

FAILURES = (ArithmeticError, ValueError, RuntimeError, OracleError)
"""What a calculator, a monitor or the dynamics may raise of a structure gone astray."""


@dataclass(frozen=True)
class Ensemble:
    """A temperature (K), and a pressure (GPa) or a constant cell.

    Langevin dynamics at constant volume; with a `pressure` Nose-Hoover chains that scale
    the cell (Martyna, Tobias, Klein 1994). `timestep` in fs, `friction` in 1/fs: its
    inverse is the time of the chains, ten times that of the barostat.

    Raises:
        ValueError: a temperature, step or friction that is not positive.
    """

    temperature: float
    pressure: float | None = None
    timestep: float = 1.0
    friction: float = 0.01

    def __post_init__(self) -> None:
        for name in ("temperature", "timestep", "friction"):
            if not getattr(self, name) > 0:
                raise ValueError(f"{name} is above 0, got {getattr(self, name)}")

    def dynamics(self, atoms: Atoms, rng: np.random.Generator) -> MolecularDynamics:
        """The dynamics of these atoms, with momenta drawn at the temperature."""
        width = np.sqrt(units.kB * self.temperature * atoms.get_masses())[:, None]
        momenta = width * rng.standard_normal((len(atoms), 3))
        atoms.set_momenta(momenta - momenta.mean(axis=0))
        dt, decay = self.timestep * units.fs, units.fs / self.friction
        if self.pressure is None:
            return Langevin(
                atoms,
                dt,
                temperature_K=self.temperature,
                friction=1 / decay,
                fixcm=False,
                rng=rng,
            )
        return IsotropicMTKNPT(
            atoms,
            dt,
            temperature_K=self.temperature,
            pressure_au=self.pressure * units.GPa,
            tdamp=decay,
            pdamp=10 * decay,
        )


@dataclass(frozen=True)
class Flagged:
    """A structure that a monitor flagged, and its grade."""

    atoms: Atoms
    grade: float


@dataclass
class Excursion:
    """What one run saw: `flagged` structures, and why it ended (empty: at its time).

    `last` is the last structure that stood below the hard threshold, of a run that was
    stopped.
    """

    record: TrustRecord
    flagged: list[Flagged] = field(default_factory=list)
    last: Atoms | None = None
    reason: str = ""

    def summary(self) -> dict[str, Any]:
        """Plain values: moves, time (fs), shortest step (fs), largest sigma and grade."""
        sigmas = [s.sigma for s in self.record if s.sigma is not None]
        kept = self.record.kept
        return {
            "steps": max(len(kept) - 1, 0),  # the first entry is the start
            "time": kept[-1].time / units.fs if kept else 0.0,
            "shortest_step": min((s.dt / units.fs for s in self.record), default=None),
            "largest_sigma": max(sigmas, default=None),
            "largest_grade": max((s.grade for s in self.record), default=None),
            "stopped_by_monitor": any(s.event == REJECTED for s in self.record),
            "flagged": len(self.flagged),
            "reason": self.reason,
        }


def excursion(
    start: Atoms,
    calculator: BaseCalculator,
    monitor: Monitor,
    ensemble: Ensemble,
    *,
    steps: int,
    soft: float,
    hard: float,
    interval: int = 20,
    seed: int | list[int] = 0,
    between: Callable[[], None] = lambda: None,
) -> Excursion:
    """Runs dynamics until a monitor stops it, and keeps what the monitor flags.

    A structure is kept where the grade is `soft` or more, once in `interval` moves, and
    where it is `hard`: there the run ends, with a reason and its last state below. The
    step is not shortened. Every `interval` steps the atoms are checked (too near each
    other, a temperature 20 times too high). A failure of the calculator, and what is not
    finite, end the run with a reason; nothing is raised. `between` is called every
    `interval` steps and may raise to end it all. The same arguments give the same run.

    Raises:
        ValueError: thresholds that contradict each other, or no steps.
    """
    if steps < 1 or interval < 1 or not 0 < soft < hard:
        raise ValueError(
            "a run takes 1 or more steps, and 0 < soft < hard, got steps "
            f"{steps}, interval {interval}, soft {soft}, hard {hard}"
        )
    atoms = canonical(start)
    atoms.calc = calculator
    watching = _Watching(monitor, soft, hard, interval)
    found = Excursion(TrustRecord(soft, hard), watching.flagged)
    done = 0
    while done < steps and not found.reason:
        between()
        try:
            if not done:
                rng = np.random.default_rng(seed)
                md = TrustRegionMD(
                    ensemble.dynamics(atoms, rng),
                    soft=soft,
                    hard=hard,
                    monitor=watching,
                    halvings=0,
                )
                found.record = md.record
            done += (part := min(interval, steps - done))
            if not md.run(part):
                found.reason = md.reason
                if len(md.record.kept) > 1:  # else it is the start
                    found.last = canonical(atoms)
            else:
                temperature = ensemble.temperature
                found.reason = astray(atoms, temperature, multiplicity=None) or ""
        except FAILURES as error:
            found.reason = f"{type(error).__name__}: {error}"
    return found


class _Watching:
    """A monitor that keeps what it flags: at most once in `interval`, and beyond hard."""

    def __init__(
        self, monitor: Monitor, soft: float, hard: float, interval: int
    ) -> None:
        self._monitor, self._soft, self._hard = monitor, soft, hard
        self._interval = interval
        self._since = interval
        self.flagged: list[Flagged] = []

    def __call__(self, atoms: Atoms) -> Verdict:
        verdict = self._monitor(atoms)
        self._since += 1
        due = self._since > self._interval and verdict.grade >= self._soft
        if (due or verdict.grade >= self._hard) and np.isfinite(verdict.grade):
            self.flagged.append(Flagged(canonical(atoms), float(verdict.grade)))
            self._since = 0
        return verdict
