"""Examination of an oracle before it is trusted: do its labels fit each other?"""

import time
from collections.abc import Callable, Collection
from dataclasses import dataclass

import numpy as np
from ase import Atoms
from jaxtyping import Float

from mfal.data.checks import check_structure
from mfal.data.dataset import Label, canonical
from mfal.data.fidelity import Fidelity
from mfal.oracles.ase_calculator import ALLOWED_MODULES
from mfal.oracles.oracle import Oracle, OracleError
from mfal.oracles.presets import build_oracle

FORCE_TOLERANCE = 0.02  # eV/A, beside 2 % of the force
STRESS_TOLERANCE = 5e-4  # eV/A^3, beside 2 % of the stress
RELATIVE_TOLERANCE = 0.02
REPEAT_TOLERANCE = 1e-4  # eV and eV/A
RATTLE = 0.05  # A: at a minimum all forces are zero, whatever their sign
STEP = 0.01  # A, of all atoms together
STRAIN = 0.002


@dataclass(frozen=True)
class Examination:
    """What an oracle showed. `failures` is empty if it can be trusted.

    Pairs are (from finite differences of energies, from the label): forces along
    directions of unit length in eV/A, stresses in eV/A^3. `repeat` is the largest
    difference between two labels of one structure (eV, eV/A).
    """

    level: str
    converged: bool | None
    seconds: float
    repeat: float
    forces: tuple[tuple[float, float], ...]
    stresses: tuple[tuple[float, float], ...]
    failures: tuple[str, ...]

    @property
    def passed(self) -> bool:
        """Whether nothing failed."""
        return not self.failures

    @property
    def verdict(self) -> str:
        """One paragraph with the numbers."""
        lines = [f"level {self.level!r}: {'trusted' if self.passed else 'REFUSED'}"]
        lines += [f"- {failure}" for failure in self.failures]
        lines += [f"- {self.seconds:.3g} s per label, repeated to {self.repeat:.1e}"]
        for name, unit, pairs in (
            ("forces", "eV/A", self.forces),
            ("stress", "eV/A^3", self.stresses),
        ):
            if pairs:
                worst = max(abs(a - b) for a, b in pairs)
                size = max(abs(a) for a, _ in pairs)
                lines.append(
                    f"- {name} against finite differences of energies: off by at most "
                    f"{worst:.2g} of {size:.2g} {unit} ({len(pairs)} directions)"
                )
        return "\n".join(lines)


def examine(
    fidelity: Fidelity,
    atoms: Atoms,
    *,
    n_directions: int = 3,
    seed: int = 0,
    allowed_modules: Collection[str] = ALLOWED_MODULES,
) -> Examination:
    """Examine an oracle on one structure, rattled by 0.05 A.

    Compares forces with finite differences of energies along the forces and along
    random directions, stress with those under random strains (of a periodic structure,
    if the level has stress); labels the structure twice; reads the convergence flag.

    Raises:
        ValueError: a specification or a structure that cannot be labelled.
        OracleError: the oracle failed to give a label.
    """
    oracle = build_oracle(fidelity, allowed_modules)
    oracle.check(sorted(set(atoms.get_chemical_symbols())))
    generator = np.random.default_rng(seed)
    start = canonical(atoms)
    start.positions += RATTLE * generator.standard_normal((len(start), 3))
    reason = check_structure(
        start,
        charge=fidelity.charge,
        multiplicity=fidelity.multiplicity if oracle.counts_electrons else None,
    )
    if reason:
        raise ValueError(f"the structure to examine with cannot be labelled: {reason}")
    _run(oracle, start)  # loads the code, so that the clock does not see that
    begin = time.perf_counter()
    label, converged = _run(oracle, start)
    seconds = time.perf_counter() - begin
    again, _ = _run(oracle, start)
    repeat = max(
        float(np.max(np.abs(np.subtract(getattr(label, q), getattr(again, q)))))
        for q in label.quantities
    )
    forces = _force_pairs(oracle, start, label, n_directions, generator)
    stresses = _stress_pairs(oracle, start, label, n_directions, generator)
    failures = []
    if converged is None:
        failures.append("the code does not say whether it converged")
    elif not converged:
        failures.append("the code says that it did not converge")
    if repeat > REPEAT_TOLERANCE:
        failures.append(f"two labels of one structure differ by {repeat:.2g}")
    failures += _mismatches("forces", "eV/A", forces, FORCE_TOLERANCE)
    failures += _mismatches("stress", "eV/A^3", stresses, STRESS_TOLERANCE)
    return Examination(
        fidelity.name, converged, seconds, repeat, forces, stresses, tuple(failures)
    )


