"""Potentials where they are used: ASE calculators."""

from mfal.calculators.potential import MfalCalculator

__all__ = ["MfalCalculator"]
