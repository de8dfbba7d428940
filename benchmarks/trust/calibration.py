"""Calibration on held-out labels: raw, recalibrated by leave-one-out, and conformal."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.published_tables.sets import LABELS, LEVEL, mlearn
from benchmarks.reference_data import reference_data
from mfal import Fidelity, LabelledDataset, read_extxyz
from mfal.data.joining import joined
from mfal.models import ExactPotential, SparsePotential, calibrated, calibrated_weights
from mfal.models.calibration import NOMINAL, Recalibration, calibration_error
from mfal.models.calibration_curves import area_of_gaps, summary
from mfal.models.conformal import ConformalIntervals
from mfal.models.leave_out import leave_one_out
from mfal.models.residuals import Residuals, left_out_residuals, residuals_of
from mfal.models.sparse import sparse_feature_map

METHYL = [[0, 1, 4, 3, 5, 2], [0, 1, 4, 3, 2, 5]]
METHANOL = Path(__file__).parents[2] / "tests/files/methanol_gfn2_mp2.extxyz"
"""24 geometries for the smoke run."""
PROMISED = 0.9
"""Coverage that conformal intervals are asked for."""

Judged = dict[str, dict[str, Any]]


def element(name: str, n_inducing: int, smoke: bool) -> dict[str, Judged]:
    """A sparse potential of an element of mlearn, judged on the published test set."""
    train, test = (_mlearn(name, part, smoke) for part in ("train", "test"))
    features = sparse_feature_map(train, n_inducing=n_inducing)
    model = calibrated_weights(SparsePotential.fit(train, features))
    labels = [test.labels[i, LEVEL] for i in range(len(test))]
    found: dict[str, dict[str, Residuals]] = {}
    for kind, used in (("raw", model.with_recalibrations({})), ("calibrated", model)):
        predicted = used.predict(test.structures, quantities=("energy", "forces"))
        found[kind] = residuals_of(predicted, labels, test.structures, LEVEL)
    return {LEVEL: judged(found["raw"], found["calibrated"], left_out_residuals(model))}


def methanol(n_train: int, n_splits: int, smoke: bool) -> dict[str, Judged]:
    """An exact potential of two levels, both judged on the geometries that are left.

    The mean over random splits: what is said of a model of few labels swings with them.
    """
    found = [_methanol_split(n_train, seed, smoke) for seed in range(n_splits)]
    return mean_of(found)  # type: ignore[no-any-return]


def mean_of(found: Sequence[Any]) -> Any:
    """Numbers averaged, wherever they stand in dictionaries and lists of one shape.

    >>> mean_of([{"a": 1.0, "b": [2.0]}, {"a": 3.0, "b": [4.0]}])
    {'a': 2.0, 'b': [3.0]}
    """
    first = found[0]
    if isinstance(first, Mapping):
        return {key: mean_of([one[key] for one in found]) for key in first}
    if isinstance(first, list):
        return [mean_of(column) for column in zip(*found, strict=True)]
    return float(np.mean(found))


def _methanol_split(n_train: int, seed: int, smoke: bool) -> dict[str, Judged]:
    data = _methanol(smoke)
    order = np.random.default_rng(seed).permutation(len(data)).tolist()
    train, test = data.subset(order[:n_train]), data.subset(order[n_train:])
    quick: dict[str, Any] = {"evidence_rows": 150, "restarts": 0} if smoke else {}
    model = calibrated(ExactPotential.fit(train, permutations=METHYL, **quick))
    result = {}
    for level in model.levels:
        left = leave_one_out(model, level)
        raw = model.with_recalibrations({})
        factors = model.with_recalibrations({"standalone": left.recalibration()})
        labels = [test.labels[i, level] for i in range(len(test))]
        found = [
            residuals_of(
                m.predict(test.structures, level), labels, test.structures, level
            )
            for m in (raw, factors)
        ]
        scale = left.recalibration()
        result[level] = judged(*found, _left_out(left, scale, train, level))
    return result


def judged(
    raw: Mapping[str, Residuals],
    recalibrated: Mapping[str, Residuals],
    left_out: Mapping[str, Residuals],
) -> Judged:
    """Summaries per quantity, and how often conformal intervals of structures hold."""
    result: Judged = {}
    for quantity, residuals in recalibrated.items():
        before = raw[quantity]
        result[quantity] = {
            "raw": summary(before.residual, before.sigma),
            "calibrated": summary(residuals.residual, residuals.sigma),
        }
        left = left_out[quantity]
        own = ConformalIntervals.of(left.residual, left.sigma)
        try:
            result[quantity]["quantiles"] = _of_quantiles(own, residuals)
            factor = ConformalIntervals.of_structures(
                *_parts(left_out[quantity])
            ).factor(PROMISED)
        except ValueError:  # too few labels to promise anything
            continue
        inside = [
            bool((np.abs(part.standardised) <= factor).all())
            for i in np.unique(residuals.structure)
            for part in [residuals.chosen(residuals.structure == i)]
        ]
        result[quantity]["conformal"] = {
            "promised": PROMISED,
            "factor": factor,
            "structures_inside": float(np.mean(inside)),
            "n_structures": len(inside),
        }
    return result


def chance(n_known: int, n_new: int, draws: int = 2000) -> dict[str, float]:
    """ECE of quantiles of labels, judged on labels that are drawn alike: mean and 95 %."""
    rng = np.random.default_rng(0)
    found = []
    for _ in range(draws):
        own = ConformalIntervals(rng.random(n_known))
        shares = own.coverage(rng.random(n_new), np.ones(n_new), NOMINAL)
        found.append(calibration_error(shares))
    return {"mean": float(np.mean(found)), "high": float(np.quantile(found, 0.95))}


def _of_quantiles(own: ConformalIntervals, test: Residuals) -> dict[str, Any]:
    """Coverages of intervals that are as wide as quantiles of left-out labels say."""
    at = np.append(NOMINAL, [0.68, 0.95])
    shares = own.coverage(test.residual, test.sigma, at)
    curve = shares[: len(NOMINAL)]
    gaps = np.concatenate([[0.0], curve - NOMINAL, [0.0]])
    lucky = (
        {"chance": chance(len(own.scores), len(test.residual))}
        if test.quantity == "energy"  # forces of one structure are not independent
        else {}
    )
    return {
        "coverage_68": float(shares[-2]),
        "coverage_95": float(shares[-1]),
        "ece": calibration_error(curve),
        "miscalibration_area": area_of_gaps(gaps, np.concatenate([[0], NOMINAL, [1]])),
        "curve": {"nominal": NOMINAL.tolist(), "empirical": curve.tolist()},
        **lucky,
    }


def _parts(residuals: Residuals) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    return residuals.residual, residuals.sigma, residuals.structure


def _left_out(
    left: Any, factor: Recalibration, train: LabelledDataset, level: str
) -> dict[str, Residuals]:
    """What was left out at a level as residuals: all labels hold energy and forces."""
    n, n_atoms = len(train), len(train.structures[0])
    blank = np.zeros(n, dtype=int)
    each = np.repeat(np.arange(n), 3 * n_atoms)
    return {
        "energy": Residuals(
            *("energy", level, left.energy / n_atoms),
            factor.energy * left.energy_sigma / n_atoms,
            *(np.arange(n), blank),
        ),
        "forces": Residuals(
            *("forces", level, left.forces.ravel()),
            factor.forces * left.forces_sigma.ravel(),
            *(each, 0 * each),
        ),
    }


def _mlearn(name: str, part: str, smoke: bool) -> LabelledDataset:
    folder = mlearn(smoke)
    names = (f"{name}_{part}.extxyz", f"{name}_{part}.extxyz.xz")
    source = next(folder / n for n in names if (folder / n).exists())
    return read_extxyz(source, level=LEVEL, keys=LABELS)


def _methanol(smoke: bool) -> LabelledDataset:
    if smoke:
        levels = [Fidelity("gfn2"), Fidelity("mp2")]
        return read_extxyz(METHANOL, fidelities=levels)
    source = reference_data("generated", "methanol_gfn2_hf_mp2_ccsdt", "frames.extxyz")
    return joined(
        [
            read_extxyz(
                source,
                level=level,
                keys={"energy": f"{level}_energy", "forces": f"{level}_forces"},
            )
            for level in ("gfn2", "mp2")
        ]
    )
