"""Multi-fidelity active learning of interatomic potentials with Gaussian processes.

Threads of OpenMP are told to sleep while they wait, unless the user has set
`OMP_WAIT_POLICY` or torch is there already: as they spin by default, a small fit with two
threads took seven times as long on two idle cores.
"""

import os
from typing import TYPE_CHECKING

from mfal.lazy import lazy

if TYPE_CHECKING:
    from mfal.data import Fidelity, Label, LabelledDataset, read_extxyz, write_extxyz

__version__ = "0.1.0"
__all__ = ["Fidelity", "Label", "LabelledDataset", "read_extxyz", "write_extxyz"]

os.environ.setdefault("OMP_WAIT_POLICY", "passive")

__getattr__ = lazy(__name__, dict.fromkeys(__all__, "data"))
