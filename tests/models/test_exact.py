"""The exact potential is the posterior of the dense Gaussian; what it refuses."""

import logging
from types import SimpleNamespace

import laws
import numpy as np
import psutil
import pytest
import textbook
import torch
from ase.build import molecule
from small_models import (
    BOTH,
    MIXED,
    SWAP,
    E,
    F,
    Naive,
    as_molecule,
    hyperparameters,
    internal,
    orders_of,
    potential,
    rigid_motions,
    water,
    water_dataset,
)

from mfal import Fidelity, Label, LabelledDataset
from mfal.models.exact import ExactPotential
from mfal.models.memory import TooLargeError

CASES = {
    "two levels": (2, ("rbf", "matern52"), "middle"),
    "middle of three": (3, ("matern52", "rbf", "rbf"), "middle"),
    "three levels": (3, ("rbf", "matern52", "rbf"), "high"),
}


@pytest.fixture(params=CASES)
def case(request):
    """Missing quantities, labels with their own sigma, and the same the long way."""
    n_levels, kernels, level = CASES[request.param]
    dataset = water_dataset(MIXED[n_levels])
    noisy = dataset.label(0, "low")
    sigma = {"energy": 0.3, "forces": 0.2}
    noisy = Label(noisy.energy, noisy.forces, sigma=sigma)
    dataset = dataset.with_labels({(0, "low"): noisy})
    h = hyperparameters(*kernels)
    return SimpleNamespace(
        model=potential(dataset, h, SWAP),
        naive=Naive(dataset, h, SWAP),
        level=level,
        h=h,
    )


def projector(atoms):
    """Takes net force and torque off Cartesian forces."""
    rigid = rigid_motions(atoms)
    forces = np.eye(len(rigid)) - rigid @ np.linalg.pinv(rigid)
    full = np.eye(len(rigid) + 1)
    full[1:, 1:] = forces
    return full


def compare(found, mean, total, zero):
    """A prediction with the mean and total covariance of [energy, forces]."""
    assert found.energy[0] == pytest.approx(zero + mean[0], abs=1e-7)
    np.testing.assert_allclose(found.forces.ravel(), mean[1:], atol=1e-7)
    variance = np.diag(total)
    np.testing.assert_allclose(
        found.total_sigma("energy") ** 2, variance[:1], rtol=1e-7
    )
    np.testing.assert_allclose(
        found.total_sigma("forces").ravel() ** 2, variance[1:], rtol=1e-7
    )


def test_standalone_is_the_posterior_of_the_dense_gaussian(case):
    atoms = water(11)
    found = case.model.predict([atoms], case.level)
    mean, total = case.naive.predict(atoms, case.level)
    p = projector(atoms)
    compare(found, mean, p @ total @ p, case.naive.zero[case.level])
    latent = np.diag(case.naive.smooth_variance(atoms, case.level))
    np.testing.assert_allclose(found.energy_sigma[0] ** 2, latent[0], rtol=1e-7)
    np.testing.assert_allclose(found.forces_sigma.ravel() ** 2, latent[1:], rtol=1e-7)


@pytest.mark.parametrize("quantities", [BOTH, E, F])
@pytest.mark.parametrize("sigma", [{}, {"energy": 0.2, "forces": 0.4}])
def test_at_hand_is_the_dense_gaussian_given_the_own_low_label(case, quantities, sigma):
    atoms = water(11)
    forces = internal(atoms, np.random.default_rng(7))
    label = Label(-2000.2, forces, sigma=sigma).only(quantities)
    found = case.model.predict([atoms], case.level, at_hand=[label])
    mean, total = case.naive.predict(atoms, case.level, at_hand=("low", label))
    p = projector(atoms)
    compare(found, mean, p @ total @ p, case.naive.zero[case.level])


def test_any_lower_level_may_be_at_hand():
    dataset, h = water_dataset(MIXED[3]), hyperparameters("rbf", "rbf", "matern52")
    atoms = water(11)
    label = Label(-2076.1, internal(atoms, np.random.default_rng(7)))
    found = potential(dataset, h, SWAP).predict(
        [atoms], at_hand=[label], at_hand_level="middle"
    )
    naive = Naive(dataset, h, SWAP)
    mean, total = naive.predict(atoms, "high", at_hand=("middle", label))
    p = projector(atoms)
    compare(found, mean, p @ total @ p, naive.zero["high"])


