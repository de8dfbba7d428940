"""How the next label is chosen: BoTorch's loop with a model of several levels, or one."""

from collections.abc import Callable, Sequence

import numpy as np
import torch
from botorch.acquisition import LogExpectedImprovement, qMultiFidelityMaxValueEntropy
from botorch.acquisition.cost_aware import InverseCostWeightedUtility
from botorch.acquisition.utils import project_to_target_fidelity
from botorch.fit import fit_gpytorch_mll
from botorch.models import (
    AffineFidelityCostModel,
    SingleTaskGP,
    SingleTaskMultiFidelityGP,
)
from botorch.models.model import Model
from botorch.models.transforms import Standardize
from gpytorch.mlls import ExactMarginalLogLikelihood
from torch import Tensor

from benchmarks.cokriging.searches import HIGH, LOW, Label, Search
from mfal.models import AutoregressiveGP

REFIT = 1
"""Labels between two fits of hyperparameters; if more than 1, the model is conditioned
in between."""


def ours(X: Tensor, Y: Tensor) -> Model:
    """mfal's model; nothing is told but the column of the level."""
    return AutoregressiveGP(X, Y)


def theirs(X: Tensor, Y: Tensor) -> Model:
    """BoTorch's model of its multi-fidelity tutorials."""
    column = X.shape[-1] - 1
    return SingleTaskMultiFidelityGP(
        X, Y, data_fidelities=[column], outcome_transform=Standardize(m=1)
    )


def single(X: Tensor, Y: Tensor) -> Model:
    """A model of the high level; the column of the level is constant and cut off."""
    return SingleTaskGP(X[:, :-1], Y)


class Random:
    """Labels of the high level at random."""

    levels = (HIGH,)

    def __init__(self, search: Search, seed: int) -> None:
        self._search = search
        self._rng = np.random.default_rng([11, seed])

    def next(self, labels: Sequence[Label]) -> Label:
        return self._search.any(self._rng, labels)

    def expected_best(self, labels: Sequence[Label]) -> Label:
        """Where the best is expected: the best measured."""
        return max((x for x in labels if x.level == HIGH), key=lambda x: x.value)


class Modelled:
    """A strategy with a model, fitted anew after every `REFIT` labels."""

    levels: tuple[int, ...] = (LOW, HIGH)

    def __init__(
        self, search: Search, build: Callable[[Tensor, Tensor], Model]
    ) -> None:
        self._search, self._build = search, build
        self._model: Model | None = None
        self._seen = self._fitted = 0

    def next(self, labels: Sequence[Label]) -> Label:
        """Multi-fidelity max-value entropy over cost. Source: Takeno et al. (2020)."""
        model = self.model(labels)
        low, high = self._search.costs
        dimension = self._search.candidates.shape[1]
        cost = AffineFidelityCostModel({dimension - 1: high - low}, fixed_cost=low)
        value = qMultiFidelityMaxValueEntropy(
            model,
            self._search.candidates,
            cost_aware_utility=InverseCostWeightedUtility(cost),
            project=lambda X: project_to_target_fidelity(X, {-1: HIGH}, dimension),
        )
        return self._search.maximum(value, labels, list(self.levels))

    def expected_best(self, labels: Sequence[Label]) -> Label:
        """The high-level place with the largest predicted mean."""
        model = self.model(labels)
        return self._search.maximum(_Mean(model), [], [HIGH])

    def model(self, labels: Sequence[Label]) -> Model:
        """The model of the labels that belong to its levels."""
        known = [label for label in labels if label.level in self.levels]
        if self._model is None or len(known) - self._fitted >= REFIT:
            X, Y = _stacked(known)
            self._model = self._build(X, Y)
            likelihood = self._model.likelihood
            fit_gpytorch_mll(ExactMarginalLogLikelihood(likelihood, self._model))
            self._fitted = self._seen = len(known)
        elif len(known) > self._seen:
            X, Y = _stacked(known[self._seen :])
            self._model = self._conditioned(self._model, X, Y)
            self._seen = len(known)
        return self._model

    def _conditioned(self, model: Model, X: Tensor, Y: Tensor) -> Model:
        with torch.no_grad():
            model.posterior(X)  # conditioning needs the caches
            return model.condition_on_observations(X, Y)


class SingleLevel(Modelled):
    """Expected improvement with the high level alone."""

    levels = (HIGH,)

    def next(self, labels: Sequence[Label]) -> Label:
        best = max(label.value for label in labels if label.level == HIGH)
        value = LogExpectedImprovement(self.model(labels), best)
        return self._search.maximum(_WithoutLevel(value), labels, [HIGH])

    def expected_best(self, labels: Sequence[Label]) -> Label:
        return self._search.maximum(
            _WithoutLevel(_Mean(self.model(labels))), [], [HIGH]
        )

    def _conditioned(self, model: Model, X: Tensor, Y: Tensor) -> Model:
        return super()._conditioned(model, X[:, :-1], Y)


class _Mean(torch.nn.Module):
    """The predicted mean, as an acquisition function."""

    def __init__(self, model: Model) -> None:
        super().__init__()
        self.model = model
        self.X_pending = None

    def forward(self, X: Tensor) -> Tensor:
        return self.model.posterior(X).mean[..., 0, 0]


class _WithoutLevel(torch.nn.Module):
    """An acquisition function of inputs without the level, given inputs with it."""

    def __init__(self, value: torch.nn.Module) -> None:
        super().__init__()
        self.value = value
        self.X_pending = None

    def forward(self, X: Tensor) -> Tensor:
        return self.value(X[..., :-1])


def _stacked(labels: Sequence[Label]) -> tuple[Tensor, Tensor]:
    Y = torch.tensor([[label.value] for label in labels], dtype=torch.double)
    return torch.stack([label.place for label in labels]), Y


STRATEGIES: dict[str, Callable[[Search, int], Random | Modelled]] = {
    "mfal": lambda search, seed: Modelled(search, ours),
    "botorch": lambda search, seed: Modelled(search, theirs),
    "single": lambda search, seed: SingleLevel(search, single),
    "random": Random,
}
