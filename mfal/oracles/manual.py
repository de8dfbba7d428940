"""Labels that are made elsewhere: by hand, by a queue, by any code."""

from collections.abc import Collection
from dataclasses import dataclass, field
from typing import ClassVar

from ase import Atoms

from mfal.data.fidelity import QUANTITIES, Fidelity
from mfal.oracles.oracle import Calculation, OracleError
from mfal.oracles.specification import check_quantities

MANUAL = "manual"
"""The `code` of a level whose labels are made elsewhere."""


@dataclass(frozen=True)
class Manual:
    """A method that is run elsewhere; see `mfal.oracles.handover` for the way there.

    `name` says what is run, e.g. "VASP 6.4 PBE PAW"; `settings` holds whatever else
    changes the energy (cutoff, k-mesh, smearing, pseudopotentials, ...). Both are part
    of the level's identity: labels with other settings are of another level.

    >>> from mfal.data.fidelity import Fidelity
    >>> specification = {"code": "manual", "name": "VASP PBE", "settings": {"ENCUT": 520}}
    >>> Manual(Fidelity("pbe", specification), "VASP PBE", {"ENCUT": 520}).name
    'VASP PBE'

    Raises:
        ValueError: an empty name.
    """

    counts_electrons: ClassVar[bool] = True
    fidelity: Fidelity
    name: str
    settings: dict = field(default_factory=dict)

    def __post_init__(self) -> None:
        check_quantities(self.fidelity, QUANTITIES, "a method by hand")
        if not self.name.strip():
            raise ValueError(
                f"level {self.fidelity.name!r}: option 'name' says what is run by "
                "hand, got nothing: add it"
            )

    def check(self, species: Collection[str]) -> None:
        """Whatever is run elsewhere may know any element."""

    def __call__(self, atoms: Atoms, attempt: int = 1) -> Calculation:
        raise OracleError(
            "bad_specification",
            f"level {self.fidelity.name!r} ({self.name}) is labelled by hand: write "
            "the structures with `mfal label DATA --oracle NAME --export FOLDER`, "
            "take results back with `mfal label --import FOLDER --output FILE`",
        )
