"""Co-kriging over any number of levels as a BoTorch model."""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from copy import deepcopy
from typing import Any

import gpytorch
import torch
from botorch.acquisition.objective import PosteriorTransform
from botorch.models.gpytorch import BatchedMultiOutputGPyTorchModel
from botorch.models.model import FantasizeMixin
from botorch.models.transforms.input import InputTransform
from botorch.models.transforms.outcome import (
    OutcomeTransform,
    StratifiedStandardize,
)
from botorch.models.utils import gpt_posterior_settings
from botorch.posteriors import GPyTorchPosterior
from botorch.utils.datasets import SupervisedDataset
from botorch.utils.types import DEFAULT, _DefaultType
from gpytorch.distributions import MultivariateNormal
from gpytorch.kernels import Kernel
from gpytorch.likelihoods import FixedNoiseGaussianLikelihood
from gpytorch.mlls import MarginalLogLikelihood
from gpytorch.models import ExactGP
from jaxtyping import Float
from linear_operator.operators import DiagLinearOperator
from torch import Tensor

from mfal.models.autoregressive_checks import (
    check_training_data,
    checked_levels,
    level_moments,
)
from mfal.models.autoregressive_conditioning import (
    above_floor,
    have_predicted,
    slopes_wanted,
    variances_as_given,
    with_one_set,
)
from mfal.models.autoregressive_fit import fit_autoregressive
from mfal.models.autoregressive_large import (
    LargeLevel,
    keep_as_it_is,
    know_lowest,
    large_level,
    number_inducing,
)
from mfal.models.autoregressive_noise import (
    NOISE_FLOOR,
    LevelGaussianLikelihood,
    LevelMean,
    LevelStandardize,
    by_level,
)
from mfal.models.autoregressive_parameters import set_batch
from mfal.models.autoregressive_posterior import posterior_of
from mfal.models.autoregressive_prior import default_covariance, input_spread


