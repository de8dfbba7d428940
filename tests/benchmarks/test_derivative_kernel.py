"""The benchmark of the derivative kernel compares two computations of one number."""

import json
import sys

import numpy as np
import pytest

from benchmarks.derivative_kernel import run
from benchmarks.derivative_kernel.evidence import draw, with_gpytorch, with_mfal


@pytest.fixture(scope="module")
def both():
    data = draw(20)
    return with_mfal(data), with_gpytorch(data)


def test_the_evidence_is_that_of_gpytorch(both):
    (ours, _), (theirs, _) = both
    assert ours == pytest.approx(theirs, rel=1e-8)


def test_the_gradient_is_that_of_gpytorch(both):
    (_, ours), (_, theirs) = both
    np.testing.assert_allclose(ours, theirs, rtol=1e-8)


def test_the_smoke_run_reports_agreement_and_changes_no_file(monkeypatch, capsys):
    before = {f: f.stat().st_mtime_ns for f in run.HERE.iterdir() if f.is_file()}
    monkeypatch.setattr(sys, "argv", ["run", "--smoke", "--threads", "1"])
    run.main()
    said = json.loads(capsys.readouterr().out.splitlines()[0])
    assert said["evidence_difference"] <= 1e-8
    assert said["gradient_difference"] <= 1e-8
    after = {f: f.stat().st_mtime_ns for f in run.HERE.iterdir() if f.is_file()}
    assert after == before
