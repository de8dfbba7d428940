"""What to buy next: acquisition functions per cost, batches, costs, the plan."""

from mfal.acquisition.batch import Pick, select_batch
from mfal.acquisition.candidates import Candidate
from mfal.acquisition.cost import CostEstimate, cost_ratio, estimate_cost
from mfal.acquisition.information import (
    MaximumVariance,
    ParameterInformation,
    PoolAcquisition,
    Random,
    TargetInformation,
)
from mfal.acquisition.planner import Diagnosis, diagnose, low_level_first

__all__ = [
    "Candidate",
    "CostEstimate",
    "Diagnosis",
    "MaximumVariance",
    "ParameterInformation",
    "Pick",
    "PoolAcquisition",
    "Random",
    "TargetInformation",
    "cost_ratio",
    "diagnose",
    "estimate_cost",
    "low_level_first",
    "select_batch",
]
