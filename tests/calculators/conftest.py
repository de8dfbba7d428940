"""Potentials that the tests of the calculators share."""

import pytest
from small_cells import cell, emt_dataset, small_map

from mfal.models import SparsePotential, calibrated_weights
from mfal.models.exact import ExactPotential
from mfal.models.leave_out import calibrated

METHYL = [[0, 1, 4, 3, 5, 2], [0, 1, 4, 3, 2, 5]]


@pytest.fixture(scope="session")
def potential(methanol):
    """Eight geometries, each with labels at both levels."""
    return calibrated(
        ExactPotential.fit(
            methanol.subset(range(8)),
            permutations=METHYL,
            evidence_rows=150,
            restarts=0,
        )
    )


@pytest.fixture(scope="session")
def copper():
    """Forty rattled, strained cubes of four atoms of copper, labelled by EMT."""
    structures = tuple(cell(seed, width=0.1) for seed in range(40))
    return calibrated_weights(
        SparsePotential.fit(emt_dataset(structures), small_map(structures, 24))
    )
