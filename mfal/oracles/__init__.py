"""Reference methods: what labels a structure, and where it runs.

Names are imported when they are first used: who reads a specification needs no code.
"""

from typing import TYPE_CHECKING

from mfal.lazy import lazy

if TYPE_CHECKING:
    from mfal.oracles.ase_calculator import ALLOWED_MODULES
    from mfal.oracles.calculator import OracleCalculator
    from mfal.oracles.dispatch import label_all
    from mfal.oracles.doctor import Examination, examine
    from mfal.oracles.executor import label_structure
    from mfal.oracles.guarded import GuardedExecutor
    from mfal.oracles.handover import Handover, Returned, hand_over, take_back
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
    "Calculation",
    "Examination",
    "GuardedExecutor",
    "Handover",
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

__getattr__ = lazy(
    __name__,
    {
        "ALLOWED_MODULES": "ase_calculator",
        "Handover": "handover",
        "CODES": "presets",
        "Calculation": "oracle",
        "ERROR_KINDS": "oracle",
        "Examination": "doctor",
        "GuardedExecutor": "guarded",
        "LabelError": "request",
        "LabelPool": "pool",
        "LabelRequest": "request",
        "LabelResult": "request",
        "Leases": "leases",
        "Oracle": "oracle",
        "OracleCalculator": "calculator",
        "OracleError": "oracle",
        "Returned": "handover",
        "SamplingError": "sampling",
        "build_oracle": "presets",
        "collect_spool": "spool",
        "examine": "doctor",
        "hand_over": "handover",
        "label_all": "dispatch",
        "label_structure": "executor",
        "sample_md": "sampling",
        "take_back": "handover",
        "validate_specification": "presets",
    },
)
