"""Labelled structures: which structure has which quantity at which level."""

import hashlib
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace

import numpy as np
from ase import Atoms
from jaxtyping import Float

from mfal.data.fidelity import QUANTITIES, Fidelity


@dataclass(frozen=True)
class Label:
    """What one reference calculation gave: each quantity present or `None`.

    Energy in eV (total), forces in eV/A (n_atoms x 3), stress in eV/A^3 (Voigt
    xx yy zz yz xz xy). `sigma` holds the standard deviations that the label itself
    brings, per quantity in the same unit (energy: per structure), beyond the noise
    of its level.

    Raises:
        ValueError: a value that is not finite, a wrong shape, a negative sigma or an
            unknown quantity.
    """

    energy: float | None = None
    forces: Float[np.ndarray, "n_atoms 3"] | None = None
    stress: Float[np.ndarray, "6"] | None = None
    sigma: Mapping[str, float] = field(default_factory=dict)

    def __post_init__(self) -> None:
        for name, shape in (("energy", ()), ("forces", (-1, 3)), ("stress", (6,))):
            value = getattr(self, name)
            if value is None:
                continue
            array = np.array(value, dtype=float)
            fits = array.ndim == len(shape) and all(
                want in (-1, got) for want, got in zip(shape, array.shape, strict=True)
            )
            if not fits:
                raise ValueError(
                    f"{name} has shape {array.shape}, expected "
                    f"{tuple('n_atoms' if n < 0 else n for n in shape)}"
                )
            if not np.isfinite(array).all():
                raise ValueError(f"{name} holds a value that is not finite")
            array.setflags(write=False)
            object.__setattr__(self, name, float(array) if shape == () else array)
        for name, sigma in self.sigma.items():
            if name not in QUANTITIES or not (np.isfinite(sigma) and sigma >= 0):
                raise ValueError(
                    f"sigma is a finite number >= 0 per quantity of {QUANTITIES}, "
                    f"got {name!r}: {sigma}"
                )

    @property
    def quantities(self) -> tuple[str, ...]:
        """The quantities that are present, in the order energy, forces, stress."""
        return tuple(q for q in QUANTITIES if getattr(self, q) is not None)

    def only(self, quantities: Iterable[str]) -> "Label":
        """This label with the other quantities left out."""
        keep = set(quantities)
        dropped = {q: None for q in QUANTITIES if q not in keep}
        return replace(self, **dropped)  # type: ignore[arg-type]

    def agrees_with(self, other: "Label") -> bool:
        """Whether both hold the same quantities with the same values."""
        return self.quantities == other.quantities and all(
            np.array_equal(getattr(self, q), getattr(other, q)) for q in self.quantities
        )


def canonical(atoms: Atoms) -> Atoms:
    """A bare copy (no calculator, no extra arrays) with positions rounded to 1e-8 A.

    That is what an extxyz file keeps, so a structure and its copy read back from a
    file are the same structure.
    """
    positions = np.round(atoms.positions, 8) + 0.0  # + 0.0 turns -0.0 into 0.0
    cell = np.round(np.asarray(atoms.cell), 8) + 0.0
    return Atoms(numbers=atoms.numbers, positions=positions, cell=cell, pbc=atoms.pbc)


def structure_key(atoms: Atoms) -> str:
    """Hash (sha256) of species, positions (to 1e-8 A), cell and periodicity.

    Atoms in another order, or moved together, make another structure.
    """
    bare = canonical(atoms)
    digest = hashlib.sha256()
    for array in (bare.numbers.astype("<i8"), bare.positions, bare.cell, bare.pbc):
        digest.update(np.ascontiguousarray(array).tobytes() + b"|")
    return digest.hexdigest()


