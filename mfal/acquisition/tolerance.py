"""How well the targets must be known: the accuracy that the user wants."""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor

from mfal.models.posterior import LabelPool


@dataclass(frozen=True)
class Tolerance:
    """Standard deviations that are good enough: eV per structure, eV/A, eV/A^3.

    Raises:
        ValueError: one that is not positive.
    """

    energy: float = 0.02
    forces: float = 0.1
    stress: float = 0.002

    def __post_init__(self) -> None:
        for name, value in vars(self).items():
            if not value > 0:
                raise ValueError(
                    f"what is tolerated of the {name} must be positive, got {value}: "
                    "nothing is ever known exactly"
                )

    def variances(self, pool: LabelPool, blocks: Sequence[int]) -> Float[Tensor, " t"]:
        """The tolerated variance of each row of some blocks of a pool."""
        squares = torch.tensor(
            [self.energy**2, self.forces**2, self.stress**2], dtype=torch.float64
        )
        return squares[torch.cat([pool.quantity(b) for b in blocks])]
