"""A potential fitted to labelled files, with the record of what that gave and took."""

import resource
import time
from dataclasses import asdict
from typing import Any

from mfal.campaign.fit_config import FitConfig
from mfal.data import LabelledDataset
from mfal.descriptors import InverseDistances
from mfal.models.exact import ExactPotential
from mfal.models.leave_out import calibrated
from mfal.models.observations import RowBuilder, observe

LEAST_LABELS = 5
"""From so many labels of the highest level on sigmas are recalibrated."""


def fit_potential(
    dataset: LabelledDataset, config: FitConfig
) -> tuple[ExactPotential, dict[str, Any]]:
    """The potential, recalibrated by leave-one-out, and its record as plain JSON.

    In the record energies' noise is in eV per sqrt(atom), forces' in eV/A; `rho` and
    its standard errors go by the steps between levels; `seconds` are of wall time.
    The exact model has no features: their time is zero.

    Raises:
        ValueError: structures that are not one molecule, or stresses.
        TooLargeError: the covariance matrix would not fit into memory.
    """
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


def _memory() -> dict[str, float]:
    kibibytes = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return {"peak_memory_MB": kibibytes * 1024 / 1e6}
