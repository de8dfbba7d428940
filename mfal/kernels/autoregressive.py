"""Covariance between levels: f_0 = eps_0, f_l = rho_l f_(l-1) + delta_l."""

from collections.abc import Sequence
from typing import Any, Protocol

import torch
from gpytorch.constraints import Interval
from gpytorch.kernels import Kernel
from gpytorch.models.exact_prediction_strategies import DefaultPredictionStrategy
from gpytorch.priors import Prior
from jaxtyping import Float, Int
from torch import Tensor
from torch.nn import ModuleList, Parameter


def path_weights(rho: Float[Tensor, "*b steps"]) -> Float[Tensor, "*b levels levels"]:
    """c_lm = rho_(m+1) ... rho_l: the weight of the m-th independent part in level l.

    One on the diagonal, zero above it. Differentiable in rho.

    >>> path_weights(torch.tensor([2.0, 3.0]))
    tensor([[1., 0., 0.],
            [2., 1., 0.],
            [6., 3., 1.]])
    """
    levels = rho.shape[-1] + 1
    one, zeros = torch.ones_like(rho[..., :1]), torch.zeros_like(rho)
    if levels == 1:
        one = rho.new_ones(*rho.shape[:-1], 1)
    rows = [torch.cat([one, zeros], dim=-1)]
    for level in range(1, levels):
        unit = torch.zeros_like(rows[0])
        unit[..., level] = 1.0
        rows.append(rho[..., level - 1, None] * rows[-1] + unit)
    return torch.stack(rows, dim=-2)


class KnownLowest(Protocol):
    """The lowest part, k_0 + offset, given data that are not rows of the model."""

    def mean(self, x: Float[Tensor, "*b n d"]) -> Float[Tensor, "*b n"]:
        """Its mean, zero without the data."""

    def explained(
        self, x1: Float[Tensor, "*#b n d"], x2: Float[Tensor, "*#b k d"]
    ) -> Float[Tensor, "*b n k"]:
        """What the data take from its covariance."""

    def explained_pairs(
        self, x1: Float[Tensor, "*#b n d"], x2: Float[Tensor, "*#b n d"]
    ) -> Float[Tensor, "*b n"]:
        """The same, pair by pair."""


