"""What stands for the environments of a structure where extrapolation is measured."""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from ase import Atoms
from jaxtyping import Float, Int
from torch import Tensor

from mfal.descriptors import InverseDistances
from mfal.models import gathering
from mfal.models.exact import ExactPotential
from mfal.models.features import KernelFeatures
from mfal.models.storage import Potential

WHOLE = -1
"""The atom of an environment that is the whole molecule."""


@dataclass(frozen=True)
class EnvironmentRows:
    """Descriptors and features of environments, the species and atom of each.

    A sparse potential has one environment per atom: `descriptor` is the normalised power
    spectrum u and `features` are phi(u), of many inducing points the leading ones. A
    molecule of an exact potential is one environment with q = 1/r and the features
    (1, q), species 0 and atom `WHOLE`.
    """

    descriptor: Float[Tensor, "n d"]
    features: Float[Tensor, "n m"]
    species: Int[Tensor, " n"]
    atom: Int[Tensor, " n"]

    def chosen(self, mask: Tensor) -> "EnvironmentRows":
        """These environments only."""
        parts = (self.descriptor, self.features, self.species, self.atom)
        return EnvironmentRows(*(part[mask] for part in parts))

    @staticmethod
    def stack(parts: Sequence["EnvironmentRows"]) -> "EnvironmentRows":
        """The environments of several structures."""
        names = ("descriptor", "features", "species", "atom")
        return EnvironmentRows(
            *(torch.cat([getattr(p, name) for p in parts]) for name in names)
        )


class EnvironmentDescriber:
    """Makes the rows of structures as a model sees their environments."""

    def __init__(self, model: Potential) -> None:
        self._molecule: InverseDistances | None = None
        if isinstance(model, ExactPotential):
            self._molecule = model.builder.descriptor
            self._orders = self._molecule.orders(model.permutations)
        else:
            self._features, _ = model.feature_map.leading(gathering.BAR_POINTS)

    def __call__(self, atoms: Atoms) -> EnvironmentRows:
        """The environments of one structure.

        Raises:
            ValueError: a species or a molecule that the model does not know.
        """
        if self._molecule is not None:
            return _of_molecule(self._molecule(atoms).values)
        environments = self._features.environments(atoms, strain=False)
        descriptors, features = [], []
        for (_, part), e in zip(self._features.parts, environments, strict=True):
            values = e.values
            if isinstance(part, KernelFeatures):
                if e.projection is None:
                    values = values @ part.projection
                norm = (values.square().sum(1) + part.softening**2).sqrt()
                values = values / norm.clamp_min(1e-300).unsqueeze(1)
            descriptors.append(values)
            features.append(part.energies(e))
        return EnvironmentRows(
            torch.cat(descriptors, dim=1),
            torch.cat(features, dim=1),
            environments[0].species,
            torch.arange(len(atoms)),
        )

    def of_training(self, atoms: Atoms) -> EnvironmentRows:
        """The same, of a molecule in every order of its like atoms."""
        if self._molecule is None:
            return self(atoms)
        return _of_molecule(self._molecule(atoms).values[0][self._orders])


def _of_molecule(values: Float[Tensor, "g d"]) -> EnvironmentRows:
    n = len(values)
    return EnvironmentRows(
        values,
        torch.cat([values.new_ones(n, 1), values], dim=1),
        torch.zeros(n, dtype=torch.long),
        torch.full((n,), WHOLE),
    )
