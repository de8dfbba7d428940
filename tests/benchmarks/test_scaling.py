"""Scaling: laws through known points, sums of parts, and where a node ends."""

import math
import pickle

import numpy as np
import pytest

from benchmarks.scaling import extrapolation, laws, measuring, partitioned, threads
from mfal.models.feature_map import FeatureMap

TINY = {
    "smoke": True,
    "n_inducing": 12,
    "n_parts": 2,
    "n_test": 1,
    "candidates": 4,
    "n_structures": 2,
    "batch": 2,
}


def test_a_power_law_through_its_own_points_is_found_with_no_error():
    x = np.array([1.0, 10, 20, 40, 80])
    y = 3 * x**1.7
    y[0] = (
        100.0  # an overhead at the smallest size, which is not among the four largest
    )
    law = laws.power_law(x, y)
    assert law.exponent == pytest.approx(1.7) and law.error < 1e-9
    assert law(1000) == pytest.approx(3 * 1000**1.7)


def test_the_error_of_the_exponent_is_that_of_scipys_line():
    from scipy.stats import linregress

    x, y = [1, 2, 4, 8], [1.0, 2.5, 3.5, 9.0]
    expected = linregress(np.log(x), np.log(y))
    law = laws.power_law(x, y)
    assert law.exponent == pytest.approx(expected.slope)
    assert law.error == pytest.approx(expected.stderr)
    low, high = law.range(80)
    assert high / low == pytest.approx((80 / 8) ** (4 * expected.stderr))


def test_the_floor_is_the_longer_of_operations_and_bytes():
    rates = {"flops_per_second": 10.0, "bytes_per_second": 4.0}
    assert laws.floor_seconds({"flops": 20.0, "moved": 4.0}, rates) == 2.0
    assert laws.floor_seconds({"flops": 20.0, "moved": 40.0}, rates) == 10.0


def test_memory_that_a_stage_takes_and_gives_back_is_seen():
    found = {}
    with measuring.stage(found, "first"):
        np.ones(10_000_000)
    with measuring.stage(found, "second"):
        pass
    assert found["first"]["grown_MB"] == pytest.approx(80, rel=0.1)
    assert found["second"]["grown_MB"] < 8


def test_the_product_of_laws_is_the_cost_that_it_was_made_from():
    def seconds(n, atoms, inducing, levels):
        return 1e-6 * n * atoms * inducing**1.5 * levels**0.1

    sizes = {
        "structures": [(n, 100, 400, 1) for n in (8, 16, 32)],
        "atoms": [(1, a, 400, 1) for a in (32, 108, 256)],
        "inducing": [(1, 100, m, 1) for m in (100, 400, 1600)],
        "levels": [(1, 100, 400, k) for k in (1, 2, 4)],
    }
    axes = {
        name: [
            {
                "size": where[k],
                "stages": {"features": {"cpu_seconds": seconds(*where)}},
            }
            for where in points
        ]
        for k, (name, points) in enumerate(sizes.items())
    }
    settings = {"structures": {"n_atoms": 100, "n_inducing": 400}}
    of = extrapolation.Laws({"axes": axes, "settings": settings})
    found, low, high = of.features(10**6, 64, 1500, 2)
    assert found == pytest.approx(seconds(10**6, 64, 1500, 2))
    assert low == pytest.approx(high)


def test_the_exponent_of_the_algorithm_is_within_the_range():
    law = laws.PowerLaw(10.0, 2.0, 0.8, 0.05)
    assert law.range(1000.0) == pytest.approx((2 * 100**0.7, 2 * 100**0.9))
    assert law.range(1000.0, known=1.0) == pytest.approx((2 * 100**0.7, 200.0))


def test_a_node_ends_where_the_law_of_memory_reaches_it():
    found = extrapolation._where(lambda n: 5 * n**2, 5e12)
    assert found == pytest.approx(1e6, rel=2e-3)


def test_a_fit_from_sums_of_parts_is_the_fit_in_one_process(tmp_path):
    pytest.importorskip("distributed", reason="needs mfal[dask]")
    found = {}
    partitioned.fit_compared(4, {**TINY, "work": str(tmp_path)}, found)
    about = found["there"]
    differences = about["differences"]
    assert set(differences["given"]) == set(differences["searched"])
    assert set(differences["given"]) > {"energy", "forces", "forces_sigma"}
    assert differences["given"]["forces"] > 0  # another order of the same sums
    assert about["same_kept"]


def test_a_fit_that_differs_ends_the_run():
    good = {"energy": 0.0, "forces_sigma": 0.9e-5}
    partitioned.check_agreement({"searched": good, "sums": {"left_out": 1e-6}})
    with pytest.raises(AssertionError, match=r"forces_sigma \(given\): a fit"):
        partitioned.check_agreement({"given": good})
    with pytest.raises(AssertionError, match=r"information \(sums\)"):
        partitioned.check_agreement({"sums": {"information": math.nan}})


def test_parts_on_a_cluster_pick_what_plain_greedy_picks(tmp_path):
    pytest.importorskip("distributed", reason="needs mfal[dask]")
    found = {}
    partitioned.selection_compared(6, {**TINY, "work": str(tmp_path)}, found)
    assert found["in parts"]["share"] >= partitioned.SHARE
    files = (tmp_path / "pool" / "model", tmp_path / "pool" / "features.f32")
    factory = partitioned.InformationOfPart(*files)
    there = pickle.loads(pickle.dumps(factory))  # noqa: S301
    assert there([1, 2]).values([0, 1]).tolist() == pytest.approx(
        factory([1, 2]).values([0, 1]).tolist()
    )


def test_threads_are_compared_and_what_takes_one_is_put_back():
    before = FeatureMap.rows
    found = threads.measured(smoke=True)
    assert FeatureMap.rows is before
    assert len(found) == 3
    numbers = {"1", str(threads.CORES)}
    assert all(set(t) == numbers and min(t.values()) > 0 for t in found.values())
    document = {
        "many": threads.CORES,
        "machine": {"processor": "p", "cores": 2},
        "passive": found,
        "active": found,
    }
    assert threads.told(document).count("\n") == 6
