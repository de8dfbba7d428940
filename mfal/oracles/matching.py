"""Whether the structure that a code printed is the one that it was given."""

import numpy as np
from ase import Atoms
from ase.geometry import find_mic
from jaxtyping import Int

from mfal.oracles.oracle import OracleError

TOLERANCE = 1e-4
"""A; codes print positions with 5 to 8 decimals."""


def matched(exported: Atoms, found: Atoms) -> Int[np.ndarray, " n_atoms"]:
    """Where each atom of the exported structure stands in the one that was found.

    The structures are the same if species and cell are, and all atoms are within
    1e-4 A of their places, but for one shift of all together (energies, forces and
    stress do not change with it) and for cell vectors. The order of the atoms is the
    exported one, or that grouped by species, as VASP's input needs it. The box around
    a structure without periodicity is a setting of the method: it is not compared.

    Raises:
        OracleError: `wrong_result`, with what differs.
    """
    order = _order(exported, found)
    periodic = exported.pbc
    cells = np.asarray(exported.cell)[periodic], np.asarray(found.cell)[periodic]
    off = float(np.abs(cells[0] - cells[1]).max(initial=0.0))
    if not off <= TOLERANCE:
        raise OracleError("wrong_result", f"its cell differs by {off:.3g} A")
    steps = found.positions[order] - exported.positions
    steps = steps - steps[0]
    if found.pbc.any():
        steps, _ = find_mic(steps, found.cell, found.pbc)
    sizes = np.linalg.norm(steps, axis=1)
    worst = int(np.argmax(np.where(np.isfinite(sizes), sizes, np.inf)))
    if not sizes[worst] <= TOLERANCE:
        raise OracleError(
            "wrong_result",
            f"atom {worst} ({exported.symbols[worst]}) is {sizes[worst]:.3g} A from "
            "where it was exported",
        )
    return order


def _order(exported: Atoms, found: Atoms) -> Int[np.ndarray, " n_atoms"]:
    ours, theirs = exported.numbers, found.numbers
    if np.array_equal(ours, theirs):
        return np.arange(len(ours))
    blocks = list(dict.fromkeys(theirs.tolist()))
    grouped = [i for z in blocks for i in np.flatnonzero(ours == z)]
    if len(grouped) != len(ours) or not np.array_equal(ours[grouped], theirs):
        raise OracleError(
            "wrong_result",
            f"it is {found.get_chemical_formula()}, exported was "
            f"{exported.get_chemical_formula()} (or its atoms are in another order)",
        )
    return np.argsort(grouped)
