"""Row 24: hyperparameters stay within bounds, or the last good ones are kept and told."""

import numpy as np
import pytest
import torch
from small_campaigns import morse
from small_models import internal, water

from mfal import Fidelity, Label, LabelledDataset
from mfal.models.cholesky import NotPositiveDefiniteError
from mfal.models.exact import ExactPotential
from mfal.models.fitting import Fit, typical_distance
from mfal.models.hyperparameters import default_prior
from mfal.models.runaway import at_bounds, fit_or_keep, vector_of

pytestmark = pytest.mark.faults

LOW, HIGH = (4.0, 1.8, -50.0), (4.7, 2.0, -80.0)  # depth, slope, zero
OPTIONS = {"permutations": "none", "kernel": "matern52"}


def dataset(n_low, n_high, *, useless=False, unit=1.0, seed=0):
    """Water at two levels of Morse bonds; the low one may be noise, or in other units."""
    rng = np.random.default_rng(seed)
    structures = tuple(water(i) for i in range(max(n_low, n_high)))
    labels = {}
    for i, atoms in enumerate(structures):
        energy, forces = morse(atoms, *LOW)
        if useless:
            energy, forces = -50.0 + rng.normal(), internal(atoms, rng)
        if i < n_low:
            labels[i, "low"] = Label(energy, forces)
        if i < n_high:
            energy, forces = morse(atoms, *HIGH)
            labels[i, "high"] = Label(unit * energy, unit * forces)
    return LabelledDataset(structures, (Fidelity("low"), Fidelity("high")), labels)


def fitted(data, **options):
    return ExactPotential.fit(data, **OPTIONS, **options)


def outside(model):
    """How far the worst entry is outside of the bounds."""
    prior = default_prior(len(model.levels), typical_distance(model.observations))
    vector = model.hyperparameters.to_vector()
    return float(torch.maximum(prior.low - vector, vector - prior.high).max())


def errors(model, seeds=range(100, 120)):
    """Force errors at the high level (root mean square, eV/A), and the sigmas."""
    structures = [water(seed) for seed in seeds]
    predicted = model.predict(structures)
    truth = np.array([morse(a, *HIGH)[1] for a in structures])
    sigma = np.asarray(predicted.total_sigma("forces"))
    error = np.asarray(predicted.forces) - truth
    return float(np.sqrt(np.mean(error**2))), error / sigma


@pytest.mark.parametrize("n_low", [2, 12])
def test_two_high_labels_leave_hyperparameters_inside_their_bounds(n_low):
    model = fitted(dataset(n_low, 2))
    assert outside(model) < 0
    assert at_bounds(model) == []
    assert model.fitted.converged
    stiffer = (HIGH[0] * HIGH[1] ** 2) / (LOW[0] * LOW[1] ** 2)  # force constants: 1.45
    assert float(model.hyperparameters.rho[0]) == pytest.approx(stiffer, abs=0.2)


def test_a_useless_low_level_leaves_hyperparameters_inside_their_bounds():
    model = fitted(dataset(12, 6, useless=True))
    assert outside(model) < 0
    assert at_bounds(model) == []
    assert model.fitted.converged


def test_a_useless_low_level_does_little_harm_and_error_bars_know_it():
    data = dataset(12, 6, useless=True)
    high = {key: label for key, label in data.labels.items() if key[1] == "high"}
    alone = fitted(LabelledDataset(data.structures, (Fidelity("high"),), high))
    with_low, standardised = errors(fitted(data))
    assert with_low < 1.5 * errors(alone)[0]
    assert np.sqrt(np.mean(standardised**2)) < 3


def test_two_high_labels_and_a_useless_low_level_together():
    model = fitted(dataset(12, 2, useless=True))
    assert outside(model) < 0
    assert np.isfinite(errors(model)[0])


def test_labels_in_other_units_are_seen_at_the_bounds():
    """A thousand times too large: they want a discrepancy beyond what the prior allows."""
    model = fitted(dataset(8, 6, unit=1e3))
    assert outside(model) < 1e-9
    assert at_bounds(model) == ["the scale of high is at its upper bound, 1e+03"]


def held(model, **changes):
    """The model with an entry of its hyperparameters moved."""
    values = {**vars(model.hyperparameters), **changes}
    fit = Fit(type(model.hyperparameters)(**values), (None, None), torch.ones(1))
    return ExactPotential.with_fit(model.dataset, fit, permutations="none")


def test_an_entry_at_its_bound_is_named_with_the_bound():
    model = fitted(dataset(4, 3))
    three = torch.tensor([3.0], dtype=torch.float64)
    assert at_bounds(held(model, rho=three)) == ["rho of high is at its upper bound, 3"]
    noise = model.hyperparameters.noise.clone()
    noise[0, 1] = 1e-4
    assert at_bounds(held(model, noise=noise)) == [
        "the forces noise of low is at its lower bound, 0.0001"
    ]


def failing(failure):
    def fit():
        raise failure

    return fit


@pytest.mark.parametrize(
    "failure",
    [NotPositiveDefiniteError("of 12 rows"), np.linalg.LinAlgError("singular")],
)
def test_a_fit_that_fails_keeps_the_last_good_hyperparameters_and_says_so(failure):
    before = fitted(dataset(6, 2))
    more = dataset(6, 3)

    def keep():
        return ExactPotential.with_fit(more, before.fitted, permutations="none")

    model, said = fit_or_keep(failing(failure), keep, vector_of)
    assert torch.equal(vector_of(model), vector_of(before))
    assert model.dataset is more  # the new labels are conditioned on all the same
    assert said == (
        f"the fit failed, the last good hyperparameters are kept: {failure}"
    )


def test_hyperparameters_that_are_not_finite_are_not_taken():
    before = fitted(dataset(6, 2))
    vectors = {"new": torch.tensor([1.0, float("nan")]), "old": vector_of(before)}
    model, said = fit_or_keep(lambda: "new", lambda: "old", vectors.__getitem__)
    assert model == "old"
    assert "not finite" in said


def test_a_fit_that_works_is_taken_without_a_word():
    model, said = fit_or_keep(lambda: "new", failing(AssertionError()), lambda m: ONE)
    assert (model, said) == ("new", None)


ONE = torch.ones(1)


def test_the_first_fit_has_nothing_to_fall_back_on():
    with pytest.raises(NotPositiveDefiniteError):
        fit_or_keep(failing(NotPositiveDefiniteError("x")), None, vector_of)
    with pytest.raises(FloatingPointError):
        fit_or_keep(lambda: "new", None, lambda m: torch.tensor(float("inf")))


def test_errors_that_are_not_numerical_are_not_hidden():
    with pytest.raises(ValueError, match="another molecule"):
        fit_or_keep(failing(ValueError("another molecule")), lambda: "old", vector_of)