@dataclass(frozen=True)
class LabelledDataset:
    """Structures x levels, each label present or missing, levels from low to high.

    `labels` maps (index of the structure, name of the level) to a `Label`. Nothing
    needs to be nested: any quantity may be missing at any level.

    Raises:
        ValueError: a level listed twice, a label of an unknown structure or level, or
            forces whose number differs from the number of atoms.
    """

    structures: tuple[Atoms, ...]
    fidelities: tuple[Fidelity, ...]
    labels: Mapping[tuple[int, str], Label] = field(default_factory=dict)

    def __post_init__(self) -> None:
        object.__setattr__(self, "structures", tuple(self.structures))
        object.__setattr__(self, "fidelities", tuple(self.fidelities))
        object.__setattr__(self, "labels", dict(self.labels))
        names = self.levels
        repeated = sorted({n for n in names if names.count(n) > 1})
        if repeated:
            raise ValueError(
                f"level {repeated[0]!r} is listed twice: give each level its own name"
            )
        for (index, level), label in self.labels.items():
            if not 0 <= index < len(self.structures):
                raise ValueError(
                    f"a label names structure {index}, but there are "
                    f"{len(self.structures)}"
                )
            if level not in names:
                raise ValueError(
                    f"a label names level {level!r}, but the levels are {names}"
                )
            n_atoms = len(self.structures[index])
            if label.forces is not None and len(label.forces) != n_atoms:
                raise ValueError(
                    f"structure {index} has {n_atoms} atoms, its {level!r} label "
                    f"has forces on {len(label.forces)}"
                )

    @property
    def levels(self) -> tuple[str, ...]:
        """Names of the levels, low to high."""
        return tuple(f.name for f in self.fidelities)

    @property
    def highest(self) -> str:
        """Name of the highest level."""
        return self.levels[-1]

    def __len__(self) -> int:
        return len(self.structures)

    def label(self, index: int, level: str) -> Label | None:
        """The label of one structure at one level, or `None`."""
        return self.labels.get((index, level))

    def labelled(self, level: str) -> tuple[int, ...]:
        """Indices of the structures that have a label at this level, in order."""
        return tuple(i for i in range(len(self)) if (i, level) in self.labels)

    def paired(self, low: str, high: str) -> tuple[int, ...]:
        """Indices of the structures that have a label at both levels."""
        return tuple(i for i in self.labelled(low) if (i, high) in self.labels)

    def n_labels(self) -> dict[str, dict[str, int]]:
        """Number of labels per level and quantity."""
        return {
            level: {
                quantity: sum(
                    1
                    for (_, name), label in self.labels.items()
                    if name == level and getattr(label, quantity) is not None
                )
                for quantity in QUANTITIES
            }
            for level in self.levels
        }

    def with_labels(self, labels: Mapping[tuple[int, str], Label]) -> "LabelledDataset":
        """A data set with these labels added (or replaced)."""
        return replace(self, labels={**self.labels, **labels})

    def subset(self, indices: Sequence[int]) -> "LabelledDataset":
        """The data set of these structures, in this order."""
        new = {old: i for i, old in enumerate(indices)}
        return LabelledDataset(
            tuple(self.structures[i] for i in indices),
            self.fidelities,
            {(new[i], n): lab for (i, n), lab in self.labels.items() if i in new},
        )

    def at_levels(self, levels: Sequence[str]) -> "LabelledDataset":
        """The data set with only these levels (in the given order, low to high)."""
        by_name = {f.name: f for f in self.fidelities}
        missing = [n for n in levels if n not in by_name]
        if missing:
            raise ValueError(f"no level {missing[0]!r} here; there are {self.levels}")
        labels = {k: lab for k, lab in self.labels.items() if k[1] in levels}
        return LabelledDataset(
            self.structures, tuple(by_name[n] for n in levels), labels
        )

    def __iter__(self) -> Iterator[tuple[int, str, Label]]:
        """The labels as (index, level, label): levels low to high, then by index."""
        for level in self.levels:
            for index in self.labelled(level):
                yield index, level, self.labels[index, level]
