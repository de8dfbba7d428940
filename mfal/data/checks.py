"""Physical checks of structures and labels: a reason to refuse, or `None`."""

from collections.abc import Iterable

import numpy as np
from ase import Atoms
from ase.data import covalent_radii
from ase.neighborlist import neighbor_list

from mfal.data.dataset import Label, LabelledDataset
from mfal.data.fidelity import LARGEST_FORCE, Fidelity

FLATTEST_CELL = 1e-3  # volume over the product of the lengths of the cell vectors


def check_structure(
    atoms: Atoms,
    *,
    charge: int = 0,
    multiplicity: int | None = 1,
    minimum_ratio: float = 0.5,
) -> str | None:
    """Why this structure cannot be labelled, or `None` if it can.

    Refused are positions that are not finite, a periodic cell that is flat, without
    volume or left-handed (inverted), two atoms (or periodic images) closer than
    `minimum_ratio` times the sum of their covalent radii, and a number of electrons
    that does not fit charge and multiplicity.

    The default ratio of 0.5 refuses O-H below 0.49 A. The closest pairs among 15,500
    published reference structures of molecules, molecules far from equilibrium,
    metals and alloys have ratios of 0.59 (Ta under pressure), 0.67 (W), 0.69 (Cu) and
    0.72 (CN), so all of them pass.

    Args:
        multiplicity: 2S + 1, `None` for a method without electrons. Electrons are
            counted only without periodicity (a metal may have any number per cell).

    >>> check_structure(Atoms("OH", [[0, 0, 0], [0, 0, 0.1]]), multiplicity=2)
    'atoms 0 (O) and 1 (H) are 0.100 A apart, less than 0.5 of the sum of their radii'
    """
    if not len(atoms):
        return "there are no atoms"
    if not (np.isfinite(atoms.positions).all() and np.isfinite(atoms.cell).all()):
        return "a position or the cell is not finite"
    reason = _check_cell(atoms) or _check_distances(atoms, minimum_ratio)
    if reason is None and multiplicity is not None and not atoms.pbc.any():
        reason = check_electrons(atoms, charge=charge, multiplicity=multiplicity)
    return reason


def check_electrons(atoms: Atoms, *, charge: int, multiplicity: int) -> str | None:
    """Why no state of this charge and multiplicity 2S + 1 exists, or `None`.

    A state with 2S unpaired electrons needs at least 2S electrons, and an even
    number of the others.
    """
    n_electrons = int(atoms.numbers.sum()) - charge
    unpaired = multiplicity - 1
    if n_electrons < 1 or unpaired < 0 or n_electrons < unpaired:
        return (
            f"{n_electrons} electrons (charge {charge:+d}) cannot have "
            f"multiplicity {multiplicity}"
        )
    if (n_electrons - unpaired) % 2:
        fitting = "even (2, 4, ...)" if n_electrons % 2 else "odd (1, 3, ...)"
        return (
            f"{n_electrons} electrons (charge {charge:+d}) cannot have multiplicity "
            f"{multiplicity}: set a multiplicity that is {fitting}, or another charge"
        )
    return None


def check_label(
    atoms: Atoms,
    label: Label,
    quantities: Iterable[str],
    *,
    largest_force: float = LARGEST_FORCE,
    largest_net_force: float | None = None,
    energy_window: tuple[float, float] | None = None,
) -> str | None:
    """Why this label cannot be trusted, or `None` if it can.

    Refused are a label without one of the promised `quantities`, with forces on
    another number of atoms, a force above `largest_force` (eV/A; the largest in the
    published data named above is 27), forces whose sum is above `largest_net_force`
    (eV/A; off by default, as codes with a grid break the sum rule) and an energy
    outside `energy_window` (lowest, highest; eV per atom). That all values are finite
    is a law of `Label` itself.
    """
    missing = [q for q in quantities if q not in label.quantities]
    if missing:
        return f"the label has no {missing[0]}, only {', '.join(label.quantities)}"
    if label.forces is not None:
        if len(label.forces) != len(atoms):
            return f"forces on {len(label.forces)} atoms, there are {len(atoms)}"
        sizes = np.linalg.norm(label.forces, axis=1)
        worst = int(sizes.argmax())
        if sizes[worst] > largest_force:
            return (
                f"the force on atom {worst} ({atoms.symbols[worst]}) is "
                f"{sizes[worst]:.4g} eV/A, more than {largest_force:g}"
            )
        net = float(np.linalg.norm(label.forces.sum(axis=0)))
        if largest_net_force is not None and net > largest_net_force:
            return f"forces sum to {net:.4g} eV/A, more than {largest_net_force:g}"
    if energy_window is not None and label.energy is not None:
        low, high = energy_window
        per_atom = label.energy / len(atoms)
        if not low <= per_atom <= high:
            return f"energy {per_atom:.5g} eV per atom: not in {low:.5g} to {high:.5g}"
    return None


