"""One training of mfal's exact model on forces alone, and its errors.

    python -m benchmarks.derivative_kernel.potential FOLDER SIZE N_TRAIN N_TEST

The first N_TRAIN geometries of the file in FOLDER train, the last N_TEST test. The fit
sees no others. Prints one line of JSON.
"""

import argparse
import json
import time
from importlib.metadata import version
from pathlib import Path

import numpy as np

from benchmarks.derivative_kernel.geometries import GFN2, ethanol
from benchmarks.derivative_kernel.measured import cost
from mfal.models.calibration import metrics
from mfal.models.exact import ExactPotential


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("folder", type=Path)
    parser.add_argument("size", type=int)
    parser.add_argument("n_train", type=int)
    parser.add_argument("n_test", type=int)
    parser.add_argument("--evidence-rows", type=int, default=2500)
    parser.add_argument("--kernel", default="auto")
    options = parser.parse_args()
    dataset = ethanol(options.size, options.folder)
    train = dataset.subset(range(options.n_train))
    found: dict = {"n_train": options.n_train, "n_rows": 0}
    with cost(found):
        model = ExactPotential.fit(
            train, kernel=options.kernel, evidence_rows=options.evidence_rows
        )
    found["n_rows"] = len(model.observations)
    found["n_permutations"] = len(model.permutations)
    found["hyperparameters"] = model.hyperparameters.to_json()
    found["converged"] = model.fitted.converged
    test = range(options.size - options.n_test, options.size)
    labels = [dataset.labels[i, GFN2.name].forces for i in test]
    started = time.perf_counter()
    prediction = model.predict([dataset.structures[i] for i in test])
    found["seconds_per_prediction"] = (time.perf_counter() - started) / len(test)
    residual = (prediction.forces - np.array(labels)).ravel()
    sigma = prediction.total_sigma("forces").ravel()
    found["errors"] = metrics(residual, sigma)
    found["versions"] = {name: version(name) for name in ("torch", "scipy")}
    print(json.dumps(found))


if __name__ == "__main__":
    main()
