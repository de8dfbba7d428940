"""Recalibration by species: one factor on the sigma of the forces on each kind of atom."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from types import MappingProxyType

import numpy as np
from ase.data import atomic_numbers, chemical_symbols
from jaxtyping import Float

from mfal.models.prediction import StructurePrediction
from mfal.models.residuals import Residuals

LEAST_STRUCTURES = 5
"""A species in fewer keeps the factor one."""


def variance_factor(z: Float[np.ndarray, " n"]) -> float:
    """The factor that makes standardised residuals of unit mean square.

    That of largest likelihood for normal residuals; `coverage_factor` of
    `mfal.models.calibration` is one that few large residuals do not move.
    """
    return float(np.sqrt(np.square(z).mean()))


@dataclass(frozen=True)
class SpeciesFactors:
    """Factors on the standard deviations of forces, by symbol; others keep theirs.

    Raises:
        ValueError: an unknown symbol, or a factor that is not positive and finite.
    """

    factors: Mapping[str, float]

    def __post_init__(self) -> None:
        for symbol, factor in self.factors.items():
            good = symbol in atomic_numbers and np.isfinite(factor) and factor > 0
            if not good:
                raise ValueError(
                    "the factor of a species (by its symbol) is positive and finite, "
                    f"got {symbol!r}: {factor}"
                )
        object.__setattr__(self, "factors", MappingProxyType(dict(self.factors)))

    @staticmethod
    def of(
        forces: Residuals,
        *,
        factor: Callable[[np.ndarray], float] = variance_factor,
    ) -> "SpeciesFactors":
        """From residuals of forces that the model has not seen.

        They come from `left_out_residuals`, or from `residuals_of` a held-out set.

        Raises:
            ValueError: residuals of another quantity.
        """
        if forces.quantity != "forces":
            raise ValueError(
                f"factors by species are those of forces, got {forces.quantity}"
            )
        return SpeciesFactors(
            {
                symbol: factor(part.standardised)
                for symbol, part in forces.of_species().items()
                if len(np.unique(part.structure)) >= LEAST_STRUCTURES
            }
        )

    def per_atom(self, numbers: Sequence[int] | np.ndarray) -> Float[np.ndarray, "n 1"]:
        """The factor of each atom, by atomic number."""
        found = [self.factors.get(chemical_symbols[z], 1.0) for z in numbers]
        return np.array(found)[:, None]

    def scaled(
        self, prediction: StructurePrediction, numbers: Sequence[int] | np.ndarray
    ) -> StructurePrediction:
        """The prediction with sigma and noise of its forces times the factors."""
        if prediction.forces_sigma is None or prediction.forces_noise is None:
            return prediction
        times = self.per_atom(numbers)
        return replace(
            prediction,
            forces_sigma=times * prediction.forces_sigma,
            forces_noise=times * prediction.forces_noise,
        )
