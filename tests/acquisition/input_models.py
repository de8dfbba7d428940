"""Models of two levels over two inputs, the same with more data, and dense algebra."""

import torch
from botorch.models import MultiTaskGP, SingleTaskMultiFidelityGP

from mfal.models.autoregressive import AutoregressiveGP

LEVEL = 2
NOISE = {"autoregressive": (0.01, 0.03), "fidelity": (0.02, 0.02), "task": (0.02, 0.05)}
KINDS = tuple(NOISE)


def inputs(*rows):
    return torch.tensor(rows, dtype=torch.float64)


TARGETS = inputs([0.2, 0.3, 1], [0.7, 0.8, 1], [0.45, 0.1, 1], [0.9, 0.5, 1])
LABELS = inputs([0.25, 0.35, 0], [0.65, 0.7, 1], [0.45, 0.2, 0], [0.1, 0.9, 1])
PENDING = inputs([0.3, 0.3, 1], [0.8, 0.7, 0])
TOLERANCE = torch.tensor([0.1, 0.02, 0.3, 0.05], dtype=torch.float64)
WEIGHTS = torch.tensor([1.0, 0.2, 3.0, 0.0], dtype=torch.float64)


def data(n=14, seed=0):
    """Inputs (two and a level) and values of two related levels, two low to one high."""
    generator = torch.Generator().manual_seed(seed)
    x = torch.rand(n, 2, generator=generator, dtype=torch.float64)
    level = (torch.arange(n) % 3 == 0).double().unsqueeze(-1)
    y = (6 * x[:, :1]).sin() + x[:, 1:] * (1 + level)
    return torch.cat([x, level], dim=-1), y


def build(kind, X=None, Y=None, *, outcome_transform=None):
    """A model of this kind with hyperparameters as they are before a fit."""
    X, Y = data() if X is None else (X, Y)
    if kind == "autoregressive":
        return _autoregressive(X, Y, outcome_transform)
    if kind == "fidelity":
        model = SingleTaskMultiFidelityGP(
            X, Y, data_fidelities=[LEVEL], outcome_transform=outcome_transform
        )
    else:
        model = MultiTaskGP(
            X, Y, task_feature=LEVEL, outcome_transform=outcome_transform
        )
    noise = model.likelihood.noise_covar
    values = torch.tensor(NOISE[kind])[: noise.noise.numel()]
    noise.initialize(noise=values.reshape(noise.noise.shape).double())
    return model.eval()


def _autoregressive(X, Y, outcome_transform):
    model = AutoregressiveGP(X, Y, outcome_transform=outcome_transform)
    noise = model.likelihood.noise_covar
    wanted = torch.tensor(NOISE["autoregressive"]).double()
    noise.excess = wanted / noise.unit.square()
    return model.eval()


def with_labels(model, kind, X):
    """The model, hyperparameters and all, once labels of these inputs are known."""
    known = data()
    Y = torch.cat([known[1], X.new_full((len(X), 1), 3.0)])
    more = build(kind, torch.cat([known[0], X]), Y)
    more.load_state_dict(model.state_dict())
    return more.eval()


def covariance(model, X):
    """Posterior covariance of the latent values by the model itself."""
    with torch.no_grad():
        return model.posterior(X).distribution.covariance_matrix.numpy()


def noise(kind, X):
    """Variance of the noise of labels."""
    return torch.tensor(NOISE[kind], dtype=torch.float64)[X[..., LEVEL].long()].numpy()
