"""Descriptors of atomic environments, with values and jacobians."""

from mfal.descriptors.environments import Descriptor, Environments
from mfal.descriptors.inverse_distances import InverseDistances
from mfal.descriptors.pair_distances import (
    PairDistances,
    pair_distances_from_specification,
)
from mfal.descriptors.permutations import declared_group, find_group, identity
from mfal.descriptors.soap import Soap, soap_from_specification

__all__ = [
    "Descriptor",
    "Environments",
    "InverseDistances",
    "PairDistances",
    "Soap",
    "declared_group",
    "find_group",
    "identity",
    "pair_distances_from_specification",
    "soap_from_specification",
]
