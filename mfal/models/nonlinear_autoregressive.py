"""Levels that are functions of each other: the nonlinear autoregressive process."""

import logging
import warnings
from collections.abc import Iterable
from typing import Any

import torch
from botorch.acquisition.objective import PosteriorTransform
from botorch.exceptions.warnings import OptimizationWarning
from botorch.models import SingleTaskGP
from botorch.models.model import Model
from botorch.models.transforms.outcome import Standardize
from botorch.optim.fit import fit_gpytorch_mll_scipy
from botorch.posteriors import GPyTorchPosterior
from botorch.posteriors.posterior import Posterior
from gpytorch.constraints import GreaterThan
from gpytorch.distributions import MultivariateNormal
from gpytorch.kernels import Kernel, RBFKernel, ScaleKernel
from gpytorch.likelihoods import GaussianLikelihood
from gpytorch.mlls import ExactMarginalLogLikelihood
from gpytorch.priors import LogNormalPrior
from jaxtyping import Float
from torch import Tensor
from torch.quasirandom import SobolEngine

from mfal.models.autoregressive import exact_algebra
from mfal.models.autoregressive_checks import (
    check_dense_rows,
    check_training_data,
    checked_levels,
)

_logger = logging.getLogger(__name__)

STARTS = (1.0, 0.3, 3.0)
"""Lengthscales that the search begins at, in units of the spread of the inputs."""

_LEAST_NOISE = 1e-6
"""Least variance of the noise over that of a level's data."""


