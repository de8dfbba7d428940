"""Within the trust region: steps shrink and grow, moves are taken back, runs end so."""

import json

import numpy as np
import pytest
from ase import units
from ase.build import bulk
from ase.calculators.emt import EMT
from ase.md.bussi import Bussi
from ase.md.langevin import Langevin
from ase.md.melchionna import MelchionnaNPT
from ase.md.nose_hoover_chain import IsotropicMTKNPT, NoseHooverChainNVT
from ase.md.nptberendsen import NPTBerendsen
from ase.md.verlet import VelocityVerlet
from matplotlib.figure import Figure
from small_cells import cell, emt_dataset

from mfal.calculators import MfalCalculator, TrustRegionMD, Update
from mfal.calculators.trust_record import REJECTED, RESUMED, SAFE, WATCHED, draw_record
from mfal.calculators.verdict import Finding, Verdict

DT = 4 * units.fs


def copper_cell(seed=0, temperature=300.0):
    atoms = bulk("Cu", "fcc", a=3.65, cubic=True)
    atoms.calc = EMT()
    rng = np.random.default_rng(seed)
    width = np.sqrt(units.kB * temperature * atoms.get_masses())[:, None]
    momenta = width * rng.normal(size=(4, 3))
    atoms.set_momenta(momenta - momenta.mean(axis=0))
    return atoms


class Scripted:
    """Gives grades one after the other, the last one for ever."""

    def __init__(self, *grades):
        self.grades = list(grades)

    def __call__(self, atoms):
        grade = self.grades.pop(0) if len(self.grades) > 1 else self.grades[0]
        return Verdict((Finding("script", float(grade), None, atom=1, symbol="Cu"),))


def trusted(atoms, *grades, dynamics=VelocityVerlet, **options):
    settings = {"soft": 1.0, "hard": 2.0, "calm": 2} | options
    return TrustRegionMD(dynamics(atoms, DT), monitor=Scripted(*grades), **settings)


def langevin(atoms, dt, seed=1):
    return Langevin(
        atoms,
        dt,
        temperature_K=600,
        friction=0.02 / units.fs,
        fixcm=False,
        rng=np.random.RandomState(seed),
    )


def chain(atoms, dt):
    return NoseHooverChainNVT(atoms, dt, temperature_K=600, tdamp=40 * units.fs)


def piston(atoms, dt):
    return IsotropicMTKNPT(
        atoms,
        dt,
        temperature_K=600,
        pressure_au=0.01,
        tdamp=40 * units.fs,
        pdamp=400 * units.fs,
    )


def berendsen(atoms, dt):
    return NPTBerendsen(
        atoms,
        dt,
        temperature_K=600,
        pressure_au=0.01,
        compressibility_au=1.0,
        taut=40 * units.fs,
        taup=400 * units.fs,
    )


EVERY = (VelocityVerlet, langevin, chain, piston, berendsen)


@pytest.mark.parametrize("dynamics", EVERY)
def test_where_all_is_safe_a_run_is_that_of_ase(dynamics):
    plain, watched = copper_cell(), copper_cell()
    own = dynamics(plain, DT)
    for _ in range(6):
        own.step()
    md = trusted(watched, 0.5, dynamics=dynamics)
    assert md.run(6)
    np.testing.assert_array_equal(watched.positions, plain.positions)
    np.testing.assert_array_equal(watched.get_momenta(), plain.get_momenta())
    np.testing.assert_array_equal(watched.cell, plain.cell)
    assert [s.event for s in md.record] == [SAFE] * 7
    assert md.reason == ""


def test_the_step_halves_above_the_soft_threshold_and_grows_back_below():
    md = trusted(copper_cell(), 0, 1.5, 1.5, 0, 0, 0, 0, 0)
    md.run(3)
    ticks = [s.dt / DT for s in md.record][1:]
    # two halvings, two calm moves, and then as soon as the step fits into the full ones
    assert ticks[:6] == [1, 1 / 2, 1 / 4, 1 / 4, 1 / 2, 1 / 2]
    assert [s.event for s in md.record][1:4] == [WATCHED, WATCHED, SAFE]
    assert md.time == 3 * DT
    assert md.record[-1].time == 3 * DT


def test_the_step_is_not_halved_without_end():
    md = trusted(copper_cell(), 1.5, halvings=3)
    assert md.run(1)
    assert md.record[-1].dt == DT / 8
    assert md.time == DT


@pytest.mark.parametrize("dynamics", EVERY)
def test_a_move_beyond_the_hard_threshold_is_taken_back(dynamics):
    plain, watched = copper_cell(), copper_cell()
    own = dynamics(plain, DT)
    for _ in range(2):
        own.step()
    md = trusted(watched, 0, 0, 0, 3.0, dynamics=dynamics)
    assert not md.run(6)
    np.testing.assert_array_equal(watched.positions, plain.positions)
    np.testing.assert_array_equal(watched.get_momenta(), plain.get_momenta())
    np.testing.assert_array_equal(watched.cell, plain.cell)
    assert md.time == 2 * DT
    assert [s.event for s in md.record] == [SAFE] * 3 + [REJECTED]
    assert md.record[-1].time == 3 * DT
    assert "beyond the hard threshold at 8 fs (move 2): atom 1 (Cu)" in md.reason


