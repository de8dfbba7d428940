"""An oracle: a reference method that turns one structure into one label."""

from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from typing import Any, ClassVar, Protocol, runtime_checkable

from ase import Atoms

from mfal.data.dataset import Label
from mfal.data.fidelity import Fidelity

ERROR_KINDS = (
    "bad_specification",  # the level cannot give this label at all
    "missing_package",
    "unphysical_structure",  # refused before the code was run
    "not_converged",
    "unphysical_label",  # refused after the code was run
    "incomplete_label",  # a result made elsewhere lacks a quantity
    "wrong_result",  # a result made elsewhere is of another structure or level
    "not_in_replay",
    "code_error",  # the code raised something else
    "memory",
    "timeout",
    "crashed",
)
"""Why a label failed."""


class OracleError(Exception):
    """A label that could not be computed: `kind` is one of `ERROR_KINDS`."""

    def __init__(self, kind: str, message: str) -> None:
        if kind not in ERROR_KINDS:
            raise ValueError(f"the kind of an error is one of {ERROR_KINDS}: {kind!r}")
        super().__init__(message)
        self.kind = kind
        self.message = message


@dataclass(frozen=True)
class Calculation:
    """What an oracle gave.

    `converged` is `None` if the code did not say: such a label is rejected.
    `cpu_seconds` is what the label once cost where it is only looked up; `None`
    where it was computed now and the caller holds the clock.
    """

    label: Label
    converged: bool | None
    versions: Mapping[str, str] = field(default_factory=dict)
    cpu_seconds: float | None = None


def label_of(**values: Any) -> Label:
    """The label of these values.

    Raises:
        OracleError: `unphysical_label`, for a value that is not finite or has a wrong
            shape.
    """
    try:
        return Label(**values)
    except ValueError as error:
        raise OracleError("unphysical_label", str(error)) from None


@runtime_checkable
class Oracle(Protocol):
    """A reference method, ready to run. Built in the worker: codes do not pickle.

    `counts_electrons` says whether charge and multiplicity mean anything to it.
    """

    counts_electrons: ClassVar[bool]

    @property
    def fidelity(self) -> Fidelity:
        """The level whose labels this oracle gives."""

    def check(self, species: Collection[str]) -> None:
        """Whether the method can label structures of these elements.

        Raises:
            ValueError: an unknown method or basis, an element it does not know.
            OracleError: `missing_package`.
        """

    def __call__(self, atoms: Atoms, attempt: int = 1) -> Calculation:
        """The label of one structure.

        Later attempts (`attempt` > 1) use settings that find the same solution of the
        same equations in another way: more iterations, damping, a second-order solver.

        Raises:
            OracleError: the label could not be computed.
        """
