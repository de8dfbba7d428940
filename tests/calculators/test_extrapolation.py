"""The monitor flags what lies beyond, names the atom and the measure, and little else."""

import numpy as np
import pytest
from ase.build import molecule
from small_cells import cell

from mfal.calculators import ExtrapolationMonitor, MfalCalculator
from mfal.calculators.force_sigma import NAME
from mfal.calculators.thresholds import Threshold
from mfal.calculators.verdict import Finding, Verdict
from mfal.models import SparsePotential
from mfal.models.training_environments import MEASURES, TrainingEnvironments

EVERY = (NAME, *MEASURES)


@pytest.fixture(scope="module")
def monitor(copper):
    return ExtrapolationMonitor.of(MfalCalculator(copper), quantile=0.9)


def stretched(seed=77):
    """A cell of which one atom stands far from where it was."""
    atoms = cell(seed, width=0.03)
    atoms.positions[2] += (0.5, 0.3, -0.4)
    return atoms


def test_structures_like_the_training_ones_are_rarely_flagged(monitor):
    flagged = [monitor(cell(500 + k, width=0.1)).extrapolates for k in range(100)]
    assert np.mean(flagged) < 0.15


@pytest.mark.parametrize("measure", EVERY)
def test_each_measure_alone_finds_what_lies_beyond(copper, measure):
    monitor = ExtrapolationMonitor.of(
        MfalCalculator(copper), measures=(measure,), quantile=0.9
    )
    assert not monitor(cell(500, width=0.05)).extrapolates
    verdict = monitor(stretched())
    assert [f.measure for f in verdict.beyond] == [measure]
    assert verdict.per_atom.argmax() == verdict.findings[0].atom


def test_the_verdict_is_what_the_measures_say(monitor, copper):
    atoms = stretched()
    verdict = monitor(atoms)
    values = TrainingEnvironments(copper, copper.structures).measures(atoms)
    sigma = copper.predict([atoms])[0].forces_sigma
    values[NAME] = np.linalg.norm(sigma, axis=1)
    ratios = {}
    for finding in verdict.findings:
        own, limit = values[finding.measure], monitor.thresholds[finding.measure].value
        assert finding.value == pytest.approx(own.max(), rel=1e-6)
        assert finding.atom == own.argmax()
        ratios[finding.measure] = own / limit
    ratios["leverage"] = np.sqrt(ratios["leverage"])
    np.testing.assert_allclose(
        verdict.per_atom, np.max(list(ratios.values()), axis=0), rtol=1e-6
    )
    assert verdict.grade == pytest.approx(verdict.per_atom.max())
    assert [f.grade for f in verdict.findings] == sorted(
        (f.grade for f in verdict.findings), reverse=True
    )


def test_the_verdict_says_which_atom_and_why(monitor):
    text = str(monitor(stretched()))
    assert "atom 2 (Cu): " in text
    assert "force sigma" in text
    assert "times the threshold of" in text


def test_of_a_molecule_the_force_sigma_names_the_atom_and_the_rest_the_molecule(
    potential, methanol
):
    monitor = ExtrapolationMonitor.of(MfalCalculator(potential), quantile=0.8)
    atoms = methanol.structures[20].copy()
    atoms.positions[1] += (0.5, 0.0, 0.3)
    verdict = monitor(atoms)
    assert verdict.extrapolates
    by_name = {f.measure: f for f in verdict.findings}
    assert set(by_name) == set(EVERY)
    assert by_name[NAME].symbol == atoms.symbols[by_name[NAME].atom]
    assert all(by_name[m].atom is None for m in MEASURES)
    assert "the molecule: mahalanobis" in str(by_name["mahalanobis"])
    assert len(verdict.per_atom) == len(atoms)


def test_all_measures_together_keep_the_quantile(monitor):
    assert all(t.n == 40 for t in monitor.thresholds.values())
    together = sum(1 - t.quantile for t in monitor.thresholds.values())
    assert together <= 0.1 + 1e-9


def test_a_measure_that_grows_as_a_square_has_the_root_as_its_grade():
    finding = Finding("leverage", 8.0, 2.0, order=2)
    assert finding.grade == 2.0
    assert "4 times the threshold" in str(finding)
    assert not Verdict((Finding("x", 1.0, 2.0),)).beyond


def test_a_structure_with_a_position_that_is_not_finite_is_refused(monitor):
    atoms = cell(1)
    atoms.positions[3, 1] = np.nan
    with pytest.raises(ValueError, match="position of atom 3 is not finite"):
        monitor(atoms)
    atoms.calc = monitor.calculator
    with pytest.raises(ValueError, match="position of atom 3 is not finite"):
        atoms.get_potential_energy()


def test_a_trajectory_with_a_new_species_is_refused_by_its_frame(monitor):
    frames = [cell(1), cell(2, symbol="Ag")]
    with pytest.raises(ValueError, match=r"frame 1 .*knows nothing of Ag"):
        monitor.of_trajectory(frames)
    assert len(monitor.of_trajectory(frames[:1])) == 1


def test_another_molecule_is_refused(potential):
    monitor = ExtrapolationMonitor.of(MfalCalculator(potential), quantile=0.8)
    with pytest.raises(ValueError, match="describes the molecule"):
        monitor(molecule("H2O"))


def test_a_loaded_potential_takes_the_structures_of_its_fit(copper):
    loaded = SparsePotential(
        copper.feature_map, copper.training, copper.statistics, copper.fitted
    )
    calculator = MfalCalculator(loaded)
    with pytest.raises(ValueError, match="give them as `structures`"):
        ExtrapolationMonitor.of(calculator, measures=("leverage",))
    given = ExtrapolationMonitor.of(
        calculator, measures=("leverage",), structures=copper.structures, quantile=0.9
    )
    own = ExtrapolationMonitor.of(
        MfalCalculator(copper), measures=("leverage",), quantile=0.9
    )
    assert given.thresholds == own.thresholds


def test_thresholds_can_be_set_by_hand(copper):
    monitor = ExtrapolationMonitor(MfalCalculator(copper), {NAME: Threshold(0.2)})
    atoms = stretched()
    sigma = np.linalg.norm(copper.predict([atoms])[0].forces_sigma, axis=1)
    assert monitor(atoms).grade == pytest.approx(sigma.max() / 0.2)


@pytest.mark.parametrize(
    ("make", "rule"),
    [
        (lambda c: ExtrapolationMonitor.of(c, measures=("x",)), "some of force sigma"),
        (lambda c: ExtrapolationMonitor.of(c, measures=()), "got none"),
        (lambda c: ExtrapolationMonitor(c, {}), "got none"),
        (
            lambda c: ExtrapolationMonitor(c, {"grade": Threshold(1.0)}),
            "one or more of force sigma, got grade",
        ),
    ],
)
def test_unknown_measures_are_refused(copper, make, rule):
    with pytest.raises(ValueError, match=rule):
        make(MfalCalculator(copper))


def test_a_calculator_without_uncertainties_has_no_force_sigma(copper):
    calculator = MfalCalculator(copper, uncertainties=False)
    with pytest.raises(ValueError, match="uncertainties=True"):
        ExtrapolationMonitor.of(calculator)
