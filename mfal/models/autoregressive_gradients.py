"""Co-kriging from values and gradients: derivatives as data of an autoregressive model."""

from copy import deepcopy
from typing import Any

import torch
from botorch.models.transforms.outcome import StratifiedStandardize
from gpytorch.likelihoods import FixedNoiseGaussianLikelihood
from jaxtyping import Float, Int
from torch import Tensor

from mfal.models.autoregressive import AutoregressiveGP, fixed_noise
from mfal.models.autoregressive_checks import MOST_ROWS
from mfal.models.autoregressive_gradient_rows import (
    GradientAutoregressiveKernel,
    GradientGaussianLikelihood,
    GradientKernel,
    GradientMean,
    observable_code,
)
from mfal.models.autoregressive_noise import LevelStandardize
from mfal.models.autoregressive_prior import (
    OFFSET_VARIANCE,
    default_covariance,
    input_spread,
)


def with_gradients(
    model: AutoregressiveGP,
    gradient_X: Float[Tensor, "m d"],
    gradient_Y: Float[Tensor, "m inputs"],
    gradient_Yvar: Float[Tensor, "m inputs"] | None = None,
) -> AutoregressiveGP:
    r"""The model with partial derivatives as further data; fit it afterwards.

    .. math:: y = b f_l(x) + v \cdot \nabla f_l(x) + \text{noise},

    (b, v) = (1, 0) for a value and (0, e_j) for the derivative along input j. Derivatives
    need not stand where values do, and a level may have derivatives only (its unit is then
    that of a neighbouring level). They have a noise of their own at each level, one for
    all inputs in units of (range of the values) / (range of the input), at least 1e-9 of
    its square. Units of x and y do not matter.

        model = with_gradients(AutoregressiveGP(X, Y), gradient_X, gradient_Y)
        fit_gpytorch_mll(ExactMarginalLogLikelihood(model.likelihood, model))
        model.posterior(X)  # of the values, as before

    The model can also be asked for, and conditioned on, derivatives: a level of
    l + 1000 j in the level column of X stands for the derivative of f_l along input j, 1
    the first (`mfal.models.autoregressive_gradient_rows`).

    Args:
        model: not fitted yet, with its default kernels and a constant rho; it stays as
            it is.
        gradient_X: inputs with their level, in the columns of the model's train_X.
        gradient_Y: dy/dx_j, a column for each input but the level, in their order; NaN
            where it is not known.
        gradient_Yvar: known variances, exactly where the model's own data have them.

    Source: Rasmussen & Williams (2006), section 9.4; Kennedy & O'Hagan (2000),
    Biometrika 87, 1.

    Raises:
        ValueError: shapes, levels that the model does not have, inputs that are not
            finite, no derivative at all, more than 6000 rows; a model with kernels,
            transforms or a rho(x) of its own, with inducing points, or one that has
            gradients or draws already; variances for only one of values and derivatives.
    """
    check_model(model, gradient_Yvar)
    level = checked_gradients(model, gradient_X, gradient_Y, gradient_Yvar)
    values_X, column = model.train_inputs[0], model.fidelity_column
    row, entry = (~gradient_Y.isnan()).nonzero(as_tuple=True)
    known_X = gradient_X[row].to(values_X)
    known_X[:, column] = observable_code(level[row], entry + 1).to(values_X)
    X = torch.cat([values_X, known_X])
    if len(X) > MOST_ROWS:
        raise ValueError(
            f"at most {MOST_ROWS} rows fit in memory, got {len(values_X)} values and "
            f"{len(row)} derivatives: set some derivatives to NaN"
        )
    inputs = torch.cat([X[:, :column], X[:, column + 1 :]], dim=1)
    spread = input_spread(inputs)
    transform = observable_units(model, spread)
    scaled, variance = transform(
        gradient_Y[row, entry].to(values_X).unsqueeze(-1),
        None if gradient_Yvar is None else gradient_Yvar[row, entry].unsqueeze(-1),
        X=known_X,
    )

    unit, mean = model.covar_module.level_unit, model.mean_module.values
    assert torch.is_tensor(mean)
    new: Any = deepcopy(model)
    new.set_train_data(
        X, torch.cat([model.train_targets, scaled.squeeze(-1)]), strict=False
    )
    new.mean_module = GradientMean(mean, column)
    n_values = torch.cat([values_X[:, column].long(), level[row]]).bincount(
        minlength=len(unit)
    )
    new.covar_module = gradient_covariance(spread, unit, n_values, column)
    new.outcome_transform = transform
    if variance is None:
        new.likelihood = GradientGaussianLikelihood(unit, column)
    else:
        known: Any = model.likelihood.noise
        new.likelihood = fixed_noise(
            torch.cat([known, variance.squeeze(-1).to(known)]),
            torch.cat([unit[values_X[:, column].long()], unit[level[row]]]),
        )
    return new.to(values_X)


def gradient_covariance(
    spread: Float[Tensor, " d"],
    unit: Float[Tensor, " levels"],
    n_values: Int[Tensor, " levels"],
    column: int,
) -> GradientAutoregressiveKernel:
    """The default covariance of the levels and its priors, for values and derivatives."""
    covariance = default_covariance(
        spread, unit, n_values, column, None, 0, GradientAutoregressiveKernel
    )
    assert isinstance(covariance, GradientAutoregressiveKernel)
    for m, kernel in enumerate(covariance.kernels):
        covariance.kernels[m] = GradientKernel(kernel, spread, OFFSET_VARIANCE)
    covariance.offset_variance = 0.0  # in the kernels: it has no derivative
    return covariance


