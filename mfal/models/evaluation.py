"""Errors and calibration of a model's predictions against labels."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from mfal.data import Label
from mfal.models.calibration import NOMINAL, coverage, metrics
from mfal.models.leave_out import LeftOut
from mfal.models.prediction import Prediction


def evaluation(prediction: Prediction, labels: Sequence[Label]) -> dict[str, dict]:
    """`metrics` per quantity: energies in meV per atom, forces in eV/A.

    A quantity that no label has is left out.
    """
    result = {}
    for quantity, (residual, sigma) in residuals(prediction, labels).items():
        result[quantity] = metrics(residual, sigma)
    return result


def residuals(
    prediction: Prediction, labels: Sequence[Label]
) -> dict[str, tuple[np.ndarray, np.ndarray]]:
    """Residuals (prediction minus label) and total sigmas, as in `evaluation`."""
    found = {}
    n_atoms = prediction.forces.shape[1]
    have = [i for i, label in enumerate(labels) if label.energy is not None]
    if have:
        scale = 1e3 / n_atoms
        energies = np.array([labels[i].energy for i in have])
        found["energy"] = (
            scale * (prediction.energy[have] - energies),
            scale * prediction.total_sigma("energy")[have],
        )
    have = [i for i, label in enumerate(labels) if label.forces is not None]
    if have:
        forces = np.array([labels[i].forces for i in have])
        found["forces"] = (
            (prediction.forces[have] - forces).ravel(),
            prediction.total_sigma("forces")[have].ravel(),
        )
    return found


def parity(prediction: Prediction, labels: Sequence[Label]) -> dict[str, Any]:
    """Reference, predicted and sigma: energies in eV/atom from their mean, forces."""
    n_atoms = prediction.forces.shape[1]
    result = {}
    if all(label.energy is not None for label in labels):
        energies = np.array([label.energy for label in labels], dtype=float)
        zero = energies.mean()
        result["energy"] = {
            "reference": ((energies - zero) / n_atoms).tolist(),
            "predicted": ((prediction.energy - zero) / n_atoms).tolist(),
            "sigma": (prediction.total_sigma("energy") / n_atoms).tolist(),
        }
    if all(label.forces is not None for label in labels):
        forces = np.array([label.forces for label in labels])
        result["forces"] = {
            "reference": forces.ravel().tolist(),
            "predicted": prediction.forces.ravel().tolist(),
            "sigma": prediction.total_sigma("forces").ravel().tolist(),
        }
    return result


def calibration_curves(
    calibrated: Prediction, raw: Prediction, labels: Sequence[Label]
) -> dict[str, dict[str, list[float]]]:
    """Nominal and empirical coverage per quantity, with and without recalibration."""
    before = residuals(raw, labels)
    return {
        quantity: {
            "nominal": NOMINAL.tolist(),
            "empirical": np.asarray(coverage(residual, sigma, NOMINAL)).tolist(),
            "empirical_raw": np.asarray(coverage(*before[quantity], NOMINAL)).tolist(),
        }
        for quantity, (residual, sigma) in residuals(calibrated, labels).items()
    }


def left_out_summary(
    left_out: LeftOut, factors: Mapping[str, float], n_atoms: int
) -> dict[str, float]:
    """Leave-one-out errors with their standard errors over configurations.

    Coverage is that of the sigmas times `factors`.
    """
    result: dict[str, float] = {}
    if len(left_out.energy):
        errors = 1e3 / n_atoms * np.abs(left_out.energy)
        result |= _with_band("energy_mae", errors)
    if len(left_out.forces):
        result |= _with_band("forces_mae", np.abs(left_out.forces).mean(axis=(1, 2)))
        result["forces_rmse"] = float(np.sqrt(np.square(left_out.forces).mean()))
        residual = left_out.forces.ravel()
        sigma = factors["forces"] * left_out.forces_sigma.ravel()
        for percent in (68, 95):
            share = coverage(residual, sigma, percent / 100)
            result[f"coverage_{percent}"] = float(share)
    return result


def _with_band(name: str, errors: np.ndarray) -> dict[str, float]:
    mean = float(errors.mean())
    spread = (
        float(errors.std(ddof=1) / np.sqrt(len(errors))) if len(errors) > 1 else 0.0
    )
    return {name: mean, f"{name}_low": mean - spread, f"{name}_high": mean + spread}