class AutoregressiveKernel(Kernel):
    r"""Covariance of any number of levels that build on each other.

    With independent parts of covariance k_m and c_lm from `path_weights`,

    .. math:: \mathrm{cov}(f_l(x), f_{l'}(x'))
              = \sum_{m \le \min(l, l')} c_{lm} c_{l'm} k_m(x, x').

    rho is a constant, so the formula holds for any linear functional of f: rows of
    energies, forces and stresses alike. Inputs are x with the level 0, ..., L - 1 in
    `level_column`; the kernels see x without that column.

    With `n_slopes` = d, the number of inputs, rho is linear in x instead,

    .. math:: \rho_l(x) = \rho_l + g_l \cdot x,

    and c_lm is the product of the rho(x); this holds for values, not for derivatives.
    `level_unit` u_l puts f_l = u_l times the recursion (rho is then in these units), and
    `offset_variance` adds a constant of that variance to every k_m: a mean of its own
    for each step, integrated out. Where `known` is set, the covariance is that given
    what it knows of the lowest part, and `known_mean` the mean.

    Source: Kennedy & O'Hagan (2000), Biometrika 87, 1; section 2.3.

    Raises:
        ValueError: no kernel, or a level that is not an integer in 0 ... L - 1.
    """

    def __init__(
        self,
        kernels: Sequence[Kernel],
        *,
        level_column: int = -1,
        rho_prior: Prior | None = None,
        rho_constraint: Interval | None = None,
        n_slopes: int = 0,
        slope_prior: Prior | None = None,
        level_unit: Float[Tensor, " levels"] | None = None,
        offset_variance: float = 0.0,
    ) -> None:
        super().__init__()
        if not kernels:
            raise ValueError("an autoregressive kernel needs one kernel per level")
        self.kernels = ModuleList(kernels)
        self.level_column = level_column
        self.offset_variance = offset_variance
        self.known: KnownLowest | None = None
        unit = torch.ones(len(kernels)) if level_unit is None else level_unit
        self.register_buffer("level_unit", unit)
        self.register_parameter("raw_rho", Parameter(torch.ones(len(kernels) - 1)))
        if rho_constraint is not None:
            self.register_constraint("raw_rho", rho_constraint)
            self.initialize(raw_rho=rho_constraint.inverse_transform(self.raw_rho))
        if rho_prior is not None:
            self.register_prior(
                "rho_prior", rho_prior, lambda m: m.rho, lambda m, v: m._set_rho(v)
            )
        if n_slopes:
            zeros = torch.zeros(len(kernels) - 1, n_slopes)
            self.register_parameter("slope", Parameter(zeros))
            if slope_prior is not None:
                self.register_prior("slope_prior", slope_prior, "slope")

    @property
    def rho(self) -> Float[Tensor, "*b steps"]:
        """The scale of each step between levels."""
        constraint = getattr(self, "raw_rho_constraint", None)
        return (
            self.raw_rho if constraint is None else constraint.transform(self.raw_rho)
        )

    @rho.setter
    def rho(self, value: Float[Tensor, "*b steps"]) -> None:
        self._set_rho(value)

    def _set_rho(self, value: Tensor) -> None:
        value = torch.as_tensor(value).to(self.raw_rho).expand_as(self.raw_rho)
        constraint = getattr(self, "raw_rho_constraint", None)
        raw = value if constraint is None else constraint.inverse_transform(value)
        self.initialize(raw_rho=raw)

    def forward(
        self,
        x1: Float[Tensor, "*#b n m"],
        x2: Float[Tensor, "*#b k m"],
        diag: bool = False,
        **params: object,
    ) -> Float[Tensor, "*b n k"] | Float[Tensor, "*b n"]:
        """Covariance of inputs that carry their level."""
        x1, level1 = self.split(x1)
        x2, level2 = self.split(x2)
        weights1, weights2 = self.weights(x1, level1), self.weights(x2, level2)
        total = None
        for m, kernel in enumerate(self.kernels):
            left, right = weights1[..., m], weights2[..., m]
            scale = left * right if diag else left.unsqueeze(-1) * right.unsqueeze(-2)
            k = kernel(x1, x2, diag=diag, **params)
            part = scale * ((k if diag else k.to_dense()) + self.offset_variance)
            total = part if total is None else total + part
        assert total is not None  # there is at least one kernel
        if self.known is None:
            return total
        left, right = weights1[..., 0], weights2[..., 0]
        if diag:
            return total - left * right * self.known.explained_pairs(x1, x2)
        scale = left.unsqueeze(-1) * right.unsqueeze(-2)
        return total - scale * self.known.explained(x1, x2)

    def known_mean(self, x: Float[Tensor, "*#b n m"]) -> Float[Tensor, "*b n"]:
        """The mean of inputs that carry their level, from what is known."""
        x, level = self.split(x)
        lowest = self.weights(x, level)[..., 0]
        if self.known is None:
            return torch.zeros_like(lowest)
        return lowest * self.known.mean(x)

    def weights(
        self, x: Float[Tensor, "*#b n d"], level: Int[Tensor, "*#b n"]
    ) -> Float[Tensor, "*b n levels"]:
        """u_l c_lm(x): what each independent part counts in each row."""
        rho, unit = self.rho.to(x), self.level_unit.to(x)
        at = torch.nn.functional.one_hot(level, len(self.kernels)).to(x)
        if not hasattr(self, "slope"):
            return at @ (unit.unsqueeze(-1) * path_weights(rho))
        along = path_weights(rho.unsqueeze(-2) + x @ self.slope.to(x).mT)
        own = (at.unsqueeze(-2) @ along).squeeze(-2)
        return own * (at @ unit.unsqueeze(-1))

    def prediction_strategy(
        self,
        train_inputs: Any,
        train_prior_dist: Any,
        train_labels: Tensor,
        likelihood: Any,
    ) -> DefaultPredictionStrategy:
        """How GPyTorch predicts with this kernel, see `AnyBatchPrediction`."""
        return AnyBatchPrediction(
            train_inputs, train_prior_dist, train_labels, likelihood
        )

    def split(
        self, x: Float[Tensor, "*b n m"]
    ) -> tuple[Float[Tensor, "*b n d"], Int[Tensor, "*b n"]]:
        """What the kernels see of each row, and its level."""
        column = self.level_column % x.shape[-1]
        level = x[..., column]
        index = level.round().long()
        if (
            (index != level).any()
            or (index < 0).any()
            or (index >= len(self.kernels)).any()
        ):
            wrong = sorted(set(level.detach().reshape(-1).tolist()))
            raise ValueError(
                f"levels are integers from 0 to {len(self.kernels) - 1} in column "
                f"{self.level_column}, got {wrong[:10]}"
            )
        return torch.cat([x[..., :column], x[..., column + 1 :]], dim=-1), index


class AnyBatchPrediction(DefaultPredictionStrategy):
    """GPyTorch's exact prediction for any batch of models.

    GPyTorch's own drops the second of three batch dimensions where its size is one, as a
    batch of fantasies of a batch of hyperparameters may have it.
    """

    def exact_predictive_mean(self, test_mean: Tensor, test_train_covar: Any) -> Tensor:
        """m(x) + k(x, X) (K + noise)^-1 (y - m(X))."""
        weights = self.mean_cache.unsqueeze(-1)
        return test_mean + (test_train_covar @ weights).squeeze(-1)
