"""What to buy next: acquisition functions per cost, batches, costs, the plan.

Names are imported when they are first used: who looks at costs needs no BoTorch.
"""

from typing import TYPE_CHECKING

from mfal.lazy import lazy

if TYPE_CHECKING:
    from mfal.acquisition.batch import (
        Batch,
        Certificate,
        select_batch,
        select_within_budget,
    )
    from mfal.acquisition.candidates import Candidate
    from mfal.acquisition.composition import Product, Schedule, WeightedSum
    from mfal.acquisition.cost import CostEstimate, cost_ratio, estimate_cost
    from mfal.acquisition.diversity import (
        Coverage,
        KernelVolume,
        MinimumDistance,
        mean_descriptors,
    )
    from mfal.acquisition.ensemble import EnsembleInformation
    from mfal.acquisition.extrapolation import ExtrapolationGrade
    from mfal.acquisition.greedy import Pick
    from mfal.acquisition.information import ParameterInformation, TargetInformation
    from mfal.acquisition.inputs import (
        qIntegratedVariance,
        qParameterInformation,
        qTargetInformation,
    )
    from mfal.acquisition.level_cost import LevelCostModel
    from mfal.acquisition.partition import select_partitioned
    from mfal.acquisition.planner import Plan, low_level_first, plan
    from mfal.acquisition.pool import PoolAcquisition, Random
    from mfal.acquisition.properties import (
        Property,
        PropertyTerm,
        barrier,
        elastic_constant,
        energy_sum,
        formation_energy,
        reaction_energy,
        surface_energy,
        vacancy_formation_energy,
    )
    from mfal.acquisition.property_pool import WithProperties, property_entries
    from mfal.acquisition.property_values import PropertyEstimate, property_posterior
    from mfal.acquisition.reduced import (
        AssumedDiminishing,
        ReducedParameterInformation,
        ReducedTargetInformation,
    )
    from mfal.acquisition.similarity import NormalisedPower, SquaredExponential
    from mfal.acquisition.size_cost import LearnedCosts, SizeCost
    from mfal.acquisition.tolerance import Tolerance
    from mfal.acquisition.variance import (
        IntegratedVariance,
        MaximumVariance,
        energy_variance,
        energy_variance_per_atom,
        force_variance,
        force_variance_per_atom,
        largest_force_variance,
        mean_variance,
    )

__all__ = [
    "AssumedDiminishing",
    "Batch",
    "Candidate",
    "Certificate",
    "CostEstimate",
    "Coverage",
    "EnsembleInformation",
    "ExtrapolationGrade",
    "IntegratedVariance",
    "KernelVolume",
    "LearnedCosts",
    "LevelCostModel",
    "MaximumVariance",
    "MinimumDistance",
    "NormalisedPower",
    "ParameterInformation",
    "Pick",
    "Plan",
    "PoolAcquisition",
    "Product",
    "Property",
    "PropertyEstimate",
    "PropertyTerm",
    "Random",
    "ReducedParameterInformation",
    "ReducedTargetInformation",
    "Schedule",
    "SizeCost",
    "SquaredExponential",
    "TargetInformation",
    "Tolerance",
    "WeightedSum",
    "WithProperties",
    "barrier",
    "cost_ratio",
    "elastic_constant",
    "energy_sum",
    "energy_variance",
    "energy_variance_per_atom",
    "estimate_cost",
    "force_variance",
    "force_variance_per_atom",
    "formation_energy",
    "largest_force_variance",
    "low_level_first",
    "mean_descriptors",
    "mean_variance",
    "plan",
    "property_entries",
    "property_posterior",
    "qIntegratedVariance",
    "qParameterInformation",
    "qTargetInformation",
    "reaction_energy",
    "select_batch",
    "select_partitioned",
    "select_within_budget",
    "surface_energy",
    "vacancy_formation_energy",
]

__getattr__ = lazy(
    __name__,
    {
        "AssumedDiminishing": "reduced",
        "Batch": "batch",
        "Candidate": "candidates",
        "Certificate": "batch",
        "CostEstimate": "cost",
        "Coverage": "diversity",
        "EnsembleInformation": "ensemble",
        "ExtrapolationGrade": "extrapolation",
        "IntegratedVariance": "variance",
        "KernelVolume": "diversity",
        "LearnedCosts": "size_cost",
        "LevelCostModel": "level_cost",
        "MaximumVariance": "variance",
        "MinimumDistance": "diversity",
        "NormalisedPower": "similarity",
        "ParameterInformation": "information",
        "Pick": "greedy",
        "Plan": "planner",
        "PoolAcquisition": "pool",
        "Product": "composition",
        "Property": "properties",
        "PropertyEstimate": "property_values",
        "PropertyTerm": "properties",
        "Random": "pool",
        "ReducedParameterInformation": "reduced",
        "ReducedTargetInformation": "reduced",
        "Schedule": "composition",
        "SizeCost": "size_cost",
        "SquaredExponential": "similarity",
        "TargetInformation": "information",
        "Tolerance": "tolerance",
        "WeightedSum": "composition",
        "WithProperties": "property_pool",
        "barrier": "properties",
        "cost_ratio": "cost",
        "elastic_constant": "properties",
        "energy_sum": "properties",
        "energy_variance": "variance",
        "energy_variance_per_atom": "variance",
        "estimate_cost": "cost",
        "force_variance": "variance",
        "force_variance_per_atom": "variance",
        "formation_energy": "properties",
        "largest_force_variance": "variance",
        "low_level_first": "planner",
        "mean_descriptors": "diversity",
        "mean_variance": "variance",
        "plan": "planner",
        "property_entries": "property_pool",
        "property_posterior": "property_values",
        "qIntegratedVariance": "inputs",
        "qParameterInformation": "inputs",
        "qTargetInformation": "inputs",
        "reaction_energy": "properties",
        "select_batch": "batch",
        "select_partitioned": "partition",
        "select_within_budget": "batch",
        "surface_energy": "properties",
        "vacancy_formation_energy": "properties",
    },
)
