"""A committee as a calculator, and what is built on its uncertainty."""

import numpy as np
import pytest
from ase import units
from ase.calculators.calculator import PropertyNotImplementedError
from ase.calculators.emt import EMT
from ase.calculators.lj import LennardJones
from ase.md.verlet import VelocityVerlet
from small_cells import cell, cluster

from mfal.calculators import (
    CommitteeCalculator,
    ForceSigmaMonitor,
    TrustRegionMD,
    freeze,
)
from mfal.models.committee import Committee


@pytest.fixture
def calculator():
    pairs = [LennardJones(epsilon=e, sigma=2.3, rc=5.0) for e in (0.1, 0.11, 0.13)]
    return CommitteeCalculator(Committee(pairs))


def test_results_are_means_and_spreads(calculator):
    atoms = cell(3)
    atoms.calc = calculator
    found = calculator.committee.predict([atoms])[0]
    assert atoms.get_potential_energy() == found.energy
    np.testing.assert_array_equal(atoms.get_forces(), found.forces)
    np.testing.assert_array_equal(atoms.get_stress(), found.stress)
    for name in ("energy", "forces", "stress"):
        sigma = calculator.get_property(f"{name}_uncertainty", atoms)
        np.testing.assert_array_equal(sigma, getattr(found, f"{name}_sigma"))
    assert "mfal_forces_uncertainty" in freeze(atoms).arrays


def test_a_molecule_has_no_stress():
    calculator = CommitteeCalculator(Committee([EMT(), EMT(asap_cutoff=True)]))
    atoms = cluster(1)
    atoms.calc = calculator
    assert atoms.get_forces().shape == (2, 3)
    with pytest.raises(PropertyNotImplementedError):
        atoms.get_stress()


def test_monitor_and_trust_region_work_on_the_spread(calculator):
    atoms = cell(3, width=0.05)
    atoms.calc = calculator
    spread = np.linalg.norm(
        calculator.get_property("forces_uncertainty", atoms), axis=1
    )
    assert ForceSigmaMonitor()(atoms).grade == pytest.approx(spread.max())
    atoms.set_momenta(12 * np.random.default_rng(0).normal(size=(4, 3)))
    md = TrustRegionMD(
        VelocityVerlet(atoms, 2 * units.fs),
        soft=1.1 * spread.max(),
        hard=1.5 * spread.max(),
    )
    assert not md.run(300)
    assert "force sigma" in md.reason
    assert ForceSigmaMonitor()(atoms).grade < 1.5 * spread.max()


def test_positions_that_are_not_finite_are_refused(calculator):
    atoms = cell(3)
    atoms.positions[0, 0] = np.inf
    atoms.calc = calculator
    with pytest.raises(ValueError, match="position of atom 0 is not finite"):
        atoms.get_forces()
