"""A fidelity: one reference method, by its name and the exact settings that define it."""

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

QUANTITIES = ("energy", "forces", "stress")
"""What a label may hold: eV, eV/A, eV/A^3 (stress xx yy zz yz xz xy, as in ASE)."""


@dataclass(frozen=True)
class Fidelity:
    """One level of theory: what is run, and which quantities it gives.

    `oracle` is the specification from which a worker builds the calculator, e.g.
    `{"code": "tblite", "method": "GFN2-xTB"}`; it is empty for a level that is only
    read from files. Two levels are the same if their `identity` is the same,
    whatever they are called.

    >>> Fidelity("gfn2", {"code": "tblite", "method": "GFN2-xTB"}).quantities
    ('energy', 'forces')

    Raises:
        ValueError: an empty name, an unknown or repeated quantity, a multiplicity
            below 1, or a specification that is not JSON.
    """

    name: str
    oracle: Mapping[str, Any] = field(default_factory=dict)
    quantities: tuple[str, ...] = ("energy", "forces")
    charge: int = 0
    multiplicity: int = 1

    def __post_init__(self) -> None:
        if not self.name or self.name != self.name.strip():
            raise ValueError(
                f"a level needs a name without blanks at its ends, got {self.name!r}"
            )
        object.__setattr__(self, "quantities", tuple(self.quantities))
        unknown = [q for q in self.quantities if q not in QUANTITIES]
        if unknown or len(set(self.quantities)) < len(self.quantities):
            raise ValueError(
                f"level {self.name!r}: quantities are each one of {QUANTITIES}, "
                f"once, got {self.quantities}"
            )
        if self.multiplicity < 1:
            raise ValueError(
                f"level {self.name!r}: the multiplicity 2S + 1 is at least 1, "
                f"got {self.multiplicity}"
            )
        try:
            json.dumps(dict(self.oracle))
        except TypeError as error:
            raise ValueError(
                f"level {self.name!r}: the oracle specification must be plain JSON "
                f"values: {error}"
            ) from None

    @property
    def identity(self) -> str:
        """Hash of the settings (not of the name): what makes two labels comparable."""
        settings = {
            "oracle": dict(self.oracle),
            "charge": self.charge,
            "multiplicity": self.multiplicity,
        }
        text = json.dumps(settings, sort_keys=True)
        return hashlib.sha256(text.encode()).hexdigest()
