r"""The joint Gaussian of labels at any inputs, of what is pending, and of targets.

What the acquisition functions over inputs (`mfal.acquisition.inputs`) have in common:
the posterior of a BoTorch model, pending labels, costs.
"""

from collections.abc import Callable
from typing import NamedTuple

import gpytorch
import torch
from botorch.acquisition import AcquisitionFunction
from botorch.acquisition.cost_aware import CostAwareUtility, InverseCostWeightedUtility
from botorch.models.model import Model
from botorch.posteriors import GPyTorchPosterior
from botorch.utils.transforms import is_ensemble, t_batch_mode_transform
from jaxtyping import Float
from torch import Tensor

CostModel = Model | Callable[[Tensor], Tensor]
"""A BoTorch model of costs, or a function from `b x q x d` to the `b x q` costs."""

_POINTS = 256
"""Inputs whose joint covariance is made at once."""

_LARGEST_CHOLESKY = 10**6
"""GPyTorch turns to Lanczos above 800 rows, which is no posterior to take logs of."""


class Joint(NamedTuple):
    """Sets of q labels given the data and what is pending, and t targets beside them."""

    covariance: Float[Tensor, "b q q"]
    noise: Float[Tensor, "b q"]
    cross: Float[Tensor, "b t q"]


class Given(NamedTuple):
    """What is fixed between evaluations: pending labels P and targets T."""

    points: Float[Tensor, "m d"]
    factor: Float[Tensor, "p p"]
    """Cholesky factor of the covariance of the labels P."""
    update: Float[Tensor, "p t"]
    """factor^-1 Sigma_PT."""
    targets: Float[Tensor, "t t"]
    """Sigma_TT given P."""


