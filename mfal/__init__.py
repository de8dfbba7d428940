"""Multi-fidelity active learning of interatomic potentials with Gaussian processes."""

from typing import TYPE_CHECKING

from mfal.lazy import lazy

if TYPE_CHECKING:
    from mfal.data import Fidelity, Label, LabelledDataset, read_extxyz, write_extxyz

__version__ = "0.1.0"
__all__ = ["Fidelity", "Label", "LabelledDataset", "read_extxyz", "write_extxyz"]

__getattr__ = lazy(__name__, dict.fromkeys(__all__, "data"))
