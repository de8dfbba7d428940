"""Predictions of energies and forces with their standard deviations."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from jaxtyping import Float
from torch import Tensor

from mfal.models.calibration import Recalibration
from mfal.models.observations import ENERGY, FORCES, StructureRows


@dataclass(frozen=True)
class Prediction:
    """Energies (eV, total) and forces (eV/A) of structures with standard deviations.

    `*_sigma` is epistemic (the latent function), `*_noise` aleatoric (what the model
    cannot represent of a label at that level); both are multiplied by the recalibration.
    """

    energy: Float[np.ndarray, " b"]
    energy_sigma: Float[np.ndarray, " b"]
    energy_noise: Float[np.ndarray, " b"]
    forces: Float[np.ndarray, "b n 3"]
    forces_sigma: Float[np.ndarray, "b n 3"]
    forces_noise: Float[np.ndarray, "b n 3"]

    def total_sigma(self, quantity: str) -> np.ndarray:
        """Standard deviation of a label: epistemic and noise together."""
        return np.hypot(
            getattr(self, f"{quantity}_sigma"), getattr(self, f"{quantity}_noise")
        )


class RowPrediction(NamedTuple):
    """Mean and covariance of the rows of one structure, and the noise of its label."""

    block: StructureRows
    mean: Tensor
    covariance: Tensor
    noise: Tensor
    zero: float
    """Energy of reference of the structure (eV)."""


def cartesian(
    predictions: Sequence[RowPrediction], factor: Recalibration
) -> Prediction:
    """Energies and Cartesian forces: F = U F_int, with variances of U Σ U^T."""
    columns: dict[str, list] = {
        f"{q}{k}": [] for q in ("energy", "forces") for k in ("", "_sigma", "_noise")
    }
    for block, mean, covariance, noise, zero in predictions:
        energy, forces = block.quantity == ENERGY, block.quantity == FORCES
        columns["energy"].append(zero + float(mean[energy][0]))
        columns["energy_sigma"].append(
            float(_root(covariance[energy][:, energy].diagonal())[0])
        )
        columns["energy_noise"].append(float(noise[energy].sqrt()[0]))
        u = block.basis
        columns["forces"].append((u @ mean[forces]).reshape(-1, 3).numpy())
        inner = covariance[forces][:, forces]
        columns["forces_sigma"].append(_root(((u @ inner) * u).sum(1)).reshape(-1, 3))
        spread = (u.square() @ noise[forces]).sqrt()
        columns["forces_noise"].append(spread.reshape(-1, 3).numpy())
    scale = {"energy": factor.energy, "forces": factor.forces}
    return Prediction(
        **{
            name: np.array(values)
            * (1.0 if name in scale else scale[name.split("_")[0]])
            for name, values in columns.items()
        }
    )


def _root(variance: Float[Tensor, " n"]) -> np.ndarray:
    """Square roots; rounding below zero is cut, anything more is an error."""
    if (variance < -1e-6 * variance.abs().max() - 1e-10).any():
        raise ArithmeticError(
            f"a posterior variance came out negative ({float(variance.min()):.2e}): "
            "the covariance matrix is too ill-conditioned"
        )
    return variance.clamp_min(0.0).sqrt().numpy()
