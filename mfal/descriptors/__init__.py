"""Descriptors of atomic environments, with values and jacobians."""

from mfal.descriptors.environments import Descriptor, Environments
from mfal.descriptors.inverse_distances import InverseDistances
from mfal.descriptors.permutations import declared_group, find_group, identity

__all__ = [
    "Descriptor",
    "Environments",
    "InverseDistances",
    "declared_group",
    "find_group",
    "identity",
]
