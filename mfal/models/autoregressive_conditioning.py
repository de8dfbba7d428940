"""More data for a model that holds draws of its hyperparameters."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import gpytorch
import torch
from gpytorch.likelihoods import FixedNoiseGaussianLikelihood
from jaxtyping import Float
from torch import Tensor

from mfal.models.autoregressive_noise import NOISE_FLOOR, by_level


def have_predicted(model: Any) -> None:
    """GPyTorch conditions a model that has predicted: predict once if it has not."""
    if model.prediction_strategy is not None:
        return
    model.eval()
    x, y = model.train_inputs[0], model.train_targets
    with torch.set_grad_enabled(slopes_wanted(x, y)):
        model(x[..., :1, :])


def slopes_wanted(*tensors: Tensor | None) -> bool:
    """Whether what follows from these has to be recorded.

    That the hyperparameters could have slopes is no reason: a posterior that lives while
    the model is fitted would hold them in the shape that they had.
    """
    given = any(t is not None and t.requires_grad for t in tensors)
    return given and torch.is_grad_enabled()


def above_floor(
    model: Any, x: Float[Tensor, "*b q d"], noise: Float[Tensor, "*c q 1"]
) -> Float[Tensor, "*c q 1"]:
    """Variances of the noise at x, not below the floor of the numerics."""
    unit = model.covar_module.level_unit.reshape(-1, model.n_levels)[0]
    level = model.covar_module.split(x)[1].to(unit)
    floor = NOISE_FLOOR * by_level(unit, level).square()
    return torch.maximum(noise, floor.unsqueeze(-1).to(noise))


@contextmanager
def variances_as_given() -> Iterator[None]:
    """Keeps GPyTorch from raising known variances to a floor of its own."""
    with gpytorch.settings.min_fixed_noise(0.0, 0.0, 0.0):
        yield


def with_one_set(model: Any) -> Any:
    """The model, its data no longer repeated for each draw.

    What it predicts with stays. BoTorch takes a batch of data for a batch of models, of
    which some of its acquisition functions want none.
    """
    model.train_inputs = tuple(x[0] for x in model.train_inputs)
    model.train_targets = model.train_targets[0]
    if model._original_train_inputs is not None:
        model._original_train_inputs = model._original_train_inputs[0]
    if isinstance(model.likelihood, FixedNoiseGaussianLikelihood):
        model.likelihood.noise_covar.noise = model.likelihood.noise_covar.noise[0]
    model._input_batch_shape = model._aug_batch_shape = torch.Size()
    return model
