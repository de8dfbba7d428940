"""Row 21: labels of one level or structure under another's name stand out."""

from dataclasses import replace
from pathlib import Path

import ase.io
import numpy as np
import pytest
from ase import Atoms
from small_campaigns import run, small_config, write_labels

from mfal.campaign.store import CampaignStore
from mfal.cli import standing
from mfal.data import Fidelity, Label, LabelledDataset, read_extxyz
from mfal.models.exact import ExactPotential
from mfal.models.outliers import (
    FEWEST,
    left_out_outliers,
    limit,
    paired_outliers,
)
from mfal.models.residuals import left_out_residuals

ROOT = Path(__file__).parents[2]
ETHANOL = ROOT / "benchmarks" / "ethanol" / "ethanol_gfn2_pbe.extxyz"

pytestmark = pytest.mark.faults


@pytest.fixture(scope="module")
def ethanol():
    """400 molecules with GFN2-xTB and PBE labels."""
    return read_extxyz(ETHANOL)


@pytest.fixture(scope="module")
def methanol():
    """24 molecules with GFN2-xTB and MP2 labels."""
    return read_extxyz(ROOT / "tests" / "files" / "methanol_gfn2_mp2.extxyz")


def one_in_twenty(dataset, seed):
    """5 % of the structures, at least two."""
    n = max(2, round(0.05 * len(dataset)))
    return [int(i) for i in np.random.default_rng(seed).permutation(len(dataset))[:n]]


def between_structures(dataset, chosen):
    """The high labels of the chosen structures, each under the next one's name."""
    high = dataset.highest
    moved = {
        (one, high): dataset.labels[other, high]
        for one, other in zip(chosen, [*chosen[1:], chosen[0]], strict=True)
    }
    return replace(dataset, labels={**dataset.labels, **moved})


def between_levels(dataset, chosen):
    """The labels of the chosen structures, each under the other level's name."""
    low, high = dataset.levels
    moved = {}
    for i in chosen:
        moved[i, low], moved[i, high] = dataset.labels[i, high], dataset.labels[i, low]
    return replace(dataset, labels={**dataset.labels, **moved})


def low_as_high(dataset, chosen):
    """The low labels of the chosen structures stored a second time, as high ones."""
    low, high = dataset.levels
    copied = {(i, high): dataset.labels[i, low] for i in chosen}
    return replace(dataset, labels={**dataset.labels, **copied})


def flagged(dataset):
    return {found.structure for found in paired_outliers(dataset, *dataset.levels)}


def forces_only(dataset):
    labels = {key: label.only(["forces"]) for key, label in dataset.labels.items()}
    return replace(dataset, labels=labels)


def energies_only(dataset):
    labels = {key: label.only(["energy"]) for key, label in dataset.labels.items()}
    return replace(dataset, labels=labels)


@pytest.mark.parametrize("swapped", [between_structures, between_levels, low_as_high])
@pytest.mark.parametrize("seed", range(3))
def test_one_in_twenty_swapped_labels_are_flagged_and_no_others(ethanol, swapped, seed):
    chosen = one_in_twenty(ethanol, seed)
    assert flagged(swapped(ethanol, chosen)) == set(chosen)


@pytest.mark.parametrize("part", [lambda d: d, forces_only, energies_only])
def test_sound_labels_are_not_flagged(ethanol, methanol, part):
    assert flagged(part(ethanol)) == flagged(part(methanol)) == set()


def test_forces_alone_tell_labels_of_another_structure(ethanol):
    chosen = one_in_twenty(ethanol, 0)
    assert flagged(between_structures(forces_only(ethanol), chosen)) == set(chosen)


def test_energies_alone_tell_labels_of_another_level(ethanol):
    chosen = one_in_twenty(ethanol, 0)
    assert flagged(between_levels(energies_only(ethanol), chosen)) == set(chosen)


def test_the_residual_of_energies_is_what_the_scaled_low_level_leaves():
    """H = 2 L + 7 + r: the odd one's size is its r over the root of three atoms."""
    rng = np.random.default_rng(0)
    low = rng.normal(0.0, 5.0, 40)
    rest = rng.normal(0.0, 0.01, 40)
    rest[11] = 0.5
    atoms = Atoms("OH2", [[0, 0, 0], [0, 0, 1], [0, 1, 0]])
    labels = {}
    for i, (value, r) in enumerate(zip(low, rest, strict=True)):
        labels[i, "low"] = Label(value)
        labels[i, "high"] = Label(2 * value + 7 + r)
    levels = (Fidelity("low"), Fidelity("high"))
    (odd,) = paired_outliers(
        LabelledDataset((atoms,) * 40, levels, labels), *("low", "high")
    )
    assert (odd.structure, odd.quantity) == (11, "energy")
    assert odd.size == pytest.approx(0.5 / np.sqrt(3), rel=0.05)


def test_a_model_tells_levels_apart_whose_forces_only_change_the_sign(methanol):
    """With rho near 1 the pair of a structure looks the same; its neighbours differ."""
    (chosen,) = one_in_twenty(methanol, 3)[:1]
    model = ExactPotential.fit(between_levels(forces_only(methanol), [chosen]))
    found = left_out_outliers(left_out_residuals(model, mode="at_hand"))
    assert found[0].structure == chosen
    sound = ExactPotential.fit(forces_only(methanol))
    assert left_out_outliers(left_out_residuals(sound, mode="at_hand")) == []


