"""mfal's model of vectors, given the data and nothing else."""

import numpy as np
from gpytorch_models import PACKAGES as PACKAGES_OF_BOTORCH
from gpytorch_models import column, fitted, tensor, with_level

from mfal.models import AutoregressiveGP

PACKAGES = ("mfal", *PACKAGES_OF_BOTORCH)


def autoregressive(X, Y, noisy):
    """`AutoregressiveGP`, which learns the noise."""
    rows = np.vstack([with_level(x, level) for level, x in enumerate(X)])
    model = AutoregressiveGP(tensor(rows), column(np.concatenate(Y)))
    return fitted(model, lambda x: with_level(x, len(X) - 1))


MODELS = {"mfal": autoregressive}