class NonlinearAutoregressiveGP(Model):
    r"""Gaussian processes of levels, each a function of x and of the level below.

    .. math:: f_0 = g_0(x), \qquad f_l(x) = g_l(x, f_{l-1}(x)), \qquad
              k_l = k_\rho(x, x')\, k_f(f, f') + k_\delta(x, x')

    with RBF kernels: where `AutoregressiveGP` has a constant rho, the relation of two
    levels may bend. Levels are trained from the lowest up, g_l on the posterior mean of
    f_(l-1) at the inputs of level l. A prediction propagates draws of f_(l-1) through
    g_l; its mean and covariance are those of the mixture (a Gaussian with its moments).
    Between rows of different levels the covariance is that of the draws only. Marginals
    at many points are asked for as n x 1 x d: the points of a row of n x q x d are joint.

    Inputs are x with the level 0, 1, ..., L - 1 in `fidelity_column`, as in
    `AutoregressiveGP`. Call `fit` before `posterior`. The model cannot be conditioned on
    more data (nor fantasise): fit it again.

    Source: Perdikaris, Raissi, Damianou, Lawrence, Karniadakis (2017), Proc. R. Soc. A
    473, 20160751, eqs. 2.9-2.14.

    Args:
        n_samples: draws that are propagated, quasi-random and always the same.

    Raises:
        ValueError: see `AutoregressiveGP`; a level without data; fewer than two draws.
        RuntimeError: a prediction before `fit`.
    """

    def __init__(
        self,
        train_X: Float[Tensor, "n d"],
        train_Y: Float[Tensor, "n 1"],
        train_Yvar: Float[Tensor, "n 1"] | None = None,
        *,
        fidelity_column: int = -1,
        n_samples: int = 64,
        seed: int = 0,
    ) -> None:
        super().__init__()
        check_training_data(train_X, train_Y, train_Yvar)
        check_dense_rows(len(train_X))
        level, column, n_levels = checked_levels(train_X, fidelity_column, None)
        empty = [k for k in range(n_levels) if not (level == k).any()]
        if empty:
            raise ValueError(
                f"each level is a function of the one below, but level {empty[0]} has "
                "no data: number the levels that have data from 0"
            )
        if n_samples < 2:
            raise ValueError(f"at least two draws are propagated, got {n_samples}")
        self.fidelity_column, self.n_levels = column, n_levels
        self.n_samples, self.seed = n_samples, seed
        self._data = []
        x = torch.cat([train_X[:, :column], train_X[:, column + 1 :]], dim=1)
        for k in range(n_levels):
            mine = level == k
            variance = None if train_Yvar is None else train_Yvar[mine]
            self._data.append((x[mine], train_Y[mine], variance))
        self.steps = torch.nn.ModuleList()

    @property
    def num_outputs(self) -> int:
        """One."""
        return 1

    @property
    def batch_shape(self) -> torch.Size:
        """Not batched."""
        return torch.Size()

    def fit(self) -> "NonlinearAutoregressiveGP":
        """Fits the levels from the lowest up, each from several starts; the model itself.

        How each search ended is logged.
        """
        steps: list[SingleTaskGP] = []
        for k, (x, y, variance) in enumerate(self._data):
            inputs = x
            if k:
                with torch.no_grad(), exact_algebra():
                    below = self._means(steps, x)
                inputs = torch.cat([x, self._scaled(below, k - 1)], dim=-1)
            best = max(
                (
                    _fitted(inputs, y, variance, x.shape[-1], start)
                    for start in (STARTS if len(y) > 1 else STARTS[:1])
                ),
                key=lambda found: found[0],
            )
            steps.append(best[1])
        self.steps = torch.nn.ModuleList(steps)
        return self

    def posterior(
        self,
        X: Float[Tensor, "*b q d"],
        output_indices: list[int] | None = None,
        observation_noise: bool | Tensor = False,
        posterior_transform: PosteriorTransform | None = None,
    ) -> Posterior:
        """The Gaussian with the moments of the propagated draws.

        Raises:
            RuntimeError: the model was not fitted.
        """
        if not len(self.steps):
            raise RuntimeError("call fit() before the posterior")
        level, _, _ = checked_levels(
            X.reshape(-1, X.shape[-1]), self.fidelity_column, self.n_levels
        )
        level = level.reshape(X.shape[:-1]).long()
        column = self.fidelity_column
        x = torch.cat([X[..., :column], X[..., column + 1 :]], dim=-1)
        with exact_algebra():
            mean, covariance = self._moments(x, level)
        if observation_noise is not False:
            covariance = covariance + self._noise(level).diag_embed()
        posterior: Posterior = GPyTorchPosterior(MultivariateNormal(mean, covariance))
        return (
            posterior if posterior_transform is None else posterior_transform(posterior)
        )

    def _moments(
        self, x: Float[Tensor, "*b q d"], level: Tensor
    ) -> tuple[Float[Tensor, "*b q"], Float[Tensor, "*b q q"]]:
        """Mean and covariance over the draws: E[C] + Cov[m], E[C] within a level."""
        top = int(level.max())
        draws: Tensor | None = None
        means = x.new_zeros(self.n_samples, *x.shape[:-1])
        spread = x.new_zeros(*x.shape[:-1], x.shape[-2])
        steps: list[SingleTaskGP] = list(self.steps)  # type: ignore[arg-type]
        for k, step in enumerate(steps[: top + 1]):
            inputs = x
            if draws is not None:
                below = self._scaled(draws.unsqueeze(-1), k - 1)
                inputs = torch.cat([x.expand(self.n_samples, *x.shape), below], dim=-1)
            found: Any = step.posterior(inputs)
            mean = found.distribution.mean
            covariance = found.distribution.covariance_matrix
            mine = level == k
            means = torch.where(mine, mean, means)
            both = mine.unsqueeze(-1) & mine.unsqueeze(-2)
            average = covariance if draws is None else covariance.mean(0)
            spread = torch.where(both, average, spread)
            if k < top:
                draws = mean + self._deviates(covariance, k, x.dim() - 2)
        centre = means.mean(0)
        apart = (means - centre).movedim(0, -1)
        return centre, spread + apart @ apart.mT / (self.n_samples - 1)

    def _deviates(
        self, covariance: Float[Tensor, "*s q q"], level: int, n_batch: int
    ) -> Float[Tensor, "n_samples *b q"]:
        """Quasi-random deviates of these covariances, the same at every call."""
        q = covariance.shape[-1]
        sobol = SobolEngine(q, scramble=True, seed=self.seed + level)
        uniform = sobol.draw(self.n_samples, dtype=covariance.dtype).to(covariance)
        z = torch.special.ndtri(uniform.clamp(1e-9, 1 - 1e-9))
        # of the draws only: a posterior that is nearly certain is lost in rounding
        unit = self._data[level][1].square().mean().clamp_min(1e-300)
        ridge = 1e-8 * unit * torch.eye(q).to(covariance)
        factor = torch.linalg.cholesky(covariance + ridge)
        z = z.reshape(self.n_samples, *(1 for _ in range(n_batch)), q)
        return (factor @ z.unsqueeze(-1)).squeeze(-1)

    def _means(self, steps: Iterable[SingleTaskGP], x: Tensor) -> Float[Tensor, "n 1"]:
        """The chain of posterior means."""
        below: Tensor | None = None
        for k, step in enumerate(steps):
            inputs = x
            if below is not None:
                inputs = torch.cat([x, self._scaled(below, k - 1)], dim=-1)
            below = step.posterior(inputs).mean
        assert below is not None  # there is a level below
        return below

    def _scaled(self, values: Tensor, level: int) -> Tensor:
        """Values of a level in units of its data."""
        y = self._data[level][1]
        unit = y.std() if len(y) > 1 else y.new_ones(())
        return (values - y.mean()) / torch.where(unit > 0, unit, 1.0)

    def _noise(self, level: Tensor) -> Tensor:
        found = torch.zeros(level.shape).to(self._data[0][1])
        for k, (_, _, given) in enumerate(self._data):
            noise = self._learned_noise(k) if given is None else given.mean()
            found = torch.where(level == k, noise, found)
        return found

    def _learned_noise(self, level: int) -> Tensor:
        step: Any = self.steps[level]
        transform = getattr(step, "outcome_transform", None)
        unit = 1.0 if transform is None else transform.stdvs.squeeze()
        return step.likelihood.noise.squeeze() * unit**2


