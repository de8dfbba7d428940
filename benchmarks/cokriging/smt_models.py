"""The co-kriging models of SMT, with the settings of its documentation."""

import numpy as np
from smt.applications import MFK
from smt.applications.mfck import MFCK

PACKAGES = ("smt", "numpy", "scipy")


def mfk(X, Y, noisy):
    """Recursive co-kriging: theta0 of the example of the documentation, else defaults."""
    model = MFK(
        theta0=X[0].shape[1] * [1.0],
        corr="squar_exp",
        eval_noise=noisy,
        print_global=False,
    )
    _train(model, X, Y)

    def predict(x):
        mean = model.predict_values(x)[:, 0]
        return mean, np.ravel(model.predict_variances(x))

    record = {"theta": [np.ravel(t).tolist() for t in model.optimal_theta]}
    record["beta"] = [np.ravel(p["beta"]).tolist() for p in model.optimal_par]
    return predict, record


def mfck(X, Y, noisy):
    """Joint co-kriging: theta0 and its bounds as in the example of the documentation.

    Of its two optimisers the one that found better fits here (10 starts of COBYLA with
    100 evaluations, or 1,000 evaluations of nlopt's); noise starts where it may be
    (its default, log10 of 0, is an error).
    """
    model = MFCK(
        theta0=X[0].shape[1] * [0.5],
        theta_bounds=[1e-2, 100],
        corr="squar_exp",
        eval_noise=noisy,
        noise0=[1e-2 if noisy else 0.0],
        print_global=False,
    )
    model.options["hyper_opt"] = "Cobyla-nlopt"
    _train(model, X, Y)
    noise = model.optimal_theta[-1] * model.y_std**2 if noisy else 0.0

    def predict(x):
        mean = model.predict_values(x)[:, 0]
        # predict_variances leaves the variance in units of the standardised targets
        variance = model.predict_variances_all_levels(x)[:, -1]
        return mean, variance - noise  # of the function, without that of a measurement

    return predict, {"parameters": np.ravel(model.optimal_theta).tolist()}


def _train(model, X, Y):
    for level, (x, y) in enumerate(zip(X[:-1], Y[:-1], strict=True)):
        model.set_training_values(x, y[:, None], name=level)
    model.set_training_values(X[-1], Y[-1][:, None])
    model.train()


MODELS = {"smt_mfk": mfk, "smt_mfck": mfck}