def test_what_is_odd_is_said_in_words(ethanol):
    low, high = ethanol.levels
    chosen = one_in_twenty(ethanol, 0)
    first, *_ = paired_outliers(between_structures(ethanol, chosen), low, high)
    said = first.sentence(low, high)
    assert f"look at structure {first.structure}: its forces at pbe are " in said
    assert f"{first.times_usual:.1f} times what is usual" in said
    again, *_ = paired_outliers(low_as_high(ethanol, chosen), low, high)
    assert "are the same numbers at gfn2 and pbe" in again.sentence(low, high)


def test_labels_that_came_through_a_store_are_flagged_by_their_ids(tmp_path, methanol):
    low, high = methanol.levels
    wrong = between_structures(methanol, [5, 17])
    with CampaignStore(tmp_path / "campaign.sqlite") as store:
        store.add_structures([(a, "candidate") for a in methanol.structures])
        asked = [(i, level, "pilot") for i, level in wrong.labels if i % 3 != 1]
        for label_id in store.open_step(1, "pilot", {}, asked):
            x = store.label(label_id)
            label = wrong.labels[x.structure_id, x.level]
            store.record(label_id, label, 1.0, 1.0, "here", {})
        dataset, ids = store.dataset(methanol.fidelities)
    found = {ids[x.structure] for x in paired_outliers(dataset, low, high)}
    assert found == {5, 17}


@pytest.mark.parametrize("n_atoms", [1, 3, 20])
@pytest.mark.parametrize("n", [FEWEST, 20, 60])
def test_the_probability_of_a_false_alarm_is_held(n, n_atoms):
    """300 sets of sound labels; 5 % may be flagged: at most 28 with 1 in 10^4 odds."""
    alarms = 0
    for seed in range(300):
        rng = np.random.default_rng([seed, n, n_atoms])
        low = rng.normal(size=(n, n_atoms, 3))
        high = 1.2 * low + 0.1 * rng.normal(size=(n, n_atoms, 3))
        dataset = of_forces(low, high)
        alarms += bool(paired_outliers(dataset, "low", "high", false_alarms=0.05))
    assert alarms <= 28


def of_forces(low, high):
    n_atoms = low.shape[1]
    atoms = Atoms(f"H{n_atoms}", np.zeros((n_atoms, 3)))
    labels = {}
    for i, (a, b) in enumerate(zip(low, high, strict=True)):
        labels[i, "low"], labels[i, "high"] = Label(forces=a), Label(forces=b)
    levels = (Fidelity("low"), Fidelity("high"))
    return LabelledDataset((atoms,) * len(low), levels, labels)


def test_the_limit_rises_with_the_number_of_labels_once_their_spread_is_known():
    assert limit(100, 0.01) < limit(1000, 0.01) < limit(10000, 0.01)
    assert limit(FEWEST, 0.01) > limit(100, 0.01)  # of eight it is hardly known


def test_a_few_pairs_or_a_level_that_is_a_multiple_say_nothing(methanol):
    few = replace(
        methanol, labels={k: v for k, v in methanol.labels.items() if k[0] < FEWEST - 1}
    )
    assert flagged(between_structures(few, [1, 2])) == set()
    low = np.random.default_rng(0).normal(size=(12, 3, 3))
    assert flagged(of_forces(low, 2.0 * low)) == set()


@pytest.mark.parametrize("wrong", [{"high": "pm6"}, {"false_alarms": 0.0}])
def test_levels_and_probabilities_that_are_not_there_are_refused(methanol, wrong):
    arguments = {"low": "gfn2", "high": "mp2", **wrong}
    with pytest.raises(ValueError, match=r"there is no level|is in \(0, 1\)"):
        paired_outliers(methanol, **arguments)


def test_swapped_labels_are_events_and_sentences_of_the_status(tmp_path):
    write_labels(tmp_path)
    frames = ase.io.read(tmp_path / "labels.extxyz", ":")
    one, other = [f for f in frames if f.info["mfal_fidelity"] == "high"][5:7]
    swapped = other.arrays["REF_forces"], one.arrays["REF_forces"]
    one.arrays["REF_forces"], other.arrays["REF_forces"] = swapped
    ase.io.write(tmp_path / "labels.extxyz", frames)
    changes = {"budget": {"highest_labels": 30}, "targets": 1, "validation": 0}
    config = small_config(tmp_path, comparison=False, **changes)
    results = run(config, tmp_path / "campaign")
    assert results["events"]["outlier"] >= 2
    said = list(standing.sentences(results))
    assert any("look at structure 5: its forces" in s for s in said)
    assert any("look at structure 6: its forces" in s for s in said)


@pytest.mark.parametrize(("sign", "events"), [(1.0, {}), (-1.0, {"units": 1})])
def test_gradients_taken_for_forces_are_told(tmp_path, sign, events):
    """Energies along the steps between near structures say otherwise."""
    write_labels(tmp_path)
    frames = ase.io.read(tmp_path / "labels.extxyz", ":")
    for atoms in frames:
        atoms.calc = None
        if atoms.info["mfal_fidelity"] == "high":
            atoms.arrays["REF_forces"] *= sign
    ase.io.write(tmp_path / "labels.extxyz", frames)
    config = small_config(tmp_path, comparison=False)
    results = run(config, tmp_path / "campaign")
    assert {k: n for k, n in results["events"].items() if k == "units"} == events
