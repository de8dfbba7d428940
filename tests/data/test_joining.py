"""Several data sets as one."""

import numpy as np
import pytest
from ase.build import molecule

from mfal import Fidelity, Label, LabelledDataset
from mfal.data.joining import joined


def water(seed):
    atoms = molecule("H2O")
    atoms.rattle(0.1, seed=seed)
    return atoms


def dataset(level, seeds, **settings):
    return LabelledDataset(
        tuple(map(water, seeds)),
        (Fidelity(level, quantities=("energy",), **settings),),
        {(i, level): Label(float(seed)) for i, seed in enumerate(seeds)},
    )


def test_a_structure_of_both_gets_the_labels_of_both():
    both = joined([dataset("low", [1, 2, 3]), dataset("high", [3, 4])])
    assert both.levels == ("low", "high")
    assert len(both) == 4
    assert both.paired("low", "high") == (2,)
    for i, atoms in enumerate(both.structures):
        for level in both.levels:
            label = both.label(i, level)
            if label is not None:
                np.testing.assert_array_equal(
                    atoms.positions, water(int(label.energy)).positions
                )


def test_a_level_has_the_quantities_of_all():
    forces = LabelledDataset(
        (water(5),), (Fidelity("low", quantities=("forces",)),), {}
    )
    (level,) = joined([forces, dataset("low", [1], charge=1)]).fidelities
    assert level.quantities == ("energy", "forces")


def test_the_same_label_twice_is_refused():
    with pytest.raises(ValueError, match=r"structure 1 of data set 1 .* level 'low'"):
        joined([dataset("low", [1, 2]), dataset("low", [3, 2])])
