r"""How far environments lie beyond those that a potential was trained on.

Per species: the Mahalanobis distance of descriptors to the training environments, the
statistical leverage of features among theirs (`mfal.models.scatter`), and the D-optimal
grade against an active set of them (`mfal.models.maxvol`), each also for the training
structures themselves, every structure left out with all its environments.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from ase import Atoms
from jaxtyping import Float, Int
from torch import Tensor

from mfal.models.environment_rows import WHOLE, EnvironmentDescriber, EnvironmentRows
from mfal.models.maxvol import grades, independent_rows, left_out_grades, maxvol
from mfal.models.scatter import Cloud, Scatter
from mfal.models.storage import Potential

MEASURES = ("mahalanobis", "leverage", "grade")
"""Mahalanobis distance, statistical leverage, D-optimal grade; none has a unit."""

ROWS_PER_DIRECTION = 4
"""Environments per direction that the grade is taken in, at the least."""

MOST_DIRECTIONS = 96
"""Leading directions of the features that the grade is taken in, at the most."""


@dataclass(frozen=True)
class SpeciesEnvironments:
    """The training environments of one species.

    `axes` are the leading principal directions of the features, `scores` the features
    along them, `active` the rows of the active set, `home` the structure of each row.
    """

    cloud: Cloud
    scatter: Scatter
    axes: Float[Tensor, "m p"]
    scores: Float[Tensor, "n p"]
    active: Int[Tensor, " p"]
    rows: EnvironmentRows
    home: Int[Tensor, " n"]

    @staticmethod
    def of(rows: EnvironmentRows, home: Int[Tensor, " n"]) -> "SpeciesEnvironments":
        """From the rows of the environments and the structures they belong to."""
        spread, axes = torch.linalg.eigh(rows.features.mT @ rows.features)
        n = min(MOST_DIRECTIONS, max(1, len(home) // ROWS_PER_DIRECTION))
        n = min(n, int((spread > 1e-10 * spread[-1]).sum()))
        axes = axes[:, -n:]
        scores = rows.features @ axes
        active = maxvol(scores, independent_rows(scores))
        return SpeciesEnvironments(
            Cloud.of(rows.descriptor),
            Scatter.of(rows.features),
            axes,
            scores,
            active,
            rows,
            home,
        )

    def measures(self, rows: EnvironmentRows) -> Float[Tensor, "measures k"]:
        """The measures of environments of this species, in the order of `MEASURES`."""
        return torch.stack(
            [
                self.cloud.distance(rows.descriptor),
                self.scatter.leverage(rows.features),
                grades(rows.features @ self.axes, self.scores[self.active]),
            ]
        )

    def left_out(self, structure: int) -> Float[Tensor, "measures k"]:
        """The measures of those of a structure, against those of all others."""
        mine = (self.home == structure).nonzero().squeeze(1)
        part = self.rows.chosen(mine)
        return torch.stack(
            [
                self.cloud.left_out_distance(part.descriptor),
                self.scatter.left_out_leverage(part.features),
                left_out_grades(self.scores, self.active, mine),
            ]
        )


class TrainingEnvironments:
    """The environments of the training structures of a potential, by species.

    Raises:
        ValueError: fewer than two training structures.
    """

    def __init__(self, model: Potential, structures: Sequence[Atoms]) -> None:
        if len(structures) < 2:
            raise ValueError(
                "what lies beyond the training set is measured against the structures "
                f"of the fit, at least two: got {len(structures)}. A potential that was "
                "loaded without its data has none: give them as `structures`"
            )
        self._describe = EnvironmentDescriber(model)
        parts = [self._describe.of_training(atoms) for atoms in structures]
        home = torch.cat(
            [torch.full((len(p.species),), i) for i, p in enumerate(parts)]
        )
        rows = EnvironmentRows.stack(parts)
        self.n_structures = len(structures)
        self.species = {
            int(z): SpeciesEnvironments.of(
                rows.chosen(rows.species == z), home[rows.species == z]
            )
            for z in rows.species.unique()
        }

    def measures(self, atoms: Atoms) -> dict[str, Float[np.ndarray, " n"]]:
        """The measures per atom, or one value for a whole molecule.

        Raises:
            ValueError: a species or a molecule that the training set does not hold.
        """
        rows = self._describe(atoms)
        found = torch.zeros(len(MEASURES), len(rows.species), dtype=torch.float64)
        for z in rows.species.unique().tolist():
            if z not in self.species:
                raise ValueError(
                    f"the training structures hold no environment of atomic number {z}: "
                    "add labelled structures that do"
                )
            mine = rows.species == z
            found[:, mine] = self.species[z].measures(rows.chosen(mine))
        return dict(zip(MEASURES, found.numpy(), strict=True))

    def left_out(self, structure: int) -> dict[str, float]:
        """The largest of each measure in a training structure, without its own rows."""
        found = torch.cat(
            [
                s.left_out(structure)
                for s in self.species.values()
                if (s.home == structure).any()
            ],
            dim=1,
        )
        return dict(zip(MEASURES, found.amax(1).tolist(), strict=True))

    @property
    def of_atoms(self) -> bool:
        """Whether an environment belongs to an atom, not to a whole molecule."""
        return all(s.rows.atom[0] != WHOLE for s in self.species.values())
