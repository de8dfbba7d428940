"""What to buy next: acquisition functions per cost, batches, costs, the plan."""

from mfal.acquisition.batch import Pick, select_batch
from mfal.acquisition.candidates import Candidate
from mfal.acquisition.cost import (
    CostEstimate,
    LevelCostModel,
    cost_ratio,
    estimate_cost,
)
from mfal.acquisition.information import (
    IntegratedVariance,
    MaximumVariance,
    ParameterInformation,
    PoolAcquisition,
    Random,
    TargetInformation,
)
from mfal.acquisition.inputs import (
    qIntegratedVariance,
    qParameterInformation,
    qTargetInformation,
)
from mfal.acquisition.planner import low_level_first

__all__ = [
    "Candidate",
    "CostEstimate",
    "IntegratedVariance",
    "LevelCostModel",
    "MaximumVariance",
    "ParameterInformation",
    "Pick",
    "PoolAcquisition",
    "Random",
    "TargetInformation",
    "cost_ratio",
    "estimate_cost",
    "low_level_first",
    "qIntegratedVariance",
    "qParameterInformation",
    "qTargetInformation",
    "select_batch",
]