def test_noise_at_hand_is_the_misfit_that_the_own_label_does_not_tell(case):
    """Of the white part of the level, what is unknown given that of the lowest."""
    atoms = water(11)
    label = Label(-2000.2, internal(atoms, np.random.default_rng(7)))
    found = case.model.predict([atoms], case.level, at_hand=[label])
    high, low = (case.naive.rows([("x", atoms, n, label)]) for n in (case.level, "low"))
    between = textbook.white(case.h, high, low).numpy()
    _, left = textbook.conditioned(
        textbook.white(case.h, high, high).numpy(),
        between,
        textbook.white(case.h, low, low).numpy(),
        np.zeros(len(between)),
    )
    p = projector(atoms)
    noise = np.diag(p @ left @ p)
    np.testing.assert_allclose(found.energy_noise[0] ** 2, noise[0], rtol=1e-9)
    np.testing.assert_allclose(found.forces_noise.ravel() ** 2, noise[1:], rtol=1e-9)


def test_many_structures_at_once_are_each_alone(case):
    """More than one chunk, each structure with its own label at hand."""
    structures = [water(i) for i in range(10, 28)]
    rng = np.random.default_rng(3)
    labels = [Label(-2000 + rng.normal(), internal(a, rng)) for a in structures]
    together = case.model.predict(structures, case.level, at_hand=labels)
    for k in (0, 15, 16, 17):
        alone = case.model.predict([structures[k]], case.level, at_hand=[labels[k]])
        assert together.energy[k] == pytest.approx(alone.energy[0], abs=1e-9)
        np.testing.assert_allclose(together.forces[k], alone.forces[0], atol=1e-9)


def test_a_label_with_an_enormous_sigma_of_its_own_is_as_good_as_none():
    h = hyperparameters("rbf", "matern52")
    dataset = water_dataset(MIXED[2])
    outlier = Label(
        dataset.label(0, "low").energy,
        internal(dataset.structures[0], np.random.default_rng(9)),
        sigma={"forces": 1e5},
    )
    worthless = dataset.with_labels({(0, "low"): outlier})
    without = dataset.with_labels({(0, "low"): outlier.only(E)})
    structures = [water(i) for i in range(6, 9)]
    laws.predictions_agree(
        *(potential(d, h).predict(structures) for d in (worthless, without)), rtol=1e-6
    )
    enormous = [
        Label(
            -1990.0,
            internal(a, np.random.default_rng(2)),
            sigma=dict.fromkeys(BOTH, 1e6),
        )
        for a in structures
    ]
    model = potential(dataset, h)
    alone, given = (
        model.predict(structures),
        model.predict(structures, at_hand=enormous),
    )
    np.testing.assert_allclose(given.energy, alone.energy, rtol=0, atol=1e-6)
    np.testing.assert_allclose(given.forces, alone.forces, atol=1e-6)
    np.testing.assert_allclose(
        given.total_sigma("forces"), alone.total_sigma("forces"), rtol=1e-6
    )


@pytest.mark.faults
def test_duplicates_with_tiny_noise_are_reported_not_hidden(caplog):
    twin = water(0)
    twin.positions[1] += 1e-9
    dataset = water_dataset([(0, 0, BOTH), (1, 0, BOTH)])
    label = dataset.label(0, "low")
    doubled = LabelledDataset(
        (*dataset.structures, twin),
        dataset.fidelities,
        {**dataset.labels, (2, "low"): label},
    )
    with caplog.at_level(logging.WARNING, logger="mfal"):
        model = potential(doubled, hyperparameters("rbf", noise=1e-12))
    assert model.jitter > 0
    assert "took a jitter of" in caplog.text
    energy = model.mean([dataset.structures[0]]).energy
    assert energy[0] == pytest.approx(label.energy, abs=1e-3)


# --- fitting


def test_a_fit_predicts_the_high_level_of_new_structures(methanol):
    """16 low and 6 high labels: better than one level alone, best with both."""
    low = {(i, "gfn2"): methanol.label(i, "gfn2") for i in range(16)}
    high = {(i, "mp2"): methanol.label(i, "mp2") for i in range(6)}
    dataset = LabelledDataset(methanol.structures, methanol.fidelities, low | high)
    model = ExactPotential.fit(dataset, restarts=0)
    alone = ExactPotential.fit(dataset.at_levels(["mp2"]), restarts=0)
    test = range(16, 24)
    structures = [methanol.structures[i] for i in test]
    truth = np.array([methanol.label(i, "mp2").forces for i in test])
    at_hand = [methanol.label(i, "gfn2") for i in test]

    def error(found):
        return np.abs(found.forces - truth).mean()

    joint = model.predict(structures)
    errors = [
        error(model.predict(structures, at_hand=at_hand)),
        error(joint),
        error(alone.predict(structures)),
        np.abs(truth).mean(),
    ]
    assert errors == sorted(errors)
    assert errors[0] < 0.7 * errors[1]
    z = (joint.forces - truth) / joint.total_sigma("forces")
    assert 0.4 < np.sqrt(np.mean(z**2)) < 2.5
    assert len(model.permutations) == 6


