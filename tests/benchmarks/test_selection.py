"""Selection of a batch: the same labels as BoTorch's search, and tables from results."""

import pytest

from benchmarks.selection import run, vectors


def test_the_batch_is_that_of_botorchs_search():
    found = vectors.compared(15, 2)
    assert found["same_set"] and found["in_common"] == 2
    left = found["variance_left"]
    assert left["mfal"] == pytest.approx(left["botorch"], rel=1e-9)


def test_growth_is_the_power_of_the_pool():
    runs = [
        {"criterion": "targets", "n_pool": n, "wall_seconds": 3.0 + 0.1 * n**0.5,
         "seconds_directions": 3.0}
        for n in (100, 400)
    ]  # fmt: skip
    assert "to the 0.50" in run._growth({"runs": runs})
