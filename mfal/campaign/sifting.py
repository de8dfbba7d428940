"""What exploration found, sifted: new to the pool, physical, and not too many."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

import torch
from ase import Atoms
from jaxtyping import Float
from torch import Tensor

from mfal.calculators.exploring import Flagged
from mfal.data import structure_key
from mfal.models.environment_rows import WHOLE, EnvironmentRows

REASONS = ("unphysical", "known", "alike", "surplus")
"""Refused by the gate; in the pool to the digit; nearly; and beyond the largest number."""

NEIGHBOURS = 256
"""Structures of the pool that the distance between neighbours is taken from."""


Describe = Callable[[Atoms], EnvironmentRows]
"""The environments of a structure, of a molecule in every order of its like atoms."""


@dataclass
class Sifted:
    """Structures that were kept, how many were refused per reason, and the gate's words."""

    kept: list[Atoms] = field(default_factory=list)
    refused: dict[str, int] = field(default_factory=lambda: dict.fromkeys(REASONS, 0))
    unphysical: list[str] = field(default_factory=list)


def sift(
    flagged: Sequence[Flagged],
    pool: Sequence[Atoms],
    describe: Describe,
    gate: Callable[[Atoms], str | None],
    *,
    closest: float,
    most: int,
) -> Sifted:
    """Goes through what was flagged, the largest grades first.

    Two structures are alike if their fingerprints (of a crystal the mean features of its
    environments, of a molecule 1/r in the nearest order of like atoms) are nearer than
    `closest` times the median distance of neighbours in the pool. The gate gives a reason
    to refuse, or `None`.
    """
    found = Sifted()
    known = {structure_key(atoms) for atoms in pool}
    prints = [fingerprint(describe, atoms) for atoms in pool]
    least = closest * neighbour_distance(prints[:NEIGHBOURS])
    for candidate in sorted(flagged, key=lambda f: -f.grade):
        atoms = candidate.atoms
        reason = gate(atoms)
        if reason is not None:
            found.refused["unphysical"] += 1
            found.unphysical.append(reason)
            continue
        key = structure_key(atoms)
        if key in known:
            found.refused["known"] += 1
            continue
        mine = fingerprint(describe, atoms)
        if any(distance(mine, other) < least for other in prints):
            found.refused["alike"] += 1
        elif len(found.kept) == most:
            found.refused["surplus"] += 1
        else:
            found.kept.append(atoms)
            known.add(key)
            prints.append(mine)
    return found


def fingerprint(describe: Describe, atoms: Atoms) -> Float[Tensor, "orders d"]:
    """What a structure is to the model: of a molecule in every order of like atoms."""
    rows = describe(atoms)
    if int(rows.atom[0]) == WHOLE:
        return rows.descriptor
    return rows.features.mean(0, keepdim=True)


def distance(one: Float[Tensor, "g d"], other: Float[Tensor, "g d"]) -> float:
    """The distance of two fingerprints, in the nearest order of like atoms."""
    return float((one - other[0]).square().sum(1).min().sqrt())


def neighbour_distance(prints: Sequence[Tensor]) -> float:
    """The median distance to the nearest other fingerprint; zero of fewer than two."""
    nearest = [
        min(distance(one, other) for j, other in enumerate(prints) if j != i)
        for i, one in enumerate(prints)
        if len(prints) > 1
    ]
    return (
        float(torch.tensor(nearest, dtype=torch.float64).median()) if nearest else 0.0
    )
