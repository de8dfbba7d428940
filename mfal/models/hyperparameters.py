r"""Hyperparameters of a multi-level Gaussian process, their priors and bounds.

| symbol | field | unit |
|---|---|---|
| ℓ_m | `lengthscale[m]` | as the descriptor |
| s_m | `scale[m]` | eV |
| rho_l | `rho[l - 1]` | - |
| σ_E, σ_F, σ_S of level l | `noise[l]` | eV per √atom, eV/A, eV/A^3 |
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace

import torch
from jaxtyping import Float
from torch import Tensor

from mfal.kernels import Coefficients, Rows, matern52_profile, path_weights, rbf_profile
from mfal.kernels.derivative import RadialProfile

PROFILES: dict[str, RadialProfile] = {"rbf": rbf_profile, "matern52": matern52_profile}
"""Kernels by the names that files and configurations use."""

REFERENCE_WIDTH = 1.0
"""Width (eV per atom) of the prior of reference energies around their estimate."""


@dataclass(frozen=True)
class Hyperparameters:
    """One set of hyperparameters of L levels.

    | symbol | field | unit |
    |---|---|---|
    | l_m | `lengthscale[m]` | as the descriptor |
    | s_m | `scale[m]` | eV |
    | rho_l | `rho[l - 1]` | - |
    | noise (E, F, stress) of level l | `noise[l]` | eV per √atom, eV/A, eV/A^3 |

    Raises:
        ValueError: an unknown kernel, or sizes that do not belong to the same L.
    """

    kernels: tuple[str, ...]
    lengthscale: Float[Tensor, " levels"]
    scale: Float[Tensor, " levels"]
    rho: Float[Tensor, " steps"]
    noise: Float[Tensor, "levels 3"]

    def __post_init__(self) -> None:
        for kernel in self.kernels:
            if kernel not in PROFILES:
                raise ValueError(
                    f"a kernel is one of {sorted(PROFILES)}, got {kernel!r}"
                )
        n = len(self.kernels)
        sizes = (len(self.lengthscale), len(self.scale), len(self.rho) + 1)
        if any(size != n for size in sizes) or self.noise.shape != (n, 3):
            raise ValueError(
                f"{n} levels need {n} lengthscales, scales and rows of noise and "
                f"{n - 1} rho, got {sizes[0]}, {sizes[1]}, {len(self.noise)}, "
                f"{len(self.rho)}"
            )

    @property
    def n_levels(self) -> int:
        """Number of levels."""
        return len(self.kernels)

    def to_vector(self) -> Float[Tensor, " p"]:
        """[log ℓ, log s, rho, log σ_E, log σ_F, log σ_S], each for all levels."""
        return torch.cat(
            [
                self.lengthscale.log(),
                self.scale.log(),
                self.rho,
                self.noise.log().T.flatten(),
            ]
        )

    def from_vector(self, vector: Float[Tensor, " p"]) -> "Hyperparameters":
        """The hyperparameters of the same kernels that a vector stands for."""
        n = self.n_levels
        lengthscale, scale, rho, noise = vector.split([n, n, n - 1, 3 * n])
        return Hyperparameters(
            self.kernels,
            lengthscale.exp(),
            scale.exp(),
            rho,
            noise.exp().reshape(3, n).T,
        )

    def same_level(self, other: "Hyperparameters", level: int) -> bool:
        """Whether all that belongs to a level is equal, to the last bit."""
        return (
            self.kernels[level] == other.kernels[level]
            and bool(self.lengthscale[level] == other.lengthscale[level])
            and bool(self.scale[level] == other.scale[level])
            and bool((self.noise[level] == other.noise[level]).all())
            and (level == 0 or bool(self.rho[level - 1] == other.rho[level - 1]))
        )

    def with_kernels(self, kernels: Sequence[str]) -> "Hyperparameters":
        """The same numbers with other kernels."""
        return replace(self, kernels=tuple(kernels))

    def to_json(self) -> dict[str, object]:
        """Plain values that give back the same numbers to the last bit."""
        return {
            "kernels": list(self.kernels),
            "lengthscale": self.lengthscale.tolist(),
            "scale": self.scale.tolist(),
            "rho": self.rho.tolist(),
            "noise": self.noise.tolist(),
        }

    @staticmethod
    def from_json(values: dict) -> "Hyperparameters":
        """The inverse of `to_json`."""
        numbers = {
            name: torch.tensor(values[name], dtype=torch.float64)
            for name in ("lengthscale", "scale", "rho", "noise")
        }
        return Hyperparameters(kernels=tuple(values["kernels"]), **numbers)


@dataclass(frozen=True)
class HyperPrior:
    """Independent normal priors of the entries of `Hyperparameters.to_vector`.

    Entries outside `low` ... `high` are not visited.
    """

    mean: Float[Tensor, " p"]
    deviation: Float[Tensor, " p"]
    low: Float[Tensor, " p"]
    high: Float[Tensor, " p"]

    def log_density(self, vector: Float[Tensor, " p"]) -> Float[Tensor, ""]:
        """Sum of the log densities (normalised)."""
        z = (vector - self.mean) / self.deviation
        constant = self.deviation.log() + 0.5 * math.log(2 * math.pi)
        return -(0.5 * z.square() + constant).sum()


def default_prior(n_levels: int, typical_distance: float) -> HyperPrior:
    r"""Priors that keep the model sane with two to five labels at the highest level.

    log ℓ ~ N(log 2 |q - q'|, 0.7) with the median distance of two geometries,
    log s_0 ~ N(0, 1.5) and log s_l ~ N(-1, 1.5) for discrepancies (eV),
    rho ~ N(1, 0.3), log σ_E ~ N(log 1 meV, 1) per √atom,
    log σ_F ~ N(log 20 meV/A, 1), log σ_S ~ N(log 1 meV/A^3, 1).
    Bounds: ℓ within 0.1 and 30 median distances, s within 1e-4 and 1e3 eV, rho within
    -1 and 3, σ_E within 1e-5 and 1, σ_F within 1e-4 and 5, σ_S within 1e-6 and 0.1.
    """
    one = torch.ones(n_levels, dtype=torch.float64)
    step = torch.ones(n_levels - 1, dtype=torch.float64)
    log_distance = math.log(typical_distance)
    scale_mean = -one
    scale_mean[0] = 0.0
    rows = [  # mean, deviation, low, high
        (
            one * (log_distance + math.log(2)),
            0.7 * one,
            one * (log_distance + math.log(0.1)),
            one * (log_distance + math.log(30)),
        ),
        (scale_mean, 1.5 * one, one * math.log(1e-4), one * math.log(1e3)),
        (step, 0.3 * step, -step, 3 * step),
        *(
            (one * math.log(mean), one, one * math.log(low), one * math.log(high))
            for mean, low, high in ((1e-3, 1e-5, 1), (2e-2, 1e-4, 5), (1e-3, 1e-6, 0.1))
        ),
    ]
    return HyperPrior(*(torch.cat(column) for column in zip(*rows, strict=True)))


def coefficients(
    hyperparameters: Hyperparameters,
    squared: Float[Tensor, "g n_env m_env"],
    left: Rows,
    right: Rows,
) -> Coefficients:
    r"""C0, C1, C2 of `mfal.kernels.rows` for these hyperparameters; differentiable.

    .. math:: C_k = \frac{1}{|G|} \sum_m c_{lm} c_{l'm} s_m^2\, φ_m^{(k)}(|q - Pq'|^2
              / ℓ_m^2) / ℓ_m^{2k},

    and on C0 the reference energies, σ_ref^2 n · n' for environments of one level.
    """
    weights = path_weights(hyperparameters.rho) * hyperparameters.scale
    value = torch.zeros_like(squared)
    first, second = torch.zeros_like(squared), torch.zeros_like(squared)
    for m, kernel in enumerate(hyperparameters.kernels):
        if not ((left.level >= m).any() and (right.level >= m).any()):
            continue
        pair = weights[left.level, m, None] * weights[right.level, m] / len(squared)
        inverse = hyperparameters.lengthscale[m].pow(-2)
        phi = PROFILES[kernel](squared * inverse)
        value = value + pair * phi.value
        first = first + pair * inverse * phi.first
        second = second + pair * inverse.square() * phi.second
    same = left.level[:, None] == right.level
    reference = REFERENCE_WIDTH**2 * (left.counts @ right.counts.T) * same
    value = torch.cat([(value[0] + reference).unsqueeze(0), value[1:]])
    return Coefficients(value, first, second)