def _kernel(d: int, n_columns: int, start: float) -> Kernel:
    """k_delta(x, x'), and with a column more k_rho(x, x') k_f(f, f') beside it."""

    def rbf(columns: tuple[int, ...]) -> RBFKernel:
        prior = LogNormalPrior(
            0.5 * torch.tensor(float(len(columns))).log().item(), 1.0
        )
        kernel = RBFKernel(
            ard_num_dims=len(columns), active_dims=columns, lengthscale_prior=prior
        )
        kernel.lengthscale = start * len(columns) ** 0.5
        return kernel

    x = tuple(range(d))
    if n_columns == d:
        return ScaleKernel(rbf(x), outputscale_prior=LogNormalPrior(0.0, 1.5))
    own = ScaleKernel(rbf(x), outputscale_prior=LogNormalPrior(-2.0, 2.0))
    own.outputscale = 0.1
    both = ScaleKernel(rbf(x) * rbf((d,)), outputscale_prior=LogNormalPrior(0.0, 1.5))
    return both + own


def _fitted(
    inputs: Tensor, y: Tensor, variance: Tensor | None, d: int, start: float
) -> tuple[float, SingleTaskGP]:
    """The log posterior of a fit of one level, and its process."""
    low, high = inputs.amin(0), inputs.amax(0)
    spread = torch.where(high > low, high - low, 1.0)
    kernel = _kernel(d, inputs.shape[-1], start)
    likelihood = None
    if variance is None:
        likelihood = GaussianLikelihood(
            noise_prior=LogNormalPrior(-9.0, 3.0),
            noise_constraint=GreaterThan(_LEAST_NOISE, initial_value=1e-5),
        )
    model = SingleTaskGP(
        inputs,
        y,
        variance,
        covar_module=kernel,
        likelihood=likelihood,
        outcome_transform=Standardize(1) if len(y) > 1 else None,
    ).to(inputs)
    for part in kernel.modules():
        if isinstance(part, RBFKernel):
            assert part.active_dims is not None  # set above
            part.lengthscale = part.lengthscale * spread[part.active_dims]
    mll = ExactMarginalLogLikelihood(model.likelihood, model)
    with exact_algebra(), warnings.catch_warnings():
        # a line search that ends in rounding; the best of the starts is what counts
        warnings.simplefilter("ignore", OptimizationWarning)
        found = fit_gpytorch_mll_scipy(mll)
        _logger.info("start %g: %s", start, found.message)
        model.train()
        with torch.no_grad():
            value = mll(model(*model.train_inputs), model.train_targets)
        model.eval()
    return float(value), model
