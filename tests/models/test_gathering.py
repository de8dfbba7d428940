"""One pass over the data: the right rows in the right groups, in parts or at once."""

import os
import pickle
from concurrent.futures import ProcessPoolExecutor, ThreadPoolExecutor
from multiprocessing import get_context
from multiprocessing.reduction import ForkingPickler

import numpy as np
import pytest
import torch
from small_cells import (
    ALL,
    DESIGNS,
    EF,
    PARTLY,
    QUANTITIES,
    E,
    F,
    cell,
    hyperparameters,
    random_dataset,
    reference_of,
    small_map,
    structures_of,
)

from mfal import Fidelity, Label, LabelledDataset
from mfal.models.gathering import gather
from mfal.models.moments import ALONE, Group
from mfal.models.weights import Prior, log_evidence, posterior

FEATURE_MAP = small_map(structures_of(4), 4)


def own_sigmas(asked):
    """Standard deviations of some labels that have none above them."""
    top = {i: max(level for j, level, _ in asked if j == i) for i, _, _ in asked}
    chosen = {0: {"energy": 0.4, "forces": 0.2}, 3: {"forces": 0.3}}
    return {(i, top[i]): chosen[i] for i in chosen if i in top}


def naive_rows(dataset, reference):
    """[Phi, y, y below] of every group, row by row."""
    groups, log_atoms = {}, {}
    for i, name, label in dataset:
        level, atoms = dataset.levels.index(name), dataset.structures[i]
        found, n = FEATURE_MAP.rows(atoms), len(atoms)
        for number, quantity in enumerate(QUANTITIES):
            if getattr(label, quantity) is None:
                continue
            below, lower = ALONE, None
            for k in range(level):
                other = dataset.label(i, dataset.levels[k])
                known = other is not None and getattr(other, quantity) is not None
                if known and not other.sigma.get(quantity):
                    below, lower = k, other
            share = 1 / np.sqrt(n) if quantity == "energy" else 1.0

            def values(lab, at, quantity=quantity, atoms=atoms):
                if lab is None:
                    return 0.0
                if quantity != "energy":
                    return np.ravel(getattr(lab, quantity))
                zero = sum(
                    float(reference[at][s]) * (atoms.numbers == z).sum()
                    for s, z in enumerate(FEATURE_MAP.species)
                )
                return np.array([lab.energy - zero])

            y, y_below = values(label, level), values(lower, below)
            phi = getattr(found, quantity).numpy().reshape(len(y), -1)
            rows = share * np.column_stack([phi, y, y_below + np.zeros(len(y))])
            sigma = share * label.sigma.get(quantity, 0.0)
            group = Group(level, below, number, float(sigma))
            groups.setdefault(group, []).append(rows)
            logs = np.log(n) if quantity == "energy" else 0.0
            log_atoms[group] = log_atoms.get(group, 0.0) + logs
    return {g: np.concatenate(r) for g, r in groups.items()}, log_atoms


def gathered(asked, sigma=None, **options):
    dataset = random_dataset(asked, sigma=sigma)
    return gather(dataset, FEATURE_MAP, reference_of(dataset, FEATURE_MAP), **options)


@pytest.mark.parametrize("own", [False, True], ids=["", "own sigmas"])
@pytest.mark.parametrize("asked", DESIGNS.values(), ids=DESIGNS)
def test_moments_are_the_products_of_the_rows_of_each_group(asked, own):
    dataset = random_dataset(asked, sigma=own_sigmas(asked) if own else None)
    reference = reference_of(dataset, FEATURE_MAP)
    expected, log_atoms = naive_rows(dataset, reference)
    statistics = gather(dataset, FEATURE_MAP, reference).statistics
    assert set(statistics.groups) == set(expected)
    for group, rows in expected.items():
        moments = statistics.groups[group]
        np.testing.assert_allclose(moments.products.numpy(), rows.T @ rows, atol=1e-10)
        assert moments.n_rows == len(rows)
        assert moments.log_atoms == pytest.approx(log_atoms[group])


def test_labels_with_their_own_sigma_have_their_own_groups():
    asked = [(0, 0, EF), (1, 0, EF), (3, 0, EF)]
    groups = gathered(asked, {(0, 0): {"energy": 0.6, "forces": 0.2}}).statistics.groups
    own = 0.6 * (1 / np.sqrt(3))  # per sqrt atom
    expected = {(0, 0.0): 2, (1, 0.0): 18, (0, own): 1, (1, 0.2): 9}
    assert {(g.quantity, g.sigma): m.n_rows for g, m in groups.items()} == expected


def test_a_label_is_given_the_nearest_one_below_it():
    asked = [(0, 0, ALL), (0, 1, E), (0, 2, EF)]
    groups = gathered(asked).statistics.groups
    below = {(g.level, QUANTITIES[g.quantity]): g.below for g in groups}
    assert below == {
        (0, "energy"): ALONE,
        (0, "forces"): ALONE,
        (0, "stress"): ALONE,
        (1, "energy"): 0,
        (2, "energy"): 1,
        (2, "forces"): 0,
    }


def small_executor(kind):
    if kind == "threads":
        return ThreadPoolExecutor(2)
    return ProcessPoolExecutor(1, mp_context=get_context("spawn"))


