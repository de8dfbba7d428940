"""How good a potential is on labels."""

import dataclasses

import numpy as np
import pytest

from mfal.calculators.assessment import assess, summary_lines, summary_table


@pytest.fixture
def unseen(methanol):
    return methanol.subset(range(8, 14))


def test_errors_are_those_of_the_predictions_of_the_highest_level(potential, unseen):
    found = assess(potential, unseen)
    prediction = potential.predict(unseen.structures)
    labels = [unseen.labels[i, "mp2"] for i in range(6)]
    energy = prediction.energy - [label.energy for label in labels]
    forces = prediction.forces - np.array([label.forces for label in labels])
    sigma = np.hypot(prediction.forces_sigma, prediction.forces_noise)
    assert (found["level"], found["at_hand"]) == ("mp2", None)
    assert (found["n_structures"], found["n_atoms"]) == (6, 36)
    assert found["energy"]["mae"] == pytest.approx(1000 * np.abs(energy).mean() / 6)
    assert found["forces"]["rmse"] == pytest.approx(np.sqrt(np.mean(forces**2)))
    assert found["forces"]["max"] == pytest.approx(np.abs(forces).max())
    z = np.sqrt(np.mean((forces / sigma) ** 2))
    assert found["forces"]["z_std"] == pytest.approx(z)
    assert all(seconds > 0 for seconds in found["seconds_per_atom"].values())


def test_the_label_at_hand_is_that_of_the_same_structure(potential, unseen):
    found = assess(potential, unseen, at_hand="gfn2")
    labels = [unseen.labels[i, "gfn2"] for i in range(6)]
    forces = potential.predict(unseen.structures, at_hand=labels).forces
    errors = forces - np.array([unseen.labels[i, "mp2"].forces for i in range(6)])
    assert found["forces"]["mae"] == pytest.approx(np.abs(errors).mean())
    assert found["forces"]["mae"] < assess(potential, unseen)["forces"]["mae"]


def test_structures_without_a_label_at_hand_are_left_out_and_counted(potential, unseen):
    labels = {k: v for k, v in unseen.labels.items() if k != (2, "gfn2")}
    found = assess(
        potential, dataclasses.replace(unseen, labels=labels), at_hand="gfn2"
    )
    assert (found["n_structures"], found["n_left_out"]) == (5, 1)
    assert "1 structures have no label of gfn2" in summary_lines(found)[0]


def test_structures_of_the_training_set_are_counted(potential, methanol):
    found = assess(potential, methanol.subset([0, 1, 20]))
    assert found["n_seen"] == 2
    assert "2 structures are in the training set" in summary_lines(found)[0]


def test_a_quantity_that_no_label_holds_is_left_out(potential, unseen):
    labels = {k: label.only(["energy"]) for k, label in unseen.labels.items()}
    found = assess(potential, dataclasses.replace(unseen, labels=labels))
    assert "energy" in found
    assert "forces" not in found
    assert [row[0] for row in summary_table(found)] == ["", "energy (meV/atom)"]


@pytest.mark.parametrize(
    ("level", "at_hand", "words"),
    [
        ("ccsd", None, "no level 'ccsd'"),
        (None, "mp2", "must be below 'mp2'"),
        (None, "hf", "no level 'hf'"),
    ],
)
def test_levels_that_cannot_be_judged_are_refused(
    potential, unseen, level, at_hand, words
):
    with pytest.raises(ValueError, match=words):
        assess(potential, unseen, level, at_hand)


def test_data_of_another_level_are_refused(potential, unseen):
    with pytest.raises(ValueError, match=r"no label of level 'mp2', only of gfn2"):
        assess(potential, unseen.at_levels(["gfn2"]))


def test_labels_of_different_structures_are_no_labels_at_hand(potential, unseen):
    labels = {
        (i, n): v for (i, n), v in unseen.labels.items() if (i < 3) == (n == "mp2")
    }
    with pytest.raises(ValueError, match="label the same structures"):
        assess(potential, dataclasses.replace(unseen, labels=labels), at_hand="gfn2")
