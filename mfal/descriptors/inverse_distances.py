"""Inverse distances 1 / r_ij of a fixed molecule, with their gradients."""

from collections.abc import Sequence

import numpy as np
import torch
from ase import Atoms
from ase.data import atomic_numbers
from jaxtyping import Float, Int
from torch import Tensor

from mfal.descriptors.environments import Environments


class InverseDistances:
    """q = (1 / r_ij) over all pairs i < j of one molecule: a single environment.

    Units: 1/A; gradients 1/A^2. Invariant under translation, rotation and reflection;
    not under permutations of like atoms, for which kernels are symmetrised with
    `orders` (see `mfal.kernels.SymmetrizedKernel`).

    Source: Chmiela et al. (2017), Sci. Adv. 3, e1603015, section "Descriptor".

    >>> from ase.build import molecule
    >>> InverseDistances(["H", "H"])(molecule("H2")).values.shape
    torch.Size([1, 1])

    Raises:
        ValueError: fewer than two atoms; a structure with other atoms, in another
            order, with periodic boundaries or with two atoms at one place.
    """

    def __init__(self, symbols: Sequence[str]) -> None:
        if len(symbols) < 2:
            raise ValueError("inverse distances need at least two atoms")
        self.symbols = tuple(symbols)
        self._numbers = np.array([atomic_numbers[s] for s in symbols])
        i, j = np.triu_indices(len(symbols), k=1)
        self._i, self._j = torch.from_numpy(i), torch.from_numpy(j)

    def specification(self) -> dict[str, object]:
        """The name of the descriptor and the species in order."""
        return {"name": "inverse_distances", "symbols": list(self.symbols)}

    def __call__(self, atoms: Atoms) -> Environments:
        """The molecule as one environment."""
        self._check(atoms)
        values, jacobian = self.values_and_jacobian(torch.from_numpy(atoms.positions))
        n = len(self.symbols)
        return Environments(
            values=values.unsqueeze(0),
            species=torch.zeros(1, dtype=torch.long),
            pair_environment=torch.zeros(n, dtype=torch.long),
            pair_atom=torch.arange(n),
            gradients=jacobian.unflatten(0, (n, 3)),
            n_atoms=n,
        )

    def values_and_jacobian(
        self, positions: Float[Tensor, "*b n 3"]
    ) -> tuple[Float[Tensor, "*b d"], Float[Tensor, "*b 3*n d"]]:
        """q and dq / dr, d(1/r_ij)/dr_i = -(r_i - r_j) / r_ij^3, of many geometries."""
        i, j = self._i.to(positions.device), self._j.to(positions.device)
        apart = positions[..., i, :] - positions[..., j, :]
        values = apart.norm(dim=-1).reciprocal()
        slope = -apart * values.pow(3).unsqueeze(-1)
        pairs = torch.arange(len(i), device=positions.device)
        n = positions.shape[-2]
        jacobian = positions.new_zeros(*positions.shape[:-2], n, 3, len(i))
        jacobian[..., i, :, pairs] = slope.movedim(-2, 0)
        jacobian[..., j, :, pairs] = -slope.movedim(-2, 0)
        return values, jacobian.flatten(-3, -2)

    def orders(self, permutations: Int[Tensor, "g n"]) -> Int[Tensor, "g d"]:
        """Column orders of q that permutations of the atoms make: (P q)_ij = q_P(i)P(j)."""
        n = len(self.symbols)
        column = torch.zeros(n, n, dtype=torch.long)
        column[self._i, self._j] = torch.arange(len(self._i))
        column = column + column.T
        return column[permutations[:, self._i], permutations[:, self._j]]

    def _check(self, atoms: Atoms) -> None:
        if len(atoms) != len(self._numbers) or (atoms.numbers != self._numbers).any():
            raise ValueError(
                f"this model describes the molecule {''.join(self.symbols)} with its "
                f"atoms in that order, got {''.join(atoms.get_chemical_symbols())}: "
                "reorder the atoms, or fit the sparse model, which takes any composition"
            )
        if atoms.pbc.any():
            raise ValueError(
                "inverse distances describe an isolated molecule, got periodic "
                "boundaries: switch pbc off, or use a descriptor with a cutoff"
            )
        positions = torch.from_numpy(atoms.positions)
        apart = positions[self._i] - positions[self._j]
        if not apart.isfinite().all() or (apart.abs().amax(dim=1) < 1e-10).any():
            raise ValueError(
                "two atoms stand at one place, or a position is not finite"
            )