def _run(oracle: Oracle, atoms: Atoms) -> tuple[Label, bool | None]:
    calculation = oracle(atoms)
    return calculation.label, calculation.converged


def _force_pairs(
    oracle: Oracle,
    atoms: Atoms,
    label: Label,
    n_directions: int,
    generator: np.random.Generator,
) -> tuple[tuple[float, float], ...]:
    """(-dE/ds, F . u) along the forces and along random unit vectors u."""
    if label.forces is None or label.energy is None:
        return ()
    directions = [label.forces] if label.forces.any() else []
    while len(directions) < n_directions:
        directions.append(generator.standard_normal((len(atoms), 3)))
    pairs = []
    for direction in directions:
        unit = direction / np.linalg.norm(direction)

        def moved(step: float, unit: Float[np.ndarray, "n_atoms 3"] = unit) -> Atoms:
            copy = atoms.copy()
            copy.positions += step * unit
            return copy

        pairs.append((-_slope(oracle, moved, STEP), float(np.sum(label.forces * unit))))
    return tuple(pairs)


def _stress_pairs(
    oracle: Oracle,
    atoms: Atoms,
    label: Label,
    n_directions: int,
    generator: np.random.Generator,
) -> tuple[tuple[float, float], ...]:
    """(dE/ds / V, sigma : e) under random symmetric strains s e with |e| = 1."""
    if label.stress is None or label.energy is None or not atoms.pbc.all():
        return ()
    xx, yy, zz, yz, xz, xy = label.stress
    sigma = np.array([[xx, xy, xz], [xy, yy, yz], [xz, yz, zz]])
    pairs = []
    for _ in range(n_directions):
        strain = generator.standard_normal((3, 3))
        strain = strain + strain.T
        strain /= np.linalg.norm(strain)

        def strained(step: float, strain: Float[np.ndarray, "3 3"] = strain) -> Atoms:
            copy = atoms.copy()
            cell = np.asarray(atoms.cell) @ (np.eye(3) + step * strain)
            copy.set_cell(cell, scale_atoms=True)
            return copy

        slope = _slope(oracle, strained, STRAIN) / atoms.get_volume()
        pairs.append((slope, float(np.sum(sigma * strain))))
    return tuple(pairs)


def _slope(oracle: Oracle, at: Callable[[float], Atoms], step: float) -> float:
    """dE/ds at 0 from five points, [8 (E1 - E-1) - (E2 - E-2)] / 12 step."""

    def energy(n: int) -> float:
        label, _ = _run(oracle, at(n * step))
        if label.energy is None:
            raise OracleError("bad_specification", "the label has no energy")
        return label.energy

    return (8 * (energy(1) - energy(-1)) - (energy(2) - energy(-2))) / (12 * step)


def _mismatches(
    name: str, unit: str, pairs: tuple[tuple[float, float], ...], tolerance: float
) -> list[str]:
    return [
        f"{name}: {found:.4g} {unit} where the energies change by {expected:.4g}"
        for expected, found in pairs
        if abs(found - expected) > tolerance + RELATIVE_TOLERANCE * abs(expected)
    ][:1]
