"""Models: a joint posterior of all levels, from hyperparameters to error bars.

What stands on BoTorch (models of vectors, the diagnosis) is imported when it is first
asked for: fitting a potential needs no BoTorch, and starts in half the time without.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

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
from mfal.models.verdict import FidelityDiagnosis

if TYPE_CHECKING:
    from mfal.models.autoregressive import AutoregressiveGP
    from mfal.models.autoregressive_gradients import with_gradients
    from mfal.models.diagnosis import fidelity_diagnosis
    from mfal.models.nonlinear_autoregressive import NonlinearAutoregressiveGP

_ON_BOTORCH = {
    "AutoregressiveGP": "mfal.models.autoregressive",
    "NonlinearAutoregressiveGP": "mfal.models.nonlinear_autoregressive",
    "fidelity_diagnosis": "mfal.models.diagnosis",
    "with_gradients": "mfal.models.autoregressive_gradients",
}

__all__ = [
    "AutoregressiveGP",
    "ExactPool",
    "ExactPotential",
    "FidelityDiagnosis",
    "Hyperparameters",
    "LinearPotential",
    "NonlinearAutoregressiveGP",
    "PoolEntry",
    "Prediction",
    "Recalibration",
    "SparsePotential",
    "StructurePrediction",
    "StructurePredictions",
    "TooLargeError",
    "calibrated",
    "calibrated_weights",
    "fidelity_diagnosis",
    "leave_one_out",
    "load_potential",
    "metrics",
    "save_potential",
    "with_gradients",
]


def __getattr__(name: str) -> Any:
    if name in _ON_BOTORCH:
        return getattr(import_module(_ON_BOTORCH[name]), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
