"""Environments: the common currency of all descriptors."""

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Protocol, runtime_checkable

from ase import Atoms
from jaxtyping import Float, Int
from torch import Tensor

VOIGT = ((0, 0), (1, 1), (2, 2), (1, 2), (0, 2), (0, 1))
"""The components of a strain in the order of ASE: xx yy zz yz xz xy."""

EnergyFunction = Callable[
    [Float[Tensor, "n p"], Int[Tensor, " n"]],
    tuple[Float[Tensor, " n"], Float[Tensor, "n p"]],
]
"""From projected descriptors and species to energies and slopes of the environments."""


@dataclass(frozen=True)
class Environments:
    """Descriptors of the environments of one structure, with sparse gradients.

    The energy is a sum over environments e of eps(q_e). `gradients[k]` is dq_e / dr_a
    for environment e = `pair_environment[k]` and atom a = `pair_atom[k]`; pairs that do
    not occur have a zero gradient. A global descriptor is one environment that every
    atom belongs to. `species` is the atomic number at the centre of an environment
    (0 for a whole molecule). `strain[e]` is dq_e / d strain in the order xx yy zz yz xz
    xy, the shear strains symmetric (both off-diagonal entries e/2 of a strain e), or
    `None` where there is no cell. With a `projection` P all that is said of q holds of
    P^T q. Units: q is the descriptor's own, gradients are per A.
    """

    values: Float[Tensor, "n_env d"]
    species: Int[Tensor, " n_env"]
    pair_environment: Int[Tensor, " n_pairs"]
    pair_atom: Int[Tensor, " n_pairs"]
    gradients: Float[Tensor, "n_pairs 3 d"]
    n_atoms: int
    strain: Float[Tensor, "n_env 6 d"] | None = None
    projection: Float[Tensor, "all d"] | None = None

    def projected(self, projection: Float[Tensor, "d p"]) -> "Environments":
        """The environments with P^T q in the place of q."""
        strain = None if self.strain is None else self.strain @ projection
        return replace(
            self,
            values=self.values @ projection,
            gradients=self.gradients @ projection,
            strain=strain,
            projection=projection,
        )

    def sorted_by_environment(self) -> "Environments":
        """The same with rising `pair_environment`."""
        if not (self.pair_environment.diff() < 0).any():
            return self
        order = self.pair_environment.argsort(stable=True)
        return replace(
            self,
            pair_environment=self.pair_environment[order],
            pair_atom=self.pair_atom[order],
            gradients=self.gradients[order],
        )

    def jacobian(self, environment: int) -> Float[Tensor, "n_coordinates d"]:
        """dq / dr of one environment with respect to every coordinate, dense."""
        dense = self.gradients.new_zeros(self.n_atoms, 3, self.values.shape[1])
        chosen = self.pair_environment == environment
        dense.index_add_(0, self.pair_atom[chosen], self.gradients[chosen])
        return dense.flatten(0, 1)


@runtime_checkable
class ProjectingDescriptor(Protocol):
    """A descriptor that gives few directions of itself at less than the cost of all."""

    def projected(
        self, atoms: Atoms, projection: Float[Tensor, "d p"], *, strain: bool = True
    ) -> Environments:
        """The environments of one structure times a projection."""
        ...

    def pulled_back(
        self,
        atoms: Atoms,
        projection: Float[Tensor, "d p"],
        energies: EnergyFunction,
        *,
        strain: bool = True,
    ) -> tuple[Float[Tensor, " n"], Float[Tensor, "n 3"], Float[Tensor, " 6"] | None]:
        """Energies (eV) of the environments, forces (eV/A) and dE/dstrain (eV)."""
        ...


@runtime_checkable
class Descriptor(Protocol):
    """What turns a structure into environments; bring your own.

    It owes values q of each environment and their derivatives with respect to positions
    and, in cells, to strain (`Environments`), invariant under rotation, translation and
    exchange of like atoms, and smooth where neighbours come and go.
    """

    def __call__(self, atoms: Atoms) -> Environments:
        """The environments of one structure.

        Raises:
            ValueError: a structure that the descriptor does not know how to describe.
        """
        ...

    def specification(self) -> dict[str, object]:
        """Plain JSON values from which the descriptor can be built again."""
        ...
