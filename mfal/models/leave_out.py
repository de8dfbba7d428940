r"""Closed-form leave-one-configuration-out residuals of an exact Gaussian process.

With all rows of a configuration c left out at once,

    y_c - mean_c = S_c α_c,   cov_c = S_c = ([K^-1]_cc)^-1,   α = K^-1 y,

from the factors of the fit: no label is spent on validation. Hyperparameters are kept,
which makes it slightly optimistic. Source: Rasmussen & Williams (2006), eqs. 5.10-5.12,
for blocks.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from mfal.models.calibration import Recalibration, recalibration
from mfal.models.exact import ExactPotential
from mfal.models.observations import ENERGY, FORCES

MODES = ("standalone", "at_hand")

_AT_ONCE = 32


@dataclass(frozen=True)
class LeftOut:
    """Residuals (label minus prediction) and standard deviations, noise included.

    Energies in eV, one per structure with an energy; forces in eV/A, an array of
    n_atoms x 3 per structure with forces.
    """

    energy: Float[np.ndarray, " n_energies"]
    energy_sigma: Float[np.ndarray, " n_energies"]
    forces: Float[np.ndarray, "n_forces n_atoms 3"]
    forces_sigma: Float[np.ndarray, "n_forces n_atoms 3"]

    def recalibration(self) -> Recalibration:
        """Factors that give the standardised residuals unit mean square."""
        return recalibration(
            {"energy": self.energy, "forces": self.forces.ravel()},
            {"energy": self.energy_sigma, "forces": self.forces_sigma.ravel()},
        )


def leave_one_out(
    model: ExactPotential, level: str | None = None, *, mode: str = "standalone"
) -> LeftOut:
    r"""Residuals of every label of a level, each without its own configuration.

    .. math:: y_c - \mu_{-c} = S_c α_c, \qquad Σ_{-c} = S_c = ([K^{-1}]_{cc})^{-1},
        \qquad α = K^{-1} y

    Energies are in eV, forces in eV/A; hyperparameters are kept. Source: Rasmussen &
    Williams (2006), eqs. 5.10-5.12, for blocks.

    "standalone" leaves out the labels of the configuration at all levels; "at_hand"
    keeps those below `level`, as in deployment with the low level at hand, and takes
    only the configurations that have one.

    Raises:
        ValueError: an unknown mode or level.
    """
    if mode not in MODES:
        raise ValueError(f"the mode is one of {MODES}, got {mode!r}")
    index = model.level_index(level)
    data = model.observations
    starts = data.rows.starts
    by_structure: dict[int, list[int]] = {}
    for block, structure in enumerate(data.structure):
        by_structure.setdefault(structure, []).append(block)
    families = []
    for block, structure in enumerate(data.structure):
        family = by_structure[structure]
        if mode == "at_hand":
            if all(data.level[b] >= index for b in family):
                continue
            family = [b for b in family if data.level[b] >= index]
        if data.level[block] == index:
            rows = [torch.arange(starts[b], starts[b + 1]) for b in family]
            families.append((block, torch.cat(rows)))
    energies, forces = [], []
    n_atoms = len(model.builder.descriptor.symbols)
    for block, left, residual, covariance in _left_out(model, families):
        mine = (left >= starts[block]) & (left < starts[block + 1])
        residual, covariance = residual[mine], covariance[mine][:, mine]
        quantity = data.block_quantity(block)
        energy, force = quantity == ENERGY, quantity == FORCES
        if energy.any():
            energies.append((residual[energy], covariance[energy][:, energy].sqrt()))
        if force.any():
            u = model.bases[block]
            inner = covariance[force][:, force]
            forces.append((u @ residual[force], ((u @ inner) * u).sum(1).sqrt()))
    return LeftOut(
        *(_array([e[k] for e in energies], (-1,)) for k in range(2)),
        *(_array([f[k] for f in forces], (-1, n_atoms, 3)) for k in range(2)),
    )


def calibrated(model: ExactPotential) -> ExactPotential:
    """The exact model with its sigmas recalibrated by leave-one-configuration-out.

    One factor per quantity, which makes the mean square of left-out residuals over sigma
    one; each way of deployment gets factors of its own for the highest level.
    """
    return model.with_recalibrations(
        {mode: leave_one_out(model, mode=mode).recalibration() for mode in MODES}
    )


def _left_out(
    model: ExactPotential, families: Sequence[tuple[int, Tensor]]
) -> Iterator[tuple[int, Tensor, Tensor, Tensor]]:
    """Each label with the rows left out with it, their residuals and covariance."""
    for begin in range(0, len(families), _AT_ONCE):
        chunk = families[begin : begin + _AT_ONCE]
        half = model.inverse_columns(torch.cat([rows for _, rows in chunk]))
        parts = half.split([len(rows) for _, rows in chunk], dim=1)
        for (block, rows), part in zip(chunk, parts, strict=True):
            covariance = torch.cholesky_inverse(torch.linalg.cholesky(part.mT @ part))
            residual = (covariance @ model.weights[rows]).squeeze(-1)
            yield block, rows, residual, covariance


def _array(parts: Sequence[Tensor], shape: tuple[int, ...]) -> np.ndarray:
    if not parts:
        return np.zeros((0, *shape[1:]))
    return torch.cat([p.reshape(-1) for p in parts]).reshape(shape).numpy()
