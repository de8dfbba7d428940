r"""Fitting an autoregressive model level by level: what the data say, and what they do not.

The hyperparameters of a level are found given those of the levels below it, from the rows
of that level alone (`autoregressive_density`). With 2 to 20 data at a level their best
values are overconfident, so the model is given a few draws from their posterior
(`autoregressive_sampling`) instead of its maximum. Deterministic for a given seed.
"""

import logging
from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from botorch.exceptions.errors import ModelFittingError
from botorch.optim.batched_lbfgs_b import fmin_l_bfgs_b_batched
from botorch.optim.fit import fit_gpytorch_mll_scipy
from gpytorch.mlls import ExactMarginalLogLikelihood, MarginalLogLikelihood
from jaxtyping import Float
from torch import Tensor

from mfal.models.autoregressive_density import (
    LevelRows,
    LowerPosterior,
    joint_density,
    level_density,
    lower_posterior,
    sorted_rows,
)
from mfal.models.autoregressive_evidence import dense_covariance
from mfal.models.autoregressive_large import know_lowest, known_lowest_held
from mfal.models.autoregressive_parameters import ParameterVector
from mfal.models.autoregressive_sampling import Gaussian, Sampler

_logger = logging.getLogger(__name__)

SCREENED_ROWS = 300
"""Starting values of a large level are compared on so many of its rows."""

SAMPLED_ROWS = 500
"""Hyperparameters of a level with more rows stay at their maximum."""

FEW_ROWS = 40
"""With fewer rows the hyperparameters of a level are searched everywhere."""

COMPLETE_ROWS = 1500
"""Hyperparameters of a larger level are found from so many of its rows."""

JOINT_ROWS = 2000
"""Hyperparameters of more rows in all are found level by level only."""

DRAWN_ENTRIES = 32_000_000
"""Entries of the covariance matrices of all draws together."""

BATCH_ENTRIES = 4_000_000
"""Entries of covariance matrices that are held at once."""


