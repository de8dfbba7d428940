"""The verdict on a low level is that of paired labels, with the numbers beside it."""

import math
from dataclasses import replace

import numpy as np
import pytest
import torch
from botorch.fit import fit_gpytorch_mll
from botorch.models.transforms import Normalize
from gpytorch.mlls import ExactMarginalLogLikelihood
from small_cells import random_dataset
from small_models import hyperparameters, potential, water

from mfal import Fidelity, Label, LabelledDataset
from mfal.models import AutoregressiveGP, ExactPotential, fidelity_diagnosis
from mfal.models.autoregressive_density import joint_density, sorted_rows
from mfal.models.autoregressive_parameters import ParameterVector
from mfal.models.paired import paired_regression
from mfal.models.vector_levels import _rho
from mfal.models.verdict import expected_saving

FIDELITIES = (Fidelity("gfn2"), Fidelity("pbe"))


def molecules(share, n_pairs=5, seed=0, quantities=("energy", "forces")):
    """Labels of water whose high forces (and energies) the low ones explain in part."""
    rng = np.random.default_rng(seed)
    labels = {}
    for i in range(n_pairs):
        low, other = rng.normal(size=(2, 3, 3))
        a, b = rng.normal(size=2)
        root = math.sqrt(share), math.sqrt(1 - share)
        labels[i, "gfn2"] = Label(-50 + a, low).only(quantities)
        high = Label(
            -2e3 + root[0] * a + root[1] * b, 1.2 * (root[0] * low + root[1] * other)
        )
        labels[i, "pbe"] = high.only(quantities)
    return LabelledDataset(tuple(map(water, range(n_pairs))), FIDELITIES, labels)


def forces(dataset, level):
    return [dataset.labels[i, level].forces for i in range(len(dataset))]


def truth(x):
    return (6 * x[:, :1]).sin() + x[:, 1:]


def useful(x):
    return 2 * truth(x) + 0.2 * x[:, :1] * x[:, 1:]


def useless(x):
    return (9 * x[:, 1:] + 1).cos()


def vectors(low, *, n=(12, 6), nested=True, seed=0):
    """Inputs with their level, and values: 100 + 30 truth at the high level."""
    generator = torch.Generator().manual_seed(seed)
    x0, x1 = (torch.rand(k, 2, generator=generator, dtype=torch.float64) for k in n)
    x1 = x0[: n[1]] if nested else x1
    X = torch.cat(
        [
            torch.cat([x, torch.full_like(x[:, :1], k)], 1)
            for k, x in enumerate((x0, x1))
        ]
    )
    return X, torch.cat([low(x0), 100 + 30 * truth(x1)])


# --- labelled structures


@pytest.mark.parametrize("seed", range(4))
@pytest.mark.parametrize("n_pairs", [3, 8])
def test_levels_that_agree_are_used_and_those_that_do_not_are_left(seed, n_pairs):
    assert fidelity_diagnosis(molecules(0.85, n_pairs, seed)).verdict == "use it"
    left = fidelity_diagnosis(molecules(0.05, n_pairs, seed))
    assert left.verdict == "leave it" and not left.useful


def test_forces_are_judged_without_a_zero_of_their_own():
    data = molecules(0.6)
    found = fidelity_diagnosis(data)
    fit = paired_regression(forces(data, "gfn2"), forces(data, "pbe"), intercept=False)
    assert (found.r2, found.rho, found.rho_error) == (
        fit.r2,
        fit.scale,
        fit.scale_error,
    )
    assert found.explained == pytest.approx(fit.correlation**2)
    assert found.cost_ratio is None and found.expected_saving is None
    assert found.log_evidence_joint is None


def test_energies_are_judged_where_there_are_no_forces():
    agree = fidelity_diagnosis(molecules(0.95, 12, quantities=("energy",)))
    assert agree.useful and "gfn2 energies" in agree.sentence
    assert not fidelity_diagnosis(molecules(0.02, 12, quantities=("energy",))).useful
    of_many_compositions = random_dataset(
        [(i, k, ("energy",)) for i in range(6) for k in (0, 1)]
    )
    assert fidelity_diagnosis(of_many_compositions).verdict == "too few pairs"


def test_with_two_pairs_there_is_no_verdict():
    found = fidelity_diagnosis(molecules(0.9, 2), costs={"gfn2": 1.0, "pbe": 4.0})
    assert found.verdict == "too few pairs" and not found.useful
    assert found.sentence == (
        "gfn2 and pbe share forces on 2 points: too few for a verdict."
    )


