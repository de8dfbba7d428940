"""A potential fitted to labelled files, with the record of what that gave and took."""

import resource
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, replace
from typing import Any

from mfal.campaign.engines import descriptor_options, sparse_features
from mfal.campaign.fit_config import FitConfig, model_kind
from mfal.data import LabelledDataset
from mfal.descriptors import InverseDistances
from mfal.models.exact import ExactPotential
from mfal.models.leave_out import calibrated
from mfal.models.left_out_weights import leave_out
from mfal.models.observations import RowBuilder, observe
from mfal.models.sparse import (
    LinearPotential,
    SparsePotential,
    WeightPotential,
    calibrated_weights,
    default_soap,
)
from mfal.models.storage import Potential
from mfal.models.tuning import KernelShape, Trial, tune_shape

MOST_SUSPECTS = 5
"""So many labels with odd left-out errors are named."""

LEAST_LABELS = 5
"""From so many labels of the highest level on sigmas are recalibrated."""


def fit_potential(
    dataset: LabelledDataset,
    config: FitConfig,
    progress: Callable[[str], None] = lambda text: None,
) -> tuple[Potential, dict[str, Any]]:
    """The potential, recalibrated by leave-one-out, and its record as plain JSON.

    In the record energies' noise is in eV per sqrt(atom), forces' in eV/A; `rho` and
    its standard errors go by the steps between levels; `seconds` are of wall time.
    The exact model has no features: their time is zero. `progress` is told what is
    being done.

    Raises:
        ValueError: structures that the model cannot describe.
        TooLargeError: the matrices would not fit into memory.
    """
    kind = model_kind(config, dataset)
    if kind != "exact":
        return _fit_weights(dataset, config, kind, progress)
    begin = time.perf_counter()
    descriptor = InverseDistances(dataset.structures[0].get_chemical_symbols())
    observe(dataset, RowBuilder(descriptor))  # refuses what the model cannot describe
    described = time.perf_counter()
    model = ExactPotential.fit(
        dataset,
        permutations=config.permutations,
        kernel=config.kernel,
        seed=config.seed,
        evidence_rows=config.evidence_rows,
        restarts=config.restarts,
    )
    fitted = time.perf_counter()
    if len(dataset.labelled(dataset.highest)) >= LEAST_LABELS:
        model = calibrated(model)
    end = time.perf_counter()
    descriptors = described - begin
    seconds = {
        "descriptors": descriptors,
        "features": 0.0,
        "hyperparameters": max(fitted - described - descriptors, 0.0),
        "calibration": end - fitted,
        "total": end - begin,
    }
    return model, {**model_record(model), "seconds": seconds, **_memory()}


def _fit_weights(
    dataset: LabelledDataset,
    config: FitConfig,
    kind: str,
    progress: Callable[[str], None],
) -> tuple[WeightPotential, dict[str, Any]]:
    begin = time.perf_counter()
    chosen, options = _with_quantities(dataset, config.sparse.quantities), config.sparse

    def count(done: int, total: int) -> None:
        progress(f"features: {done} of {total} structures")

    descriptor = descriptor_options(options)
    shape = KernelShape(options.cutoffs, options.zeta, options.width)
    trials: list[Trial] = []
    if options.tune:
        shape, trials = tune_shape(
            chosen, shape, seed=config.seed, progress=progress, **descriptor
        )
    tuned = time.perf_counter()
    shaped = options.model_copy(update=asdict(shape))
    model: WeightPotential
    if kind == "linear":
        soap = default_soap(chosen, shaped.cutoffs, width=shaped.width, **descriptor)
        model = LinearPotential.fit(chosen, soap, seed=config.seed, progress=count)
    else:
        progress("choosing inducing environments")
        feature_map = sparse_features(chosen, shaped, config.seed)
        selected = time.perf_counter()
        model = SparsePotential.fit(
            chosen, feature_map, seed=config.seed, progress=count
        )
        model.seconds["descriptors"] += selected - tuned
    fitted = time.perf_counter()
    left_out = leave_out(
        model.kept, model.weights, model.hyperparameters, bars=model.bars
    )
    if len(dataset.labelled(dataset.highest)) >= LEAST_LABELS:
        progress("calibrating by leave-one-out")
        model = calibrated_weights(model, left_out)
    end = time.perf_counter()
    seconds = {
        **model.seconds,
        "tuning": tuned - begin,
        "calibration": end - fitted,
        "total": end - begin,
    }
    record = weight_record(model, kind)
    record["tuning"] = [
        {**asdict(t.shape), "log_evidence": t.log_evidence} for t in trials
    ]
    record["suspects"] = left_out.suspects()
    return model, {**record, "seconds": seconds, **_memory()}