def fit_autoregressive(
    mll: MarginalLogLikelihood,
    closure: Callable | None = None,
    optimizer: Callable | None = None,
    closure_kwargs: dict[str, Any] | None = None,
    optimizer_kwargs: dict[str, Any] | None = None,
    n_samples: int = 16,
    seed: int = 0,
    **ignored: Any,
) -> MarginalLogLikelihood:
    """Draws of the hyperparameters from their posterior, or its maximum.

    With an `optimizer` or `closure` of the caller, with another objective than the
    evidence, or with an input transform that learns, the values of stage 1 start that
    search, and its result is the maximum.

    Args:
        mll: of an `AutoregressiveGP`.
        closure, optimizer, closure_kwargs, optimizer_kwargs: see `fit_gpytorch_mll`.
        n_samples: number of draws; 1 keeps the maximum alone.
        seed: of the draws.

    Returns:
        The mll, in evaluation mode.

    Raises:
        ModelFittingError: no starting value has a finite density.
    """
    mll.eval()
    vector = ParameterVector(mll)
    vector.write(vector.read().reshape(-1, sum(vector.sizes)).mean(dim=0))
    search = Search(mll, vector)
    if search.model.lowest is not None:
        search.maximise_lowest()
    transform = getattr(mll.model, "input_transform", None)
    learns = transform is not None and any(True for _ in transform.parameters())
    if optimizer or closure or learns or type(mll) is not ExactMarginalLogLikelihood:
        search.maximise_by_levels()
        mll.train()
        chosen = optimizer or fit_gpytorch_mll_scipy
        with known_lowest_held(search.model):
            chosen(mll, closure=closure, **(optimizer_kwargs or {}))
    else:
        n = len(search.rows.x)
        held = min(n_samples, DRAWN_ENTRIES // n**2)
        if held < n_samples:
            _logger.info("%d rows: %d draws of hyperparameters", n, max(held, 1))
        if held > 1:
            search.draw_by_levels(held, Sampler(seed=seed))
        else:
            maxima = search.maximise_by_levels()
            if n <= JOINT_ROWS and search.model.lowest is None:
                search.maximise_jointly(maxima)
    mll.zero_grad(set_to_none=True)
    mll.model.prediction_strategy = None
    return mll.eval()


class Search:
    """Searches over the parameters of one model."""

    def __init__(self, mll: MarginalLogLikelihood, vector: ParameterVector) -> None:
        self.model: Any = mll.model
        self.vector = vector
        self.rows: LevelRows = sorted_rows(self.model)
        self.low, self.high = vector.bounds()

    def maximise_by_levels(self) -> list[Tensor]:
        """The best vector, found for each level given those below it.

        Returns:
            The maxima at the highest level that has rows, the best first.
        """
        maxima = [self.vector.read()]
        for level in range(self.model.n_levels):
            if self.rows.count(level):
                maxima = self._maxima_of(level)
                self.vector.write(maxima[0])
        return maxima

    def maximise_lowest(self) -> None:
        """A lowest level of many points: from part of its rows, then known by all."""
        upper, self.rows = self.rows, self.model.lowest.rows
        self.vector.write(self._maxima_of(0)[0])
        self.rows = upper
        know_lowest(self.model)

    def maximise_jointly(self, starts: list[Tensor]) -> None:
        """The maximum of all hyperparameters together, as many starts as fit at once."""
        density = self._evaluated(lambda: joint_density(self.model, self.rows))
        some = torch.stack(starts[: max(1, BATCH_ENTRIES // len(self.rows.x) ** 2)])
        value, best = self._climb(density, some, torch.ones(some.shape[1]).bool())[0]
        self.vector.write(best)
        _logger.info(
            "autoregressive model of %d rows: log posterior density %.6g at its maximum",
            len(self.rows.x),
            value,
        )

    def draw_by_levels(self, n_samples: int, sampler: Sampler) -> None:
        """Draws of the hyperparameters of each level, given those below at their best.

        A level with more than `SAMPLED_ROWS` rows stays at its maximum.
        """
        best = self.vector.read()
        draws = best.repeat(n_samples, 1)
        for level in range(self.model.n_levels):
            n = self.rows.count(level)
            if n == 0:
                continue
            free = self.vector.of_level(level)
            self.vector.write(best)
            centre = best[free]
            maxima = self._maxima_of(level)
            best = maxima[0]
            draws[:, free] = best[free]
            if n <= SAMPLED_ROWS:
                density = self._within(self._block(level, best, free), n, free)
                wide = Gaussian(centre, self.vector.widths()[free].diag())
                proposals = 1024 if n <= FEW_ROWS else 4 * n_samples
                modes = [z[free] for z in maxima[: 3 if n <= FEW_ROWS else 1]]
                draws[:, free] = sampler.draw(
                    density, modes, wide, proposals, n_samples
                )
        self.vector.write(draws)

    def _maxima_of(self, level: int) -> list[Tensor]:
        n, lower = self.rows.count(level), self._lower(level)
        free = self.vector.of_level(level)
        few = torch.arange(n)[:: -(-n // SCREENED_ROWS)]
        ranked = self._climbed(
            self._density_of(level, lower, few), self._starts(level, lower), free
        )
        if n > SCREENED_ROWS:
            many = torch.arange(n)[:: -(-n // COMPLETE_ROWS)]
            if len(many) < n:
                _logger.info(
                    "level %d: fitted to %d of its %d rows", level, len(many), n
                )
            complete = self._density_of(level, lower, many)
            return [self._climb(complete, ranked[0][1][None], free)[0][1]]
        return [z for _, z in ranked]

    def _block(
        self, level: int, others: Tensor, free: Tensor
    ) -> Callable[[Tensor], tuple[Tensor, Tensor]]:
        """The density of the part of the vector that belongs to a level."""
        rows = torch.arange(self.rows.count(level))
        density = self._density_of(level, self._lower(level), rows)
        others = others.clone()

        def evaluate(part: Tensor) -> tuple[Tensor, Tensor]:
            whole = others.repeat(len(part), 1)
            whole[:, free] = part
            value, slope = density(whole)
            return value, slope[:, free]

        return evaluate

    # --- densities of vectors

    def _lower(self, level: int) -> LowerPosterior | None:
        return None if level == 0 else lower_posterior(self.model, self.rows, level)

    def _density_of(
        self, level: int, lower: LowerPosterior | None, pick: Tensor
    ) -> Callable[[Tensor], tuple[Tensor, Tensor]]:
        return self._evaluated(
            lambda: level_density(self.model, self.rows, level, lower, pick)
        )

    def _evaluated(
        self, density: Callable[[], Tensor]
    ) -> Callable[[Tensor], tuple[Tensor, Tensor]]:
        def evaluate(z: Tensor) -> tuple[Tensor, Tensor]:
            self.vector.write(z)
            value = density()
            value.sum().backward()
            return value.detach(), self.vector.slope()

        return evaluate

    def _within(
        self,
        density: Callable[[Tensor], tuple[Tensor, Tensor]],
        n: int,
        free: Tensor | None = None,
    ) -> Callable[[Tensor], tuple[Tensor, Tensor]]:
        """Zero density beyond the bounds; batches of bounded memory."""
        low, high = (b if free is None else b[free] for b in (self.low, self.high))
        size = max(1, BATCH_ENTRIES // n**2)

        def evaluate(z: Tensor) -> tuple[Tensor, Tensor]:
            inside = ((z >= low) & (z <= high)).all(dim=-1)
            safe = torch.minimum(torch.maximum(z.nan_to_num(), low), high)
            parts = [density(part) for part in safe.split(size)]
            value = torch.cat([v for v, _ in parts])
            slope = torch.cat([s for _, s in parts]).nan_to_num(0.0, 0.0, 0.0)
            value = torch.where(inside & value.isfinite(), value, -torch.inf)
            return value, slope

        return evaluate

    # --- starting values

    def _starts(self, level: int, lower: LowerPosterior | None) -> list[Tensor]:
        original = self.vector.read()
        starts = []
        for factor in (0.1, 0.3, 1.0, 3.0, 10.0):
            for noise in (1e-7, 1e-2):
                for rho in (None,) if lower is None else (0.0, 0.8, None):
                    self.vector.write(original)
                    with torch.no_grad():
                        self._set_start(level, factor, noise, rho)
                        if lower is not None and rho is None:
                            self._set_regressed_rho(level, lower)
                    starts.append(self.vector.read())
        self.vector.write(original)
        return starts

    def _set_regressed_rho(self, level: int, lower: LowerPosterior) -> None:
        """rho = (m K^-1 y) / (m K^-1 m + 1): generalised least squares, slightly damped."""
        kernel, rows = self.model.covar_module, self.rows
        index = torch.arange(rows.start[level], rows.start[level + 1])
        index = index[:: -(-len(index) // SCREENED_ROWS)]
        unit = kernel.level_unit
        own = dense_covariance(kernel.kernels[level], rows.x[index])
        own = own + kernel.offset_variance + 1e-6 * torch.eye(len(index)).to(own)
        m = lower.mean[index - rows.start[level]] / unit[level - 1]
        y = rows.residual[index] / unit[level]
        solved = torch.linalg.solve(own, torch.stack([m, y], dim=1))
        self._set_rho(level, float(m @ solved[:, 1] / (m @ solved[:, 0] + 1)))

    def _set_rho(self, level: int, rho: float) -> None:
        values = self.model.covar_module.rho.clone()
        values[level - 1] = rho
        self.model.covar_module.rho = values

    def _set_start(
        self, level: int, factor: float, noise: float, rho: float | None
    ) -> None:
        kernel = self.model.covar_module
        for module in kernel.kernels[level].modules():
            if getattr(module, "has_lengthscale", False):
                module.lengthscale = factor * module.lengthscale
            if hasattr(module, "raw_outputscale"):
                scale = 1.0 if rho == 0.0 else 0.1
                module.outputscale = scale * max(1.0, 2 * factor) ** 2
        excess = getattr(self.model.likelihood.noise_covar, "excess", None)
        if excess is not None:
            excess = excess.clone()
            excess[level] = noise
            self.model.likelihood.noise_covar.excess = excess
        if rho is not None:
            self._set_rho(level, rho)

    # --- the search

    def _climbed(
        self,
        density: Callable[[Tensor], tuple[Tensor, Tensor]],
        starts: list[Tensor],
        free: Tensor,
        n_searches: int = 4,
    ) -> list[tuple[float, Tensor]]:
        """The best starts, each followed to its maximum; the best first."""
        z = torch.stack(starts)
        size = max(1, BATCH_ENTRIES // SCREENED_ROWS**2)
        value = torch.cat([density(part)[0] for part in z.split(size)])
        value = value.nan_to_num(-torch.inf, -torch.inf, -torch.inf)
        if not value.max().isfinite():
            raise ModelFittingError(
                "no starting value of the hyperparameters has a finite density: "
                f"{len(self.rows.x)} rows, {self.model.n_levels} levels"
            )
        best = value.argsort(descending=True)[:n_searches]
        return self._climb(density, z[best], free)

    def _climb(
        self,
        density: Callable[[Tensor], tuple[Tensor, Tensor]],
        starts: Float[Tensor, "s p"],
        free: Tensor,
    ) -> list[tuple[float, Tensor]]:
        """All starts to their maxima, in step with each other; the best first.

        What small matrices cost is the number of evaluations and not their width.
        """
        low, high = self.low[free].numpy(), self.high[free].numpy()
        others = starts[0].clone()

        def loss(z: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
            whole = others.repeat(len(z), 1)
            whole[:, free] = torch.from_numpy(z)
            value, slope = density(whole)
            known = value.isfinite() & slope.isfinite().all(dim=-1)
            value = torch.where(known, -value, 1e12)
            slope = torch.where(known[:, None], -slope[:, free], 0.0)
            return value.numpy(), slope.numpy()

        found, losses, _ = fmin_l_bfgs_b_batched(
            loss,
            starts[:, free].numpy().clip(low, high),
            bounds=list(zip(low, high, strict=True)),
            maxiter=150,
            factr=None,
            ftol=1e-8,
            pgtol=1e-3,
        )
        ranked = []
        for k in np.argsort(losses):
            whole = others.clone()
            whole[free] = torch.from_numpy(found[k])
            ranked.append((-float(losses[k]), whole))
        self.vector.write(ranked[0][1])
        return ranked
