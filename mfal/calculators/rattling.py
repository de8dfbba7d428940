"""Structures for a pool: rattled and strained copies of one."""

import numpy as np
from ase import Atoms
from ase.build import make_supercell

from mfal.data.checks import check_structure
from mfal.data.dataset import canonical

ATTEMPTS = 100
"""Draws in a row that may be refused before rattling gives up."""


def rattled(
    atoms: Atoms,
    size: int,
    *,
    rattle: float = 0.1,
    strain: float = 0.0,
    supercell: tuple[int, int, int] = (1, 1, 1),
    charge: int = 0,
    multiplicity: int | None = None,
    seed: int = 0,
) -> list[Atoms]:
    r"""Copies of a structure (of its supercell) with random strains and displacements.

    r_i -> (1 + e) r_i + d_i with d_i ~ N(0, rattle^2) along each axis (A) and a symmetric
    e whose six components are uniform in [-strain, strain]; the cell is strained alike.
    Copies that cannot be labelled (`check_structure`) are drawn again. The same arguments
    give the same structures.

    >>> from ase.build import bulk
    >>> len(rattled(bulk("Cu", cubic=True), 5, strain=0.02, supercell=(2, 1, 1))[0])
    8

    Raises:
        ValueError: an argument out of range, a cell that is asked for where there is none,
            a start that cannot be labelled, or rattling that gives hardly anything else.
    """
    if size < 1 or rattle < 0 or not 0 <= strain < 1 or (rattle == 0 and strain == 0):
        raise ValueError(
            "copies differ by a rattle >= 0 (A) or a strain in [0, 1), one of them above "
            f"0, got size {size}, rattle {rattle}, strain {strain}"
        )
    if not atoms.pbc.all() and (strain > 0 or tuple(supercell) != (1, 1, 1)):
        raise ValueError(
            "strain and supercell need a structure that is periodic in all directions: "
            "rattle it only"
        )
    reason = check_structure(atoms, charge=charge, multiplicity=multiplicity)
    if reason is not None:
        raise ValueError(f"the structure at the start cannot be labelled: {reason}")
    start = canonical(atoms)
    if tuple(supercell) != (1, 1, 1):
        start = make_supercell(start, np.diag(supercell))
    rng = np.random.default_rng(seed)
    found: list[Atoms] = []
    refused = 0
    while len(found) < size:
        copy = _drawn(start, rattle, strain, rng)
        reason = check_structure(copy, charge=charge, multiplicity=multiplicity)
        if reason is None:
            found.append(copy)
            refused = 0
            continue
        refused += 1
        if refused == ATTEMPTS:
            raise ValueError(
                f"{ATTEMPTS} copies in a row cannot be labelled ({reason}): lower "
                f"rattle ({rattle:g}) or strain ({strain:g})"
            )
    return found


def _drawn(
    start: Atoms, rattle: float, strain: float, rng: np.random.Generator
) -> Atoms:
    copy = start.copy()
    components = rng.uniform(-strain, strain, size=6)
    if strain > 0:
        xx, yy, zz, yz, xz, xy = components
        e = np.array([[xx, xy, xz], [xy, yy, yz], [xz, yz, zz]])
        copy.set_cell(np.asarray(copy.cell) @ (np.eye(3) + e), scale_atoms=True)
    copy.positions += rattle * rng.normal(size=copy.positions.shape)
    return canonical(copy)
