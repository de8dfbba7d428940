"""A run of exploration: what it keeps, how it ends, and that nothing is raised."""

import numpy as np
import pytest
from ase import Atoms, units
from ase.build import bulk
from ase.calculators.calculator import Calculator, all_changes
from ase.calculators.emt import EMT
from small_cells import cell

from mfal.calculators import BiasedCalculator, ForceSigmaMonitor, MfalCalculator
from mfal.calculators.exploring import Ensemble, excursion
from mfal.calculators.verdict import Finding, Verdict
from mfal.data import structure_key
from mfal.oracles.oracle import OracleError

WARM = Ensemble(400.0, timestep=3.0, friction=0.02)
CUBE = bulk("Cu", "fcc", a=3.62, cubic=True)


class Scripted:
    """Gives grades one after the other, the last one for ever."""

    def __init__(self, *grades):
        self.grades, self.seen = list(grades), []

    def __call__(self, atoms):
        grade = self.grades.pop(0) if len(self.grades) > 1 else self.grades[0]
        self.seen.append(atoms.get_positions())
        return Verdict((Finding("script", float(grade), None),))


class Failing(Calculator):
    """EMT that fails at its n-th call, or gives what is not finite."""

    implemented_properties = ("energy", "forces")

    def __init__(self, n, fault):
        super().__init__()
        self.n, self.fault, self.inner = n, fault, EMT()

    def calculate(self, atoms=None, properties=("energy",), system_changes=all_changes):
        super().calculate(atoms, properties, system_changes)
        self.n -= 1
        if self.n < 0 and isinstance(self.fault, Exception):
            raise self.fault
        atoms = atoms.copy()
        atoms.calc = self.inner
        forces = atoms.get_forces()
        if self.n < 0:
            forces = forces * self.fault
        self.results = {"energy": atoms.get_potential_energy(), "forces": forces}


def run(monitor, calculator=None, ensemble=WARM, start=CUBE, **options):
    settings = {"steps": 20, "interval": 5, "soft": 1.0, "hard": 2.0} | options
    return excursion(start, calculator or EMT(), monitor, ensemble, **settings)


def test_a_run_that_nothing_flags_goes_to_its_end_and_keeps_nothing():
    found = run(Scripted(0.5))
    assert (found.flagged, found.last, found.reason) == ([], None, "")
    told = found.summary()
    assert told["steps"] == 20
    assert told["time"] == pytest.approx(60.0)
    assert told["shortest_step"] == pytest.approx(3.0)
    assert told["largest_grade"] == 0.5
    assert not told["stopped_by_monitor"]


def test_what_is_above_soft_is_kept_once_in_the_interval():
    monitor = Scripted(0.5, 0.5, *[1.5] * 11, 0.5)
    found = run(monitor)
    assert found.reason == ""
    assert [f.grade for f in found.flagged] == [1.5] * 2
    for kept, n in zip(found.flagged, (2, 8), strict=True):
        np.testing.assert_allclose(kept.atoms.positions, monitor.seen[n], atol=1e-8)


def test_beyond_hard_it_ends_with_the_refused_structure_and_the_last_before():
    monitor = Scripted(0.5, 0.5, 0.5, 7.0)
    found = run(monitor)
    assert "beyond the hard threshold" in found.reason
    assert [f.grade for f in found.flagged] == [7.0]
    np.testing.assert_allclose(
        found.flagged[0].atoms.positions, monitor.seen[3], atol=1e-8
    )
    np.testing.assert_allclose(found.last.positions, monitor.seen[2], atol=1e-8)
    assert found.summary()["stopped_by_monitor"]
    assert found.summary()["steps"] == 2


def test_a_start_beyond_hard_ends_at_once_and_has_no_last_structure():
    found = run(Scripted(9.0))
    assert "the start is beyond the hard threshold" in found.reason
    assert found.last is None
    assert found.summary()["steps"] == 0


@pytest.mark.parametrize(
    ("fault", "reason"),
    [
        (ValueError("no such luck"), "ValueError: no such luck"),
        (OracleError("code_error", "it crashed"), "OracleError: it crashed"),
        (RuntimeError("stop"), "RuntimeError: stop"),
        (ArithmeticError("negative"), "ArithmeticError: negative"),
        (float("nan"), "finite"),
        (float("inf"), "finite"),
    ],
)
@pytest.mark.parametrize("n", [0, 7])
def test_a_failure_ends_the_run_with_a_reason(fault, reason, n):
    with np.errstate(invalid="ignore"):
        found = run(Scripted(0.5, 1.5, 0.5), Failing(n, fault))
    assert reason in found.reason
    assert found.summary()["steps"] < 20


