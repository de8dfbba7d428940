"""The data: copper of mlearn with PBE and live EMT, and cells of any size and level."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from ase import Atoms
from ase.build import bulk
from ase.calculators.emt import EMT
from ase.neighborlist import neighbor_list

from benchmarks.published_tables.sets import mlearn, prepared
from mfal.data import Fidelity, Label, LabelledDataset, read_extxyz

CUTOFFS = (5.0, 6.5)
"""Those of the default sparse potential (A)."""


def rattled(n_cells: int, edge: int, seed: int = 0) -> list[Atoms]:
    """Copper cells of 4 edge^3 atoms, rattled by 0.12 A and strained by 2 %."""
    rng = np.random.default_rng([seed, edge])
    found = []
    for _ in range(n_cells):
        atoms = bulk("Cu", "fcc", a=3.63, cubic=True) * (edge, edge, edge)
        strain = rng.normal(0.0, 0.02, (3, 3))
        atoms.set_cell(atoms.cell @ (np.eye(3) + 0.5 * (strain + strain.T)), True)
        atoms.positions += rng.normal(0.0, 0.12, (len(atoms), 3))
        found.append(atoms)
    return found


def emt(atoms: Atoms, scale: float = 1.0) -> Label:
    """EMT of the structure with all lengths times a scale: E(s r) and its derivatives."""
    other = atoms.copy()
    other.set_cell(scale * np.asarray(atoms.cell), scale_atoms=True)
    other.calc = EMT()
    return Label(other.get_potential_energy(), scale * other.get_forces())


def with_levels(structures: Sequence[Atoms], n_levels: int = 1) -> LabelledDataset:
    """Energies and forces at levels that are EMT at slightly larger lengths each."""
    levels = tuple(Fidelity(f"emt{k}") for k in range(n_levels))
    labels = {
        (i, f.name): emt(atoms, 1 + 0.004 * k)
        for i, atoms in enumerate(structures)
        for k, f in enumerate(levels)
    }
    return LabelledDataset(tuple(structures), levels, labels)


def random_labels(
    structures: Sequence[Atoms], n_levels: int = 1, seed: int = 0
) -> LabelledDataset:
    """Labels that nothing computed, for work whose time does not depend on them."""
    rng = np.random.default_rng(seed)
    levels = tuple(Fidelity(f"any{k}") for k in range(n_levels))
    labels = {
        (i, f.name): Label(float(rng.normal()), rng.normal(size=(len(atoms), 3)))
        for i, atoms in enumerate(structures)
        for f in levels
    }
    return LabelledDataset(tuple(structures), levels, labels)


def copper(
    n_structures: int, work: Path, *, both: bool, smoke: bool
) -> LabelledDataset:
    """PBE cells of mlearn drawn at random; with `both` EMT below, PBE on every other.

    Raises:
        ValueError: more structures than there are.
    """
    folder = mlearn(smoke)
    train = read_extxyz(prepared("Cu", folder, work / "mlearn").train, level="pbe")
    if n_structures > len(train):
        raise ValueError(f"mlearn has {len(train)} cells of Cu, {n_structures} wanted")
    order = np.random.default_rng(0).permutation(len(train))[:n_structures]
    structures = tuple(train.structures[i] for i in order)
    levels = (Fidelity("emt"), Fidelity("pbe")) if both else (Fidelity("pbe"),)
    labels = {}
    for k, i in enumerate(order):
        if both:
            labels[k, "emt"] = emt(structures[k])
        if not both or k % 2 == 0:
            labels[k, "pbe"] = train.labels[int(i), "pbe"]
    return LabelledDataset(structures, levels, labels)


def n_pairs(atoms: Atoms) -> int:
    """Pairs of an atom and one within the longest cutoff, the atom itself included."""
    return len(neighbor_list("i", atoms, max(CUTOFFS))) + len(atoms)
