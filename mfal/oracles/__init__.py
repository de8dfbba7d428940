"""Reference methods: what labels a structure, and where it runs."""

from mfal.oracles.ase_calculator import ALLOWED_MODULES
from mfal.oracles.calculator import OracleCalculator
from mfal.oracles.dispatch import label_all
from mfal.oracles.doctor import Examination, examine
from mfal.oracles.executor import label_structure
from mfal.oracles.guarded import GuardedExecutor
from mfal.oracles.handover import Batch, Returned, hand_over, take_back
from mfal.oracles.leases import Leases
from mfal.oracles.oracle import ERROR_KINDS, Calculation, Oracle, OracleError
from mfal.oracles.pool import LabelPool
from mfal.oracles.presets import CODES, build_oracle, validate_specification
from mfal.oracles.request import LabelError, LabelRequest, LabelResult
from mfal.oracles.sampling import SamplingError, sample_md
from mfal.oracles.spool import collect_spool

__all__ = [
    "ALLOWED_MODULES",
    "CODES",
    "ERROR_KINDS",
    "Batch",
    "Calculation",
    "Examination",
    "GuardedExecutor",
    "LabelError",
    "LabelPool",
    "LabelRequest",
    "LabelResult",
    "Leases",
    "Oracle",
    "OracleCalculator",
    "OracleError",
    "Returned",
    "SamplingError",
    "build_oracle",
    "collect_spool",
    "examine",
    "hand_over",
    "label_all",
    "label_structure",
    "sample_md",
    "take_back",
    "validate_specification",
]
