"""What is known: levels, labelled structures, files, physical checks."""

from typing import TYPE_CHECKING

from mfal.lazy import lazy

if TYPE_CHECKING:
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

__getattr__ = lazy(
    __name__,
    {
        "Fidelity": "fidelity",
        "Label": "dataset",
        "LabelledDataset": "dataset",
        "QUANTITIES": "fidelity",
        "canonical": "dataset",
        "read_extxyz": "extxyz",
        "structure_key": "dataset",
        "write_extxyz": "extxyz",
    },
)