def test_the_verdict_says_what_was_found_and_what_it_saves():
    found = fidelity_diagnosis(molecules(0.9), costs={"gfn2": 2.0, "pbe": 20.0})
    assert found.cost_ratio == 10
    assert found.expected_saving == expected_saving(found.r2, 10.0)
    assert found.sentence == (
        f"5 paired labels: gfn2 forces, scaled by {found.rho:.3f}, explain "
        f"{100 * found.r2:.0f} % of the pbe forces (leave-one-out): the low level is "
        f"used. At a cost ratio of 10 the same error is expected for "
        f"{found.expected_saving:.1f} times less."
    )
    left = fidelity_diagnosis(molecules(0.0), costs={"gfn2": 2.0, "pbe": 20.0})
    assert left.sentence.endswith(
        "explain 0 % of the pbe forces (leave-one-out): the low level is left."
    )


# --- the saving


@pytest.mark.parametrize("r2", [0.3, 0.7, 0.95])
@pytest.mark.parametrize("ratio", [2.0, 10.0, 100.0])
def test_the_saving_is_that_of_the_best_split_of_labels(r2, ratio):
    """By search: squared errors R^2 / n_low + (1 - R^2) / n_high at equal cost."""
    high = np.geomspace(1e-4, 1.0, 200001)[:-1]  # share of the cost in high labels
    error = r2 / ((1 - high) * ratio) + (1 - r2) / high
    assert expected_saving(r2, ratio) == pytest.approx(1 / error.min(), rel=1e-6)


def test_the_saving_has_the_limits_it_should_have():
    assert expected_saving(0.9, 1e12) == pytest.approx(10, rel=1e-4)  # at hand
    assert expected_saving(0.0, 50.0) == expected_saving(-2.0, 50.0) == 1
    assert expected_saving(1.0, 50.0) == pytest.approx(50)
    assert expected_saving(0.2, 1.0) < 1
    assert expected_saving(0.8, 4.0) == pytest.approx(1.25, abs=0.02)


# --- vectors


@pytest.mark.parametrize("nested", [True, False])
def test_of_vectors_the_verdict_and_the_evidence_agree(nested):
    good = fidelity_diagnosis(*vectors(useful, nested=nested), costs=[1.0, 10.0])
    bad = fidelity_diagnosis(*vectors(useless, nested=nested))
    assert good.verdict == "use it" and bad.verdict == "leave it"
    assert good.n_pairs == (6 if nested else 0)
    assert good.log_evidence_joint > good.log_evidence_independent + 3
    assert bad.log_evidence_joint < bad.log_evidence_independent
    assert abs(good.rho - 15) < max(3 * good.rho_error, 0.5) and good.rho_error < 0.5
    assert good.cost_ratio == 10
    assert ("beside predictions of level 0" in good.sentence) is not nested


def test_the_error_of_rho_has_all_hyperparameters_free():
    """By second differences of the density itself, and never below that of rho alone."""
    X, Y = vectors(useful, nested=False)
    model = AutoregressiveGP(X, Y)
    mll = fit_gpytorch_mll(
        ExactMarginalLogLikelihood(model.likelihood, model), n_samples=1
    )
    vector = ParameterVector(mll)
    best, rows, step = vector.read(), sorted_rows(model), 1e-3

    def density(z):
        vector.write(z)
        with torch.no_grad():
            return float(joint_density(model, rows))

    n = len(best)
    hessian, shifts = torch.zeros(n, n), step * torch.eye(n)
    for i in range(n):
        for j in range(i + 1):
            signs = ((1, 1), (1, -1), (-1, 1), (-1, -1))
            corners = [density(best + a * shifts[i] + b * shifts[j]) for a, b in signs]
            change = corners[0] - corners[1] - corners[2] + corners[3]
            hessian[i, j] = hessian[j, i] = change / (2 * step) ** 2
    vector.write(best)
    value, directions = torch.linalg.eigh(-hessian)
    inverse = directions / value.abs().clamp_min(0.1) @ directions.T
    at = vector.names.index("model.covar_module.raw_rho")
    place = sum(vector.sizes[:at])
    found = _rho(model)
    assert found.marginal_error == pytest.approx(
        float(inverse[place, place]) ** 0.5, rel=1e-3
    )
    assert found.error == pytest.approx(float(-hessian[place, place]) ** -0.5, rel=1e-2)
    assert found.marginal_error > found.error


