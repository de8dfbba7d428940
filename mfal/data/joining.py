"""Several data sets as one."""

from collections.abc import Sequence
from dataclasses import replace

from ase import Atoms

from mfal.data.dataset import Label, LabelledDataset, structure_key
from mfal.data.fidelity import QUANTITIES, Fidelity


def joined(datasets: Sequence[LabelledDataset]) -> LabelledDataset:
    """All structures and labels; levels in the order in which they first appear.

    A structure that stands in several becomes one with the labels of all. A level has
    the settings it has first, with the quantities of all.

    Raises:
        ValueError: the same structure has a label at the same level in two of them.
    """
    index: dict[str, int] = {}
    structures: list[Atoms] = []
    levels: dict[str, Fidelity] = {}
    labels: dict[tuple[int, str], Label] = {}
    for number, dataset in enumerate(datasets):
        for fidelity in dataset.fidelities:
            known = levels.setdefault(fidelity.name, fidelity)
            both = {*known.quantities, *fidelity.quantities}
            levels[fidelity.name] = replace(
                known, quantities=tuple(q for q in QUANTITIES if q in both)
            )
        places = []
        for atoms in dataset.structures:
            place = index.setdefault(structure_key(atoms), len(structures))
            if place == len(structures):
                structures.append(atoms)
            places.append(place)
        for i, level, label in dataset:
            if (places[i], level) in labels:
                raise ValueError(
                    f"structure {i} of data set {number} (both from 0) has a label of "
                    f"level {level!r} in an earlier one already: keep one of them"
                )
            labels[places[i], level] = label
    return LabelledDataset(tuple(structures), tuple(levels.values()), labels)
