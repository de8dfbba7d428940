"""The models of BoTorch, with their default priors and transforms."""

import numpy as np
import torch
from botorch.fit import fit_gpytorch_mll
from botorch.models import MultiTaskGP, SingleTaskGP, SingleTaskMultiFidelityGP
from botorch.models.transforms import Standardize
from gpytorch.mlls import ExactMarginalLogLikelihood

PACKAGES = ("botorch", "gpytorch", "torch", "numpy")
SMALL = 1e-6
"""Noise variance of a deterministic code, in variances of the targets (BoTorch's number
of the docstring of `SingleTaskGP` for data without noise)."""


def multi_fidelity(X, Y, noisy):
    """`SingleTaskMultiFidelityGP`: the levels are fidelities from 0 to 1."""
    fidelity = np.linspace(0, 1, len(X))
    rows = np.vstack([with_level(x, s) for x, s in zip(X, fidelity, strict=True)])
    targets = column(np.concatenate(Y))
    model = SingleTaskMultiFidelityGP(
        tensor(rows),
        targets,
        _noise(targets, noisy),
        data_fidelities=[rows.shape[1] - 1],
        outcome_transform=Standardize(m=1),
    )
    return fitted(model, lambda x: with_level(x, 1.0))


def multi_task(X, Y, noisy):
    """`MultiTaskGP`: the levels are tasks, the highest is asked for."""
    rows = np.vstack([with_level(x, level) for level, x in enumerate(X)])
    targets = column(np.concatenate(Y))
    top = len(X) - 1
    model = MultiTaskGP(
        tensor(rows),
        targets,
        task_feature=-1,
        train_Yvar=_noise(targets, noisy),
        output_tasks=[top],
    )
    return fitted(model, lambda x: with_level(x, top))


def single_level(X, Y, noisy):
    """`SingleTaskGP` on the data of the highest level alone."""
    targets = column(Y[-1])
    model = SingleTaskGP(tensor(X[-1]), targets, _noise(targets, noisy))
    return fitted(model, lambda x: x)


def fitted(model, rows):
    """Fits; the function that predicts, and the fitted parameters."""
    torch.manual_seed(0)
    fit_gpytorch_mll(ExactMarginalLogLikelihood(model.likelihood, model))

    def predict(x):
        with torch.no_grad():
            posterior = model.posterior(tensor(rows(x)))
            mean, variance = posterior.mean[:, 0], posterior.variance[:, 0]
        return mean.numpy(), variance.numpy()

    record = {
        name.replace("raw_", ""): constraint.transform(value).tolist()
        if constraint is not None
        else value.tolist()
        for name, value, constraint in model.named_parameters_and_constraints()
    }
    return predict, record


def _noise(targets, noisy):
    """What BoTorch's models are told: nothing, or that there is none to speak of."""
    return None if noisy else SMALL * targets.var() * torch.ones_like(targets)


def with_level(x, level):
    """Inputs with the level as last column."""
    return np.column_stack([x, np.full(len(x), float(level))])


def tensor(array):
    return torch.as_tensor(array, dtype=torch.double)


def column(values):
    return tensor(values)[:, None]


MODELS = {
    "botorch_mf": multi_fidelity,
    "botorch_mt": multi_task,
    "single_level": single_level,
}
