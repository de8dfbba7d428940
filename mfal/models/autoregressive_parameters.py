"""All learned parameters of a model as one vector, or as a batch of vectors."""

from typing import Any

import numpy as np
import torch
from botorch.optim.utils import get_parameters_and_bounds
from gpytorch.kernels import Kernel
from gpytorch.mlls import MarginalLogLikelihood
from jaxtyping import Float
from torch import Tensor

REACH = {"raw_lengthscale": 5.0, "raw_outputscale": 12.0, "raw_excess": 16.0}
"""How far logarithms may go from where the prior starts them."""


WIDTH = {
    "raw_lengthscale": 1.7,
    "raw_outputscale": 3.0,
    "raw_excess": 4.0,
    "raw_smoothness": 6.0,
}
"""How wide a search for hyperparameters starts; 1 for all others."""


class ParameterVector:
    """Reads and writes the parameters that are learned.

    A batch of H vectors gives every parameter a leading dimension H, and the kernels a
    batch shape (H,): the model is then H models with the same data.
    """

    def __init__(self, mll: MarginalLogLikelihood) -> None:
        self.mll = mll
        self.model: Any = mll.model
        parameters, limits = get_parameters_and_bounds(mll)
        self.names = list(parameters)
        self.tensors = list(parameters.values())
        batch = len(self.model.hyperparameter_batch)
        self.shapes = [p.shape[batch:] for p in self.tensors]
        self.sizes = [shape.numel() for shape in self.shapes]
        self._limits = limits

    def read(self) -> Float[Tensor, "*b p"]:
        """A copy of the parameters."""
        batch = self.model.hyperparameter_batch
        parts = [p.detach().reshape(*batch, -1) for p in self.tensors]
        return torch.cat(parts, dim=-1).clone()

    def write(self, vector: Float[Tensor, "*b p"]) -> None:
        """Sets the parameters, and the batch shape of the model with them."""
        batch = vector.shape[:-1]
        for p, part, shape in zip(
            self.tensors, vector.split(self.sizes, dim=-1), self.shapes, strict=True
        ):
            p.grad = None
            p.data = part.reshape(batch + shape).clone()
        set_batch(self.model, batch)

    def slope(self) -> Float[Tensor, "*b p"]:
        """The gradient that the last backward pass left."""
        batch = self.model.hyperparameter_batch
        parts = [
            (torch.zeros_like(p) if p.grad is None else p.grad).reshape(*batch, -1)
            for p in self.tensors
        ]
        return torch.cat(parts, dim=-1)

    def bounds(self) -> tuple[Float[Tensor, " p"], Float[Tensor, " p"]]:
        """Lower and upper bounds: the constraints', else around the values now."""
        low, high = [], []
        for name, p, shape, size in zip(
            self.names, self.tensors, self.shapes, self.sizes, strict=True
        ):
            bottom, top = self._limits.get(name, (None, None))
            reach = REACH.get(name.rpartition(".")[2])
            constraint = getattr(
                _owner(self.mll, name), _leaf(name) + "_constraint", None
            )
            logarithm = getattr(constraint, "_transform", None) is torch.exp
            if reach is not None and logarithm:
                centre = p.detach().reshape(-1, size).mean(dim=0)
                low.append(centre - reach)
                high.append(centre + reach)
            else:
                low.append(_filled(bottom, -np.inf, shape))
                high.append(_filled(top, np.inf, shape))
        return torch.cat(low), torch.cat(high)

    def widths(self) -> Float[Tensor, " p"]:
        """How wide a search around the starting values is, see `WIDTH`."""
        parts = [
            torch.full((size,), WIDTH.get(_leaf(name), 1.0), dtype=torch.float64)
            for name, size in zip(self.names, self.sizes, strict=True)
        ]
        return torch.cat(parts)

    def of_level(self, level: int) -> Tensor:
        """Mask of the entries that belong to a level."""
        own = {id(p) for p in self.model.covar_module.kernels[level].parameters()}
        masks = []
        for name, p, shape in zip(self.names, self.tensors, self.shapes, strict=True):
            mask = torch.zeros(shape, dtype=torch.bool)
            if id(p) in own:
                mask[...] = True
            elif _leaf(name) == "raw_excess":
                mask[level] = True
            elif _leaf(name) in ("raw_rho", "slope") and level > 0:
                mask[level - 1] = True
            masks.append(mask.flatten())
        return torch.cat(masks)


def set_batch(model: Any, batch: torch.Size) -> None:
    """Says to every kernel of the model how many vectors of parameters it holds."""
    for module in model.covar_module.modules():
        if isinstance(module, Kernel):
            module.batch_shape = batch
    unit = model.covar_module.level_unit
    unit = unit.reshape(-1, unit.shape[-1])[0]
    model.covar_module.level_unit = unit.expand(*batch, -1).clone()


def _owner(module: Any, name: str) -> Any:
    for part in name.split(".")[:-1]:
        module = getattr(module, part)
    return module


def _leaf(name: str) -> str:
    return name.rpartition(".")[2]


def _filled(bound: Any, otherwise: float, shape: torch.Size) -> Tensor:
    value = otherwise if bound is None else bound
    return torch.as_tensor(value, dtype=torch.float64).expand(shape).flatten()
