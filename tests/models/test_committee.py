"""The uncertainty of a committee is the spread of its members."""

import numpy as np
import pytest
from ase.calculators.calculator import Calculator
from ase.calculators.emt import EMT
from ase.calculators.lj import LennardJones
from small_cells import cell, cluster, emt_dataset, small_map

from mfal.models import SparsePotential
from mfal.models.calibration import Recalibration
from mfal.models.committee import Committee


def pairs(*epsilons):
    return [LennardJones(epsilon=e, sigma=2.3, rc=5.0) for e in epsilons]


@pytest.fixture(scope="module")
def data():
    return emt_dataset(tuple(cell(seed, width=0.1) for seed in range(10)))


@pytest.fixture(scope="module")
def resampled(data):
    feature_map = small_map(data.structures, 10)
    return Committee.resampled(
        data, lambda d: SparsePotential.fit(d, feature_map), n_members=3, seed=1
    )


def test_mean_and_spread_are_those_of_the_members():
    atoms, members = cell(3), pairs(0.1, 0.2, 0.6)
    found = Committee(members).predict([atoms, cell(4)])
    assert len(found) == 2
    single = {name: [] for name in ("energy", "forces", "stress")}
    for member in members:
        alone = atoms.copy()
        alone.calc = member
        single["energy"].append(alone.get_potential_energy())
        single["forces"].append(alone.get_forces())
        single["stress"].append(alone.get_stress())
    for name, values in single.items():
        np.testing.assert_allclose(getattr(found[0], name), np.mean(values, axis=0))
        np.testing.assert_allclose(
            getattr(found[0], f"{name}_sigma"), np.std(values, axis=0, ddof=1)
        )
        assert np.all(np.asarray(getattr(found[0], f"{name}_noise")) == 0)
    assert found[0].total_sigma("energy") == found[0].energy_sigma


def test_members_that_agree_are_certain():
    found = Committee([EMT(), EMT()]).predict([cell(3)])[0]
    assert found.energy_sigma == 0
    assert np.abs(found.forces).max() > 0.1
    assert np.abs(found.forces_sigma).max() == 0


def test_a_stress_is_there_if_every_member_has_one(data, resampled):
    assert Committee(pairs(0.1, 0.2)).predict([cluster(1)])[0].stress is None
    assert Committee(pairs(0.1, 0.2)).predict([cell(1)])[0].stress is not None
    found = resampled.predict([cell(50)])[0]
    assert found.stress_sigma.shape == (6,)


def test_potentials_on_resampled_data_differ_where_data_are_few(data, resampled):
    sizes = [len(m.dataset) for m in resampled.members]
    assert all(4 <= n < 10 for n in sizes)
    assert len({m.dataset.structures[0].positions[0, 0] for m in resampled.members}) > 1
    near, far = (
        resampled.predict([cell(60, width=w)])[0].forces_sigma for w in (0.05, 0.4)
    )
    assert np.abs(far).mean() > 2 * np.abs(near).mean()
    means = [m.mean([cell(60)])[0].energy for m in resampled.members]
    assert resampled.predict([cell(60)])[0].energy == pytest.approx(np.mean(means))


def test_resampling_draws_the_same_with_the_same_seed(data):
    drawn = []
    for seed in (1, 1, 2):
        seen = []

        def fit(d, seen=seen):
            seen.append([a.positions[0, 0] for a in d.structures])
            return EMT()

        Committee.resampled(data, fit, n_members=2, seed=seed)
        drawn.append(seen)
    assert drawn[0] == drawn[1] != drawn[2]


def test_a_factor_multiplies_the_spreads_only():
    plain = Committee(pairs(0.1, 0.3)).predict([cell(3)])[0]
    factors = Recalibration(energy=2.0, forces=3.0)
    scaled = Committee(pairs(0.1, 0.3), recalibration=factors).predict([cell(3)])[0]
    assert scaled.energy == plain.energy
    assert scaled.energy_sigma == pytest.approx(2 * plain.energy_sigma)
    np.testing.assert_allclose(scaled.forces_sigma, 3 * plain.forces_sigma)


def test_calibrated_spreads_have_held_out_residuals_of_unit_mean_square(resampled):
    held_out = emt_dataset(tuple(cell(seed, width=0.1) for seed in range(80, 90)))
    committee = resampled.calibrated(held_out)
    found = committee.predict(held_out.structures)
    z = [
        (held_out.labels[i, "emt"].forces - found[i].forces) / found[i].forces_sigma
        for i in range(10)
    ]
    assert np.mean(np.square(z)) == pytest.approx(1.0)
    with pytest.raises(ValueError, match="no label of level 'dft'"):
        resampled.calibrated(held_out, "dft")


class EnergyOnly(Calculator):
    implemented_properties = ["energy"]  # noqa: RUF012 (of ASE)


@pytest.mark.parametrize("members", [[], [EMT()]])
def test_a_committee_of_one_is_refused(members):
    with pytest.raises(ValueError, match=f"two or more: got {len(members)}"):
        Committee(members)


def test_members_without_forces_are_refused():
    with pytest.raises(ValueError, match=r"member 1 \(EnergyOnly\) gives energy"):
        Committee([EMT(), EnergyOnly()])
    with pytest.raises(TypeError, match="member 0 is a str"):
        Committee(["emt", EMT()])


def test_resampling_needs_two_members(data):
    with pytest.raises(ValueError, match="got 1 members of 10 structures"):
        Committee.resampled(data, lambda d: EMT(), n_members=1)
