r"""The D-optimal extrapolation grade of MTP and ACE, for comparison.

Rows b of a potential that is linear in its m parameters (an energy, or each environment)
and an active set of m of them, the rows of A. The grade of a configuration is

.. math:: γ = \max_j |b A^{-1}|_j,

the largest factor by which exchanging a row of A for b would raise |det A|. MaxVol
exchanges until no known row has a grade above 1; γ > 1 means extrapolation.

Source: Podryabinkin & Shapeev (2017), Comput. Mater. Sci. 140, 171; Lysogorskiy,
Bochkarev, Mrovec, Drautz (2023), Phys. Rev. Materials 7, 043801; Goreinov et al. (2010),
How to find a good submatrix, for MaxVol.
"""

from collections.abc import Sequence

import torch
from jaxtyping import Float
from torch import Tensor

from mfal.acquisition.pool import PoolAcquisition
from mfal.models.maxvol import grades, maxvol

_SEED = 1e-6
"""Share of the largest entry that unit rows have: they stand in where rows are missing."""


class ExtrapolationGrade(PoolAcquisition):
    r"""The extrapolation grade of labels against an active set of known rows.

    .. math:: γ(c) = \max_{b \in c} \max_j |b A^{-1}|_j

    over the rows b of a label c; without a unit, 1 at the edge of what is known.
    `features` hold the rows of each block (r x m). The active set is that of MaxVol
    among `known` rows; where they do not span all parameters, unit rows of 1e-6 of the
    largest entry stand in, so that what is unknown has a huge grade. A pick joins the
    active set. Of a set of labels it is the largest grade.

    Source: Podryabinkin & Shapeev (2017), Comput. Mater. Sci. 140, 171.

    Raises:
        ValueError: rows of other lengths.
    """

    def __init__(
        self,
        features: Sequence[Float[Tensor, "_ _"]],
        known: Float[Tensor, "n m"],
    ) -> None:
        lengths = {known.shape[1], *(f.shape[1] for f in features)}
        if len(lengths) != 1:
            raise ValueError(
                "the rows of the pool and the known ones have the same features, got "
                f"rows of {sorted(lengths)} entries"
            )
        self._rows = torch.cat(list(features))
        stops = torch.tensor([len(f) for f in features]).cumsum(0).tolist()
        starts = [0, *stops[:-1]]
        self._slices = [slice(a, b) for a, b in zip(starts, stops, strict=True)]
        scale = torch.cat([self._rows, known]).abs().max()
        unit = _SEED * scale * torch.eye(known.shape[1], dtype=known.dtype)
        self._active = [_exchanged(unit, known)]
        super().__init__(len(features))
        self._grade()

    @property
    def active(self) -> Float[Tensor, "m m"]:
        """The rows of the active set."""
        return self._active[-1]

    def condition_on(self, block: int) -> None:
        """Takes a label as bought: its rows compete for the active set."""
        super().condition_on(block)
        self._active.append(_exchanged(self.active, self._rows[self._slices[block]]))
        self._grade()

    def keep(self, n_picks: int) -> None:
        """Takes back all picks but the first ones."""
        super().keep(n_picks)
        del self._active[n_picks + 1 :]
        self._grade()

    def value(self, blocks: Sequence[int]) -> float:
        """The largest grade of the labels."""
        return float(self._grades[list(blocks)].max())

    def values(self, blocks: Sequence[int]) -> Float[Tensor, " b"]:
        """The grade of each label."""
        return self._grades[list(blocks)]

    def _grade(self) -> None:
        largest = grades(self._rows, self.active)
        self._grades = torch.stack([largest[s].max() for s in self._slices])


def _exchanged(
    active: Float[Tensor, "m m"], rows: Float[Tensor, "n m"]
) -> Float[Tensor, "m m"]:
    """The active set of its own rows and these."""
    every = torch.cat([active, rows])
    return every[maxvol(every, torch.arange(len(active)))]