def check_label_at(atoms: Atoms, label: Label, fidelity: Fidelity) -> str | None:
    """Why a label of a level cannot be trusted within its bounds, or `None`."""
    return check_label(
        atoms,
        label,
        fidelity.quantities,
        largest_force=fidelity.largest_force,
        energy_window=fidelity.energy_window,
    )


def check_units(
    dataset: LabelledDataset,
    level: str,
    *,
    least_pairs: int = 5,
    least_correlation: float = 0.9,
    largest_step: float = 0.3,
    tolerance: float = 0.3,
) -> str | None:
    """Why energies and forces of a level contradict each other, or `None`.

    Along the step d from a structure to its nearest neighbour in the data, energies
    change by the trapezoid rule of the forces, E(b) - E(a) = -d . (F(a) + F(b)) / 2
    up to third order in d. The slope of the left side on the right is 1 if the units
    and the sign agree (27.2 for forces in Hartree/A beside energies in eV, -1 for
    gradients taken for forces). The verdict needs `least_pairs` pairs with no atom
    moved further than `largest_step` (A) and a correlation of at least
    `least_correlation`; without them there is none, and `None` comes back.
    """
    known = [
        (dataset.structures[i], label.energy, label.forces)
        for i in dataset.labelled(level)
        if (label := dataset.labels[i, level]).energy is not None
        and label.forces is not None
    ]
    works, rises = [], []
    for a, b in _nearest_pairs([atoms for atoms, _, _ in known], largest_step):
        (one, energy_one, forces_one), (two, energy_two, forces_two) = (
            known[a],
            known[b],
        )
        step = two.positions - one.positions
        works.append(-0.5 * np.sum(step * (forces_one + forces_two)))
        rises.append(energy_two - energy_one)
    x, y = np.array(works), np.array(rises)
    if len(x) < least_pairs or not (x.any() and y.any()):
        return None
    slope, correlation = (x @ y) / (x @ x), (x @ y) / np.sqrt((x @ x) * (y @ y))
    if abs(correlation) < least_correlation or abs(slope - 1.0) <= tolerance:
        return None
    return (
        f"energies of level {level!r} change {slope:.3g} times as much as their forces "
        f"say ({len(x)} pairs of near structures): check the units and the sign"
    )


def _check_cell(atoms: Atoms) -> str | None:
    if not atoms.pbc.any():
        return None
    vectors = np.asarray(atoms.cell.complete() if atoms.cell.rank < 3 else atoms.cell)
    lengths = np.linalg.norm(np.asarray(atoms.cell), axis=1)
    if (lengths[atoms.pbc] == 0).any():
        return "a periodic direction has no cell vector"
    volume = float(np.linalg.det(vectors))
    if abs(volume) < FLATTEST_CELL * np.prod(np.linalg.norm(vectors, axis=1)):
        return f"the cell is flat: its volume is {abs(volume):.3g} A^3"
    if volume < 0:
        return f"the cell is left-handed (volume {volume:.4g} A^3): swap two vectors"
    return None


def _check_distances(atoms: Atoms, minimum_ratio: float) -> str | None:
    radii = covalent_radii[atoms.numbers]
    i, j, distance = neighbor_list("ijd", atoms, list(minimum_ratio * radii))
    if not len(distance):
        return None
    worst = int((distance / (radii[i] + radii[j])).argmin())
    one, two = sorted((int(i[worst]), int(j[worst])))
    return (
        f"atoms {one} ({atoms.symbols[one]}) and {two} ({atoms.symbols[two]}) are "
        f"{distance[worst]:.3f} A apart, less than {minimum_ratio:g} of the sum of "
        "their radii"
    )


def _nearest_pairs(
    structures: list[Atoms], largest_step: float
) -> list[tuple[int, int]]:
    """Each structure with its nearest one of the same atoms and cell, once."""
    alike: dict[bytes, list[int]] = {}
    for i, atoms in enumerate(structures):
        same = atoms.numbers.tobytes() + np.asarray(atoms.cell).tobytes()
        alike.setdefault(same, []).append(i)
    pairs = set()
    for members in alike.values():
        positions = np.stack([structures[i].positions for i in members])
        for own, i in enumerate(members):
            steps = np.linalg.norm(positions - positions[own], axis=2).max(axis=1)
            steps[own] = np.inf
            nearest = int(steps.argmin())
            if steps[nearest] <= largest_step:
                pairs.add((min(i, members[nearest]), max(i, members[nearest])))
    return sorted(pairs)
