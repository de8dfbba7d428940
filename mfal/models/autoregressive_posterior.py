r"""The posterior of a mixture of Gaussian processes, and only what is asked for of it.

For H draws of the hyperparameters, with K(X, X) + noise = (R R^T)^{-1} for each draw,

.. math:: m_h(x) = \mu(x) + k_h(x, X) \alpha_h, \qquad \alpha_h = R_h R_h^T (y - \mu), \\
    C_h(x, x') = k_h(x, x') - v_h(x)^T v_h(x'), \qquad v_h(x) = R_h^T k_h(X, x),

and the Gaussian with the moments of their mixture has

.. math:: m = \tfrac1H \sum_h m_h, \qquad
    C = \tfrac1H \sum_h \big[ C_h + (m_h - m)(m_h - m)^T \big].

The means and the diagonal of C are computed at once, from blocks of points; the rest of C
where somebody asks for it (`LazyCovariance`). A point costs a row of k(x, X) and n^2
multiplications for each draw.
"""

from dataclasses import dataclass
from functools import partial
from typing import Any

import torch
from gpytorch.distributions import MultivariateNormal
from jaxtyping import Float
from torch import Tensor

from mfal.models.autoregressive_conditioning import have_predicted, slopes_wanted
from mfal.models.autoregressive_covariance import LazyCovariance
from mfal.models.autoregressive_values import (
    as_it_is,
    columns_that_count,
    with_values,
)

BLOCK = 2**17
"""Covariances that are computed at once: 1 MB, which stays in the cache."""

LEAST_POINTS = 64
"""A block has these points at least, for the sake of the matrix products."""

LEAST_POINTS_BESIDE_INDUCING = 1024
"""The same where each block meets the inducing points of a large lowest level."""


