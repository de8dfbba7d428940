"""A potential of methanol that the tests of the calculators share."""

import pytest

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
