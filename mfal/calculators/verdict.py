"""What a monitor says of a structure: how far beyond, which atom, and why."""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from ase import Atoms
from jaxtyping import Float


@dataclass(frozen=True)
class Finding:
    """The largest value of one measure in a structure, and the atom that has it.

    `atom` and `symbol` are `None` where the measure is of the whole molecule. Without a
    `threshold` the grade is the value itself. `order` 2 marks a measure that grows as a
    square.
    """

    measure: str
    value: float
    threshold: float | None
    unit: str = ""
    atom: int | None = None
    symbol: str | None = None
    order: int = 1

    @property
    def grade(self) -> float:
        """The value as a multiple of the threshold, of order 2 the root of that."""
        if self.threshold is None:
            return self.value
        return (self.value / self.threshold) ** (1 / self.order)

    def __str__(self) -> str:
        where = "the molecule"
        if self.atom is not None:
            where = f"atom {self.atom} ({self.symbol})"
        unit = f" {self.unit}" if self.unit else ""
        text = f"{where}: {self.measure} {self.value:.3g}{unit}"
        if self.threshold is None:
            return text
        times = self.value / self.threshold
        return f"{text}, {times:.3g} times the threshold of {self.threshold:.3g}"


@dataclass(frozen=True)
class Verdict:
    """The findings of every measure, the largest grade first.

    `per_atom` holds the largest grade of each atom, `None` where all measures are of the
    whole molecule.
    """

    findings: tuple[Finding, ...]
    per_atom: Float[np.ndarray, " n"] | None = None

    @property
    def grade(self) -> float:
        """The largest grade; 1 is the threshold."""
        return self.findings[0].grade

    @property
    def beyond(self) -> tuple[Finding, ...]:
        """The findings beyond their thresholds."""
        return tuple(f for f in self.findings if f.grade > 1)

    @property
    def extrapolates(self) -> bool:
        """Whether any measure is beyond its threshold."""
        return self.grade > 1

    def __str__(self) -> str:
        return "; ".join(map(str, self.beyond or self.findings[:1]))


Monitor = Callable[[Atoms], Verdict]
"""What judges a structure."""


def found(
    measure: str,
    values: Float[np.ndarray, " n"],
    atoms: Atoms,
    threshold: float | None,
    unit: str = "",
    order: int = 1,
) -> Finding:
    """The finding of a measure that has one value per atom, or one in all."""
    worst = int(np.argmax(values))
    of_atom = len(values) == len(atoms)
    return Finding(
        measure,
        float(values[worst]),
        threshold,
        unit,
        worst if of_atom else None,
        atoms.symbols[worst] if of_atom else None,
        order,
    )