@pytest.mark.parametrize("dynamics", (VelocityVerlet, chain, piston, berendsen))
def test_after_an_update_that_changes_nothing_the_run_is_as_if_never_stopped(dynamics):
    plain, watched = copper_cell(), copper_cell()
    own = dynamics(plain, DT)
    for _ in range(5):
        own.step()
    seen = []

    def learn(atoms, verdict):
        seen.append((atoms.copy(), verdict.grade))
        return Update(EMT())

    md = trusted(watched, 0, 0, 3.0, 0, dynamics=dynamics, on_hard=learn)
    assert md.run(5)
    np.testing.assert_allclose(watched.positions, plain.positions, atol=1e-12)
    np.testing.assert_allclose(watched.get_momenta(), plain.get_momenta(), atol=1e-11)
    assert [s.event for s in md.record] == [SAFE] * 2 + [REJECTED, RESUMED] + [SAFE] * 4
    assert [grade for _, grade in seen] == [3.0]
    one = copper_cell()
    again = dynamics(one, DT)
    for _ in range(2):
        again.step()
    np.testing.assert_array_equal(seen[0][0].positions, one.positions)


def test_an_update_brings_its_calculator_and_its_monitor():
    atoms, calculator, monitor = copper_cell(), EMT(), Scripted(0.25)
    md = trusted(atoms, 0, 3.0, on_hard=lambda *_: Update(calculator, monitor))
    assert md.run(2)
    assert atoms.calc is calculator
    assert md.monitor is monitor
    assert md.record[-1].grade == 0.25


def test_without_an_update_the_run_ends():
    md = trusted(copper_cell(), 0, 3.0, on_hard=lambda *_: None)
    assert not md.run(2)
    assert "no update" in md.reason


def test_updates_that_do_not_help_end_the_run():
    updates = []

    def learn(atoms, verdict):
        updates.append(atoms)
        return Update(EMT())

    # of each round: the move that is refused, the verdict on the state it is back in
    md = trusted(copper_cell(), *[0, *[3.0, 0] * 4], on_hard=learn)
    assert not md.run(3)
    assert "still beyond the hard threshold after 3 updates" in md.reason
    assert len(updates) == 3
    assert md.record.n_rejected == 4


def test_a_start_beyond_the_hard_threshold_goes_nowhere():
    atoms = copper_cell()
    before = atoms.positions.copy()
    md = trusted(atoms, 3.0)
    assert not md.run(5)
    assert "the start is beyond" in md.reason
    np.testing.assert_array_equal(atoms.positions, before)


class Failing(EMT):
    """Forces are not finite from some call on."""

    def __init__(self, calls):
        super().__init__()
        self.calls = calls

    def calculate(self, *args, **kwargs):
        super().calculate(*args, **kwargs)
        self.calls -= 1
        if self.calls < 0:
            self.results["forces"] = self.results["forces"] * np.nan


def test_forces_that_are_not_finite_end_the_run_where_they_still_were():
    atoms = copper_cell()
    atoms.calc = Failing(4)
    md = trusted(atoms, 0)
    assert not md.run(10)
    assert "is not finite at 12 fs (move 3)" in md.reason
    assert np.isfinite(atoms.positions).all()
    assert np.isfinite(atoms.get_momenta()).all()


def test_the_constants_of_langevin_are_those_of_the_step():
    atoms = copper_cell()
    md = trusted(atoms, 1.5, dynamics=langevin)
    md.run(1)
    fresh = langevin(atoms.copy(), md.record[-1].dt)
    for name in ("c1", "c2", "c3", "c4", "c5"):
        np.testing.assert_allclose(getattr(md.dynamics, name), getattr(fresh, name))


def test_a_step_that_varies_keeps_the_energy_as_well_as_the_full_one():
    """Over 400 moves with a step that changes 100 times, of copper at 600 K."""
    fixed = trusted(copper_cell(3, 1200.0), 0)
    varied = trusted(copper_cell(3, 1200.0), *[0, 0, 0, 1.5, 0, 1.5, 0, 0] * 60)
    assert fixed.run(150)
    assert varied.run(150)
    assert len({s.dt for s in varied.record}) > 2
    kinetic = np.mean([s.kinetic for s in fixed.record])
    assert varied.record.drift < max(1.5 * fixed.record.drift, 0.002 * kinetic)
    assert varied.record.drift < 0.005 * 4  # 5 meV per atom


def test_observers_see_the_moves_that_stand():
    atoms = copper_cell()
    md = trusted(atoms, 0, 0, 3.0, 0, on_hard=lambda *_: Update(EMT()))
    times = []
    md.dynamics.attach(lambda: times.append(md.time / DT))
    md.run(3)
    assert times == [0, 1, 2, 3]