def test_a_monitor_that_fails_or_knows_no_number_ends_the_run():
    def fails(atoms):
        raise ValueError("unknown species")

    assert run(fails).reason == "ValueError: unknown species"
    found = run(Scripted(0.5, 0.5, float("nan")))
    assert "not finite" in found.reason
    assert found.flagged == []


def test_an_explosion_ends_the_run():
    hot = Ensemble(4000.0, timestep=60.0, friction=0.001)
    found = run(Scripted(0.5), ensemble=hot, steps=200)
    assert found.reason
    assert found.summary()["steps"] < 200


def test_the_seed_gives_the_same_run_and_another_seed_another():
    keys = [
        [structure_key(f.atoms) for f in run(Scripted(1.5), seed=[seed, 3]).flagged]
        for seed in (0, 0, 1)
    ]
    assert len(keys[0]) == 4
    assert keys[0] == keys[1]
    assert keys[0][1:] != keys[2][1:]


def test_the_start_is_left_as_it_was():
    before = CUBE.copy()
    run(Scripted(0.5))
    assert before == CUBE
    assert CUBE.calc is None


def test_a_pressure_changes_the_volume_and_none_does_not():
    pressed = Ensemble(400.0, pressure=30.0, timestep=3.0, friction=0.05)
    volumes = [
        run(Scripted(1.5), ensemble=e, steps=60).flagged[-1].atoms.get_volume()
        for e in (WARM, pressed)
    ]
    assert volumes[0] == pytest.approx(CUBE.get_volume())
    assert volumes[1] < 0.97 * CUBE.get_volume()


def test_the_temperature_is_that_of_the_ensemble():
    atoms = CUBE * (2, 2, 2)
    monitor = Scripted(0.5)
    heat = []

    def judged(copper):
        heat.append(copper.get_temperature())
        return monitor(copper)

    cold = Ensemble(300.0, timestep=5.0, friction=0.05)
    run(judged, ensemble=cold, start=atoms, steps=300, interval=100)
    assert np.mean(heat[60:]) == pytest.approx(300.0, rel=0.15)


def test_a_bias_leads_to_larger_sigmas(copper):
    def largest(calculator, seed):
        monitor = ForceSigmaMonitor(getattr(calculator, "unbiased", calculator))
        found = run(
            monitor,
            calculator,
            start=cell(1, width=0.02),
            hard=9.0,
            seed=seed,
            steps=25,
        )
        assert found.reason == ""
        return found.summary()["largest_sigma"]

    plain = [largest(MfalCalculator(copper), s) for s in range(3)]
    drawn = [largest(BiasedCalculator(copper, 10.0), s) for s in range(3)]
    assert np.mean(drawn) > 1.2 * np.mean(plain)


def test_between_may_end_it_all():
    class Stopped(RuntimeError):
        pass

    def stop():
        raise Stopped

    with pytest.raises(Stopped):
        run(Scripted(0.5), between=stop)


@pytest.mark.parametrize("name", ["temperature", "timestep", "friction"])
def test_an_ensemble_without_heat_or_time_is_refused(name):
    with pytest.raises(ValueError, match=f"{name} is above 0, got -1"):
        Ensemble(**{"temperature": 300.0, name: -1.0})


@pytest.mark.parametrize("options", [{"steps": 0}, {"soft": 3.0}, {"soft": 0.0}])
def test_thresholds_that_contradict_each_other_are_refused(options):
    with pytest.raises(ValueError, match="0 < soft < hard"):
        run(Scripted(0.5), **options)


def test_a_molecule_is_explored_at_constant_volume(potential, methanol):
    start: Atoms = methanol.structures[0]
    found = run(
        ForceSigmaMonitor(),
        MfalCalculator(potential),
        Ensemble(300.0, timestep=0.5),
        start,
        soft=1e-6,
        hard=1e6,
        steps=5,
    )
    assert found.reason == ""
    assert found.record.kept[-1].time == pytest.approx(2.5 * units.fs)