def _with_quantities(
    dataset: LabelledDataset, quantities: Sequence[str]
) -> LabelledDataset:
    """The data set without the other quantities.

    Raises:
        ValueError: nothing is left.
    """
    labels = {key: label.only(quantities) for key, label in dataset.labels.items()}
    labels = {key: label for key, label in labels.items() if label.quantities}
    if not labels:
        raise ValueError(
            f"no label holds {' or '.join(quantities)}: there is nothing to fit"
        )
    return replace(dataset, labels=labels)


def weight_record(model: WeightPotential, kind: str) -> dict[str, Any]:
    """The numbers of a fitted sparse or linear potential as plain JSON."""
    found, fit = model.hyperparameters, model.fitted
    errors = fit.rho_error.tolist()
    return {
        "kind": kind,
        "levels": list(model.levels),
        "n_labels": model.training.n_labels,
        "n_rows": model.statistics.n_rows,
        "n_features": model.feature_map.size,
        "descriptors": [d.specification() for d, _ in model.feature_map.parts],
        "scale": dict(zip(model.levels, found.scale.tolist(), strict=True)),
        "rho": found.rho.tolist(),
        "rho_standard_error": [None if e != e else e for e in errors],
        "noise": {
            level: dict(zip(("energy", "forces", "stress"), noise, strict=True))
            for level, noise in zip(model.levels, found.noise.tolist(), strict=True)
        },
        "energy_noise_ratio": fit.ratio,
        "log_evidence": fit.log_evidence,
        "converged": fit.converged,
        "evaluations": fit.evaluations,
        "jitter": model.jitter,
        "recalibration": {k: asdict(r) for k, r in model.recalibrations.items()},
    }


def model_record(model: ExactPotential) -> dict[str, Any]:
    """The numbers of a fitted potential as plain JSON."""
    found = model.hyperparameters
    errors = model.fitted.rho_error.tolist()
    return {
        "kind": "exact",
        "levels": list(model.levels),
        "n_labels": model.dataset.n_labels(),
        "n_rows": len(model.observations),
        "n_permutations": len(model.permutations),
        "kernels": dict(zip(model.levels, found.kernels, strict=True)),
        "lengthscale": dict(zip(model.levels, found.lengthscale.tolist(), strict=True)),
        "scale": dict(zip(model.levels, found.scale.tolist(), strict=True)),
        "rho": found.rho.tolist(),
        "rho_standard_error": [None if e != e else e for e in errors],
        "noise": {
            level: dict(zip(("energy", "forces"), noise[:2], strict=True))
            for level, noise in zip(model.levels, found.noise.tolist(), strict=True)
        },
        "log_evidence": model.fitted.log_evidence,
        "converged": model.fitted.converged,
        "jitter": model.jitter,
        "recalibration": {k: asdict(r) for k, r in model.recalibrations.items()},
    }


def summary_table(record: Mapping[str, Any]) -> list[list[str]]:
    """Labels, kernel and noise of each level of a `model_record`, heads first."""
    rows = [["level", "energies", "forces", "kernel", "meV/√atom", "meV/A (noise)"]]
    for name in record["levels"]:
        counts, noise = record["n_labels"][name], record["noise"][name]
        rows.append(
            [
                name,
                str(counts["energy"]),
                str(counts["forces"]),
                record["kernels"][name] if "kernels" in record else record["kind"],
                f"{1e3 * noise['energy']:.3g}",
                f"{1e3 * noise['forces']:.3g}",
            ]
        )
    return rows


def summary_lines(record: Mapping[str, Any]) -> list[str]:
    """rho of each step between levels, and the evidence."""
    levels, errors = record["levels"], record["rho_standard_error"]
    lines = [
        f"rho, {levels[i]} to {levels[i + 1]}: {rho:.4f}"
        + ("" if errors[i] is None else f" +- {errors[i]:.4f}")
        for i, rho in enumerate(record["rho"])
    ]
    note = "" if record["converged"] else " (NOT converged: more restarts may help)"
    lines.append(f"log evidence {record['log_evidence']:.2f}{note}")
    for suspect in record.get("suspects", [])[:MOST_SUSPECTS]:
        lines.append(
            f"look at structure {suspect['structure']} (from 0): without it, its "
            f"{suspect['quantity']} is off by {suspect['error_over_usual']:.0f} times "
            "what is usual"
        )
    more = len(record.get("suspects", [])) - MOST_SUSPECTS
    return [*lines, *([f"... and {more} more"] if more > 0 else [])]


def _memory() -> dict[str, float]:
    kibibytes = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return {"peak_memory_MB": kibibytes * 1024 / 1e6}
