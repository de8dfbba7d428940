"""The mean, the noise and the scaling of data that come from several levels."""

from collections.abc import Callable, Sequence
from typing import Any

import torch
from botorch.models.transforms.outcome import StratifiedStandardize
from gpytorch.constraints import Positive
from gpytorch.likelihoods.gaussian_likelihood import _GaussianLikelihoodBase
from gpytorch.likelihoods.noise_models import Noise
from gpytorch.means import Mean
from gpytorch.priors import NormalPrior
from jaxtyping import Float
from linear_operator.operators import DiagLinearOperator
from torch import Tensor
from torch.nn import Parameter

from mfal.models.autoregressive_checks import level_moments

NOISE_FLOOR = 1e-9
"""Least variance of the noise, in units of the variance of the data of the level."""


def by_level(
    values: Float[Tensor, "*#b levels"], level: Float[Tensor, "*#b n"]
) -> Float[Tensor, "*b n"]:
    """The value of the level of each row; batches of values and of rows broadcast."""
    index = level.round().long()
    at = torch.nn.functional.one_hot(index, values.shape[-1]).to(values)
    return (at @ values.unsqueeze(-1)).squeeze(-1)


class LevelMean(Mean):
    """A constant per level: the mean of its data, see `level_moments`.

    It is not learned. What is not known of it is in the covariance, as a constant of
    its own for each level (`AutoregressiveKernel`, `offset_variance`).
    """

    def __init__(self, values: Float[Tensor, " levels"], column: int) -> None:
        super().__init__()
        self.column = column
        self.register_buffer("values", values)

    def forward(self, x: Float[Tensor, "*b n d"]) -> Float[Tensor, "*b n"]:
        """The mean of the level of each row."""
        return by_level(self.values, x[..., self.column])


class LevelNoise(Noise):
    r"""Variance \sigma_l^2 = u_l^2 (\mathrm{NOISE\_FLOOR} + e_l) of level l.

    u_l is the natural unit of the level, e_l is learned.
    """

    def __init__(self, unit: Float[Tensor, " levels"], column: int) -> None:
        super().__init__()
        self.column = column
        self.register_buffer("unit", unit)
        self.register_parameter("raw_excess", Parameter(torch.zeros_like(unit)))
        self.register_constraint(
            "raw_excess", Positive(transform=torch.exp, inv_transform=torch.log)
        )
        prior = NormalPrior(-14.0, 4.0)
        self.register_prior("excess_prior", prior, lambda m: m.excess.log())
        self.excess = torch.full_like(unit, 1e-6)

    @property
    def excess(self) -> Float[Tensor, "*b levels"]:
        """Variance above the floor in units of the variance of the level's data."""
        return self.raw_excess_constraint.transform(self.raw_excess)

    @excess.setter
    def excess(self, value: Float[Tensor, "*b levels"]) -> None:
        self._set_excess(value)

    def _set_excess(self, value: Tensor) -> None:
        value = torch.as_tensor(value).to(self.raw_excess).expand_as(self.raw_excess)
        self.initialize(raw_excess=self.raw_excess_constraint.inverse_transform(value))

    @property
    def noise(self) -> Float[Tensor, "*b levels"]:
        """The variance of each level in the units of the data."""
        return self.unit.square() * (NOISE_FLOOR + self.excess)

    def forward(
        self, *params: Any, shape: torch.Size | None = None, **kwargs: Any
    ) -> DiagLinearOperator:
        """The variance of each row by its level, or what `noise` says."""
        return noise_of_rows(self.variance, params, shape, kwargs.get("noise"))

    def variance(self, x: Float[Tensor, "*b n d"]) -> Float[Tensor, "*c n"]:
        """The variance of each row by its level."""
        return by_level(self.noise, x[..., self.column])


def noise_of_rows(
    variance: Callable[[Tensor], Tensor],
    params: Sequence[Any],
    shape: torch.Size | None,
    given: Tensor | None,
) -> DiagLinearOperator:
    """GPyTorch's protocol of a noise model: the variance of the inputs, or what is given.

    Raises:
        ValueError: neither inputs nor variances.
    """
    if given is not None:
        return DiagLinearOperator(given)
    if not params:
        raise ValueError("the noise depends on the row: pass the inputs as well")
    x = params[0] if torch.is_tensor(params[0]) else params[0][0]
    found = variance(x)
    return DiagLinearOperator(found if shape is None else found.expand(shape))


class LevelGaussianLikelihood(_GaussianLikelihoodBase):
    """Gaussian noise with a variance of its own, learned, at each level."""

    noise_covar: LevelNoise

    def __init__(self, unit: Float[Tensor, " levels"], column: int) -> None:
        super().__init__(noise_covar=LevelNoise(unit, column))

    @property
    def noise(self) -> Float[Tensor, "*b levels"]:
        """The variance of each level."""
        return self.noise_covar.noise


class LevelStandardize(StratifiedStandardize):
    """One affine map per level: minus its mean, over its natural unit.

    As BoTorch's `StratifiedStandardize`, but a level with one datum or with constant
    values takes the unit of a neighbouring level (`level_moments`).
    """

    def __init__(self, column: int, n_levels: int) -> None:
        super().__init__(
            stratification_idx=column, all_task_values=torch.arange(n_levels)
        )

    def forward(
        self, Y: Tensor, Yvar: Tensor | None = None, X: Tensor | None = None
    ) -> tuple[Tensor, Tensor | None]:
        """Standardised values; in training mode the maps are learned first."""
        if X is None:
            raise ValueError("the map depends on the level: pass X as well")
        if self.training:
            column = self._stratification_idx % X.shape[-1]
            level = X[..., column].round().long()
            inputs = torch.cat([X[..., :column], X[..., column + 1 :]], dim=-1)
            mean, unit = level_moments(inputs, Y.squeeze(-1), level, len(self.means))
            self.means, self.stdvs = mean.unsqueeze(-1), unit.unsqueeze(-1)
            self._stdvs_sq = self.stdvs.square()
            self._is_trained = torch.tensor(True)
        training, self.training = self.training, False
        try:
            return super().forward(Y=Y, Yvar=Yvar, X=X)
        finally:
            self.training = training
