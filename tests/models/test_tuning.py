"""The shape of the kernel by evidence."""

import pytest
from small_cells import cell, emt_dataset

from mfal.models.tuning import KernelShape, tune_shape

OPTIONS = {"max_radial": 3, "max_angular": 2, "scale": 2.2}


@pytest.fixture(scope="module")
def dataset():
    return emt_dataset(tuple(cell(seed) for seed in range(10)))


def tuned(dataset, **changes):
    choices = {"cutoffs": [(2.6,), (3.5,)], "zetas": [1, 3], "widths": [0.5]}
    return tune_shape(
        dataset,
        KernelShape((3.5,), 2, 0.5),
        n_structures=6,
        n_inducing=8,
        **{**choices, **changes},
        **OPTIONS,
    )


def test_the_shape_of_largest_evidence_is_taken_one_property_after_the_other(dataset):
    best, trials = tuned(dataset)
    values = {t.shape: t.log_evidence for t in trials}
    assert values[best] == max(values.values())
    assert len(values) == len(trials)  # nothing is computed twice
    same = {s for s in values if s.zeta == 2}
    first = max(same, key=values.__getitem__)
    assert first.cutoffs == best.cutoffs


def test_it_is_the_same_every_time(dataset):
    assert tuned(dataset) == tuned(dataset)


def test_progress_is_told(dataset):
    told = []
    tuned(dataset, progress=told.append)
    assert len(told) == 4
    assert "log evidence" in told[0]
