"""Errors and calibration of a model's predictions against labels."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from mfal.data import QUANTITIES, Label
from mfal.models.calibration import NOMINAL, coverage, metrics
from mfal.models.leave_out import LeftOut
from mfal.models.prediction import Prediction, StructurePredictions

AnyPrediction = Prediction | StructurePredictions
"""Predictions of structures of one size, or of any sizes."""


def evaluation(prediction: AnyPrediction, labels: Sequence[Label]) -> dict[str, dict]:
    """`metrics` per quantity: energies in meV per atom, forces in eV/A, stresses in eV/A^3.

    A quantity that no label has is left out.
    """
    result = {}
    for quantity, (residual, sigma) in residuals(prediction, labels).items():
        result[quantity] = metrics(residual, sigma)
    return result


def residuals(
    prediction: AnyPrediction, labels: Sequence[Label]
) -> dict[str, tuple[np.ndarray, np.ndarray]]:
    """Residuals (prediction minus label) and total sigmas, as in `evaluation`."""
    found = {}
    for quantity in QUANTITIES:
        predicted: Any = getattr(prediction, quantity, None)
        have = [
            i
            for i, label in enumerate(labels)
            if getattr(label, quantity) is not None
            and predicted is not None
            and predicted[i] is not None
        ]
        if not have:
            continue
        sigma = prediction.total_sigma(quantity)
        pairs = []
        for i in have:
            scale = 1e3 / len(prediction.forces[i]) if quantity == "energy" else 1.0
            error = np.subtract(predicted[i], getattr(labels[i], quantity))
            pairs.append((np.ravel(scale * error), np.ravel(scale * sigma[i])))
        found[quantity] = (
            np.concatenate([p[0] for p in pairs]),
            np.concatenate([p[1] for p in pairs]),
        )
    return found


def parity(prediction: AnyPrediction, labels: Sequence[Label]) -> dict[str, Any]:
    """Reference, predicted and sigma: energies in eV/atom from their mean, forces."""
    n_atoms = np.array([len(forces) for forces in prediction.forces])
    result = {}
    if all(label.energy is not None for label in labels):
        energies = np.array([label.energy for label in labels], dtype=float)
        zero = float((energies / n_atoms).mean())
        predicted = np.array(prediction.energy)
        sigma = np.array(prediction.total_sigma("energy"))
        result["energy"] = {
            "reference": (energies / n_atoms - zero).tolist(),
            "predicted": (predicted / n_atoms - zero).tolist(),
            "sigma": (sigma / n_atoms).tolist(),
        }
    if all(label.forces is not None for label in labels):
        result["forces"] = {
            "reference": _flat([label.forces for label in labels]),
            "predicted": _flat(prediction.forces),
            "sigma": _flat(prediction.total_sigma("forces")),
        }
    return result


def calibration_curves(
    calibrated: AnyPrediction, raw: AnyPrediction, labels: Sequence[Label]
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


def _flat(parts: Any) -> list[float]:
    return np.concatenate([np.ravel(part) for part in parts]).tolist()


def _with_band(name: str, errors: np.ndarray) -> dict[str, float]:
    mean = float(errors.mean())
    spread = (
        float(errors.std(ddof=1) / np.sqrt(len(errors))) if len(errors) > 1 else 0.0
    )
    return {name: mean, f"{name}_low": mean - spread, f"{name}_high": mean + spread}
