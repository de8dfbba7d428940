"""Structures that are others over again: atoms in another order, wrapped, moved, turned.

`structure_key` tells equal arrays, since forces belong to atoms in their order. To a
model that knows permutations and lattice vectors such copies are one structure: another
label of it teaches nothing but its noise.
"""

from collections.abc import Sequence

import numpy as np
from ase import Atoms
from jaxtyping import Float
from scipy.optimize import linear_sum_assignment
from scipy.spatial.distance import pdist, squareform

CLOSE = 1e-4
"""Angstrom that an atom of a copy may be away from its place."""


def find_copies(
    structures: Sequence[Atoms], *, tolerance: float = CLOSE
) -> dict[int, int]:
    """The structures that are copies, each with the first one that it is a copy of.

    Found by one number per structure that no copy changes, then atom by atom.

    >>> from ase.build import molecule
    >>> one = molecule("H2O")
    >>> one.rattle(0.1, seed=1)
    >>> find_copies([one, molecule("H2O"), one[[0, 2, 1]]])
    {2: 0}
    """
    groups: dict[tuple[object, ...], list[int]] = {}
    for i, atoms in enumerate(structures):
        kind = (tuple(sorted(atoms.numbers.tolist())), tuple(atoms.pbc.tolist()))
        groups.setdefault(kind, []).append(i)
    found: dict[int, int] = {}
    for members in groups.values():
        marks = np.array([_mark(structures[i]) for i in members])
        order = np.argsort(marks, kind="stable")
        width = 2 * tolerance * _steepest(structures[members[0]])
        for place, k in enumerate(order):
            for m in order[place + 1 :]:
                if marks[m] - marks[k] > width:
                    break
                one, other = sorted((members[k], members[m]))
                if is_copy(structures[one], structures[other], tolerance=tolerance):
                    found[other] = min(one, found.get(other, one))
    return {i: found[i] for i in sorted(found)}


def is_copy(one: Atoms, other: Atoms, *, tolerance: float = CLOSE) -> bool:
    """Whether two structures differ only by the order of like atoms and a motion.

    Molecules: any translation, rotation or reflection. With periodic directions: any
    translation, and each atom by lattice vectors, in the same cell (another cell of the
    same crystal is not recognised). A molecule in which atoms of one element have the
    same distances to all others may be missed; nothing is called a copy that is none.
    """
    if len(one) != len(other) or (one.pbc != other.pbc).any():
        return False
    if sorted(one.numbers) != sorted(other.numbers):
        return False
    if not one.pbc.any():
        return _same_distances(one, other, tolerance)
    return _same_places(one, other, tolerance)


def _same_distances(one: Atoms, other: Atoms, tolerance: float) -> bool:
    d, e = (squareform(pdist(atoms.positions)) for atoms in (one, other))
    apart = np.abs(_rows(d, one)[:, None] - _rows(e, other)).max(axis=2)
    apart[one.numbers[:, None] != other.numbers] = np.inf
    if (apart.min(axis=1) > 2 * tolerance).any():
        return False
    apart[np.isinf(apart)] = 1e6
    _, order = linear_sum_assignment(apart)
    return bool(np.abs(d - e[np.ix_(order, order)]).max() <= 2 * tolerance)


def _rows(
    distances: Float[np.ndarray, "n n"], atoms: Atoms
) -> Float[np.ndarray, "n n"]:
    """The distances from each atom, in rising order for each element."""
    elements = np.unique(atoms.numbers)
    parts = [np.sort(distances[:, atoms.numbers == z], axis=1) for z in elements]
    return np.concatenate(parts, axis=1)


def _same_places(one: Atoms, other: Atoms, tolerance: float) -> bool:
    cell = np.asarray(one.cell.complete())
    if np.abs(cell - np.asarray(other.cell.complete())).max() > tolerance:
        return False
    here, there = (
        np.linalg.solve(cell.T, atoms.positions.T).T for atoms in (one, other)
    )
    elements, counts = np.unique(one.numbers, return_counts=True)
    rarest = elements[counts.argmin()]
    anchor = int(np.flatnonzero(one.numbers == rarest)[0])
    for place in there[other.numbers == rarest]:
        across = (here + (place - here[anchor]))[:, None] - there
        across[..., one.pbc] -= np.round(across[..., one.pbc])
        apart = np.linalg.norm(across @ cell, axis=2)
        apart[one.numbers[:, None] != other.numbers] = np.inf
        nearest = apart.argmin(axis=1)
        if apart.min(axis=1).max() <= 2 * tolerance and len(set(nearest)) == len(one):
            return True
    return False


def _mark(atoms: Atoms) -> float:
    r"""A number that copies share.

    Of a molecule the mean distance of two atoms, of a crystal
    |Σ_j Z_j exp(2πi s_j)| / Σ_j Z_j along its first periodic direction.
    """
    if not atoms.pbc.any():
        return float(pdist(atoms.positions).mean()) if len(atoms) > 1 else 0.0
    along = int(np.flatnonzero(atoms.pbc)[0])
    fractions = np.linalg.solve(
        np.asarray(atoms.cell.complete()).T, atoms.positions.T
    ).T[:, along]
    waves = np.exp(2j * np.pi * fractions)
    return float(np.abs(atoms.numbers @ waves) / atoms.numbers.sum())


def _steepest(atoms: Atoms) -> float:
    """The most that the mark changes by, per angstrom that atoms are moved."""
    if not atoms.pbc.any():
        return 2.0
    along = int(np.flatnonzero(atoms.pbc)[0])
    inverse = np.linalg.inv(np.asarray(atoms.cell.complete()))
    return float(2 * np.pi * np.linalg.norm(inverse[:, along]))
