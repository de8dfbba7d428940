"""Two levels of vector data: their pairs, and their evidence joined and apart."""

from dataclasses import dataclass
from typing import NamedTuple

import gpytorch
import numpy as np
import torch
from botorch.fit import fit_gpytorch_mll
from gpytorch.likelihoods import FixedNoiseGaussianLikelihood
from gpytorch.mlls import ExactMarginalLogLikelihood
from jaxtyping import Float
from torch import Tensor

from mfal.models.autoregressive import AutoregressiveGP
from mfal.models.autoregressive_density import joint_density, sorted_rows
from mfal.models.autoregressive_parameters import ParameterVector
from mfal.models.autoregressive_sampling import laplace_root
from mfal.models.level_evidence import integrated


@dataclass(frozen=True)
class Evidences:
    """Log evidences (nats, in the units of the data), rho, and the low level elsewhere."""

    joint: float
    independent: float
    rho: float
    rho_error: float
    low_at_high: Float[np.ndarray, " n"]
    """The low level's own prediction at the high inputs."""


@dataclass(frozen=True)
class TwoLevels:
    """Inputs without their level, values and known variances of a low and a high level."""

    low: int
    high: int
    low_x: Float[Tensor, "m d"]
    low_y: Float[Tensor, " m"]
    high_x: Float[Tensor, "n d"]
    high_y: Float[Tensor, " n"]
    low_variance: Float[Tensor, " m"] | None = None
    high_variance: Float[Tensor, " n"] | None = None

    @staticmethod
    def of(
        X: Float[Tensor, "n d"],
        Y: Float[Tensor, "n 1"],
        Yvar: Float[Tensor, "n 1"] | None,
        column: int,
        low: int,
        high: int,
    ) -> "TwoLevels":
        """The rows of two levels of a data set, `column` that of the level."""
        column = column % X.shape[-1]
        x = torch.cat([X[:, :column], X[:, column + 1 :]], dim=1)
        parts = [X[:, column] == low, X[:, column] == high]
        return TwoLevels(
            low,
            high,
            *(t for part in parts for t in (x[part], Y[part, 0])),
            *(None if Yvar is None else Yvar[part, 0] for part in parts),
        )

    @staticmethod
    def of_model(model: AutoregressiveGP, low: int, high: int) -> "TwoLevels":
        """The data of a model, as they were before it standardised them.

        Raises:
            ValueError: a lowest level through inducing points.
        """
        if model.lowest is not None:
            raise ValueError(
                "a diagnosis needs every row of its levels, but the lowest level of "
                "this model goes through inducing points: pass the data themselves, "
                "with at most 2000 rows of the lowest level"
            )
        X, y = _inputs(model), model.train_targets.unsqueeze(-1)
        variance = None
        if isinstance(model.likelihood, FixedNoiseGaussianLikelihood):
            variance = model.likelihood.noise.unsqueeze(-1)
        transform = getattr(model, "outcome_transform", None)
        if transform is not None:
            y, variance = transform.untransform(y, variance, X=X)
        column = model.fidelity_column
        return TwoLevels.of(
            X,
            y.detach(),
            None if variance is None else variance.detach(),
            column,
            low,
            high,
        )

    def paired(self) -> tuple[Float[np.ndarray, " k"], Float[np.ndarray, " k"], int]:
        """Mean values of both levels where they have the same inputs, and their number."""
        low, high = (
            _by_input(self.low_x, self.low_y),
            _by_input(self.high_x, self.high_y),
        )
        shared = [key for key in high if key in low]
        return (
            np.array([np.mean(low[key]) for key in shared]),
            np.array([np.mean(high[key]) for key in shared]),
            len(shared),
        )

    def evidences(self) -> Evidences:
        """Evidence of a joint model and of each level alone, all fitted here.

        The models are those of `AutoregressiveGP` at the maximum of the posterior
        density of their hyperparameters.
        """
        model = self._joint()
        own = [
            _fitted(_with_level(x, 0), y, variance)
            for x, y, variance in (
                (self.low_x, self.low_y, self.low_variance),
                (self.high_x, self.high_y, self.high_variance),
            )
        ]
        rho = _rho(model)
        joint = _evidence(model) + integrated(
            rho.natural, rho.error, rho.prior_mean, rho.prior_deviation
        )
        with torch.no_grad():
            predicted = own[0].posterior(_with_level(self.high_x, 0))
        return Evidences(
            joint,
            sum(_evidence(m) for m in own),
            rho.natural * rho.unit,
            rho.marginal_error * abs(rho.unit),
            predicted.distribution.mean.numpy(),
        )

    def _joint(self) -> AutoregressiveGP:
        X = torch.cat([_with_level(self.low_x, 0), _with_level(self.high_x, 1)])
        variance = None
        if self.low_variance is not None and self.high_variance is not None:
            variance = torch.cat([self.low_variance, self.high_variance])
        return _fitted(X, torch.cat([self.low_y, self.high_y]), variance)