def test_energies_alone_at_the_high_level_are_enough_for_its_potential(methanol):
    low = {(i, "gfn2"): methanol.label(i, "gfn2") for i in range(12)}
    high = {(i, "mp2"): methanol.label(i, "mp2").only(E) for i in range(12)}
    dataset = LabelledDataset(methanol.structures, methanol.fidelities, low | high)
    model = ExactPotential.fit(dataset, restarts=0)
    test = range(16, 24)
    labels = [methanol.label(i, "mp2") for i in test]
    found = model.predict(
        [methanol.structures[i] for i in test],
        at_hand=[methanol.label(i, "gfn2") for i in test],
    )
    low_energy = np.array([methanol.label(i, "gfn2").energy for i in test])
    energy = np.array([label.energy for label in labels])
    assert np.abs(found.energy - energy).mean() < np.std(energy - low_energy)
    forces = np.array([label.forces for label in labels])
    assert np.abs(found.forces - forces).mean() < 0.5 * np.abs(forces).mean()


# --- refusals


@pytest.mark.faults
def test_too_large_a_model_is_refused_with_its_estimate(monkeypatch):
    dataset = water_dataset(MIXED[2])
    free = SimpleNamespace(available=1000)
    monkeypatch.setattr(psutil, "virtual_memory", lambda: free)
    for make in (
        ExactPotential.fit,
        lambda d: potential(d, hyperparameters("rbf", "rbf")),
    ):
        with pytest.raises(TooLargeError, match=r"24 rows needs .* GiB .* free: use"):
            make(dataset)


@pytest.fixture(scope="module")
def small():
    return potential(water_dataset(MIXED[2]), hyperparameters("rbf", "rbf"))


@pytest.mark.parametrize(
    ("arguments", "rule"),
    [
        ({"level": "best"}, r"no level 'best' here; the model has \('low', 'middle'\)"),
        ({"at_hand": []}, "one label at hand per structure: got 0 labels for 1"),
        (
            {"level": "low", "at_hand": [Label(0.0)]},
            "level at hand must be below 'low', got 'low'",
        ),
        (
            {"at_hand": [Label(0.0)], "at_hand_level": "middle"},
            "level at hand must be below 'middle', got 'middle'",
        ),
    ],
)
def test_predictions_that_make_no_sense_are_refused(small, arguments, rule):
    with pytest.raises(ValueError, match=rule):
        small.predict([water(0)], **arguments)


def test_another_molecule_is_refused(small):
    with pytest.raises(ValueError, match="describes the molecule OHH"):
        small.predict([molecule("NH3")])


@pytest.mark.parametrize(
    ("dataset", "arguments", "rule"),
    [
        (LabelledDataset((), (Fidelity("low"),)), {}, "data set is empty"),
        (water_dataset(MIXED[2]), {"permutations": "all"}, "'auto', 'none' or a list"),
        (water_dataset([(0, 0, BOTH)]), {}, "same geometry: a fit needs at least two"),
        (water_dataset(MIXED[2]), {"hold_below": 1}, "hyperparameters are needed"),
    ],
)
def test_fits_that_make_no_sense_are_refused(dataset, arguments, rule):
    with pytest.raises(ValueError, match=rule):
        ExactPotential.fit(dataset, **arguments)


def test_columns_of_the_inverse_are_those_of_the_dense_covariance(small):
    data = as_molecule(small.observations)
    h = hyperparameters("rbf", "rbf")
    dense = textbook.smooth(h, data, data, orders_of(["O", "H", "H"], []))
    inverse = torch.linalg.inv(dense + textbook.white(h, data, data))
    rows = torch.tensor([3, 5, 9])
    part = small.inverse_columns(rows)
    torch.testing.assert_close(part.mT @ part, inverse[rows][:, rows])