def observable_units(
    model: AutoregressiveGP, spread: Float[Tensor, " d"]
) -> StratifiedStandardize:
    r"""What the model's values are scaled by, and a derivative with them.

    A value is (y - mean_l) / unit_l, a derivative w_j (dy/dx_j) / unit_l.
    """
    known = getattr(model, "outcome_transform", None)
    if known is None:
        mean = spread.new_zeros(model.n_levels)
        unit = torch.ones_like(mean)
    else:
        mean, unit = known.means.flatten(), known.stdvs.flatten()
    levels, quantities = torch.arange(len(unit)), torch.arange(len(spread) + 1)
    codes = observable_code(levels, quantities[:, None]).flatten()  # sorted
    transform = StratifiedStandardize(model.fidelity_column, codes)
    per_input = torch.cat([torch.ones_like(spread[:1]), spread])
    stdvs = (unit / per_input[:, None]).flatten()
    means = torch.cat([mean, torch.zeros_like(stdvs[len(mean) :])])
    transform.means, transform.stdvs = means.unsqueeze(-1), stdvs.unsqueeze(-1)
    transform._stdvs_sq = transform.stdvs.square()
    transform._is_trained = torch.tensor(True)
    return transform.eval()


def check_model(model: AutoregressiveGP, gradient_Yvar: Tensor | None) -> None:
    """Whether the derivatives of the model's processes are known here.

    Raises:
        ValueError: see `with_gradients`.
    """
    covariance = model.covar_module
    if isinstance(covariance, GradientAutoregressiveKernel):
        raise ValueError(
            "the model has gradients already: give all of them in one call"
        )
    if len(model.hyperparameter_batch) or model.train_targets.dim() != 1:
        raise ValueError(
            "gradients are given to a model before it is fitted or conditioned, but "
            "this one has been: build a new AutoregressiveGP"
        )
    if model.lowest is not None:
        raise ValueError(
            "gradients need all data as rows, but the lowest level has inducing points: "
            "pass n_inducing=0, or fewer data"
        )
    if hasattr(covariance, "slope"):
        raise ValueError(
            "gradients need a constant rho (the slope of rho(x) would enter their "
            "covariance): leave linear_rho=False"
        )
    if not all(hasattr(kernel, "variance_prior") for kernel in covariance.kernels):
        raise ValueError(
            "gradients need the default kernels, whose derivatives are known: leave "
            "out kernels="
        )
    if hasattr(model, "input_transform"):
        raise ValueError(
            "gradients are with respect to the inputs as they are, but the model has an "
            "input_transform: leave it out, inputs of any range will do"
        )
    transform = getattr(model, "outcome_transform", None)
    if transform is not None and not isinstance(transform, LevelStandardize):
        raise ValueError(
            "gradients need the default outcome_transform or None, got "
            f"{type(transform).__name__}"
        )
    given = isinstance(model.likelihood, FixedNoiseGaussianLikelihood)
    if given != (gradient_Yvar is not None):
        raise ValueError(
            "noise is given for values and derivatives or learned for both: got "
            f"train_Yvar {'with' if given else 'without'}, gradient_Yvar "
            f"{'without' if given else 'with'} variances"
        )


def checked_gradients(
    model: AutoregressiveGP,
    gradient_X: Tensor,
    gradient_Y: Tensor,
    gradient_Yvar: Tensor | None,
) -> Int[Tensor, " m"]:
    """The level of each row of gradients.

    Raises:
        ValueError: see `with_gradients`.
    """
    d, column = model.train_inputs[0].shape[-1], model.fidelity_column
    if gradient_X.dim() != 2 or gradient_X.shape[1] != d or not len(gradient_X):
        raise ValueError(
            f"gradient_X must be m x {d} with m > 0, the columns of train_X, got shape "
            f"{tuple(gradient_X.shape)}"
        )
    expected = (len(gradient_X), d - 1)
    for name, y in (("gradient_Y", gradient_Y), ("gradient_Yvar", gradient_Yvar)):
        if y is not None and tuple(y.shape) != expected:
            raise ValueError(
                f"{name} must be {expected[0]} x {expected[1]}, a row per row of "
                "gradient_X and a column per input without the level, got shape "
                f"{tuple(y.shape)}"
            )
    if not gradient_X.isfinite().all():
        raise ValueError("gradient_X must be finite, got NaN or infinity")
    if gradient_Y.isinf().any() or gradient_Y.isnan().all():
        raise ValueError(
            "gradient_Y must be finite, or NaN where it is not known, with one "
            "derivative at least"
        )
    if gradient_Yvar is not None:
        variance = gradient_Yvar[~gradient_Y.isnan()]
        if not ((variance >= 0) & variance.isfinite()).all():
            raise ValueError(
                "gradient_Yvar must be variances, zero or positive, wherever the "
                "derivative is known"
            )
    value = gradient_X[:, column]
    level = value.round().long()
    if (level != value).any() or (level < 0).any() or (level >= model.n_levels).any():
        raise ValueError(
            f"levels must be integers from 0 to {model.n_levels - 1} in column {column} "
            f"of gradient_X, got {sorted(set(value.tolist()))[:8]}: where a higher level "
            "has derivatives only, pass n_levels to AutoregressiveGP"
        )
    return level
