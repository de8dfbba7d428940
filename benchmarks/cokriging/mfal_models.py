"""mfal's model of vectors, given the data and nothing else."""

import numpy as np
from gpytorch_models import PACKAGES as PACKAGES_OF_BOTORCH
from gpytorch_models import column, fitted, tensor, with_level

from mfal.models import AutoregressiveGP

PACKAGES = ("mfal", *PACKAGES_OF_BOTORCH)
CHUNK = 100
"""Points whose posterior is asked for at once: it is a joint one."""


def autoregressive(X, Y, noisy):
    """`AutoregressiveGP`, which learns the noise."""
    rows = np.vstack([with_level(x, level) for level, x in enumerate(X)])
    model = AutoregressiveGP(tensor(rows), column(np.concatenate(Y)))
    predict, record = fitted(model, lambda x: with_level(x, len(X) - 1))

    def in_chunks(x):
        parts = [predict(part) for part in np.array_split(x, -(-len(x) // CHUNK))]
        return tuple(np.concatenate(found) for found in zip(*parts, strict=True))

    return in_chunks, record


MODELS = {"mfal": autoregressive}
