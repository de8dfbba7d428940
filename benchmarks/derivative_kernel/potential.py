"""One training of mfal's exact model on forces alone, and its errors.

    python -m benchmarks.derivative_kernel.potential FOLDER SIZE N_TRAIN N_TEST

The first N_TRAIN geometries of the file in FOLDER train, the last N_TEST test. The fit
sees no others. Prints one line of JSON.
"""

import argparse
import json
from importlib.metadata import version
from pathlib import Path

import numpy as np

from benchmarks.derivative_kernel.geometries import GFN2, ethanol
from benchmarks.derivative_kernel.measured import cost
from mfal.descriptors import InverseDistances, find_group
from mfal.models import ExactPotential, calibrated, metrics
from mfal.models.fitting import fit_hyperparameters
from mfal.models.observations import RowBuilder, observe


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("folder", type=Path)
    parser.add_argument("size", type=int)
    parser.add_argument("n_train", type=int)
    parser.add_argument("n_test", type=int)
    parser.add_argument("--evidence-rows", type=int, default=2500)
    options = parser.parse_args()
    dataset = ethanol(options.size, options.folder)
    train = dataset.subset(range(options.n_train))
    steps: dict[str, dict] = {"hyperparameters": {}, "training": {}, "calibration": {}}
    # the two halves of ExactPotential.fit, timed each for itself
    with cost(steps["hyperparameters"]):
        descriptor = InverseDistances(train.structures[0].get_chemical_symbols())
        fitted = fit_hyperparameters(
            observe(train, RowBuilder(descriptor)),
            descriptor.orders(find_group(train.structures)),
            n_levels=1,
            evidence_rows=options.evidence_rows,
        )
    with cost(steps["training"]):
        model = ExactPotential.with_fit(train, fitted)
    with cost(steps["calibration"]):
        model = calibrated(model)
    test = range(options.size - options.n_test, options.size)
    structures = [dataset.structures[i] for i in test]
    labels = np.array([dataset.labels[i, GFN2.name].forces for i in test])
    steps["prediction"] = {}
    with cost(steps["prediction"]):
        prediction = model.predict(structures)
    residual = (prediction.forces - labels).ravel()
    factor = model.recalibrations["standalone"].forces
    sigma = prediction.total_sigma("forces").ravel()
    found = {
        "n_train": options.n_train,
        "n_test": options.n_test,
        "n_rows": len(model.observations),
        "n_permutations": len(model.permutations),
        "evidence_rows": options.evidence_rows,
        "steps": steps,
        "hyperparameters": model.hyperparameters.to_json(),
        "converged": model.fitted.converged,
        "errors": metrics(residual, sigma),
        "errors_before_calibration": metrics(residual, sigma / factor),
        "versions": {name: version(name) for name in ("torch", "scipy")},
    }
    print(json.dumps(found))


if __name__ == "__main__":
    main()
