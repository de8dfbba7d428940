"""One interface, two engines: what a pick does is what a fit with its label does."""

import numpy as np
import pytest
import torch
from two_engines import DATA, ENGINES, LEVELS, Exact, Sparse

from mfal.acquisition import (
    IntegratedVariance,
    MaximumVariance,
    ParameterInformation,
    TargetInformation,
    Tolerance,
    energy_variance,
    energy_variance_per_atom,
    force_variance,
    force_variance_per_atom,
    largest_force_variance,
)
from mfal.models.pool import PoolEntry
from mfal.models.posterior import LabelPool

ASKED = [(4, 0), (4, 1), (2, 1), (5, 1)]  # the last one is the target


@pytest.fixture(params=ENGINES, ids=[e.__name__ for e in ENGINES])
def engine(request):
    return request.param


def pool_of(engine, model, asked, levels=LEVELS):
    entries = [PoolEntry(engine.structure(i), levels[k], structure=i) for i, k in asked]
    return engine.pool(model, entries)


def targets(pool):
    block = len(pool.slices) - 1
    tolerance = Tolerance(energy=0.05, forces=0.2).variances(pool, [block])
    return TargetInformation(pool, [block], tolerance)


MAKERS = {
    "parameters": ParameterInformation,
    "variance": MaximumVariance,
    "targets": targets,
    "integrated": lambda p: IntegratedVariance(p, [len(p.slices) - 1]),
}


@pytest.mark.parametrize("name", MAKERS)
@pytest.mark.parametrize("pick", [0, 1, 2])
def test_conditioning_on_pending_is_refitting_with_any_values(engine, name, pick):
    acquisition = MAKERS[name](pool_of(engine, engine.model(DATA), ASKED))
    acquisition.condition_on(pick)
    rest = [k for k in range(3) if k != pick]
    if engine is Sparse and pick == 1:
        rest.remove(0)  # a fit leaves out what a higher label tells of a lower misfit
    values = acquisition.values(rest)
    for seed in (1, 2):
        model = engine.model([*DATA, ASKED[pick]], seed)
        anew = MAKERS[name](pool_of(engine, model, [ASKED[k] for k in [*rest, 3]]))
        np.testing.assert_allclose(
            values, anew.values(range(len(rest))), rtol=1e-5, atol=1e-9
        )


def test_both_pools_name_their_rows(engine):
    pool = pool_of(engine, engine.model(DATA), ASKED)
    assert isinstance(pool, LabelPool)
    for block, (i, _) in enumerate(ASKED):
        n = len(engine.structure(i))
        assert pool.n_atoms(block) == n
        assert pool.quantity(block)[0] == 0 and (pool.quantity(block)[1:] == 1).all()
        basis = pool.force_basis(block)
        assert len(basis) == 3 * n
        torch.testing.assert_close(
            basis.mT @ basis, torch.eye(basis.shape[1], dtype=torch.float64)
        )


def test_measures_of_variance_are_those_of_the_predictions(engine):
    """At the lowest level nothing is inherited: sigma is the root of the variance."""
    model = engine.model([(i, 0) for i in range(4)], levels=1)
    structures = [engine.structure(i) for i in (4, 5)]
    pool = engine.pool(model, [PoolEntry(a, "low") for a in structures])
    found = model.predict(structures, calibrated=False)
    energies, forces = [], []
    for k in range(2):
        energies.append(float(found.energy_sigma[k]) ** 2)
        forces.append(np.square(found.forces_sigma[k]))
    if engine is Sparse:  # what no feature carries is the same before and after a label
        energies = [float(pool.covariance(k)[0, 0]) for k in range(2)]
    n = np.array([len(a) for a in structures])
    expected = {
        energy_variance: np.array(energies),
        energy_variance_per_atom: np.array(energies) / n**2,
        force_variance: np.array([f.sum() for f in forces]),
        force_variance_per_atom: np.array([f.sum() for f in forces]) / n,
        largest_force_variance: np.array([f.max() for f in forces]),
    }
    for measure, value in expected.items():
        acquisition = MaximumVariance(pool, measure)
        np.testing.assert_allclose(acquisition.values([0, 1]), value, rtol=1e-6)


def test_a_label_without_forces_has_no_force_variance(engine):
    model = engine.model(DATA)
    pool = engine.pool(model, [PoolEntry(engine.structure(4), "low", ("energy",))])
    for measure in (force_variance, largest_force_variance):
        assert MaximumVariance(pool, measure).value([0]) == 0.0


def test_a_tolerance_is_a_variance_for_each_row():
    pool = pool_of(Exact, Exact.model(DATA), ASKED)
    found = Tolerance(energy=0.02, forces=0.1).variances(pool, [0, 2])
    expected = [0.02**2, *[0.1**2] * 3] * 2
    assert found.tolist() == pytest.approx(expected)


def test_a_tolerance_of_nothing_is_refused():
    with pytest.raises(ValueError, match="forces must be positive, got 0"):
        Tolerance(forces=0.0)
