r"""Properties: named numbers that are linear in energies, forces and stresses.

A property is a weighted sum of rows of some structures, so it has a posterior like any
row (`property_posterior`), and labels can be bought for its sake (`WithProperties`).
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from ase import Atoms
from jaxtyping import Float

from mfal.data import QUANTITIES


@dataclass(frozen=True)
class PropertyTerm:
    """A weighted sum of the rows of one quantity of one structure.

    Energies have one row (eV), forces 3 n_atoms (eV/A), stresses six (eV/A^3, in the
    order xx yy zz yz xz xy).

    Raises:
        ValueError: a quantity that is none, or another number of weights.
    """

    atoms: Atoms
    quantity: str
    weights: Float[np.ndarray, " r"]

    def __post_init__(self) -> None:
        rows = {"energy": 1, "forces": 3 * len(self.atoms), "stress": 6}
        if rows.get(self.quantity) != len(self.weights):
            raise ValueError(
                f"a term is one of {QUANTITIES} with a weight for each of its rows "
                f"({rows} here), got {self.quantity!r} with {len(self.weights)}"
            )


@dataclass(frozen=True)
class Property:
    """A named number that is linear in what labels hold: the sum of its terms.

    Raises:
        ValueError: no terms.
    """

    name: str
    terms: tuple[PropertyTerm, ...]

    def __post_init__(self) -> None:
        if not self.terms:
            raise ValueError(
                f"the property {self.name!r} has no terms: give one or more"
            )


def energy_sum(name: str, parts: Sequence[tuple[float | int, Atoms]]) -> Property:
    """The weighted sum of total energies, sum_i w_i E_i of pairs (w_i, structure), eV."""
    terms = [PropertyTerm(a, "energy", np.array([float(w)])) for w, a in parts]
    return Property(name, tuple(terms))


def formation_energy(
    name: str, compound: Atoms, elements: Mapping[str, Atoms]
) -> Property:
    """Energy per atom of a compound less that of its elements, eV per atom.

    (E(compound) - sum_s n_s E(element s) / n(element s)) / n_atoms.

    Raises:
        ValueError: an element that is missing, or a reference that is not pure.
    """
    symbols, n = compound.get_chemical_symbols(), len(compound)
    parts = [(1.0 / n, compound)]
    for symbol in sorted(set(symbols)):
        pure = elements.get(symbol)
        if pure is None or set(pure.get_chemical_symbols()) != {symbol}:
            raise ValueError(
                f"the formation energy {name!r} needs a structure of pure {symbol}, got "
                f"{None if pure is None else pure.get_chemical_formula()}"
            )
        parts.append((-symbols.count(symbol) / (n * len(pure)), pure))
    return energy_sum(name, parts)


def vacancy_formation_energy(name: str, vacancy: Atoms, bulk: Atoms) -> Property:
    """E(vacancy) - E(bulk) n(vacancy) / n(bulk) of an element, eV.

    Raises:
        ValueError: more than one species.
    """
    species = {*vacancy.get_chemical_symbols(), *bulk.get_chemical_symbols()}
    if len(species) != 1:
        raise ValueError(
            f"the vacancy {name!r} is one of an element, got {sorted(species)}: what was "
            "taken out of a compound goes to a reservoir, name it with `energy_sum`"
        )
    return energy_sum(name, [(1.0, vacancy), (-len(vacancy) / len(bulk), bulk)])


def surface_energy(name: str, slab: Atoms, bulk: Atoms) -> Property:
    """(E(slab) - E(bulk) n(slab) / n(bulk)) / 2 A, eV/A^2; A spans cell vectors 1 and 2.

    Raises:
        ValueError: a slab of another composition than the bulk, or without an area.
    """
    share = len(slab) / len(bulk)
    if _counts(slab) != {s: n * share for s, n in _counts(bulk).items()}:
        raise ValueError(
            f"the surface {name!r} needs a slab with the composition of the bulk, got "
            f"{slab.get_chemical_formula()} and {bulk.get_chemical_formula()}"
        )
    area = float(np.linalg.norm(np.cross(slab.cell[0], slab.cell[1])))
    if not area > 0:
        raise ValueError(
            f"the slab of {name!r} has no area: set its first two cell vectors"
        )
    return energy_sum(name, [(0.5 / area, slab), (-0.5 * share / area, bulk)])


def reaction_energy(
    name: str, reactants: Sequence[Atoms], products: Sequence[Atoms]
) -> Property:
    """Energies of the products less those of the reactants, eV; repeat what counts twice.

    Raises:
        ValueError: atoms that are not balanced.
    """
    before, after = (_counts(*side) for side in (reactants, products))
    if before != after:
        raise ValueError(
            f"the reaction {name!r} is not balanced: {before} becomes {after}"
        )
    parts = [*((-1.0, a) for a in reactants), *((1.0, a) for a in products)]
    return energy_sum(name, parts)


def barrier(name: str, initial: Atoms, transition_state: Atoms) -> Property:
    """E(transition state) - E(initial state), eV.

    Raises:
        ValueError: states of different composition.
    """
    return reaction_energy(name, [initial], [transition_state])


def elastic_constant(
    name: str, atoms: Atoms, stress: int, strain: int, size: float = 0.005
) -> Property:
    r"""C_ij by central differences of the stress under a finite strain, eV/A^3.

    (s_i(+e) - s_i(-e)) / 2 e, i and j in the order xx yy zz yz xz xy; shears are
    engineering strains (both off-diagonal entries e/2). Atoms move with the cell: for a
    relaxed constant write the property of the relaxed structures.

    Raises:
        ValueError: a structure that is not periodic in all directions, or no such strain.
    """
    if not atoms.pbc.all() or not (0 <= stress < 6 and 0 <= strain < 6) or not size > 0:
        raise ValueError(
            f"the elastic constant {name!r} needs a crystal, two numbers from 0 to 5 and "
            f"a positive strain, got pbc {atoms.pbc.tolist()}, {stress}, {strain}, {size}"
        )
    row, column = ((0, 0), (1, 1), (2, 2), (1, 2), (0, 2), (0, 1))[strain]
    terms = []
    for sign in (1.0, -1.0):
        deformation = np.eye(3)
        deformation[row, column] += 0.5 * sign * size
        deformation[column, row] += 0.5 * sign * size
        strained = atoms.copy()
        strained.set_cell(atoms.cell.array @ deformation, scale_atoms=True)
        weights = np.zeros(6)
        weights[stress] = sign / (2 * size)
        terms.append(PropertyTerm(strained, "stress", weights))
    return Property(name, tuple(terms))


def _counts(*structures: Atoms) -> dict[str, float]:
    symbols = [s for atoms in structures for s in atoms.get_chemical_symbols()]
    return {s: float(symbols.count(s)) for s in sorted(set(symbols))}
