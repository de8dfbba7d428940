"""Closed-form leave-one-configuration-out is what refitting without it gives."""

import math

import numpy as np
import pytest
import torch
from small_cells import (
    ALL,
    EF,
    NESTED,
    PARTLY,
    E,
    F,
    S,
    hyperparameters,
    random_dataset,
    reference_of,
    small_map,
    structures_of,
)

from mfal import LabelledDataset
from mfal.kernels import path_weights
from mfal.models.calibration import coverage_factor
from mfal.models.gathering import gather, observed, quantity_rows
from mfal.models.left_out_weights import (
    ENOUGH_CONFIGURATIONS,
    LeftOutWeights,
    leave_out,
    left_out_errors,
)
from mfal.models.weights import Prior, level_rows, posterior

FEATURE_MAP = small_map(structures_of(4), 5)
PRIOR = Prior(FEATURE_MAP.block)
MANY = {
    1: [*[(i, 0, ALL) for i in range(3)], (3, 0, EF), (4, 0, E), (5, 0, F), (6, 0, S)],
    2: [
        *[(0, 0, ALL), (1, 0, EF), (2, 0, F), (3, 0, EF), (4, 0, ALL)],
        *[(0, 1, ALL), (1, 1, ALL), (2, 1, EF), (3, 1, E), (5, 1, ALL)],
    ],
    3: PARTLY[3],
}


def left_out(asked, mode, sigma=None):
    dataset = random_dataset(asked, sigma=sigma)
    reference = reference_of(dataset, FEATURE_MAP)
    h = hyperparameters(len(dataset.levels))
    found = gather(dataset, FEATURE_MAP, reference)
    weights = posterior(found.statistics, PRIOR, h)
    return dataset, reference, h, leave_out(found.kept, weights, h, mode=mode)


def without(dataset, structure, from_level):
    labels = {
        (i, name): label
        for (i, name), label in dataset.labels.items()
        if i != structure or dataset.levels.index(name) < from_level
    }
    return LabelledDataset(dataset.structures, dataset.fidelities, labels)


PARTS = ("residual", "epistemic", "noise")


def refitted(dataset, reference, h, mode):
    """Residuals, sigmas and structures by fitting the weights anew."""
    path, top = path_weights(h.rho), len(dataset.levels) - 1
    found = {name: {} for name in (*PARTS, "structure", "n_atoms")}
    for i in range(len(dataset)):
        label, low = dataset.label(i, dataset.highest), dataset.label(i, "low")
        if label is None or (mode == "at_hand" and low is None):
            continue
        left = without(dataset, i, 1 if mode == "at_hand" else 0)
        weights = posterior(gather(left, FEATURE_MAP, reference).statistics, PRIOR, h)
        atoms = dataset.structures[i]
        counts, rows = FEATURE_MAP.counts(atoms), FEATURE_MAP.rows(atoms)
        for name in label.quantities:
            if mode == "at_hand" and getattr(low, name) is None:
                continue
            zero = [float(r @ counts) for r in reference]
            below = 0 if mode == "at_hand" else -1
            z = level_rows(quantity_rows(rows, name), path, top, below)
            rest = observed(label, name, zero[top]) - z @ weights.mean
            if mode == "at_hand":
                rest = rest - path[top, 0] * observed(low, name, zero[0])
            epistemic = weights.whiten(z).square().sum(0)
            number = ("energy", "forces", "stress").index(name)
            squares = (path[top] * h.noise[:, number])[below + 1 :].square().sum()
            n = len(atoms) if name == "energy" else 1
            own = label.sigma.get(name, 0.0) ** 2
            noise = (n * squares + own).expand(len(rest))
            found["residual"].setdefault(name, []).append(rest / math.sqrt(n))
            found["epistemic"].setdefault(name, []).append((epistemic / n).sqrt())
            found["noise"].setdefault(name, []).append((noise / n).sqrt())
            found["structure"].setdefault(name, []).append(i)
            found["n_atoms"].setdefault(name, []).append(len(atoms))
    return found


@pytest.mark.parametrize(
    ("n_levels", "mode", "own"),
    [
        (1, "standalone", True),
        (2, "standalone", False),
        (2, "at_hand", True),
        (3, "standalone", True),
        (3, "at_hand", False),
    ],
)
def test_residuals_and_sigmas_are_those_of_fitting_anew(n_levels, mode, own):
    top = n_levels - 1
    sigma = {(0, top): {"energy": 0.3, "forces": 0.2}} if own else None
    dataset, reference, h, found = left_out(MANY[n_levels], mode, sigma)
    expected = refitted(dataset, reference, h, mode)
    assert found.structure == expected["structure"]
    assert found.n_atoms == expected["n_atoms"]
    for name in expected["residual"]:
        for field in PARTS:
            got, want = getattr(found, field)[name], expected[field][name]
            for a, b in zip(got, want, strict=True):
                np.testing.assert_allclose(a, b.numpy(), rtol=1e-6, atol=1e-9)


def test_mean_errors_are_per_atom_for_energies():
    *_, found = left_out(MANY[1], "standalone")
    per_atom = [
        abs(r[0]) / math.sqrt(n)
        for r, n in zip(found.residual["energy"], found.n_atoms["energy"], strict=True)
    ]
    assert found.mae("energy") == pytest.approx(np.mean(per_atom))
    flat = np.concatenate(found.residual["forces"])
    assert found.mae("forces") == pytest.approx(np.abs(flat).mean())


