"""The pool in two dimensions: principal components of a descriptor of each structure."""

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from ase import Atoms
from jaxtyping import Float, Int

from mfal.descriptors import InverseDistances, Soap

CUTOFF = 5.0  # A
MOST = 400
"""Structures in a map, at the most: a power spectrum takes a while."""


def spread_evenly(numbers: Sequence[int], n: int) -> list[int]:
    """At most n of the numbers, at even distances in their order.

    >>> spread_evenly([3, 4, 5, 6, 7], 3)
    [3, 5, 7]
    """
    if len(numbers) <= n:
        return list(numbers)
    return [numbers[i] for i in np.linspace(0, len(numbers) - 1, n).round().astype(int)]


def described(
    structures: Sequence[Atoms], group: Sequence[Sequence[int]] | None = None
) -> tuple[Float[np.ndarray, "n d"], str]:
    """A row per structure that no permutation of like atoms changes, and its name.

    One molecule throughout: inverse distances 1 / r_ij, sorted within each set of pairs
    that the permutations `group` turn into each other. Anything else: the power spectrum
    of the neighbour density, normalised, the mean over the atoms.
    """
    first = structures[0].get_chemical_symbols()
    alike = all(
        not a.pbc.any() and a.get_chemical_symbols() == first for a in structures
    )
    if alike and len(first) > 1:
        distances = InverseDistances(first)
        rows = np.stack([distances(a).values[0].numpy() for a in structures])
        permutations = torch.tensor(group or [list(range(len(first)))])
        for pairs in _orbits(distances.orders(permutations).numpy()):
            rows[:, pairs] = np.sort(rows[:, pairs], axis=1)
        return rows, "inverse distances"
    species = sorted({s for a in structures for s in a.get_chemical_symbols()})
    soap = Soap(species, cutoffs=(CUTOFF,), max_radial=4, max_angular=3)
    rows = np.stack([_mean_direction(soap, atoms) for atoms in structures])
    return rows, f"mean power spectra of the atoms, cutoff {CUTOFF:g} Å"


def _mean_direction(soap: Soap, atoms: Atoms) -> Float[np.ndarray, " d"]:
    """The mean normalised power spectrum; the cell of what is not periodic is nothing."""
    plain = atoms.copy()
    plain.cell[~plain.pbc] = 0.0
    spectra = soap(plain).values.numpy()
    norms = np.linalg.norm(spectra, axis=1, keepdims=True)
    return (spectra / np.maximum(norms, np.finfo(float).tiny)).mean(axis=0)


def components(
    rows: Float[np.ndarray, "n d"],
) -> tuple[Float[np.ndarray, "n 2"], Float[np.ndarray, " 2"]]:
    """First two principal components, and their shares of the variance.

    With the singular values X - mean X = U S V^T: the columns of U S, and S^2 / sum S^2.
    The sign is that in which the largest entry of each direction is positive.
    """
    centred = rows - rows.mean(axis=0)
    u, s, directions = np.linalg.svd(centred, full_matrices=False)
    found, shares = np.zeros((len(rows), 2)), np.zeros(2)
    n = min(2, len(s))
    largest = np.abs(directions[:n]).argmax(axis=1)
    signs = np.sign(directions[np.arange(n), largest])
    found[:, :n] = u[:, :n] * s[:n] * signs
    total = float(np.square(s).sum())
    if total > 0:
        shares[:n] = np.square(s[:n]) / total
    return found, shares


def pool_map(
    structures: Sequence[tuple[int, Atoms, str]],
    labelled: dict[int, dict[str, int]],
    group: Sequence[Sequence[int]] | None,
) -> dict[str, Any] | None:
    """The map of (id, atoms, role) as plain JSON; `None` of fewer than three.

    `labelled` holds, by structure, the step in which each level was bought. Of more than
    `MOST` structures those with labels are shown first, the rest thinned evenly.
    """
    with_labels = [i for i, (k, _, _) in enumerate(structures) if labelled.get(k)]
    others = sorted(set(range(len(structures))) - set(with_labels))
    shown = spread_evenly(with_labels, MOST)
    shown = sorted([*shown, *spread_evenly(others, MOST - len(shown))])
    if len(shown) < 3:
        return None
    rows, name = described([structures[i][1] for i in shown], group)
    places, shares = components(rows)
    return {
        "descriptor": name,
        "explained": shares.tolist(),
        "n_structures": len(structures),
        "points": [
            {
                "structure": structures[i][0],
                "role": structures[i][2],
                "x": float(x),
                "y": float(y),
                "steps": labelled.get(structures[i][0], {}),
            }
            for i, (x, y) in zip(shown, places, strict=True)
        ],
    }


def _orbits(orders: Int[np.ndarray, "g d"]) -> list[list[int]]:
    """Columns that the orders of a group turn into each other."""
    found = {tuple(sorted(set(orders[:, column].tolist()))) for column in orders[0]}
    return [list(orbit) for orbit in sorted(found)]
