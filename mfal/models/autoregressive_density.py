r"""The density of hyperparameters given the data: jointly, and level by level.

The evidence of levels factors as log p(y_0) + log p(y_1 | y_0) + ..., where the factor
of level l needs only the posterior of f_(l-1) at the inputs of that level,

.. math:: y_l \sim \mathcal N\big(\rho m,\ \rho C \rho + K_l + \sigma_l^2\big),
          \qquad f_{l-1} \mid y_0 \dots y_{l-1} \sim \mathcal N(m, C).
"""

from dataclasses import dataclass
from typing import Any

import torch
from gpytorch.likelihoods import FixedNoiseGaussianLikelihood
from jaxtyping import Float, Int
from torch import Tensor

from mfal.models.autoregressive_evidence import dense_covariance, log_density


@dataclass(frozen=True)
class LevelRows:
    """Training rows sorted by level; `start[l]` is the first row of level l."""

    full: Float[Tensor, "n m"]
    x: Float[Tensor, "n d"]
    level: Int[Tensor, " n"]
    residual: Float[Tensor, " n"]
    known_noise: Float[Tensor, " n"] | None
    start: tuple[int, ...]

    def count(self, level: int) -> int:
        """Number of rows of a level."""
        return self.start[level + 1] - self.start[level]

    def of(self, level: int) -> slice:
        """The rows of a level."""
        return slice(self.start[level], self.start[level + 1])


def sorted_rows(model: Any) -> LevelRows:
    """The training data of a model in evaluation mode, sorted by level.

    Raises:
        ValueError: a batch of data sets, as fantasies have.
    """
    full, y = model.train_inputs[0], model.train_targets
    if full.dim() != 2:
        raise ValueError(
            "a model with a batch of data sets (fantasies) cannot be fitted: fit the "
            "model first, then condition it"
        )
    x, level = model.covar_module.split(full)
    order = level.argsort(stable=True)
    full, x, y, level = full[order], x[order], y[order], level[order]
    noise = None
    if isinstance(model.likelihood, FixedNoiseGaussianLikelihood):
        noise = model.likelihood.noise.detach()[order]
    start = tuple(int((level < k).sum()) for k in range(model.n_levels + 1))
    residual = y - model.mean_module(full).detach()
    return LevelRows(full, x, level, residual, noise, start)


def joint_density(model: Any, rows: LevelRows) -> Float[Tensor, "*b"]:
    """log p(y, hyperparameters) of all rows: GPyTorch's objective times n."""
    return log_density(joint_covariance(model, rows), rows.residual) + log_prior(model)


@dataclass(frozen=True)
class LowerPosterior:
    """f_(l-1) minus its mean at the inputs of level l, given all lower data."""

    mean: Float[Tensor, " n"]
    covariance: Float[Tensor, "n n"]


def level_density(
    model: Any,
    rows: LevelRows,
    level: int,
    lower: LowerPosterior | None,
    pick: Int[Tensor, " k"],
) -> Float[Tensor, "*b"]:
    """log p(y_l | lower levels) + log prior over the picked rows of a level."""
    kernel = model.covar_module
    index = rows.start[level] + pick
    x, unit = rows.x[index], kernel.level_unit[..., level, None, None]
    own = dense_covariance(kernel.kernels[level], x) + kernel.offset_variance
    noise = noise_of(model, rows, index)
    k = unit.square() * own + torch.diag_embed(noise)
    residual = rows.residual[index]
    if lower is not None:
        rho = rho_at(kernel, level, x)
        residual = residual - rho * lower.mean[pick]
        between = lower.covariance[pick][:, pick]
        k = k + rho.unsqueeze(-1) * between * rho.unsqueeze(-2)
    return log_density(k, residual) + log_prior(model)


def log_prior(model: Any) -> Float[Tensor, "*b"]:
    """Sum of the log densities of all priors."""
    batch = model.hyperparameter_batch
    total = model.train_targets.new_zeros(batch)
    for _, module, prior, closure, _ in model.named_priors():
        total = total + prior.log_prob(closure(module)).reshape(*batch, -1).sum(-1)
    return total


def joint_covariance(model: Any, rows: LevelRows) -> Float[Tensor, "*b n n"]:
    """Covariance of all training values, noise included."""
    kernel = model.covar_module
    weights = kernel.weights(rows.x, rows.level)
    noise = noise_of(model, rows, torch.arange(len(rows.x)))
    total = torch.diag_embed(noise.expand(*model.hyperparameter_batch, -1))
    for m, base in enumerate(kernel.kernels):
        first = rows.start[m]
        if first == len(rows.x):
            break
        k = dense_covariance(base, rows.x[first:]) + kernel.offset_variance
        w = weights[..., first:, m]
        total[..., first:, first:] += k * w.unsqueeze(-1) * w.unsqueeze(-2)
    return total


def noise_of(
    model: Any, rows: LevelRows, index: Int[Tensor, " k"]
) -> Float[Tensor, "*b k"]:
    """Variance of the noise of the rows."""
    if rows.known_noise is not None:
        return rows.known_noise[index]
    return model.likelihood.noise_covar(rows.full[index]).diagonal()


def rho_at(kernel: Any, level: int, x: Float[Tensor, "n d"]) -> Float[Tensor, "*b n"]:
    """rho_l(x) in the units of the values."""
    unit = kernel.level_unit
    rho = kernel.rho[..., level - 1, None].expand(*unit.shape[:-1], len(x))
    if hasattr(kernel, "slope"):
        rho = rho + (x @ kernel.slope[..., level - 1, :, None]).squeeze(-1)
    return rho * (unit[..., level] / unit[..., level - 1]).unsqueeze(-1)


def lower_posterior(model: Any, rows: LevelRows, level: int) -> LowerPosterior:
    """What the data of the lower levels say of f_(l-1) at the inputs of level l."""
    with torch.no_grad():
        asked = rows.full[rows.of(level)].clone()
        asked[:, model.fidelity_column] -= 1  # the same observable, one level lower
        prior = model.covar_module(asked).to_dense()
        mean = model.covar_module.known_mean(asked)
        n = rows.start[level]
        if n == 0:
            return LowerPosterior(mean, prior)
        data = model.covar_module(rows.full[:n]).to_dense()
        data = data + noise_of(model, rows, torch.arange(n)).diag()
        cross = model.covar_module(asked, rows.full[:n]).to_dense()
        factor = torch.linalg.cholesky(data)
        residual = rows.residual[:n] - model.covar_module.known_mean(rows.full[:n])
        both = torch.cat([cross.mT, residual[:, None]], dim=1)
        white = torch.linalg.solve_triangular(factor, both, upper=False)
        left, target = white[:, :-1], white[:, -1]
        return LowerPosterior(mean + left.mT @ target, prior - left.mT @ left)
