"""Fits and predicts what it is told to, one line of JSON each; needs numpy only.

    python worker.py MODULE

MODULE, a file of this folder without its ending, has `MODELS` (a name and the function
that fits it) and `PACKAGES`. The first line out tells versions. Then each line in names a
model, a file of data and a file for the prediction; each line out tells the CPU seconds
of fit and prediction and what the model says of itself, or how it failed.
"""

import importlib
import json
import sys
import time
import traceback
import warnings
from importlib.metadata import version

import numpy as np

CHUNK = 500
"""Points that are predicted at once, by every model."""


def main():
    answers, sys.stdout = sys.stdout, sys.stderr  # what packages print is not an answer
    module = importlib.import_module(sys.argv[1])
    hello = {name: version(name) for name in module.PACKAGES}
    print(json.dumps(hello), file=answers, flush=True)
    warm = set()
    for line in sys.stdin:
        task = json.loads(line)
        if task["model"] not in warm:  # imports and caches are not the cost of a fit
            warm.add(task["model"])
            warmed(module.MODELS[task["model"]])
        print(json.dumps(done(module, task)), file=answers, flush=True)


def done(module, task):
    """What a task took, and what the model says of itself; or the failure."""
    with np.load(task["data"]) as file:
        data = dict(file)
    n_levels = sum(name.startswith("X") for name in data)
    X = [data[f"X{k}"] for k in range(n_levels)]
    Y = [data[f"Y{k}"] for k in range(n_levels)]
    np.random.seed(int(data["seed"]))  # noqa: NPY002 - what the packages draw from
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            began = time.process_time()
            predict, record = module.MODELS[task["model"]](X, Y, bool(data["noisy"]))
            fitted = time.process_time()
            found = [predict(x) for x in chunks(data["test_X"])]
            predicted = time.process_time()
    except Exception as error:
        return {
            "failure": f"{type(error).__name__}: {error}"[:500],
            "traceback": traceback.format_exc()[-2000:],
        }
    mean, variance = (np.concatenate([part[k] for part in found]) for k in (0, 1))
    np.savez(task["prediction"], mean=mean, variance=variance)
    return {
        "fit_seconds": fitted - began,
        "predict_seconds": predicted - fitted,
        "record": record,
    }


def warmed(fit):
    """Fits and predicts a few points once, whatever comes of it."""
    X = [np.linspace(0, 1, n)[:, None] for n in (9, 5)]
    try:
        predict, _ = fit(X, [np.sin(5 * x[:, 0]) for x in X], False)
        predict(X[0])
    except Exception as error:
        print(f"warming up: {error}", file=sys.stderr)


def chunks(points):
    """The points, some at a time."""
    return (points[k : k + CHUNK] for k in range(0, len(points), CHUNK))


if __name__ == "__main__":
    main()
