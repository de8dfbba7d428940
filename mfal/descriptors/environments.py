"""Environments: the common currency of all descriptors."""

from dataclasses import dataclass
from typing import Protocol, runtime_checkable

from ase import Atoms
from jaxtyping import Float, Int
from torch import Tensor


@dataclass(frozen=True)
class Environments:
    """Descriptors of the environments of one structure, with sparse gradients.

    The energy is a sum over environments e of eps(q_e). `gradients[k]` is dq_e / dr_a
    for environment e = `pair_environment[k]` and atom a = `pair_atom[k]`; pairs that do
    not occur have a zero gradient. A global descriptor is one environment that every
    atom belongs to. `species` is the atomic number at the centre of an environment
    (0 for a whole molecule). `strain[e]` is dq_e / d strain in the order xx yy zz yz xz
    xy, the shear strains symmetric (both off-diagonal entries e/2 of a strain e), or
    `None` where there is no cell. Units: q is the descriptor's own, gradients are per A.
    """

    values: Float[Tensor, "n_env d"]
    species: Int[Tensor, " n_env"]
    pair_environment: Int[Tensor, " n_pairs"]
    pair_atom: Int[Tensor, " n_pairs"]
    gradients: Float[Tensor, "n_pairs 3 d"]
    n_atoms: int
    strain: Float[Tensor, "n_env 6 d"] | None = None

    def jacobian(self, environment: int) -> Float[Tensor, "n_coordinates d"]:
        """dq / dr of one environment with respect to every coordinate, dense."""
        dense = self.gradients.new_zeros(self.n_atoms, 3, self.values.shape[1])
        chosen = self.pair_environment == environment
        dense.index_add_(0, self.pair_atom[chosen], self.gradients[chosen])
        return dense.flatten(0, 1)


@runtime_checkable
class Descriptor(Protocol):
    """What turns a structure into environments; bring your own."""

    def __call__(self, atoms: Atoms) -> Environments:
        """The environments of one structure.

        Raises:
            ValueError: a structure that the descriptor does not know how to describe.
        """
        ...

    def specification(self) -> dict[str, object]:
        """Plain JSON values from which the descriptor can be built again."""
        ...
