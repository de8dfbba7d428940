"""Other labels for the same structures: differences, energies alone, useless ones."""

from collections.abc import Sequence

import numpy as np

from mfal.data import Fidelity, Label, LabelledDataset

DIFFERENCE = "difference"
"""The name of the level that `differences` makes."""


def differences(data: LabelledDataset) -> LabelledDataset:
    """One level, high - low, where a structure has both; quantities that both have."""
    low, high = data.levels[0], data.levels[-1]
    labels = {
        (i, DIFFERENCE): _combined(data.labels[i, high], data.labels[i, low], -1.0)
        for i in data.paired(low, high)
    }
    return LabelledDataset(data.structures, (Fidelity(DIFFERENCE, {}),), labels)


def added(low: Sequence[Label], difference: Sequence[Label]) -> list[Label]:
    """Low labels with differences added: what Delta-learning predicts."""
    pairs = zip(difference, low, strict=True)
    return [_combined(d, label, 1.0) for d, label in pairs]


def without_forces(data: LabelledDataset) -> LabelledDataset:
    """The energies alone at the highest level."""
    high = data.levels[-1]
    labels = {
        (i, name): label.only(["energy"]) if name == high else label
        for (i, name), label in data.labels.items()
    }
    return LabelledDataset(data.structures, data.fidelities, labels)


def scrambled(data: LabelledDataset, seed: int) -> LabelledDataset:
    """The lower labels of each structure are those of another one of as many atoms.

    Within such a group, in a random order, everyone has the labels of the next one; who
    is alone has its own energy and its forces on its atoms in reversed order.
    """
    sizes = np.array([len(a) for a in data.structures])
    order = np.random.default_rng([seed, 3]).permutation(len(sizes))
    other = {}
    for size in sorted(set(sizes.tolist())):
        group = [int(i) for i in order if sizes[i] == size]
        other |= dict(zip(group, [*group[1:], group[0]], strict=True))
    labels = {}
    for (i, name), label in data.labels.items():
        if name == data.levels[-1]:
            labels[i, name] = label
        elif other[i] == i:
            forces = None if label.forces is None else label.forces[::-1]
            labels[i, name] = Label(label.energy, forces)
        else:
            labels[i, name] = data.labels[other[i], name]
    return LabelledDataset(data.structures, data.fidelities, labels)


def _combined(one: Label, other: Label, factor: float) -> Label:
    energy = forces = None
    if one.energy is not None and other.energy is not None:
        energy = one.energy + factor * other.energy
    if one.forces is not None and other.forces is not None:
        forces = one.forces + factor * other.forces
    return Label(energy, forces)
