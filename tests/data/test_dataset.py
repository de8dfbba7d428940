"""Labels are finite and fit their structures; views of a data set keep its labels."""

import numpy as np
import pytest
from ase import Atoms
from ase.calculators.emt import EMT

from mfal.data import Fidelity, Label, LabelledDataset, canonical, structure_key

LOW, HIGH = Fidelity("low"), Fidelity("high")


def water(shift=0.0):
    return Atoms("OH2", [[shift, 0, 0], [0.96, 0, 0], [-0.24, 0.93, 0]])


@pytest.fixture
def dataset():
    structures = (water(), water(0.01), water(0.02))
    forces = np.zeros((3, 3))
    labels = {
        (0, "low"): Label(-1.0, forces),
        (2, "low"): Label(-1.2, forces),
        (2, "high"): Label(-2.2),
    }
    return LabelledDataset(structures, (LOW, HIGH), labels)


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
@pytest.mark.parametrize("quantity", ["energy", "forces", "stress"])
def test_a_label_that_is_not_finite_is_refused(quantity, bad):
    values = {"energy": 0.0, "forces": np.zeros((2, 3)), "stress": np.zeros(6)}
    array = np.array(values[quantity])
    array.flat[-1] = bad
    values[quantity] = float(array) if quantity == "energy" else array
    with pytest.raises(
        ValueError, match=f"{quantity} holds a value that is not finite"
    ):
        Label(**values)


@pytest.mark.parametrize("sigma", [{"energy": -1.0}, {"forces": np.nan}, {"x": 1.0}])
def test_a_sigma_that_makes_no_sense_is_refused(sigma):
    with pytest.raises(ValueError, match="sigma is a finite number >= 0"):
        Label(0.0, sigma=sigma)


def test_a_label_cannot_be_changed_through_the_array_it_was_made_from():
    forces = np.zeros((2, 3))
    label = Label(forces=forces)
    forces[0, 0] = 1.0
    assert label.forces[0, 0] == 0.0
    with pytest.raises(ValueError, match="read-only"):
        label.forces[0, 0] = 1.0


def test_labels_agree_if_and_only_if_the_same_quantities_have_the_same_values():
    label = Label(1.0, np.ones((2, 3)))
    assert label.agrees_with(Label(1.0, np.ones((2, 3))))
    assert not label.agrees_with(Label(1.0))
    assert not label.agrees_with(Label(1.0, 2 * np.ones((2, 3))))
    assert label.only(["energy"]).agrees_with(Label(1.0))


def test_the_key_ignores_what_a_file_does_not_keep():
    atoms = water()
    decorated = water()
    decorated.calc = EMT()
    decorated.info["name"] = "water"
    decorated.set_tags([1, 2, 3])
    decorated.positions[0, 1] = -4e-9
    assert structure_key(decorated) == structure_key(atoms)
    assert canonical(decorated).calc is None


@pytest.mark.parametrize("change", ["position", "species", "cell", "pbc", "order"])
def test_the_key_tells_structures_apart(change):
    atoms = water()
    if change == "position":
        atoms.positions[0, 0] += 2e-8
    elif change == "species":
        atoms.numbers[0] = 16
    elif change == "cell":
        atoms.cell[:] = np.eye(3)
    elif change == "pbc":
        atoms.pbc = True
    else:
        atoms = atoms[[0, 2, 1]]
    assert structure_key(atoms) != structure_key(water())


@pytest.mark.parametrize(
    ("levels", "labels", "message"),
    [
        ((LOW, LOW), {}, "'low' is listed twice"),
        ((LOW,), {(1, "low"): Label(0.0)}, "structure 1, but there are 1"),
        ((LOW,), {(0, "high"): Label(0.0)}, "level 'high', but the levels are"),
        ((LOW,), {(0, "low"): Label(forces=np.zeros((2, 3)))}, "has 3 atoms"),
    ],
)
def test_labels_that_fit_no_structure_or_level_are_refused(levels, labels, message):
    with pytest.raises(ValueError, match=message):
        LabelledDataset((water(),), levels, labels)


def test_paired_structures_have_both_labels(dataset):
    assert dataset.labelled("low") == (0, 2)
    assert dataset.paired("low", "high") == (2,)
    assert dataset.highest == "high"
    assert dataset.n_labels() == {
        "low": {"energy": 2, "forces": 2, "stress": 0},
        "high": {"energy": 1, "forces": 0, "stress": 0},
    }


def test_iteration_gives_each_label_once_from_the_lowest_level_up(dataset):
    order = [(level, index) for index, level, _ in dataset]
    assert order == [("low", 0), ("low", 2), ("high", 2)]


def test_a_subset_keeps_the_labels_with_their_structures(dataset):
    part = dataset.subset([2, 1])
    assert part.structures == (dataset.structures[2], dataset.structures[1])
    assert set(part.labels) == {(0, "low"), (0, "high")}
    assert part.label(0, "high") is dataset.label(2, "high")


def test_levels_can_be_left_out_and_unknown_ones_are_refused(dataset):
    high = dataset.at_levels(["high"])
    assert high.levels == ("high",) and set(high.labels) == {(2, "high")}
    assert len(high) == len(dataset)
    with pytest.raises(ValueError, match="no level 'middle' here"):
        dataset.at_levels(["middle"])


def test_added_labels_leave_the_first_data_set_as_it_was(dataset):
    more = dataset.with_labels({(1, "high"): Label(-2.1)})
    assert more.labelled("high") == (1, 2)
    assert dataset.labelled("high") == (2,)
