"""Molecular dynamics that stays where the potential knows what it says."""

import logging
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
from ase import Atoms
from ase.calculators.calculator import BaseCalculator
from ase.md.md import MolecularDynamics
from ase.units import fs

from mfal.calculators.force_sigma import (
    ForceSigmaMonitor,
    check_uncertainty,
    force_sigma,
)
from mfal.calculators.potential import check_positions
from mfal.calculators.stepping import State, check_dynamics, set_step
from mfal.calculators.trust_record import (
    REJECTED,
    RESUMED,
    SAFE,
    WATCHED,
    TrustRecord,
    TrustStep,
)
from mfal.calculators.verdict import Monitor, Verdict

_logger = logging.getLogger(__name__)

MOST_IN_A_ROW = 3
"""Moves from one state that may be taken back, each with an update, before the end."""


@dataclass(frozen=True)
class Update:
    """What a run goes on with: a calculator that has learned, and its monitor.

    Without a monitor the one before stays.
    """

    calculator: BaseCalculator
    monitor: Monitor | None = None


OnHard = Callable[[Atoms, Verdict], Update | None]
"""Takes the structure that was refused (label it, learn it); `None` ends the run."""


class TrustRegionMD:
    """Runs one of ASE's dynamics, judged after every move by a monitor.

    Above the `soft` threshold of the grade the step is halved (down to 2^-`halvings` of
    its length), and doubled again after `calm` moves below. At the `hard` threshold, or
    where something is not finite, the move is taken back: atoms and thermostat stand
    where they stood before it, a state below the hard threshold. The refused structure
    goes to `on_hard`; with what that gives the run goes on, else it ends with a
    `reason`. Steps are the full one over a power of two and grow only where they stay
    commensurate, so that a run ends exactly where it should.

    Without a `monitor` the grade is the force sigma in eV/A (`ForceSigmaMonitor`) of
    the calculator, as calibrated as that is; of `ExtrapolationMonitor` it is in units
    of its thresholds. Forces are computed once per move, and once more after one that
    was taken back. `record` holds every move and its time; what is attached to the
    dynamics (a trajectory, a logger) sees the moves that stand, but a logger's time is
    that of full steps.

    Source: Vandermause et al. (2020), npj Comput. Mater. 6, 20, for learning as it runs;
    the step as in trust-region methods, Nocedal & Wright (2006), section 4.1.

    >>> from ase import units
    >>> from ase.md.verlet import VelocityVerlet
    >>> def run(atoms):  # whose calculator is an MfalCalculator
    ...     md = TrustRegionMD(VelocityVerlet(atoms, units.fs), soft=0.2, hard=0.4)
    ...     return md.run(1000) or md.reason

    Raises:
        TypeError: a dynamics whose step cannot vary.
        ValueError: thresholds that contradict each other, a calculator without forces
            or their uncertainty, positions that are not finite.
    """

    def __init__(
        self,
        dynamics: MolecularDynamics,
        *,
        soft: float,
        hard: float,
        monitor: Monitor | None = None,
        on_hard: OnHard | None = None,
        halvings: int = 4,
        calm: int = 10,
    ) -> None:
        check_dynamics(dynamics)
        if not 0 < soft < hard:
            raise ValueError(
                "the soft threshold is positive and below the hard one, got soft "
                f"{soft} and hard {hard}: the step shrinks at the one, the run is "
                "stopped at the other"
            )
        if halvings < 0 or calm < 1:
            raise ValueError(
                "the step is halved 0 or more times and grows after 1 or more calm "
                f"moves, got halvings {halvings} and calm {calm}"
            )
        self.dynamics: Any = dynamics  # ASE's base class does not declare step()
        self.atoms: Atoms = dynamics.atoms
        if self.atoms.calc is None:
            raise ValueError("the atoms have no calculator: set atoms.calc first")
        if monitor is None:
            check_uncertainty(self.atoms.calc)
        self.monitor: Monitor = ForceSigmaMonitor() if monitor is None else monitor
        self.on_hard = on_hard
        self.record = TrustRecord(soft, hard)
        self._finest = 2**halvings
        self._full = float(dynamics.dt)
        self._ticks = self._finest  # of the step now
        self._done = 0  # ticks
        self._calm = calm
        self._calm_moves = 0

    @property
    def reason(self) -> str:
        """Why the run ended before its time; empty if it did not."""
        return self.record.reason

    @property
    def time(self) -> float:
        """Time since the start, in ASE's units."""
        return self._done * self._full / self._finest

    @property
    def dt(self) -> float:
        """Length of the next step, in ASE's units."""
        return self._ticks * self._full / self._finest

    def run(self, steps: int) -> bool:
        """Runs as far as so many full steps go; whether it got there.

        Raises:
            ValueError: positions that are not finite to start from.
        """
        check_positions(self.atoms)
        self.record.reason = ""
        if not len(self.record):
            start = self.monitor(self.atoms)
            self._note(self._event(start), start)
            if not start.grade < self.record.hard:
                return self._end("the start is beyond the hard threshold", start)
            if start.grade >= self.record.soft:
                self._halve()
            self._observe()
        end = self._done + steps * self._finest
        in_a_row = 0
        while self._done < end:
            before = State.of(self.atoms, self.dynamics)
            verdict = self._move()
            if verdict is not None and verdict.grade < self.record.hard:
                in_a_row = 0
                self._accept(verdict)
                continue
            refused = self.atoms.copy()
            if verdict is not None:
                self._note(REJECTED, verdict)
            before.restore(self.atoms, self.dynamics)
            in_a_row += 1
            if verdict is None:
                return self._end("a position, momentum or force is not finite", None)
            if self.on_hard is None:
                return self._end("beyond the hard threshold", verdict)
            if in_a_row > MOST_IN_A_ROW:
                return self._end(
                    f"still beyond the hard threshold after {MOST_IN_A_ROW} updates",
                    verdict,
                )
            update = self.on_hard(refused, verdict)
            if update is None:
                return self._end("beyond the hard threshold, and no update", verdict)
            self._resume(update)
        return True

    def _move(self) -> Verdict | None:
        """One step of the dynamics, and the verdict; `None` if it is not finite."""
        set_step(self.dynamics, self.dt)
        self.dynamics.step()
        atoms = self.atoms
        arrays = (atoms.positions, atoms.get_momenta(), np.asarray(atoms.cell))
        if not all(np.isfinite(a).all() for a in arrays):
            return None
        if not np.isfinite(atoms.get_forces()).all():
            return None
        verdict = self.monitor(atoms)
        return verdict if np.isfinite(verdict.grade) else None

    def _accept(self, verdict: Verdict) -> None:
        """The move stands; the step for the next one."""
        self._done += self._ticks
        self.dynamics.nsteps += 1
        self._note(self._event(verdict), verdict)
        self._observe()
        self._calm_moves += 1
        if verdict.grade >= self.record.soft:
            self._halve()
            return
        fits = self._ticks < self._finest and self._done % (2 * self._ticks) == 0
        if fits and self._calm_moves >= self._calm:
            self._ticks *= 2
            self._calm_moves = 0

    def _halve(self) -> None:
        self._ticks = max(self._ticks // 2, 1)
        self._calm_moves = 0

    def _resume(self, update: Update) -> None:
        self.atoms.calc = update.calculator
        if update.monitor is not None:
            self.monitor = update.monitor
        verdict = self.monitor(self.atoms)
        self._note(RESUMED, verdict)
        _logger.info("goes on after an update: %s", verdict)

    def _end(self, why: str, verdict: Verdict | None) -> bool:
        reason = f"{why} at {self.time / fs:.6g} fs (move {self.dynamics.nsteps})"
        self.record.reason = reason if verdict is None else f"{reason}: {verdict}"
        _logger.info("the run ended: %s", self.record.reason)
        return False

    def _event(self, verdict: Verdict) -> str:
        return SAFE if verdict.grade < self.record.soft else WATCHED

    def _observe(self) -> None:
        self.dynamics.log()
        self.dynamics.call_observers()

    def _note(self, event: str, verdict: Verdict) -> None:
        """One line of the record; of a move that is refused, the time it would end at."""
        atoms = self.atoms
        ticks = self._done + (self._ticks if event == REJECTED else 0)
        sigma = None
        if "forces_uncertainty" in getattr(atoms.calc, "implemented_properties", []):
            sigma = float(force_sigma(atoms, atoms.calc).max())
        self.record.append(
            TrustStep(
                self.dynamics.nsteps,
                ticks * self._full / self._finest,
                self.dt,
                sigma,
                verdict.grade,
                float(atoms.get_potential_energy()),
                float(atoms.get_kinetic_energy()),
                event,
                "" if event == SAFE else str(verdict),
            )
        )