@pytest.mark.parametrize("kind", ["threads", "processes"])
def test_parts_computed_elsewhere_give_the_same_posterior(kind):
    dataset = random_dataset(PARTLY[3])
    reference = reference_of(dataset, FEATURE_MAP)
    once = gather(dataset, FEATURE_MAP, reference)
    with small_executor(kind) as executor:
        parts = gather(dataset, FEATURE_MAP, reference, executor=executor, n_parts=3)
    prior, h = Prior(FEATURE_MAP.block), hyperparameters(3)
    one, other = (posterior(g.statistics, prior, h) for g in (once, parts))
    torch.testing.assert_close(other.mean, one.mean, rtol=1e-10, atol=1e-12)
    torch.testing.assert_close(
        log_evidence(parts.statistics, prior, h),
        log_evidence(once.statistics, prior, h),
        rtol=1e-12,
        atol=0,
    )
    assert [c.structure for c in parts.kept] == [c.structure for c in once.kept]
    for left, right in zip(parts.kept, once.kept, strict=True):
        for a, b in zip(left.blocks, right.blocks, strict=True):
            assert a.group == b.group
            torch.testing.assert_close(a.augmented, b.augmented)


@pytest.mark.parametrize("n_parts", [1, 2, 9])
def test_any_number_of_parts_gives_the_same_statistics(n_parts):
    once = gathered(PARTLY[2]).statistics
    with ThreadPoolExecutor(1) as executor:
        parts = gathered(PARTLY[2], executor=executor, n_parts=n_parts).statistics
    assert set(parts.groups) == set(once.groups)
    for group, moments in once.groups.items():
        other = parts.groups[group]
        torch.testing.assert_close(other.products, moments.products)
        assert other.n_rows == moments.n_rows
        assert other.log_atoms == pytest.approx(moments.log_atoms)


def kept_bytes_of(found):
    return sum(b.augmented.nbytes for c in found.kept for b in c.blocks)


@pytest.mark.parametrize("share", [0.3, 0.6, 1.0])
def test_no_more_rows_are_kept_than_are_allowed(share):
    asked = [(i, 0, EF) for i in range(6)]
    everything = kept_bytes_of(gathered(asked))
    allowed = int(share * everything)
    found = gathered(asked, kept_bytes=allowed)
    assert 0 < kept_bytes_of(found) <= allowed
    assert (len(found.kept) == 6) == (share == 1.0)
    assert found.statistics.n_rows == gathered(asked).statistics.n_rows


def test_at_least_one_configuration_is_kept():
    assert len(gathered([(0, 0, EF), (1, 0, EF)], kept_bytes=1).kept) == 1


def test_what_is_kept_is_drawn_by_the_seed():
    asked = [(i, 0, EF) for i in range(8)]
    allowed = kept_bytes_of(gathered(asked)) // 2

    def kept(seed):
        found = gathered(asked, kept_bytes=allowed, seed=seed)
        return [c.structure for c in found.kept]

    assert kept(0) == kept(0)
    assert len({tuple(kept(seed)) for seed in range(6)}) > 1


def test_kept_configurations_hold_all_rows_of_their_structure():
    dataset = random_dataset(PARTLY[3])
    found = gather(dataset, FEATURE_MAP, reference_of(dataset, FEATURE_MAP))
    labelled = sorted({i for i, _, _ in dataset})
    assert [c.structure for c in found.kept] == labelled
    for configuration in found.kept:
        atoms = dataset.structures[configuration.structure]
        assert configuration.n_atoms == len(atoms)
        assert configuration.species.tolist() == atoms.numbers.tolist()
        labels = [lab for i, _, lab in dataset if i == configuration.structure]
        sizes = {"energy": 1, "forces": 3 * len(atoms), "stress": 6}
        n_rows = sum(sizes[q] for lab in labels for q in lab.quantities)
        assert sum(len(b.augmented) for b in configuration.blocks) == n_rows


def test_rows_that_are_kept_go_between_processes_without_open_files():
    kept = gathered([(i, 0, EF) for i in range(3)]).kept
    before = len(os.listdir("/proc/self/fd"))
    sent = [ForkingPickler.dumps(configuration) for configuration in kept]
    assert len(os.listdir("/proc/self/fd")) == before
    for configuration, data in zip(kept, sent, strict=True):
        again = pickle.loads(data)  # noqa: S301
        assert again.structure == configuration.structure
        assert again.n_atoms == configuration.n_atoms
        assert again.species.tolist() == configuration.species.tolist()
        for one, other in zip(configuration.blocks, again.blocks, strict=True):
            assert one.group == other.group
            assert torch.equal(one.augmented, other.augmented)


def test_progress_is_told_of_every_structure():
    told = []
    gathered([(0, 0, F), (2, 0, F)], progress=lambda *at: told.append(at))
    assert told == [(1, 3), (2, 3), (3, 3)]


def test_structures_without_labels_give_nothing():
    dataset = random_dataset([(0, 0, EF), (3, 0, EF)])
    found = gather(dataset, FEATURE_MAP, reference_of(dataset, FEATURE_MAP))
    assert [c.structure for c in found.kept] == [0, 3]


def test_a_stress_of_what_is_not_periodic_in_all_directions_is_refused():
    atoms = cell(0)
    atoms.pbc = [True, True, False]
    label = Label(stress=np.zeros(6))
    dataset = LabelledDataset((atoms,), (Fidelity("low"),), {(0, "low"): label})
    with pytest.raises(ValueError, match="periodic in all directions: set pbc, or"):
        gather(dataset, FEATURE_MAP, reference_of(dataset, FEATURE_MAP))