@dataclass(frozen=True)
class Conditioned:
    """The draws of the hyperparameters given the data, see the module."""

    mean: Any
    """mu, without what is known of a large lowest level."""
    own: Any
    """Covariance of points with each other."""
    cross: Any
    """The same, of points with the rows of the data."""
    rows: Float[Tensor, "*e n d"]
    """X; draws are in dimension -3 where there is more than one set of data."""
    coefficients: Float[Tensor, "*f draws n"]
    """alpha"""
    root: Float[Tensor, "*g draws n n"]
    """R"""

    def posterior(self, x: Float[Tensor, "*b q d"]) -> MultivariateNormal:
        """The Gaussian with the moments of the mixture."""
        means, variance, v = self._marginals(self._listed(x))
        means = self._shaped(means, x)
        if self._alone:
            variance = variance.reshape(x.shape[:-1])
        matrix = partial(self._joint, x, means, variance, v, torch.is_grad_enabled())
        return MultivariateNormal(means.mean(dim=-2), LazyCovariance(variance, matrix))

    def _marginals(self, x: Tensor) -> tuple[Tensor, Tensor, Tensor | None]:
        """m_h(x), the diagonal of C and, where it is not large, v_h(x)."""
        means, explained, v = [], [], None
        blocks = x.split(self._points_at_once(x), dim=-2)
        for some in blocks:
            k = self._cross(some)
            v = k @ self.root
            means.append((k @ self.coefficients.unsqueeze(-1)).squeeze(-1))
            explained.append(v.square().sum(dim=-1).mean(dim=-2))
        mean, variance = [], []
        for some in x.split(self._pairs_at_once(blocks[0].shape[-2]), dim=-2):
            points = some.unsqueeze(-3)
            mean.append(self._prior_mean(points))
            prior = self.own.forward(points, points, diag=True)
            variance.append(prior.mean(dim=-2))
        found = torch.cat(means, dim=-1) + torch.cat(mean, dim=-1)
        within = torch.cat(variance, dim=-1) - torch.cat(explained, dim=-1)
        between = (found - found.mean(dim=-2, keepdim=True)).square().mean(dim=-2)
        return found, within + between, v if len(blocks) == 1 else None

    def _joint(
        self, x: Tensor, means: Tensor, variance: Tensor, v: Tensor | None, slopes: bool
    ) -> Tensor:
        """All of C."""
        if x.shape[-2] == 1:
            return variance.unsqueeze(-1)
        with torch.set_grad_enabled(slopes):
            if v is None:
                points = self._listed(x)
                blocks = points.split(self._points_at_once(points), dim=-2)
                v = torch.cat([self._cross(i) @ self.root for i in blocks], dim=-2)
            v = self._shaped(v, x)
            n_draws = v.shape[-3]
            v = v.transpose(-3, -2).flatten(start_dim=-2)  # one product for all draws
            spread = (means - means.mean(dim=-2, keepdim=True)).mT
            return self._prior(x) + (spread @ spread.mT - v @ v.mT) / n_draws

    def _cross(self, x: Float[Tensor, "*b q d"]) -> Float[Tensor, "*c draws q n"]:
        k: Tensor = self.cross.forward(x.unsqueeze(-3), self.rows)
        return k

    def _prior_mean(self, points: Tensor) -> Tensor:
        """mu(x), which a large lowest level changes from draw to draw."""
        mean: Tensor = self.mean(points)
        return mean if self.own.known is None else mean + self.own.known_mean(points)

    def _prior(self, x: Float[Tensor, "*b q d"]) -> Float[Tensor, "*b q q"]:
        """k_h(x, x') averaged over the draws; in blocks where no slope is recorded."""
        *batch, q, d = x.shape
        at_once = BLOCK // self.root.shape[-3]
        if torch.is_grad_enabled() or x[..., 0].numel() * q <= at_once:
            return self._average(x, x)
        rows = max(1, at_once // q)
        parts = [
            torch.cat([self._average(i, some) for i in some.split(rows, -2)], dim=-2)
            for some in x.reshape(-1, q, d).split(max(1, at_once // q**2))
        ]
        return torch.cat(parts).reshape(*batch, q, q)

    def _average(self, x1: Tensor, x2: Tensor) -> Tensor:
        k: Tensor = self.own.forward(x1.unsqueeze(-3), x2.unsqueeze(-3))
        return k.mean(dim=-3)

    @property
    def _alone(self) -> bool:
        """One set of data: the marginals of a batch are those of a list of points."""
        return self.rows.dim() == 2

    def _listed(self, x: Tensor) -> Tensor:
        return x.reshape(-1, x.shape[-1]) if self._alone else x

    def _shaped(self, found: Tensor, x: Tensor) -> Tensor:
        """What was found for each draw and point of a list, as the batches of x."""
        if not self._alone:
            return found
        return found.unflatten(1, x.shape[:-1]).movedim(0, x.dim() - 2)

    def _points_at_once(self, x: Tensor) -> int:
        if torch.is_grad_enabled():
            return max(1, x.shape[-2])
        *sets, n_draws, n = self.coefficients.shape
        batch = torch.broadcast_shapes(x.shape[:-2], torch.Size(sets))
        known = self.own.known is not None
        least = LEAST_POINTS_BESIDE_INDUCING if known else LEAST_POINTS
        most = max(least, BLOCK // max(1, batch.numel() * n_draws * n))
        n_blocks = max(1, round(x.shape[-2] / most))
        return max(1, -(-x.shape[-2] // n_blocks))

    def _pairs_at_once(self, n_points: int) -> int:
        """Points whose variances are computed at once, where so many meet the rows."""
        if self.own.known is not None:
            return n_points
        return max(n_points, BLOCK // self.root.shape[-3])


def posterior_of(model: Any, x: Float[Tensor, "*b q d"]) -> MultivariateNormal:
    """The posterior of an `AutoregressiveGP` at inputs that are transformed already.

    Slopes are those with respect to x and to data that carry slopes themselves; the
    hyperparameters are constants.
    """
    have_predicted(model)
    rows, strategy = model.train_inputs[0], model.prediction_strategy
    with torch.set_grad_enabled(slopes_wanted(x, rows, model.train_targets)):
        alpha, root = strategy.mean_cache, strategy.covar_cache
        if not model.hyperparameter_batch:  # as one draw
            alpha, root = alpha.unsqueeze(-2), root.unsqueeze(-3)
            rows = rows.unsqueeze(-3) if rows.dim() > 2 else rows
        kernel = as_it_is(model.covar_module)
        own = with_values(kernel, [None] * len(kernel.kernels))
        cross = with_values(kernel, columns_that_count(kernel, rows))
        given = Conditioned(model.mean_module, own, cross, rows, alpha, root)
        return given.posterior(x)
