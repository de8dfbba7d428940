"""Candidates: the labels that could be bought, with what each is expected to cost."""

from dataclasses import dataclass


@dataclass(frozen=True)
class Candidate:
    """One label that could be asked for: a structure of the pool at a level.

    `cost` is what the label is expected to cost (any one unit for all candidates).

    Raises:
        ValueError: a cost that is not positive.
    """

    structure: int
    level: str
    cost: float

    def __post_init__(self) -> None:
        if not self.cost > 0:
            raise ValueError(
                f"the cost of a label must be positive, got {self.cost} for structure "
                f"{self.structure} at {self.level!r}"
            )