def test_without_pairs_the_low_level_is_predicted_by_itself():
    """Its values at the high inputs, had they been computed, give nearly the same."""
    X, Y = vectors(useful, n=(40, 6), nested=False)
    x = X[40:, :2]
    paired = paired_regression(
        list(useful(x).numpy()), list(Y[40:].numpy()), intercept=True
    )
    assert fidelity_diagnosis(X, Y).r2 == pytest.approx(paired.r2, abs=0.02)


@pytest.mark.slow
def test_evidences_move_by_the_unit_of_the_data_and_rho_with_it():
    X, Y = vectors(useful)
    scaled = torch.where(X[:, 2:] == 1, 7 * Y - 3, Y)
    one, other = fidelity_diagnosis(X, Y), fidelity_diagnosis(X, scaled)
    shift = 6 * math.log(7)
    for name in ("log_evidence_joint", "log_evidence_independent"):
        moved = getattr(one, name) - getattr(other, name)
        assert moved == pytest.approx(shift, abs=0.05)
    assert other.rho == pytest.approx(7 * one.rho, rel=1e-2)
    assert other.r2 == pytest.approx(one.r2)


def test_levels_are_chosen_by_number_and_the_column_is_the_caller_s():
    X, Y = vectors(useful)
    third = X[12:].clone()
    third[:, 2] = 2
    X, Y = torch.cat([X, third]), torch.cat([Y, Y[12:]])
    turned = X[:, [2, 0, 1]]
    found = fidelity_diagnosis(turned, Y, fidelity_column=0, low=0, high=1)
    assert (found.low, found.high) == ("level 0", "level 1")
    assert fidelity_diagnosis(X, Y).low == "level 1"
    with pytest.raises(ValueError, match="no level 2 below 1"):
        fidelity_diagnosis(X, Y, low=2, high=1)


@pytest.mark.parametrize(
    "known",
    [pytest.param(False, marks=pytest.mark.slow), True],
    ids=["learned noise", "given noise"],
)
def test_a_fitted_model_is_judged_by_its_data(known):
    X, Y = vectors(useful)
    variance = torch.full_like(Y, 1e-4) if known else None
    transform = Normalize(3, indices=[0, 1])
    model = AutoregressiveGP(X, Y, variance, input_transform=transform)
    fit_gpytorch_mll(ExactMarginalLogLikelihood(model.likelihood, model), n_samples=8)
    of_model = fidelity_diagnosis(model, costs=[1.0, 5.0])
    of_data = fidelity_diagnosis(X, Y, variance, costs=[1.0, 5.0])
    for name, value in vars(of_data).items():
        if name in ("rho", "rho_error"):
            value = float(getattr(model, name))
        found = getattr(of_model, name)
        if isinstance(value, float):
            assert found == pytest.approx(value, rel=1e-3), name
        else:
            assert found == value


# --- potentials


def test_a_potential_gives_its_rho_and_both_evidences():
    data = molecules(0.9, 4)
    h = hyperparameters("rbf", "rbf")
    model = potential(data, h)
    found = fidelity_diagnosis(model, costs={"gfn2": 1.0, "pbe": 10.0})
    assert found.rho == float(h.rho[0]) and found.rho_error is None
    assert found.r2 == fidelity_diagnosis(data).r2
    assert found.log_evidence_joint is not None
    assert found.log_evidence_independent is not None


def test_methanol_with_a_semiempirical_level_is_diagnosed_as_useful(methanol):
    found = fidelity_diagnosis(
        methanol.subset(range(8)), costs={"gfn2": 1.0, "mp2": 10.0}
    )
    assert found.useful and found.expected_saving > 1.5


# --- what makes no sense


def test_what_makes_no_sense_is_refused():
    data = molecules(0.9)
    with pytest.raises(TypeError, match="got dict"):
        fidelity_diagnosis({})
    with pytest.raises(ValueError, match="cost of a label must be positive"):
        fidelity_diagnosis(data, costs={"gfn2": 0.0, "pbe": 1.0})
    with pytest.raises(ValueError, match="no level 'pbe' below 'gfn2'"):
        fidelity_diagnosis(data, low="pbe", high="gfn2")
    alone = replace(data.at_levels(["pbe"]), fidelities=(Fidelity("pbe"),))
    with pytest.raises(ValueError, match="at least two levels"):
        fidelity_diagnosis(alone)
    model = ExactPotential.fit(alone, restarts=0)
    with pytest.raises(ValueError, match="two levels or more with its data"):
        fidelity_diagnosis(model)
