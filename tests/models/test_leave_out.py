"""Closed-form leave-one-configuration-out is what refitting without it gives."""

import numpy as np
import pytest
from small_models import (
    BOTH,
    MIXED,
    SWAP,
    E,
    F,
    hyperparameters,
    potential,
    water_dataset,
)

from mfal import LabelledDataset
from mfal.models.leave_out import calibrated, leave_one_out

KERNELS = {2: ("rbf", "matern52"), 3: ("matern52", "rbf", "rbf")}


def without(dataset, structure, from_level):
    """The data set without the labels of a structure from a level on."""
    labels = {
        (i, name): label
        for (i, name), label in dataset.labels.items()
        if i != structure or dataset.levels.index(name) < from_level
    }
    return LabelledDataset(dataset.structures, dataset.fidelities, labels)


def refitted(dataset, h, level, mode):
    """Residuals and total sigmas by conditioning anew for every configuration.

    The energies of reference are those of the whole data set.
    """
    whole = potential(dataset, h, SWAP)
    index = dataset.levels.index(level)
    residuals = {name: [] for name in ("energy", "forces")}
    sigmas = {name: [] for name in ("energy", "forces")}
    for i in dataset.labelled(level):
        atoms, label = dataset.structures[i], dataset.label(i, level)
        own = [n for n in dataset.levels[:index] if dataset.label(i, n) is not None]
        if mode == "at_hand" and not own:
            continue
        left = without(dataset, i, 0)
        model = potential(left, h, SWAP)
        shift = whole.observations.reference - model.observations.reference
        assert np.allclose(shift @ model.builder.counts, 0, atol=1e-9)
        arguments = {}
        if mode == "at_hand":
            assert len(own) == 1
            arguments = {
                "at_hand": [dataset.label(i, own[0])],
                "at_hand_level": own[0],
            }
        found = model.predict([atoms], level, **arguments)
        for name in label.quantities:
            residuals[name].append(getattr(label, name) - getattr(found, name)[0])
            sigmas[name].append(found.total_sigma(name)[0])
    return residuals, sigmas


def balanced(dataset):
    """The data set with one energy per level, so that leaving one out moves no mean."""
    labels = {
        (i, name): type(label)(
            None
            if label.energy is None
            else -2000.0 - 76.0 * dataset.levels.index(name),
            label.forces,
        )
        for (i, name), label in dataset.labels.items()
    }
    return dataset.with_labels(labels)


@pytest.mark.parametrize("mode", ["standalone", "at_hand"])
@pytest.mark.parametrize(
    ("n_levels", "level"), [(2, "low"), (2, "middle"), (3, "middle"), (3, "high")]
)
def test_residuals_and_sigmas_are_those_of_conditioning_anew(n_levels, level, mode):
    asked = MIXED[2] if n_levels == 2 else THREE
    dataset = balanced(water_dataset(asked))
    h = hyperparameters(*KERNELS[n_levels])
    found = leave_one_out(potential(dataset, h, SWAP), level, mode=mode)
    residuals, sigmas = refitted(dataset, h, level, mode)
    for name in ("energy", "forces"):
        got = getattr(found, name)
        assert len(got) == len(residuals[name])
        if len(got):
            np.testing.assert_allclose(got, residuals[name], rtol=1e-6, atol=1e-7)
            np.testing.assert_allclose(
                getattr(found, f"{name}_sigma"), sigmas[name], rtol=1e-6
            )


# each structure of the levels above has one label below, as predictions take one
THREE = [
    *[(i, 0, BOTH) for i in range(4)],
    *[(4, 1, BOTH), (5, 1, F), (0, 1, BOTH), (1, 1, E), (7, 1, BOTH)],
    *[(2, 2, BOTH), (3, 2, E), (4, 2, F), (5, 2, BOTH), (6, 2, BOTH)],
]


def test_a_calibrated_model_has_left_out_residuals_of_unit_mean_square(methanol):
    dataset = methanol.subset(range(8))
    model = calibrated(potential(dataset, hyperparameters("rbf", "rbf"), "none"))
    for mode in ("standalone", "at_hand"):
        left = leave_one_out(model, mode=mode)
        factors = model.recalibrations[mode]
        for name in ("energy", "forces"):
            sigma = getattr(factors, name) * getattr(left, f"{name}_sigma")
            assert np.mean((getattr(left, name) / sigma) ** 2) == pytest.approx(1)


def test_calibration_scales_the_sigmas_of_its_own_way_of_deployment(methanol):
    dataset = methanol.subset(range(8))
    plain = potential(dataset, hyperparameters("rbf", "rbf"), "none")
    model = calibrated(plain)
    query, label = [methanol.structures[9]], [methanol.label(9, "gfn2")]
    for mode, at_hand in (("standalone", None), ("at_hand", label)):
        factors = model.recalibrations[mode]
        before = plain.predict(query, at_hand=at_hand)
        after = model.predict(query, at_hand=at_hand)
        raw = model.predict(query, at_hand=at_hand, calibrated=False)
        np.testing.assert_allclose(raw.forces_sigma, before.forces_sigma)
        np.testing.assert_allclose(
            after.forces_sigma, factors.forces * before.forces_sigma
        )
        np.testing.assert_allclose(
            after.energy_sigma, factors.energy * before.energy_sigma
        )
        np.testing.assert_allclose(after.energy, before.energy)
    assert plain.recalibrations == {}


def test_an_unknown_mode_is_refused():
    model = potential(water_dataset(MIXED[2]), hyperparameters("rbf", "rbf"))
    with pytest.raises(ValueError, match=r"one of .*'at_hand'.*, got 'by hand'"):
        leave_one_out(model, mode="by hand")