class InputAcquisition(AcquisitionFunction):
    r"""Abstract: a value of labels of a model, exact under pending ones, per cost.

    Σ is the posterior covariance of latent values, N the noise of the labels: what the
    model's posterior with `observation_noise=True` has above the latent one (for a
    model with given variances BoTorch takes their mean). With the pending labels P,

    .. math:: Σ_{c|P} = Σ_c - Σ_{cP} (Σ_P + N_P)^{-1} Σ_{Pc}.

    With costs, the value is divided by the sum of the costs of the q labels.

    Args:
        model: A fitted model. What depends on it alone is kept: a model that was fitted
            again takes a new acquisition function.
        cost_model: See `CostModel`.
        cost_aware_utility: BoTorch's form of the same; not both.
        X_pending: Labels that are running, `m x d`, conditioned on.

    Raises:
        ValueError: a batched model or an ensemble, a posterior that is not Gaussian with
            one output, a model without noise, or two cost models.
    """

    targets: Tensor | None

    def __init__(
        self,
        model: Model,
        *,
        targets: Float[Tensor, "t d"] | None = None,
        cost_model: CostModel | None = None,
        cost_aware_utility: CostAwareUtility | None = None,
        X_pending: Float[Tensor, "m d"] | None = None,
    ) -> None:
        if is_ensemble(model) or len(model.batch_shape):
            raise ValueError(
                "the posterior must be one Gaussian, got an ensemble or a batched model: "
                "take one of its members"
            )
        if cost_model is not None and cost_aware_utility is not None:
            raise ValueError(
                "give a cost_model or a cost_aware_utility, not both: the second holds "
                "a cost model of its own"
            )
        super().__init__(model=model)
        self.register_buffer("targets", targets)
        self._utility = cost_aware_utility
        self._cost = None
        if isinstance(cost_model, Model):
            self._utility = InverseCostWeightedUtility(
                cost_model  # type: ignore[arg-type]  # any model of one output
            )
        else:
            self._cost = cost_model
        self._known: Given | None = None
        self.set_X_pending(X_pending)

    def set_X_pending(self, X_pending: Float[Tensor, "m d"] | None = None) -> None:
        """BoTorch's protocol: condition on these labels, in place of all so far."""
        super().set_X_pending(X_pending)
        self._known = None

    @t_batch_mode_transform()  # type: ignore[arg-type]  # X is a tensor here
    def forward(self, X: Float[Tensor, "*b q d"]) -> Float[Tensor, "*b"]:
        """Values of sets of q labels, divided by what they cost."""
        sets = X.reshape(-1, *X.shape[-2:])
        parts = sets.split(max(1, _POINTS // max(1, X.shape[-2])))
        found = torch.cat([self.value(self.joint(part)) for part in parts])
        values = found.reshape(X.shape[:-2])
        if self._utility is not None:
            return self._utility(X, values.unsqueeze(0)).squeeze(0)
        if self._cost is not None:
            return values / _total(self._cost(X), X)
        return values

    def value(self, joint: Joint) -> Float[Tensor, " b"]:
        """The value of labels with this joint Gaussian, cost left out."""
        raise NotImplementedError

    def joint(self, X: Float[Tensor, "b q d"]) -> Joint:
        """The labels' latent covariance and noise, and their covariance with the targets.

        One posterior of all b q inputs and the fixed ones: the fixed ones are not
        repeated for every set.
        """
        b, q, d = X.shape
        flat, given = X.reshape(-1, d), self.given(X)
        full = self._covariance(torch.cat([flat, given.points.to(X)]))
        n, p = b * q, len(given.factor)
        own = full[:n, :n].reshape(b, q, b, q).diagonal(dim1=0, dim2=2).permute(2, 0, 1)
        half = torch.linalg.solve_triangular(
            given.factor, full[n : n + p, :n], upper=False
        )
        cross = full[n + p :, :n] - given.update.mT @ half
        half = half.reshape(p, b, q).transpose(0, 1)
        return Joint(
            own - half.mT @ half,
            self._noise(flat, full[:n, :n].diagonal()).reshape(b, q),
            cross.reshape(-1, b, q).transpose(0, 1),
        )

    def given(self, like: Tensor) -> Given:
        """Pending labels and targets, worked out once, in the form of some inputs."""
        if self._known is None:
            empty = like.new_zeros(0, like.shape[-1])
            fixed = [x for x in (self.X_pending, self.targets) if x is not None]
            points = torch.cat([empty, *(x.to(like) for x in fixed)])
            p = 0 if self.X_pending is None else len(self.X_pending)
            with torch.no_grad():
                full = self._covariance(points)
                noise = self._noise(points[:p], full[:p, :p].diagonal())
                factor = torch.linalg.cholesky(full[:p, :p] + noise.diag())
                update = torch.linalg.solve_triangular(
                    factor, full[:p, p:], upper=False
                )
                targets = full[p:, p:] - update.mT @ update
            self._known = Given(points.detach(), factor, update, targets)
        return self._known

    def _covariance(self, points: Float[Tensor, "n d"]) -> Float[Tensor, "n n"]:
        if not len(points):
            return points.new_zeros(0, 0)
        return self._distribution(points, noisy=False).covariance_matrix

    def _noise(
        self, points: Float[Tensor, "n d"], latent: Float[Tensor, " n"]
    ) -> Float[Tensor, " n"]:
        if not len(points):
            return latent
        observed = self._distribution(points, noisy=True).lazy_covariance_matrix
        noise = observed.diagonal(dim1=-1, dim2=-2) - latent
        if not (noise > 0).all():
            raise ValueError(
                "a label of the model carries no noise, so that it would tell without "
                "limit: fit a likelihood with noise, or give variances"
            )
        return noise

    def _distribution(
        self, points: Tensor, *, noisy: bool
    ) -> gpytorch.distributions.MultivariateNormal:
        with gpytorch.settings.max_cholesky_size(_LARGEST_CHOLESKY):
            posterior = self.model.posterior(points, observation_noise=noisy)
        if (
            not isinstance(posterior, GPyTorchPosterior)
            or len(posterior.distribution.event_shape) != 1
        ):
            raise ValueError(
                "the posterior must be a Gaussian with one output, got "
                f"{type(posterior).__name__} of {self.model.num_outputs} outputs: give "
                "inputs with their level or task, and no outcome transform that bends"
            )
        return posterior.distribution


def _total(cost: Tensor, X: Float[Tensor, "*b q d"]) -> Float[Tensor, "*b"]:
    """The summed cost of the q labels.

    Raises:
        ValueError: costs of another shape, or that are not positive.
    """
    if cost.shape == (*X.shape[:-1], 1):
        cost = cost.squeeze(-1)
    if cost.shape != X.shape[:-1] or not (cost > 0).all():
        raise ValueError(
            f"costs must be positive, one for each of the {tuple(X.shape[:-1])} labels, "
            f"got {tuple(cost.shape)}"
        )
    return cost.sum(-1)
