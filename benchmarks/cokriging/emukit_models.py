"""The linear multi-fidelity model of emukit (on GPy), as its tutorial builds it."""

import GPy
import numpy as np
from emukit.model_wrappers import GPyMultiOutputWrapper
from emukit.multi_fidelity.convert_lists_to_array import convert_xy_lists_to_arrays
from emukit.multi_fidelity.kernels import LinearMultiFidelityKernel
from emukit.multi_fidelity.models import GPyLinearMultiFidelityModel

PACKAGES = ("emukit", "GPy", "numpy", "scipy")
RESTARTS = 5
"""As in the tutorial."""


def linear(X, Y, noisy):
    """RBF kernels with a lengthscale per input, no noise for deterministic codes.

    The model has no mean: targets are standardised, all levels together (which found
    better fits than each by itself, and than raw targets).
    """
    mean, spread = np.concatenate(Y).mean(), np.concatenate(Y).std()
    scaled = [(y - mean) / spread for y in Y]
    all_X, all_Y = convert_xy_lists_to_arrays(X, [y[:, None] for y in scaled])
    dimension, n_levels = X[0].shape[1], len(X)
    kernels = [GPy.kern.RBF(dimension, ARD=True) for _ in X]
    kernel = LinearMultiFidelityKernel(kernels)
    gp = GPyLinearMultiFidelityModel(all_X, all_Y, kernel, n_fidelities=n_levels)
    if not noisy:
        for name in ("Gaussian_noise", "Gaussian_noise_1", "Gaussian_noise_2")[
            :n_levels
        ]:
            getattr(gp.mixed_noise, name).fix(0)
    model = GPyMultiOutputWrapper(
        gp, n_levels, n_optimization_restarts=RESTARTS, verbose_optimization=False
    )
    model.optimize()

    def predict(x):
        rows = np.column_stack([x, np.full(len(x), n_levels - 1.0)])
        m, v = gp._raw_predict(rows)  # of the function, without noise
        return mean + spread * m[:, 0], spread**2 * v[:, 0]

    return predict, {"parameters": gp.param_array.tolist()}


MODELS = {"emukit_linear": linear}
