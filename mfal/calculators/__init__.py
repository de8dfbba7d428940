"""Potentials where they are used: ASE calculators, monitors, safe dynamics."""

from mfal.calculators.biased import BiasedCalculator
from mfal.calculators.committee import CommitteeCalculator
from mfal.calculators.dynamics import TrustRegionMD, Update
from mfal.calculators.extrapolation import ExtrapolationMonitor
from mfal.calculators.force_sigma import ForceSigmaMonitor
from mfal.calculators.freezing import freeze
from mfal.calculators.potential import MfalCalculator

__all__ = [
    "BiasedCalculator",
    "CommitteeCalculator",
    "ExtrapolationMonitor",
    "ForceSigmaMonitor",
    "MfalCalculator",
    "TrustRegionMD",
    "Update",
    "freeze",
]