def test_few_configurations_get_one_factor_for_all_of_sigma():
    *_, found = left_out(MANY[1], "standalone")
    assert len(found.residual["forces"]) < ENOUGH_CONFIGURATIONS
    factors = found.recalibration()
    for name in ("energy", "forces"):
        z = np.concatenate(found.residual[name]) / np.concatenate(found.sigma[name])
        assert factors.on_sigma(name) == coverage_factor(z)
        assert factors.on_noise(name) == coverage_factor(z)
    assert len(found.residual["stress"]) < 5
    assert factors.stress == 1.0


def made_up(truth, n_structures=60, n_rows=40, seed=0):
    """Residuals whose scale is a known combination of epistemic, unexplained, noise."""
    rng = np.random.default_rng(seed)
    found = LeftOutWeights()
    for i in range(n_structures):
        known = rng.lognormal(-3.0, 1.0, n_rows)
        left = rng.lognormal(-2.0, 1.0, n_rows)
        noise = np.full(n_rows, 0.03)
        a, share, b = truth
        scale = np.sqrt(a**2 * (known**2 + (share * left) ** 2) + (b * noise) ** 2)
        parts = {
            "residual": scale * rng.normal(size=n_rows),
            "epistemic": known,
            "unexplained": left,
            "noise": noise,
        }
        for name, values in parts.items():
            getattr(found, name).setdefault("energy", []).append(values)
        found.structure.setdefault("energy", []).append(i)
        found.n_atoms.setdefault("energy", []).append(1)
    return found


@pytest.mark.parametrize("truth", [(3.0, 0.0, 2.0), (0.4, 1.0, 2.0), (1.0, 0.3, 1.0)])
def test_recalibration_finds_what_the_misfit_follows(truth):
    factors = made_up(truth).recalibration()
    assert factors.energy == pytest.approx(truth[0], rel=0.1)
    assert factors.unexplained == truth[1]
    assert factors.on_noise("energy") == pytest.approx(truth[2], rel=0.15)


def test_recalibrated_sigmas_cover_what_they_say():
    found, other = (made_up((5.0, 0.3, 0.4), seed=s) for s in (0, 1))
    sigma = np.concatenate(other.calibrated_sigma(found.recalibration())["energy"])
    inside = np.abs(np.concatenate(other.residual["energy"])) < sigma
    assert inside.mean() == pytest.approx(0.683, abs=0.02)
    raw = np.concatenate(other.sigma["energy"])
    assert np.mean(np.abs(np.concatenate(other.residual["energy"])) < raw) < 0.6


def test_a_few_wild_residuals_do_not_widen_all_error_bars():
    plain, wild = made_up((2.0, 0.0, 1.0)), made_up((2.0, 0.0, 1.0))
    for k in range(0, 60, 20):
        wild.residual["energy"][k][:2] *= 100
    one, other = plain.recalibration(), wild.recalibration()
    assert other.energy == pytest.approx(one.energy, rel=0.05)
    assert other.on_noise("energy") == pytest.approx(one.on_noise("energy"), rel=0.1)


def test_a_part_keeps_all_that_goes_with_its_structures():
    found = made_up((1.0, 0.3, 1.0), n_structures=6)
    part = found.of_structures({1, 4})
    assert part.structure["energy"] == [1, 4]
    for name in ("residual", "epistemic", "unexplained", "noise"):
        for k, i in enumerate((1, 4)):
            got, want = (getattr(p, name)["energy"] for p in (part, found))
            np.testing.assert_array_equal(got[k], want[i])


@pytest.mark.parametrize(
    ("asked", "mode"),
    [(MANY[1], "standalone"), (MANY[2], "at_hand"), (MANY[3], "at_hand")],
)
def test_errors_are_those_of_each_configuration_per_atom(asked, mode):
    dataset = random_dataset(asked)
    h = hyperparameters(len(dataset.levels))
    gathered = gather(dataset, FEATURE_MAP, reference_of(dataset, FEATURE_MAP))
    weights = posterior(gathered.statistics, PRIOR, h)
    found = leave_out(gathered.kept, weights, h, mode=mode)
    errors = left_out_errors(gathered.kept, weights, h)
    assert errors.shape == (len(gathered.kept), 2)
    assert np.nanmean(errors[:, 0]) == pytest.approx(found.mae("energy"))
    for k, configuration in enumerate(gathered.kept):
        mine = [
            np.abs(r).mean()
            for i, r in zip(
                found.structure["forces"], found.residual["forces"], strict=True
            )
            if i == configuration.structure
        ]
        assert errors[k, 1] == pytest.approx(mine[0] if mine else np.nan, nan_ok=True)


def test_nothing_is_left_out_at_hand_where_no_label_is_below():
    asked = [(0, 0, EF), (1, 1, EF)]
    *_, found = left_out(asked, "at_hand")
    assert found.residual == {}


def test_labels_of_the_lower_levels_are_not_judged():
    dataset, *_, found = left_out(NESTED[2], "standalone")
    assert found.structure["forces"] == list(dataset.labelled(dataset.highest))
    assert all(np.isfinite(s).all() for s in found.sigma["forces"])
    assert torch.get_default_dtype() == torch.float32  # nothing global was set