def _fitted(X: Tensor, y: Tensor, variance: Tensor | None) -> AutoregressiveGP:
    """The model at the maximum: an evidence is that of one set of hyperparameters."""
    known = None if variance is None else variance.unsqueeze(-1)
    model = AutoregressiveGP(X, y.unsqueeze(-1), known)
    mll = ExactMarginalLogLikelihood(model.likelihood, model)
    fit_gpytorch_mll(mll, n_samples=1)
    return model


def _evidence(model: AutoregressiveGP) -> float:
    """log p(y) in the units of the data."""
    return float(_log_density(model) - _log_scales(model).sum())


def _log_density(model: AutoregressiveGP) -> Float[Tensor, ""]:
    """log p(y) of the values as the model sees them, by Cholesky."""
    X = _inputs(model)
    model.train()
    with (
        torch.no_grad(),
        gpytorch.settings.fast_computations(log_prob=False, solves=False),
    ):
        value = model.likelihood(model(X), X).log_prob(model.train_targets)
    model.eval()
    return value


def _inputs(model: AutoregressiveGP) -> Float[Tensor, "n d"]:
    """The data's inputs, as they were before their transform."""
    model.train()
    inputs = model.train_inputs
    assert inputs is not None  # a model has data
    model.eval()
    return inputs[0]


def _log_scales(model: AutoregressiveGP) -> Float[Tensor, " n"]:
    """log of the unit of each value: what its standardisation took out."""
    X = _inputs(model)
    one = X.new_ones(len(X), 1)
    transform = getattr(model, "outcome_transform", None)
    if transform is None:
        return 0 * one.squeeze(-1)
    _, square = transform.untransform(one, one, X=X)
    return 0.5 * square.squeeze(-1).log()


class _Rho(NamedTuple):
    """rho in its natural units with its prior, and these units in the data's.

    `error` is that with the other hyperparameters held, for the evidence integrated over
    rho alone; `marginal_error` is that with all of them free.
    """

    natural: float
    error: float
    marginal_error: float
    unit: float
    prior_mean: float
    prior_deviation: float


def _rho(model: AutoregressiveGP, step: float = 0.02) -> _Rho:
    """The scale between two levels, with standard errors.

    Both errors are of Laplace's approximation at the maximum of the posterior density p
    of the hyperparameters z: 1 / sqrt(-H_rr) and sqrt((-H)^-1_rr), where H is the
    Hessian of log p(z | y) and r the place of rho.

    Source: Rasmussen & Williams (2006), equation 3.20 and section 5.2.
    """
    kernel = model.covar_module
    prior, centre = kernel.rho_prior, kernel.rho.detach().clone()

    def density(shift: float) -> float:
        kernel.rho = centre + shift
        held = prior.log_prob(kernel.rho.detach()).sum()
        return float(_log_density(model) + held)

    ends, middle = density(step) + density(-step), density(0.0)
    kernel.rho = centre
    # the density of the prior alone has the least curvature
    curvature = max((2 * middle - ends) / step**2, float(prior.scale) ** -2)
    # nothing learned from data is known less well than before them
    marginal = min(_marginal_error(model), float(prior.scale))
    kernel.rho = torch.ones_like(centre)
    unit = float(model.rho)
    kernel.rho = centre
    return _Rho(
        float(centre),
        curvature**-0.5,
        max(marginal, curvature**-0.5),
        unit,
        float(prior.loc),
        float(prior.scale),
    )


def _marginal_error(model: AutoregressiveGP) -> float:
    """The error of rho with all hyperparameters free, at their maximum."""
    vector = ParameterVector(ExactMarginalLogLikelihood(model.likelihood, model))
    best, rows = vector.read(), sorted_rows(model)

    def density(z: Tensor) -> tuple[Tensor, Tensor]:
        vector.write(z)
        value = joint_density(model, rows)
        value.sum().backward()
        return value.detach(), vector.slope()

    root = laplace_root(density, best)
    vector.write(best)
    at = [k for k, name in enumerate(vector.names) if name.endswith("raw_rho")]
    place = sum(vector.sizes[: at[0]])
    return float(root[place].norm())


def _with_level(x: Float[Tensor, "n d"], level: int) -> Float[Tensor, "n e"]:
    return torch.cat([x, x.new_full((len(x), 1), float(level))], dim=1)


def _by_input(x: Tensor, y: Tensor) -> dict[tuple[float, ...], list[float]]:
    found: dict[tuple[float, ...], list[float]] = {}
    for key, value in zip(x.tolist(), y.tolist(), strict=True):
        found.setdefault(tuple(key), []).append(value)
    return found
