"""Models: a joint posterior of all levels, from hyperparameters to error bars."""

from mfal.models.calibration import Recalibration, metrics
from mfal.models.exact import ExactPotential, TooLargeError
from mfal.models.hyperparameters import Hyperparameters
from mfal.models.leave_out import calibrated, leave_one_out
from mfal.models.pool import ExactPool, PoolEntry
from mfal.models.prediction import (
    Prediction,
    StructurePrediction,
    StructurePredictions,
)
from mfal.models.sparse import LinearPotential, SparsePotential, calibrated_weights
from mfal.models.storage import load_potential, save_potential

__all__ = [
    "ExactPool",
    "ExactPotential",
    "Hyperparameters",
    "LinearPotential",
    "PoolEntry",
    "Prediction",
    "Recalibration",
    "SparsePotential",
    "StructurePrediction",
    "StructurePredictions",
    "TooLargeError",
    "calibrated",
    "calibrated_weights",
    "leave_one_out",
    "load_potential",
    "metrics",
    "save_potential",
]
