"""Features of structures that are computed once and read ever after."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

import torch
from ase import Atoms
from jaxtyping import Float
from torch import Tensor

from mfal.data import structure_key
from mfal.descriptors.environments import Environments
from mfal.models.feature_map import FeatureMap
from mfal.models.features import FeatureRows
from mfal.models.stored_features import StoredFeatures, store_features


@dataclass(frozen=True)
class KnownFeatures(FeatureMap):
    """A feature map whose rows of known structures come from a file.

    All strategies and seeds replay the same structures, so their descriptors are worked
    out once. What inducing environments do not explain is left out (error bars of
    energies alone need it).
    """

    stored: StoredFeatures | None = None
    place: dict[str, int] = field(default_factory=dict)

    def environments(self, atoms: Atoms, *, strain: bool = True) -> list[Environments]:
        """None: rows are known without them."""
        del atoms, strain
        return []

    def rows(
        self,
        atoms: Atoms,
        environments: Sequence[Environments] | None = None,
        *,
        strain: bool = True,
    ) -> FeatureRows:
        """The stored rows of energy and forces."""
        del environments, strain
        assert self.stored is not None
        rows = self.stored.rows(self.place[structure_key(atoms)]).double()
        return FeatureRows(rows[0], rows[1:], None)

    def energy_and_slopes(
        self,
        atoms: Atoms,
        weights: Float[Tensor, " p"],
        environments: Sequence[Environments] | None = None,
        *,
        strain: bool = True,
    ) -> tuple[float, Float[Tensor, "n 3"], Float[Tensor, " 6"] | None]:
        """The energy and the forces of weights, from the rows."""
        del strain
        rows = self.rows(atoms, environments)
        return (
            float(rows.energy @ weights),
            (rows.forces @ weights).reshape(-1, 3),
            None,
        )

    def unexplained(
        self, environments: Sequence[Environments]
    ) -> Float[Tensor, " blocks"]:
        """Zero for each block."""
        del environments
        return torch.zeros(len(self.parts), dtype=torch.float64)


def known_features(
    feature_map: FeatureMap, structures: Sequence[Atoms], file: Path
) -> KnownFeatures:
    """The features of all structures, in a file that is made anew."""
    file.parent.mkdir(parents=True, exist_ok=True)
    stored = store_features(structures, feature_map, file)
    place = {structure_key(atoms): i for i, atoms in enumerate(structures)}
    return KnownFeatures(feature_map.species, feature_map.parts, stored, place)