class AutoregressiveGP(BatchedMultiOutputGPyTorchModel, ExactGP, FantasizeMixin):
    r"""Gaussian process of levels that build on each other (co-kriging).

    .. math:: f_0 = \epsilon_0, \qquad f_l = \rho_l f_{l-1} + \delta_l, \qquad
              y = f_l(x) + \mathcal{N}(0, \sigma_l^2),

    with independent processes of their own lengthscales and scales. Inputs are x with
    the level 0 (cheapest), 1, ..., L - 1 in `fidelity_column`. Levels need not be nested
    and need not all have data. A BoTorch `Model`: `fit_gpytorch_mll` runs a fitting
    routine of this model (`mfal.models.autoregressive_fit`), acquisition functions,
    fantasies, transforms and model lists work as with any other.

    Scales of the data do not matter: each level is standardised by one affine map of its
    own (the default `outcome_transform`), and the prior is stated in units of the data
    (`mfal.models.autoregressive_prior`). The level column takes integers only: in
    `optimize_acqf` fix it (`fixed_features`) or use `optimize_acqf_mixed`.

    The fit holds 16 draws of the hyperparameters (`fit_gpytorch_mll(mll, n_samples=1)`
    keeps their maximum alone), because with few data at the highest level the maximum is
    overconfident; the posterior is the Gaussian with the moments of their mixture.
    Derivatives become data by `mfal.models.with_gradients`.

    Args:
        train_X: inputs with their level, n x d; at most 6000 rows without those of a
            lowest level with inducing points.
        train_Y: values, n x 1.
        train_Yvar: known variances of the noise; learned per level where None.
        fidelity_column: the column of train_X that holds the level.
        n_levels: number of levels, where the highest have no data yet.
        kernels: one GPyTorch kernel per level over x without the level column; by
            default between Matern-5/2 and RBF (learned), with a lengthscale per input.
        linear_rho: rho linear in x instead of constant.
        n_inducing: inducing points of the lowest level, 0 for none; by default none up
            to 2000 points at that level and 1500 beyond. The data of a level with
            inducing points change the prior of the rows above, which alone are rows
            of the model (`train_inputs`), see `mfal.models.autoregressive_large`.
        input_transform: must leave the level alone, as `Normalize(d, indices=[...])`.
        outcome_transform: by default one affine map per level.

    Source: Kennedy & O'Hagan (2000), Biometrika 87, 1; Le Gratiet & Garnier (2014),
    Int. J. Uncertain. Quantif. 4, 365.

    Raises:
        ValueError: shapes, missing values, levels that are not 0, 1, ..., a number of
            kernels that is not that of the levels, a transform that changes the level.
    """

    def __init__(
        self,
        train_X: Float[Tensor, "n d"],
        train_Y: Float[Tensor, "n 1"],
        train_Yvar: Float[Tensor, "n 1"] | None = None,
        *,
        fidelity_column: int = -1,
        n_levels: int | None = None,
        kernels: Sequence[Kernel] | None = None,
        linear_rho: bool = False,
        n_inducing: int | None = None,
        input_transform: InputTransform | None = None,
        outcome_transform: OutcomeTransform | _DefaultType | None = DEFAULT,
    ) -> None:
        check_training_data(train_X, train_Y, train_Yvar)
        level, column, n_levels = checked_levels(train_X, fidelity_column, n_levels)
        n_inducing = number_inducing(level, n_inducing)
        if kernels is not None and len(kernels) != n_levels:
            raise ValueError(
                f"{n_levels} levels need {n_levels} kernels, got {len(kernels)}"
            )
        self._validate_tensor_args(X=train_X, Y=train_Y, Yvar=train_Yvar)
        with torch.no_grad():
            x = self.transform_inputs(X=train_X, input_transform=input_transform)
        if x.shape[-1] <= column or not torch.equal(x[..., column], level.to(x)):
            raise ValueError(
                f"input_transform must leave the level in column {column} as it is, "
                "but it changes it: pass the indices of the other columns, as "
                f"Normalize(d={train_X.shape[-1]}, indices=[...])"
            )
        if n_inducing and input_transform is not None:
            keep_as_it_is(input_transform)
        if outcome_transform is DEFAULT:
            outcome_transform = LevelStandardize(column, n_levels)
        assert not isinstance(outcome_transform, _DefaultType)
        if outcome_transform is not None:
            outcome_transform.train()
            train_Y, train_Yvar = outcome_transform(Y=train_Y, Yvar=train_Yvar, X=x)
        self._set_dimensions(train_X=train_X, train_Y=train_Y)
        y, yvar = train_Y.squeeze(-1), None
        if train_Yvar is not None:
            yvar = train_Yvar.squeeze(-1)
        inputs = torch.cat([x[:, :column], x[:, column + 1 :]], dim=1)
        mean, unit = level_moments(inputs, y, level, n_levels)
        noise = torch.zeros_like(unit)
        exact: Any = level > 0 if n_inducing else slice(None)
        likelihood = (
            LevelGaussianLikelihood(unit, column)
            if yvar is None
            else fixed_noise(yvar[exact], unit[level][exact])
        )
        ExactGP.__init__(self, train_X[exact], y[exact], likelihood)
        if yvar is not None:
            noise = torch.stack(
                [
                    (yvar[level == k] if (level == k).any() else yvar).mean()
                    for k in range(n_levels)
                ]
            )
        self.register_buffer("level_noise", noise)
        self.fidelity_column = column
        self.n_levels = n_levels
        self.mean_module = LevelMean(mean, column)
        spread = input_spread(inputs)
        self.covar_module = default_covariance(
            spread,
            unit,
            level.bincount(minlength=n_levels),
            column,
            None if kernels is None else list(kernels),
            len(spread) if linear_rho else 0,
        )
        self.lowest: LargeLevel | None = None
        if n_inducing:
            known = None if yvar is None else fixed_noise(yvar, unit[level]).noise
            self.lowest = large_level(x, y - mean[level], known, column, n_inducing)
        if outcome_transform is not None:
            self.outcome_transform = outcome_transform
        if input_transform is not None:
            self.input_transform = input_transform
        self.to(train_X)

    @classmethod
    def construct_inputs(  # type: ignore[override]
        cls, training_data: SupervisedDataset, fidelity_features: list[int]
    ) -> dict[str, Any]:
        """Keyword arguments from a BoTorch dataset and the index of its level.

        Raises:
            ValueError: not exactly one index.
        """
        if len(fidelity_features) != 1:
            raise ValueError(
                "levels stand in one column, so that fidelity_features must be one "
                f"index, got {fidelity_features}"
            )
        (column,) = fidelity_features
        inputs = super().construct_inputs(training_data=training_data)
        return {**inputs, "fidelity_column": column}

    @property
    def hyperparameter_batch(self) -> torch.Size:
        """(H,) where the model holds H draws of its hyperparameters, else ()."""
        return self.covar_module.level_unit.shape[:-1]

    @property
    def batch_shape(self) -> torch.Size:
        """The batch shape of the data (of fantasies), without the draws."""
        batch = self.train_targets.shape[:-1]
        return batch[:-1] if self.hyperparameter_batch else batch

    def forward(self, x: Float[Tensor, "*b n d"]) -> MultivariateNormal:
        """The prior of the values at x, for each draw of the hyperparameters."""
        if self.training:
            x = self.transform_inputs(x)
        batch = torch.broadcast_shapes(x.shape[:-2], self.hyperparameter_batch)
        mean = self.mean_module(x).expand(*batch, -1)
        if self.lowest is not None:
            know_lowest(self)
            mean = mean + self.covar_module.known_mean(x)
        return MultivariateNormal(mean, self.covar_module(x))

    def __call__(self, *args: Any, **kwargs: Any) -> MultivariateNormal:
        """The prior in training mode, the posterior otherwise; always by Cholesky."""
        with exact_algebra():
            return super().__call__(*args, **kwargs)

    def posterior(  # type: ignore[override]
        self,
        X: Float[Tensor, "*b q d"],
        output_indices: list[int] | None = None,  # type: ignore[override]
        observation_noise: bool | Tensor = False,  # type: ignore[override]
        posterior_transform: PosteriorTransform | None = None,
    ) -> Any:
        """The posterior at X, see BoTorch; the level stands in its column.

        With H draws of the hyperparameters it is the Gaussian with the mean and the
        covariance of their mixture.
        """
        self.eval()
        with exact_algebra(), gpt_posterior_settings():
            x = self.transform_inputs(X)
            mvn = posterior_of(self, x)
            if observation_noise is not False:
                with torch.set_grad_enabled(slopes_wanted(x, mvn.mean)):
                    mvn = self._observed(x, mvn, observation_noise)
        posterior: Any = GPyTorchPosterior(mvn)
        if hasattr(self, "outcome_transform"):
            transform: Any = self.outcome_transform
            posterior = transform.untransform_posterior(posterior, X=x)
        if posterior_transform is not None:
            return posterior_transform(posterior=posterior, X=X)
        return posterior

    def _observed(
        self, x: Tensor, mvn: MultivariateNormal, noise: bool | Tensor
    ) -> MultivariateNormal:
        """With the noise of observations at x, averaged over the draws."""
        draws = self.hyperparameter_batch
        rows = x.unsqueeze(-3) if draws else x
        if not torch.is_tensor(noise):
            noise = self._noise_at(rows)
        elif draws:
            noise = noise.unsqueeze(-3)
        zero = mvn.mean.new_zeros(*mvn.batch_shape, *draws, x.shape[-2])
        nothing = MultivariateNormal(zero, DiagLinearOperator(zero))
        added = self._apply_noise(rows, nothing, noise).lazy_covariance_matrix
        variance = added.diagonal(dim1=-1, dim2=-2)
        if draws:
            variance = variance.mean(dim=-2)
        covariance = mvn.lazy_covariance_matrix + DiagLinearOperator(variance)
        return MultivariateNormal(mvn.mean, covariance)

    def condition_on_observations(  # type: ignore[override]
        self, X: Float[Tensor, "*b q d"], Y: Float[Tensor, "*c q 1"], **kwargs: Any
    ) -> Any:
        """The model with more data and the same hyperparameters, see BoTorch.

        Data without a batch shape become rows of `train_inputs`, for all draws.
        """
        have_predicted(self)
        noise = kwargs.get("noise")
        if noise is not None:
            kwargs["noise"] = above_floor(self, X, noise)
        data = (X, Y, noise, self.train_inputs[0], self.train_targets)
        slopes = torch.set_grad_enabled(slopes_wanted(*data))
        with exact_algebra(), variances_as_given(), slopes:
            if not self.hyperparameter_batch:
                return super().condition_on_observations(X, Y, **kwargs)
            conditioned = self._condition_draws(X, Y, **kwargs)
        alone = X.dim() == Y.dim() == 2 and not self.batch_shape
        return with_one_set(conditioned) if alone else conditioned

    def _condition_draws(
        self, X: Tensor, Y: Tensor, noise: Tensor | None = None, **kwargs: Any
    ) -> Any:
        """Every draw is conditioned on the same data, as a batch of models."""
        draws = self.hyperparameter_batch
        if noise is not None:
            kwargs["noise"] = noise.unsqueeze(-3).expand(
                *noise.shape[:-2], *draws, *noise.shape[-2:]
            )
        X, Y = (
            z.unsqueeze(-3).expand(*z.shape[:-2], *draws, *z.shape[-2:]) for z in (X, Y)
        )
        data: tuple[Any, Any] = (self.train_inputs, self.train_targets)  # type: ignore[has-type]
        if not data[1].shape[:-1]:  # the data are not a batch yet
            x, y = data[0][0], data[1]
            self.train_inputs = (x.expand(*draws, *x.shape),)
            self.train_targets = y.expand(*draws, *y.shape)
        try:
            return super().condition_on_observations(X, Y, **kwargs)
        finally:
            self.train_inputs, self.train_targets = data

    def fantasize(
        self,
        X: Tensor,
        sampler: Any,
        observation_noise: Tensor | None = None,
        **kw: Any,
    ) -> "AutoregressiveGP":
        """Conditioned on samples of the posterior at X, see BoTorch.

        Where the noise was given per datum, that of a new one is the mean of its level.
        """
        fixed = isinstance(self.likelihood, FixedNoiseGaussianLikelihood)
        if observation_noise is None and fixed:
            observation_noise = self._noise_at(self.transform_inputs(X))
        return super().fantasize(X, sampler, observation_noise, **kw)

    def _noise_at(self, x: Tensor) -> Any:
        """Variance of the noise of new data where it is given per datum, else True."""
        if not isinstance(self.likelihood, FixedNoiseGaussianLikelihood):
            return True
        return by_level(self.level_noise, x[..., self.fidelity_column]).unsqueeze(-1)  # type: ignore[arg-type]

    def subset_output(self, idcs: list[int]) -> "AutoregressiveGP":
        """A copy: there is one output, whatever the number of levels.

        Raises:
            ValueError: another index than 0.
        """
        if list(idcs) != [0]:
            raise ValueError(
                f"the model has one output, index 0, got {list(idcs)}: levels are "
                "asked for by the level column of X"
            )
        return deepcopy(self)

    def load_state_dict(  # type: ignore[override]
        self, state_dict: Mapping[str, Any], strict: bool = True, **kwargs: Any
    ) -> Any:
        """As in BoTorch; takes over the number of draws of the hyperparameters."""
        draws = state_dict["covar_module.level_unit"].shape[:-1]
        for name, parameter in self.named_parameters():
            if name in state_dict:
                parameter.data = state_dict[name].to(parameter).clone()
        set_batch(self, draws)
        self.prediction_strategy = None
        return super().load_state_dict(state_dict, strict, **kwargs)

    def custom_fit(
        self, mll: MarginalLogLikelihood, **options: Any
    ) -> MarginalLogLikelihood:
        """What `botorch.fit.fit_gpytorch_mll` runs: see `fit_autoregressive`.

        The algebra is that of float64, whatever the type of the data.
        """
        dtype = self.train_targets.dtype
        if dtype == torch.float64:
            return fit_autoregressive(mll, **options)
        mll.train().double()  # training mode: the inputs as they came
        try:
            return fit_autoregressive(mll, **options)
        finally:
            mll.train().to(dtype).eval()

    @property
    def rho(self) -> Float[Tensor, " steps"]:
        """The scale of each step between levels in the units of the data (mean)."""
        return self._rho_draws().mean(dim=0)

    @property
    def rho_error(self) -> Float[Tensor, " steps"]:
        """Standard deviation of rho over the draws of the hyperparameters."""
        return self._rho_draws().std(dim=0, correction=0)

    def _rho_draws(self) -> Tensor:
        kernel = self.covar_module
        unit = kernel.level_unit.reshape(-1, self.n_levels)
        if isinstance(getattr(self, "outcome_transform", None), StratifiedStandardize):
            unit = unit * self.outcome_transform.stdvs.flatten()[: self.n_levels]  # type: ignore[operator]
        rho = kernel.rho.detach().reshape(len(unit), self.n_levels - 1)
        return rho * unit[:, 1:] / unit[:, :-1]


def fixed_noise(
    variance: Float[Tensor, " n"], unit: Float[Tensor, " n"]
) -> FixedNoiseGaussianLikelihood:
    """The given variances, not below the floor of the numerics."""
    floor = NOISE_FLOOR * unit.square()
    with gpytorch.settings.min_fixed_noise(double_value=float(0.5 * floor.min())):
        return FixedNoiseGaussianLikelihood(noise=torch.maximum(variance, floor))


@contextmanager
def exact_algebra() -> Iterator[None]:
    """Cholesky whatever the size: the covariances are too ill-conditioned for CG."""
    with ExitStack() as stack:
        stack.enter_context(gpytorch.settings.max_cholesky_size(10**9))
        stack.enter_context(
            gpytorch.settings.fast_computations(
                covar_root_decomposition=False, log_prob=False, solves=False
            )
        )
        yield
