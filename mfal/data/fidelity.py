"""A fidelity: one reference method, by its name and the exact settings that define it."""

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from typing import Any

QUANTITIES = ("energy", "forces", "stress")
"""What a label may hold: eV, eV/A, eV/A^3 (stress xx yy zz yz xz xy, as in ASE)."""

LARGEST_FORCE = 100.0
"""eV/A; the largest in the published data that `check_label` was tried on is 27."""


@dataclass(frozen=True)
class Fidelity:
    """One level of theory: what is run, and which quantities it gives.

    `oracle` is the specification from which a worker builds the calculator, e.g.
    `{"code": "tblite", "method": "GFN2-xTB"}`; it is empty for a level that is only
    read from files. Two levels are the same if their `identity` is the same,
    whatever they are called.

    A label is believed with no force above `largest_force` (eV/A) and an energy per
    atom within `energy_window` (lowest, highest; eV); `None` is any energy. These
    bounds are no part of the level: equal levels may have others.

    >>> Fidelity("gfn2", {"code": "tblite", "method": "GFN2-xTB"}).quantities
    ('energy', 'forces')

    Raises:
        ValueError: an empty name, an unknown or repeated quantity, a multiplicity
            below 1, a specification that is not JSON, or bounds that let no label in.
    """

    name: str
    oracle: Mapping[str, Any] = field(default_factory=dict)
    quantities: tuple[str, ...] = ("energy", "forces")
    charge: int = 0
    multiplicity: int = 1
    largest_force: float = field(default=LARGEST_FORCE, compare=False)
    energy_window: tuple[float, float] | None = field(default=None, compare=False)

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
        self._check_bounds()
        try:
            json.dumps(dict(self.oracle))
        except TypeError as error:
            raise ValueError(
                f"level {self.name!r}: the oracle specification must be plain JSON "
                f"values: {error}"
            ) from None

    def _check_bounds(self) -> None:
        if not self.largest_force > 0:
            raise ValueError(
                f"level {self.name!r}: the largest force is positive (eV/A), got "
                f"{self.largest_force}"
            )
        try:
            check_window(self.energy_window)
        except ValueError as error:
            raise ValueError(f"level {self.name!r}: {error}") from None

    def to_dict(self) -> dict[str, Any]:
        """All fields as plain JSON, the bounds only where they are set."""
        values = {
            f.name: getattr(self, f.name)
            for f in fields(self)
            if f.compare or getattr(self, f.name) != f.default
        }
        return values | {"oracle": dict(self.oracle)}

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> "Fidelity":
        """What `to_dict` gave, also by way of JSON."""
        lists = {"quantities", "energy_window"} & set(values)
        return cls(**{**values, **{k: tuple(values[k]) for k in lists}})

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


def check_window(window: tuple[float, float] | None) -> tuple[float, float] | None:
    """An energy window as it is.

    Raises:
        ValueError: the lowest energy is not below the highest.
    """
    if window is not None and not window[0] < window[1]:
        raise ValueError(
            "an energy window is (lowest, highest) in eV per atom, got "
            f"{window[0]:g} and {window[1]:g}"
        )
    return window
