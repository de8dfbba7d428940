"""A property of one row is its prediction, and what cancels has no error."""

import numpy as np
import pytest
from two_engines import DATA, ENGINES, Sparse, structures

from mfal.acquisition import (
    Property,
    PropertyTerm,
    barrier,
    energy_sum,
    property_posterior,
)
from mfal.models.calibration import Recalibration


@pytest.fixture(params=ENGINES, ids=[e.__name__ for e in ENGINES])
def engine(request):
    return request.param


@pytest.mark.parametrize("calibrated", [True, False])
@pytest.mark.parametrize("quantity", ["energy", "forces"])
def test_the_property_of_one_row_is_its_prediction(engine, quantity, calibrated):
    factors = {"standalone": Recalibration(2.0, 3.0, 5.0, unexplained=0.7)}
    model = engine.model(DATA).with_recalibrations(factors)
    (atoms, _) = structures(engine)
    for row in range(1 if quantity == "energy" else 3):
        weights = np.zeros(1 if quantity == "energy" else 3 * len(atoms))
        weights[row] = 1.0
        one = Property("row", (PropertyTerm(atoms, quantity, weights),))
        for level in (None, "low"):
            found = property_posterior(model, one, level, calibrated=calibrated)
            said = model.predict([atoms], level, calibrated=calibrated)
            value = np.ravel(getattr(said, quantity)[0])[row]
            sigma = np.ravel(getattr(said, f"{quantity}_sigma")[0])[row]
            assert found.value == pytest.approx(value, rel=1e-9)
            assert found.error == pytest.approx(sigma, rel=1e-6)


def test_a_stress_is_a_property_too():
    model, atoms = Sparse.model(DATA), Sparse.structure(5)
    weights = np.eye(6)[3]
    one = Property("yz", (PropertyTerm(atoms, "stress", weights),))
    found, said = property_posterior(model, one), model.predict([atoms])[0]
    assert found.value == pytest.approx(said.stress[3])
    assert found.error == pytest.approx(said.stress_sigma[3], rel=1e-6)


def test_what_cancels_has_no_error(engine):
    a, _ = structures(engine)
    found = property_posterior(engine.model(DATA), energy_sum("0", [(1, a), (-1, a)]))
    assert found.value == pytest.approx(0.0, abs=1e-9)
    assert found.error == pytest.approx(0.0, abs=1e-6)


def test_errors_of_structures_that_are_alike_mostly_cancel(engine):
    a, _ = structures(engine)
    b = a.copy()
    b.positions[0] += 0.01
    model = engine.model(DATA).with_recalibrations(
        {"standalone": Recalibration(unexplained=0.0)}
    )
    alone = property_posterior(model, energy_sum("E", [(1.0, a)])).error
    assert property_posterior(model, barrier("b", a, b)).error < 0.2 * alone
