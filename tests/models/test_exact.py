"""The exact potential obeys the laws and is the dense Gaussian's posterior."""

import logging
from functools import partial
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
    METHYL,
    MIXED,
    SWAP,
    E,
    F,
    Naive,
    hyperparameters,
    internal,
    potential,
    rigid_motions,
    water,
    water_dataset,
)

from mfal import Fidelity, Label, LabelledDataset
from mfal.models.exact import ExactPotential, TooLargeError

KERNELS = {"rbf": ("rbf", "matern52"), "matern52": ("matern52", "rbf")}
MODES = ("standalone", "at hand")


@pytest.fixture(params=KERNELS)
def kernels(request):
    return KERNELS[request.param]


def some_methanol(methanol, n_low=8, n_high=4):
    """Real labels: fewer at the high level, and only half of them paired."""
    low, high = range(n_low), range(n_low - n_high // 2, n_low + n_high // 2)
    chosen = {(i, "gfn2") for i in low} | {(i, "mp2") for i in high}
    labels = {k: lab for k, lab in methanol.labels.items() if k in chosen}
    return LabelledDataset(methanol.structures, methanol.fidelities, labels)


@pytest.fixture
def trained(methanol, kernels):
    """A potential of methanol, and predictions in both ways of deployment."""
    model = potential(
        some_methanol(methanol), hyperparameters(*kernels, noise=0.02), METHYL
    )

    def predict(mode, atoms, label):
        at_hand = None if mode == "standalone" else [label]
        return model.predict([atoms], at_hand=at_hand)

    return SimpleNamespace(model=model, predict=predict)


@pytest.fixture
def query(methanol):
    return methanol.structures[20], methanol.label(20, "gfn2")


# --- laws


@pytest.mark.parametrize("level", ["gfn2", "mp2"])
def test_forces_are_minus_the_slope_of_the_mean_energy(trained, query, level):
    def calculate(atoms):
        energies, forces = trained.model.mean([atoms], level)
        return energies[0], forces[0]

    laws.forces_are_minus_the_slope_of_the_energy(calculate, query[0])
    laws.net_force_and_torque_vanish(calculate, query[0])


@pytest.mark.parametrize("mode", MODES)
def test_forces_with_error_bars_have_no_net_force_and_torque(trained, query, mode):
    def calculate(atoms):
        found = trained.predict(mode, atoms, query[1])
        return found.energy[0], found.forces[0]

    laws.net_force_and_torque_vanish(calculate, query[0])


@pytest.mark.parametrize("mode", MODES)
def test_predictions_turn_with_the_molecule(trained, query, mode):
    atoms, label = query
    turned, matrix = laws.rotated(atoms)
    laws.prediction_turns_with_the_molecule(
        trained.predict(mode, atoms, label),
        trained.predict(mode, turned, Label(label.energy, label.forces @ matrix.T)),
        matrix,
    )


@pytest.mark.parametrize("mode", MODES)
def test_predictions_do_not_change_when_the_molecule_is_shifted(trained, query, mode):
    atoms, label = query
    laws.prediction_turns_with_the_molecule(
        trained.predict(mode, atoms, label),
        trained.predict(mode, laws.translated(atoms), label),
        np.eye(3),
    )


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("permutation", METHYL)
def test_predictions_are_permuted_with_like_atoms(trained, query, mode, permutation):
    atoms, label = query
    moved = laws.permuted(atoms, permutation)
    laws.prediction_is_permuted_with_the_atoms(
        trained.predict(mode, atoms, label),
        trained.predict(mode, moved, Label(label.energy, label.forces[permutation])),
        permutation,
    )


def test_noiseless_labels_are_interpolated(methanol, kernels):
    dataset = some_methanol(methanol)
    model = potential(dataset, hyperparameters(*kernels, noise=1e-6), METHYL)
    for level in dataset.levels:
        indices = dataset.labelled(level)
        laws.labels_are_interpolated(
            model.predict([dataset.structures[i] for i in indices], level),
            [dataset.label(i, level) for i in indices],
        )


def test_the_prior_is_recovered_far_from_the_data(methanol, kernels):
    """Squeezed and blown up molecules: known is only the energy of reference."""
    h = hyperparameters(*kernels, noise=0.02)
    model = potential(some_methanol(methanol), h)
    far = [methanol.structures[20].copy() for _ in range(2)]
    far[0].positions *= 0.03
    far[1].positions *= 0.02
    found = model.predict(far)
    assert found.energy[0] == pytest.approx(found.energy[1], abs=1e-9)
    np.testing.assert_allclose(found.forces, 0, atol=1e-9)
    variances = h.scale.square() * textbook.recursion(h.rho, 1).square()
    np.testing.assert_allclose(*found.energy_sigma, rtol=1e-9)
    reference = found.energy_sigma[0] ** 2 - float(variances.sum())
    assert 0 < reference < 18  # 18 eV² (n · n) is the width of its prior
    slope = {"rbf": 1.0, "matern52": 5 / 3}  # -2 φ'(0)
    per_slope = sum(
        float(s / ell**2) * slope[k]
        for s, ell, k in zip(variances, h.lengthscale, h.kernels, strict=True)
    )
    for k, atoms in enumerate(far):
        jacobian = textbook.molecule_rows([("far", atoms, 1, F)]).v
        variance = per_slope * jacobian.square().sum(1)
        np.testing.assert_allclose(found.forces_sigma[k].ravel() ** 2, variance)


@pytest.mark.parametrize("added", [(4, 0, BOTH), (4, 0, E), (5, 1, E), (5, 1, F)])
def test_the_variance_never_rises_when_a_label_is_added(kernels, added):
    h = hyperparameters(*kernels)
    structures = [water(i) for i in range(6, 10)]
    before, after = (
        potential(water_dataset(asked), h, SWAP).predict(structures)
        for asked in (MIXED[2], [*MIXED[2], added])
    )
    laws.variance_does_not_rise(before, after)


def test_rho_zero_decouples_the_levels(kernels):
    h = hyperparameters(*kernels)
    h.rho.zero_()
    both = water_dataset(MIXED[2])
    structures = [water(i) for i in range(6, 9)]
    labels = [Label(-2000.0, internal(a, np.random.default_rng(0))) for a in structures]
    model = potential(both, h)
    alone = potential(both.at_levels(["middle"]), single(h, 1)).predict(structures)
    laws.predictions_agree(model.predict(structures), alone)
    laws.predictions_agree(model.predict(structures, at_hand=labels), alone)
    alone = potential(both.at_levels(["low"]), single(h, 0)).predict(structures)
    laws.predictions_agree(model.predict(structures, "low"), alone)


def single(h, level):
    return type(h)(
        h.kernels[level : level + 1],
        h.lengthscale[level : level + 1],
        h.scale[level : level + 1],
        h.rho[:0],
        h.noise[level : level + 1],
    )


# --- the dense posterior


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
    np.testing.assert_allclose(found.total_sigma("energy") ** 2, variance[:1], rtol=1e-7)
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


def test_mean_is_that_of_predict(trained, methanol):
    structures = methanol.structures[18:20]
    for level in trained.model.levels:
        energies, forces = trained.model.mean(structures, level)
        found = trained.model.predict(structures, level)
        np.testing.assert_allclose(energies, found.energy, rtol=0, atol=1e-9)
        np.testing.assert_allclose(forces, found.forces, rtol=0, atol=1e-9)


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


# --- reference energies and the noise of labels


def test_another_zero_of_energy_of_one_level_changes_nothing_else(methanol, kernels):
    """-1.5 eV per C, 700 per O, 3 per H at the high level."""
    shift = -1.5 + 700 + 4 * 3
    dataset = some_methanol(methanol)
    shifted = dataset.with_labels(
        {
            (i, "mp2"): Label(
                dataset.label(i, "mp2").energy + shift, dataset.label(i, "mp2").forces
            )
            for i in dataset.labelled("mp2")
        }
    )
    h = hyperparameters(*kernels, noise=0.02)
    plain, moved = (potential(d, h, METHYL) for d in (dataset, shifted))
    query, label = methanol.structures[20:21], [methanol.label(20, "gfn2")]
    for deploy in (
        partial(ExactPotential.predict, structures=query),
        partial(ExactPotential.predict, structures=query, at_hand=label),
    ):
        laws.predictions_agree(deploy(plain), deploy(moved), shift=shift)
    laws.predictions_agree(plain.predict(query, "gfn2"), moved.predict(query, "gfn2"))


def test_a_label_with_an_enormous_sigma_of_its_own_is_as_good_as_none(kernels):
    h = hyperparameters(*kernels)
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
        Label(-1990.0, internal(a, np.random.default_rng(2)), sigma=dict.fromkeys(BOTH, 1e6))
        for a in structures
    ]
    model = potential(dataset, h)
    alone, given = model.predict(structures), model.predict(structures, at_hand=enormous)
    np.testing.assert_allclose(given.energy, alone.energy, rtol=0, atol=1e-6)
    np.testing.assert_allclose(given.forces, alone.forces, atol=1e-6)
    np.testing.assert_allclose(
        given.total_sigma("forces"), alone.total_sigma("forces"), rtol=1e-6
    )


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
    energy, _ = model.mean([dataset.structures[0]])
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


def test_the_inverse_by_columns_is_that_of_the_covariance_of_the_data(small):
    data = small.observations
    matrix = small.covariance(data.rows, data.rows)
    variance = small.with_recalibrations({})._covariance_of_data().diagonal()
    assert torch.equal(variance >= matrix.diagonal(), torch.ones(len(data)).bool())
    rows = torch.tensor([3, 5, 9])
    part = small.inverse_columns(rows)
    whole = small.whiten(torch.eye(len(data)).double())
    torch.testing.assert_close(part.mT @ part, (whole.mT @ whole)[rows][:, rows])