def test_a_hot_run_is_stopped_before_the_forces_are_wrong(copper):
    """What EMT says of every structure on the way, that of the refused move included."""
    atoms = cell(3, width=0.02)
    atoms.calc = MfalCalculator(copper)
    rng = np.random.default_rng(5)
    atoms.set_momenta(
        np.sqrt(units.kB * 6000 * atoms.get_masses())[:, None] * rng.normal(size=(4, 3))
    )
    errors = []

    def judge():
        reference = atoms.copy()
        reference.calc = EMT()
        gap = reference.get_forces() - atoms.get_forces()
        errors.append(np.linalg.norm(gap, axis=1).max())

    free = atoms.copy()
    md = TrustRegionMD(VelocityVerlet(atoms, 2 * units.fs), soft=0.2, hard=0.4)
    md.dynamics.attach(judge)
    assert not md.run(200)
    assert "force sigma" in md.reason
    assert max(errors) < 1.0
    kept = list(errors)
    assert len(kept) == len(md.record.kept)
    # without the monitor the same run goes wrong
    errors.clear()
    atoms = free
    atoms.calc = MfalCalculator(copper, uncertainties=False)
    plain = VelocityVerlet(atoms, 2 * units.fs)
    plain.attach(judge)
    plain.run(100)
    assert max(errors) > 2 * max(kept)


def test_a_structure_that_is_learned_lets_the_run_go_on(copper):
    atoms = cell(3, width=0.02)
    atoms.calc = MfalCalculator(copper)
    rng = np.random.default_rng(5)
    atoms.set_momenta(
        np.sqrt(units.kB * 2500 * atoms.get_masses())[:, None] * rng.normal(size=(4, 3))
    )

    def learn(refused, verdict):
        model = atoms.calc.model.with_labels(emt_dataset((refused,)))
        return Update(MfalCalculator(model))

    md = TrustRegionMD(
        VelocityVerlet(atoms, 2 * units.fs), soft=0.2, hard=0.4, on_hard=learn
    )
    done = md.run(30)
    resumed = [k for k, s in enumerate(md.record) if s.event == RESUMED]
    assert resumed
    assert done or "still beyond" in md.reason
    refused, after = md.record[resumed[0] - 1], md.record[resumed[0] + 1]
    assert after.sigma < refused.sigma


def test_the_record_is_plain_json_and_is_drawn(tmp_path):
    md = trusted(copper_cell(), 0, 1.5, 0, 0, 3.0)
    md.run(8)
    md.record.write(tmp_path / "record.json")
    found = json.loads((tmp_path / "record.json").read_text())
    assert (found["soft"], found["hard"]) == (1.0, 2.0)
    assert found["reason"] == md.reason
    steps = [dict(zip(found["columns"], row, strict=True)) for row in found["steps"]]
    assert [s["event"] for s in steps][-1] == REJECTED
    assert steps[1]["dt"] == pytest.approx(4.0)
    assert steps[0]["sigma"] is None
    total = steps[2]["potential"] + steps[2]["kinetic"]
    assert total == pytest.approx(md.record[2].total)
    panels = Figure().subplots(2, 1)
    draw_record(md.record, *panels)
    assert len(panels[0].lines) == 4
    assert list(panels[0].lines[1].get_ydata()) == [3.0]


@pytest.mark.parametrize("soft, hard", [(2.0, 1.0), (1.0, 1.0), (0.0, 1.0), (-1, 1)])
def test_thresholds_that_contradict_each_other_are_refused(soft, hard):
    with pytest.raises(ValueError, match="soft threshold is positive and below"):
        trusted(copper_cell(), 0, soft=float(soft), hard=float(hard))


@pytest.mark.parametrize("options", [{"halvings": -1}, {"calm": 0}])
def test_steps_that_make_no_sense_are_refused(options):
    with pytest.raises(ValueError, match="halved 0 or more times"):
        trusted(copper_cell(), 0, **options)


@pytest.mark.parametrize("kind", [MelchionnaNPT, Bussi])
def test_a_dynamics_that_remembers_its_step_is_refused(kind):
    own = {Bussi: {"taut": 40 * units.fs}}.get(kind, {"externalstress": 0.0})
    dynamics = kind(copper_cell(), DT, temperature_K=300, **own)
    with pytest.raises(TypeError, match=f"step of {kind.__name__} cannot vary"):
        TrustRegionMD(dynamics, soft=1.0, hard=2.0, monitor=Scripted(0))


def test_a_calculator_without_force_sigma_needs_a_monitor():
    with pytest.raises(ValueError, match="forces_uncertainty, got EMT"):
        TrustRegionMD(VelocityVerlet(copper_cell(), DT), soft=0.1, hard=0.2)


def test_atoms_without_a_calculator_are_refused():
    atoms = copper_cell()
    dynamics = VelocityVerlet(atoms, DT)
    atoms.calc = None
    with pytest.raises(ValueError, match=r"set atoms\.calc first"):
        TrustRegionMD(dynamics, soft=0.1, hard=0.2)


def test_positions_that_are_not_finite_do_not_start():
    atoms = copper_cell()
    md = trusted(atoms, 0)
    atoms.positions[2, 0] = np.nan
    with pytest.raises(ValueError, match="position of atom 2 is not finite"):
        md.run(1)
