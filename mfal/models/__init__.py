"""Models: a joint posterior of all levels, from hyperparameters to error bars.

What stands on BoTorch (models of vectors, the diagnosis) is imported when it is first
asked for: fitting a potential needs no BoTorch, and starts in half the time without.
"""

from typing import TYPE_CHECKING

from mfal.lazy import lazy
from mfal.models.calibration import Recalibration, metrics
from mfal.models.committee import Committee
from mfal.models.committee_pool import CommitteePool
from mfal.models.conformal import ConformalIntervals
from mfal.models.exact import ExactPotential
from mfal.models.hyperparameters import Hyperparameters
from mfal.models.leave_out import calibrated, leave_one_out
from mfal.models.memory import TooLargeError
from mfal.models.pool import ExactPool, PoolEntry
from mfal.models.prediction import (
    Prediction,
    StructurePrediction,
    StructurePredictions,
)
from mfal.models.reduced_pool import ReducedEntry, ReducedPool, pool_features
from mfal.models.residuals import left_out_residuals, residuals_of
from mfal.models.sparse import LinearPotential, SparsePotential, calibrated_weights
from mfal.models.species_factors import SpeciesFactors
from mfal.models.storage import load_potential, save_potential
from mfal.models.stored_features import StoredFeatures, open_features, store_features
from mfal.models.verdict import FidelityDiagnosis
from mfal.models.weight_pool import WeightPool

if TYPE_CHECKING:
    from mfal.models.autoregressive import AutoregressiveGP
    from mfal.models.autoregressive_gradients import with_gradients
    from mfal.models.diagnosis import fidelity_diagnosis
    from mfal.models.input_pool import InputPool
    from mfal.models.nonlinear_autoregressive import NonlinearAutoregressiveGP

_ON_BOTORCH = {
    "AutoregressiveGP": "autoregressive",
    "InputPool": "input_pool",
    "NonlinearAutoregressiveGP": "nonlinear_autoregressive",
    "fidelity_diagnosis": "diagnosis",
    "with_gradients": "autoregressive_gradients",
}

__all__ = [
    "AutoregressiveGP",
    "Committee",
    "CommitteePool",
    "ConformalIntervals",
    "ExactPool",
    "ExactPotential",
    "FidelityDiagnosis",
    "Hyperparameters",
    "InputPool",
    "LinearPotential",
    "NonlinearAutoregressiveGP",
    "PoolEntry",
    "Prediction",
    "Recalibration",
    "ReducedEntry",
    "ReducedPool",
    "SparsePotential",
    "SpeciesFactors",
    "StoredFeatures",
    "StructurePrediction",
    "StructurePredictions",
    "TooLargeError",
    "WeightPool",
    "calibrated",
    "calibrated_weights",
    "fidelity_diagnosis",
    "leave_one_out",
    "left_out_residuals",
    "load_potential",
    "metrics",
    "open_features",
    "pool_features",
    "residuals_of",
    "save_potential",
    "store_features",
    "with_gradients",
]

__getattr__ = lazy(__name__, _ON_BOTORCH)
