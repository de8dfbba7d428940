"""What happened in a run within the trust region: every step, and what came of it."""

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from ase.units import fs
from matplotlib.axes import Axes

from mfal.data.files import write_text

SAFE, WATCHED, REJECTED, RESUMED = "safe", "watched", "rejected", "resumed"
"""Below the soft threshold, above it, a move taken back, and on after an update."""


@dataclass(frozen=True)
class TrustStep:
    """One move: time and step (ASE units of time), force sigma (eV/A; `None` where the
    calculator does not tell), grade, energies (eV), what came of it, and why.

    Of a move that was taken back these are the values of the structure it led to.
    """

    step: int
    time: float
    dt: float
    sigma: float | None
    grade: float
    potential: float
    kinetic: float
    event: str
    why: str = ""

    @property
    def total(self) -> float:
        """Potential and kinetic energy, eV."""
        return self.potential + self.kinetic


class TrustRecord(Sequence[TrustStep]):
    """The steps of a run, with the thresholds that they were judged by."""

    def __init__(self, soft: float, hard: float) -> None:
        self.soft = soft
        self.hard = hard
        self.reason = ""
        self._steps: list[TrustStep] = []

    def append(self, step: TrustStep) -> None:
        """Adds a step."""
        self._steps.append(step)

    def __getitem__(self, index: Any) -> Any:
        return self._steps[index]

    def __len__(self) -> int:
        return len(self._steps)

    @property
    def kept(self) -> list[TrustStep]:
        """The steps that were not taken back."""
        return [s for s in self._steps if s.event in (SAFE, WATCHED)]

    @property
    def n_rejected(self) -> int:
        """The number of moves that were taken back."""
        return sum(s.event == REJECTED for s in self._steps)

    @property
    def drift(self) -> float:
        """Largest change of the total energy (eV) since the run or its last update began.

        Of a run at constant energy it is the error of the integration.
        """
        largest, start = 0.0, None
        for step in self._steps:
            if step.event == RESUMED or start is None:
                start = step.total
            if step.event in (SAFE, WATCHED, RESUMED):
                largest = max(largest, abs(step.total - start))
        return largest

    def to_json(self) -> dict[str, Any]:
        """Plain values: times in fs, the steps as lists of their values."""
        names = list(TrustStep.__dataclass_fields__)
        rows = []
        for step in self._steps:
            values = asdict(step) | {"time": step.time / fs, "dt": step.dt / fs}
            rows.append([values[name] for name in names])
        return {
            "soft": self.soft,
            "hard": self.hard,
            "reason": self.reason,
            "columns": names,
            "steps": rows,
        }

    def write(self, path: str | Path) -> None:
        """Writes the record as JSON."""
        write_text(Path(path), json.dumps(self.to_json()) + "\n")


def draw_record(record: TrustRecord, grade: Axes, step: Axes) -> None:
    """Draws grade and thresholds into one panel, the length of steps into another.

    Moves that were taken back are crosses.
    """
    kept = record.kept
    gone = [s for s in record if s.event == REJECTED]
    grade.plot([s.time / fs for s in kept], [s.grade for s in kept])
    grade.plot([s.time / fs for s in gone], [s.grade for s in gone], "x")
    for value, style in ((record.soft, ":"), (record.hard, "--")):
        grade.axhline(value, linestyle=style)
    grade.set_ylabel("grade")
    step.step([s.time / fs for s in kept], [s.dt / fs for s in kept], where="pre")
    step.set_ylabel("time step (fs)")
    step.set_xlabel("time (fs)")
