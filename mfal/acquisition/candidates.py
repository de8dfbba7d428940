"""Candidates: the labels that could be bought, with what each is expected to cost."""

from dataclasses import dataclass

from mfal.data import QUANTITIES


@dataclass(frozen=True)
class Candidate:
    """One label that could be asked for: a structure of the pool at a level.

    `cost` is what the label is expected to cost (any one unit for all candidates). The
    same label in another form, energy alone or energy and forces, is a candidate of its
    own with its own `quantities`, cost and block of the pool.

    Raises:
        ValueError: a cost that is not positive, or quantities that are none.
    """

    structure: int
    level: str
    cost: float
    quantities: tuple[str, ...] = ("energy", "forces")

    def __post_init__(self) -> None:
        if not self.cost > 0:
            raise ValueError(
                f"the cost of a label must be positive, got {self.cost} for structure "
                f"{self.structure} at {self.level!r}"
            )
        if not self.quantities or not set(self.quantities) <= set(QUANTITIES):
            raise ValueError(
                f"a label has some of the quantities {QUANTITIES}, got "
                f"{self.quantities} for structure {self.structure} at {self.level!r}"
            )

    def subsumes(self, other: "Candidate") -> bool:
        """Whether this label holds all that the other one would tell."""
        same = (self.structure, self.level) == (other.structure, other.level)
        return same and set(self.quantities) >= set(other.quantities)
