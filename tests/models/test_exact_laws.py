"""The exact potential obeys the laws, in both ways of deployment, with both kernels."""

from functools import partial
from types import SimpleNamespace

import laws
import numpy as np
import pytest
import textbook
from small_models import (
    BOTH,
    METHYL,
    MIXED,
    SWAP,
    E,
    F,
    hyperparameters,
    internal,
    potential,
    water,
    water_dataset,
)

from mfal import Label, LabelledDataset
from mfal.models.exact import ExactPotential

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


@pytest.mark.parametrize("level", ["gfn2", "mp2"])
def test_forces_are_minus_the_slope_of_the_mean_energy(trained, query, level):
    def calculate(atoms):
        found = trained.model.mean([atoms], level)
        energies, forces = found.energy, found.forces
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


@pytest.mark.faults
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


def test_mean_is_that_of_predict(trained, methanol):
    structures = methanol.structures[18:20]
    for level in trained.model.levels:
        found = trained.model.mean(structures, level)
        energies, forces = found.energy, found.forces
        found = trained.model.predict(structures, level)
        np.testing.assert_allclose(energies, found.energy, rtol=0, atol=1e-9)
        np.testing.assert_allclose(forces, found.forces, rtol=0, atol=1e-9)
