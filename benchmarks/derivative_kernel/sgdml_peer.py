"""One sGDML training and its errors; run by a Python that has sGDML.

    python sgdml_peer.py DATA.npz N_TRAIN SIGMA MAX_PROCESSES

DATA.npz holds z, R and F (A, eV/A) of all geometries and the numbers of those for
training, validation and testing, in this order. Prints one line of JSON.
"""

import json
import resource
import sys
import time

import numpy as np
from sgdml import __version__
from sgdml.predict import GDMLPredict
from sgdml.train import GDMLTrain


def main() -> None:
    data = np.load(sys.argv[1])
    n_train, sigma, processes = (int(word) for word in sys.argv[2:5])
    n_pool, n_validation, n_test = data["sizes"]
    start, train = seconds(), slice(n_train)
    trainer = GDMLTrain(max_processes=processes)
    task = trainer.create_task(
        dataset(data, train),
        n_train,
        dataset(data, slice(n_pool, n_pool + n_validation)),
        n_validation,
        sigma,
        use_E=False,
    )
    symmetry = seconds()
    model = trainer.train(task)
    trained = seconds()
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024 / 1e6
    predictor = GDMLPredict(model, max_processes=processes)
    parts = {
        "validation": slice(n_pool, n_pool + n_validation),
        "test": slice(n_pool + n_validation, n_pool + n_validation + n_test),
    }
    errors = {}
    for name, part in parts.items():
        n = len(data["R"][part])
        _, forces = predictor.predict(data["R"][part].reshape(n, -1))
        residual = forces.reshape(n, -1, 3) - data["F"][part]
        errors[name] = {
            "mae": float(np.abs(residual).mean()),
            "rmse": float(np.sqrt(np.square(residual).mean())),
        }
    found = {
        "sigma": sigma,
        "n_train": n_train,
        "n_permutations": len(model["perms"]),
        "wall_seconds": trained[0] - start[0],
        "cpu_seconds": trained[1] - start[1],
        "symmetry_wall_seconds": symmetry[0] - start[0],
        "symmetry_cpu_seconds": symmetry[1] - start[1],
        "peak_memory_MB": peak,
        "errors": errors,
        "versions": {"sgdml": __version__, "numpy": np.__version__},
    }
    print(json.dumps(found), flush=True)


def dataset(data, part):
    """sGDML's dictionary of a data set without energies."""
    return {
        "type": "d",
        "name": np.array("ethanol"),
        "theory": np.array("GFN2-xTB"),
        "z": data["z"],
        "R": data["R"][part],
        "F": data["F"][part],
    }


def seconds():
    """Wall and CPU seconds (with those of finished children) so far."""
    own = resource.getrusage(resource.RUSAGE_SELF)
    children = resource.getrusage(resource.RUSAGE_CHILDREN)
    cpu = sum(part.ru_utime + part.ru_stime for part in (own, children))
    return time.perf_counter(), cpu


if __name__ == "__main__":
    main()
