r"""Hyperparameters drawn from their posterior: importance sampling, then a few moves.

With few data the posterior has several modes and long flat arms, and its maximum says
little. Proposals come from a mixture of wide Gaussians: Laplace's approximation at each
maximum that a search found, and one around the starting values. They are resampled by
weights p / q and moved by Hamiltonian Monte Carlo, all chains in one batch of Cholesky
factors. Deterministic for a given seed.

Source: Robert & Casella (2004), Monte Carlo Statistical Methods, chapter 3; Neal (2011),
Handbook of Markov Chain Monte Carlo, chapter 5.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor

Density = Callable[[Tensor], tuple[Tensor, Tensor]]
"""Vectors (H x p) to their log densities (H) and slopes (H x p)."""

LEAST_CURVATURE = 0.1
"""Directions in which the data say nothing are explored as far as 1 / sqrt of this."""


@dataclass(frozen=True)
class Gaussian:
    """Mean and a root R of the covariance R R^T."""

    mean: Float[Tensor, " p"]
    root: Float[Tensor, "p p"]

    def draw(self, n: int, generator: torch.Generator) -> Float[Tensor, "n p"]:
        """n draws."""
        size = (n, len(self.mean))
        noise = torch.randn(size, generator=generator, dtype=self.mean.dtype)
        return self.mean + noise @ self.root.T

    def log_density(self, z: Float[Tensor, "n p"]) -> Float[Tensor, " n"]:
        """Log density up to the constant of the dimension."""
        white = torch.linalg.solve(self.root, (z - self.mean).T)
        return -0.5 * white.square().sum(0) - torch.linalg.slogdet(self.root)[1]


@dataclass(frozen=True)
class Sampler:
    """How many proposals, and how long the chains run."""

    n_moves: int = 4
    n_steps: int = 5
    step: float = 0.3
    widening: float = 1.4
    seed: int = 0

    def draw(
        self,
        density: Density,
        modes: Sequence[Float[Tensor, " p"]],
        wide: Gaussian,
        n_proposals: int,
        n: int,
    ) -> Float[Tensor, "n p"]:
        """n draws; the first mode is the best."""
        generator = torch.Generator().manual_seed(self.seed)
        roots = [laplace_root(density, mode) for mode in modes]
        parts = [
            Gaussian(m, self.widening * r) for m, r in zip(modes, roots, strict=True)
        ]
        parts.append(wide)
        share = -(-n_proposals // len(parts))
        z = torch.cat([part.draw(share, generator) for part in parts])
        proposal = torch.stack([part.log_density(z) for part in parts]).logsumexp(0)
        value, slope = density(z)
        gain = value - proposal
        weight = (gain - gain.max()).exp().nan_to_num(0.0)
        index = _resampled(weight, n, generator)
        state, step = (z[index], value[index], slope[index]), self.step
        for _ in range(self.n_moves):
            state, step = self._moved(density, state, roots[0], step, generator)
        return state[0]

    def _moved(
        self,
        density: Density,
        state: tuple[Tensor, Tensor, Tensor],
        root: Tensor,
        step: float,
        generator: torch.Generator,
    ) -> tuple[tuple[Tensor, Tensor, Tensor], float]:
        """One trajectory of every chain, accepted or not, and the next step length."""
        z, value, slope = state
        momentum = torch.randn(z.shape, generator=generator, dtype=z.dtype)
        new, p, new_value, new_slope = z, momentum, value, slope
        for _ in range(self.n_steps):  # leapfrog, in units of the root
            p = p + 0.5 * step * new_slope @ root
            new = new + step * p @ root.T
            new_value, new_slope = density(new)
            p = p + 0.5 * step * new_slope @ root
        energy = new_value - 0.5 * p.square().sum(-1)
        before = value - 0.5 * momentum.square().sum(-1)
        chance = (energy - before).nan_to_num(-torch.inf).clamp_max(0.0).exp()
        uniform = torch.rand(len(z), generator=generator, dtype=z.dtype)
        taken = uniform < chance
        step *= float(torch.exp(chance.mean() - 0.7))
        return (
            torch.where(taken[:, None], new, z),
            torch.where(taken, new_value, value),
            torch.where(taken[:, None], new_slope, slope),
        ), step


def _resampled(weight: Tensor, n: int, generator: torch.Generator) -> Tensor:
    """Systematic resampling: n indices in proportion to the weights."""
    offset = torch.rand(1, generator=generator, dtype=weight.dtype)
    grid = (torch.arange(n) + offset) / n
    share = (weight / weight.sum()).cumsum(0)
    return torch.searchsorted(share, grid).clamp_max(len(weight) - 1)


def laplace_root(density: Density, mode: Float[Tensor, " p"]) -> Float[Tensor, "p p"]:
    """R with R R^T = (-Hessian)^-1 at a maximum, its curvatures bounded from below."""
    step = 1e-3
    shift = step * torch.eye(len(mode), dtype=mode.dtype)
    _, slope = density(torch.cat([mode + shift, mode - shift]))
    ahead, behind = slope.split(len(mode))
    hessian = -(ahead - behind) / (2 * step)
    hessian = (0.5 * (hessian + hessian.T)).nan_to_num(0.0, 0.0, 0.0)
    curvature, vectors = torch.linalg.eigh(hessian)
    return vectors * curvature.abs().clamp_min(LEAST_CURVATURE).rsqrt()
