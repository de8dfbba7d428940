"""Covariances of rows: values and derivatives of one latent function at many levels."""

from mfal.kernels.autoregressive import AutoregressiveKernel, path_weights
from mfal.kernels.composition import ReferenceEnergyKernel, SymmetrizedKernel
from mfal.kernels.derivative import (
    DerivativeMatern52Kernel,
    DerivativeRBFKernel,
    matern52_profile,
    pack_observations,
    rbf_profile,
)
from mfal.kernels.rows import Coefficients, GramProducts, Rows

__all__ = [
    "AutoregressiveKernel",
    "Coefficients",
    "DerivativeMatern52Kernel",
    "DerivativeRBFKernel",
    "GramProducts",
    "ReferenceEnergyKernel",
    "Rows",
    "SymmetrizedKernel",
    "matern52_profile",
    "pack_observations",
    "path_weights",
    "rbf_profile",
]
