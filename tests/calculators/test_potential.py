"""Potentials as ASE calculators."""

import laws
import numpy as np
import pytest
import torch
from ase.build import molecule
from ase.calculators.calculator import PropertyNotImplementedError
from ase.calculators.singlepoint import SinglePointCalculator
from ase.optimize import BFGS

from mfal.calculators.potential import MfalCalculator
from mfal.oracles import OracleCalculator, build_oracle
from mfal.oracles.naming import level_of, named_specification


@pytest.fixture
def query(methanol):
    """A geometry that the potential has not seen."""
    return methanol.structures[20].copy()


def stored(atoms, label):
    """A calculator that knows one label."""
    return SinglePointCalculator(atoms, energy=label.energy, forces=label.forces)


def calculated(calculator):
    def calculate(atoms):
        atoms = atoms.copy()
        atoms.calc = calculator
        return atoms.get_potential_energy(), atoms.get_forces()

    return calculate


@pytest.mark.parametrize("level", ["gfn2", "mp2"])
@pytest.mark.parametrize("uncertainties", [True, False])
def test_standalone_forces_are_minus_the_slope_of_the_energy(
    potential, query, level, uncertainties
):
    calculator = MfalCalculator(potential, level=level, uncertainties=uncertainties)
    laws.forces_are_minus_the_slope_of_the_energy(calculated(calculator), query)


def test_the_fast_path_gives_the_mean_of_the_slow_one(potential, query):
    slow, fast = (
        calculated(MfalCalculator(potential, uncertainties=u))(query)
        for u in (True, False)
    )
    assert fast[0] == pytest.approx(slow[0], abs=1e-9)
    np.testing.assert_allclose(fast[1], slow[1], atol=1e-9)


def test_at_hand_is_the_prediction_conditioned_on_the_low_level(
    potential, methanol, query
):
    label = methanol.labels[20, "gfn2"]
    query.calc = MfalCalculator(potential, low_level=stored(query, label))
    expected = potential.predict([query], at_hand=[label])
    assert query.get_potential_energy() == expected.energy[0]
    np.testing.assert_array_equal(query.get_forces(), expected.forces[0])
    results = query.calc.results
    assert results["energy_uncertainty"] == expected.energy_sigma[0]
    np.testing.assert_array_equal(
        results["forces_uncertainty"], expected.forces_sigma[0]
    )
    alone = potential.predict([query])
    assert (expected.forces_sigma < alone.forces_sigma).all()


def test_forces_at_hand_are_nearly_minus_the_slope_of_the_energy(potential, query):
    low = OracleCalculator(build_oracle(level_of("gfn2", named_specification("gfn2"))))
    calculate = calculated(MfalCalculator(potential, low_level=low))
    step = 0.01 * np.random.default_rng(0).standard_normal((6, 3))
    ahead, behind = query.copy(), query.copy()
    ahead.positions += step
    behind.positions -= step
    rise = calculate(ahead)[0] - calculate(behind)[0]
    expected = -2 * np.sum(step * calculate(query)[1])
    assert rise == pytest.approx(expected, abs=0.02 * abs(expected) + 1e-3)


def test_results_hold_values_and_standard_deviations_and_nothing_else(potential, query):
    query.calc = MfalCalculator(potential)
    query.get_forces()
    results = query.calc.results
    assert set(results) == {
        *("energy", "free_energy", "forces"),
        *("energy_uncertainty", "forces_uncertainty"),
    }
    assert results["free_energy"] == results["energy"]
    assert query.calc.get_property("forces_uncertainty", query).shape == (6, 3)
    query.calc = MfalCalculator(potential, uncertainties=False)
    query.get_forces()
    assert set(query.calc.results) == {"energy", "free_energy", "forces"}


def test_uncertainties_are_those_of_a_label_only_if_noise_is_asked_for(
    potential, query
):
    expected = potential.predict([query])
    for noise in (False, True):
        query.calc = MfalCalculator(potential, noise=noise)
        sigma = query.calc.get_property("forces_uncertainty", query)
        total = np.hypot(expected.forces_sigma, expected.forces_noise)[0]
        np.testing.assert_allclose(sigma, total if noise else expected.forces_sigma[0])


def test_only_the_highest_level_is_recalibrated(potential, query):
    query.calc = MfalCalculator(potential, level="gfn2")
    raw = potential.predict([query], "gfn2", calibrated=False)
    assert query.calc.get_property("energy_uncertainty", query) == raw.energy_sigma[0]


def test_a_molecule_relaxes(potential, query):
    query.calc = MfalCalculator(potential, uncertainties=False)
    before = query.get_potential_energy()
    with BFGS(query, logfile=None) as optimiser:
        assert optimiser.run(fmax=0.05, steps=100)
    assert query.get_potential_energy() < before


def test_a_stress_is_refused_with_the_reason(potential, query):
    query.calc = MfalCalculator(potential)
    with pytest.raises(PropertyNotImplementedError, match="isolated molecule"):
        query.get_stress()


def test_another_molecule_is_refused(potential):
    atoms = molecule("CH3CH2OH")
    atoms.calc = MfalCalculator(potential)
    with pytest.raises(ValueError, match=r"the molecule COHHHH .* got CCO"):
        atoms.get_potential_energy()


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ({"level": "ccsd"}, "no level 'ccsd'"),
        ({"level": "gfn2", "low_level": SinglePointCalculator}, "below 'gfn2'"),
        ({"at_hand_level": "gfn2"}, "give low_level"),
        ({"noise": True, "uncertainties": False}, "noise belongs to uncertainties"),
    ],
)
def test_settings_that_do_not_fit_together_are_refused(
    potential, query, settings, words
):
    if "low_level" in settings:
        settings = settings | {"low_level": SinglePointCalculator(query)}
    with pytest.raises(ValueError, match=words):
        MfalCalculator(potential, **settings)


def test_a_model_without_forces_is_refused():
    with pytest.raises(TypeError, match="ExactPotential"):
        MfalCalculator({})


@pytest.mark.parametrize(("threads", "inside"), [(1, 1), (None, 2)])
def test_a_structure_is_computed_by_as_many_threads_as_asked(
    potential, query, monkeypatch, threads, inside
):
    before, seen = torch.get_num_threads(), []

    def noting(*arguments):
        seen.append(torch.get_num_threads())
        return type(potential).mean(potential, *arguments)

    monkeypatch.setattr(potential, "mean", noting)
    try:
        torch.set_num_threads(2)
        query.calc = MfalCalculator(potential, uncertainties=False, threads=threads)
        query.get_forces()
        assert seen == [inside]
        assert torch.get_num_threads() == 2
    finally:
        torch.set_num_threads(before)
