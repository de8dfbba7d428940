"""What is known: levels, labelled structures, files, physical checks."""

from mfal.data.dataset import Label, LabelledDataset, canonical, structure_key
from mfal.data.extxyz import read_extxyz, write_extxyz
from mfal.data.fidelity import QUANTITIES, Fidelity

__all__ = [
    "QUANTITIES",
    "Fidelity",
    "Label",
    "LabelledDataset",
    "canonical",
    "read_extxyz",
    "structure_key",
    "write_extxyz",
]
