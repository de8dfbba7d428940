"""Kernels made of kernels: symmetry under permutations, energies of reference."""

import torch
from gpytorch.kernels import Kernel
from jaxtyping import Float, Int
from torch import Tensor

from mfal.kernels.derivative import pack_observations, unpack_observations


def permute_observations(
    x: Float[Tensor, "*b n m"], order: Int[Tensor, " d"]
) -> Float[Tensor, "*b n m"]:
    """The rows [b | v | q] with the columns of v and q in another order."""
    b, v, q = unpack_observations(x)
    return pack_observations(b, v[..., order], q[..., order])


class SymmetrizedKernel(Kernel):
    r"""Covariance of a function that is invariant under a group of permutations.

    .. math:: k_G(x, x') = \frac{1}{|G|} \sum_{P \in G} k(x, P x'),

    where P reorders the entries of the descriptor (as a permutation of like atoms
    does with 1/r_ij) and of the directions alike. k must itself be invariant under
    the common permutation of both arguments, as every isotropic kernel is.

    Source: Chmiela, Sauceda, Mueller, Tkatchenko (2018), Nat. Commun. 9, 3887, eq. 4.

    Raises:
        ValueError: `orders` is not a set of permutations that holds the identity.
    """

    def __init__(self, base_kernel: Kernel, orders: Int[Tensor, "g d"]) -> None:
        super().__init__()
        identity = torch.arange(orders.shape[-1])
        if not (orders.sort(dim=-1).values == identity).all():
            raise ValueError("each row of orders must be a permutation of 0 ... d - 1")
        if not (orders == identity).all(dim=-1).any():
            raise ValueError("a group of permutations holds the identity: add it")
        self.base_kernel = base_kernel
        self.register_buffer("orders", orders)

    def forward(
        self, x1: Tensor, x2: Tensor, diag: bool = False, **params: object
    ) -> Tensor:
        """Mean of the base kernel over the permuted right-hand rows."""
        total: Tensor | None = None
        for order in self.orders:
            k = self.base_kernel(x1, permute_observations(x2, order), diag=diag)
            part = k if diag else k.to_dense()
            total = part if total is None else total + part
        assert total is not None  # the group holds the identity
        return total / len(self.orders)


class ReferenceEnergyKernel(Kernel):
    r"""Prior of the energies of reference of the species, independent at each level.

    E holds sum_s n_s e_(s, l) with e_(s, l) ~ N(0, sigma^2) for species s and level l:

    .. math:: k(x, x') = \sigma^2\, [l = l']\; b\, b'\, n \cdot n'.

    Inputs are [b, n_1 ... n_S, l]: an energy row has b = 1, a force row b = 0. The
    width sigma (eV per atom) is fixed and wide; see `mfal.models.exact` for the mean.
    """

    def __init__(self, width: float = 1.0) -> None:
        super().__init__()
        if not width > 0:
            raise ValueError(f"the width must be positive (eV per atom), got {width}")
        self.width = width

    def forward(
        self, x1: Tensor, x2: Tensor, diag: bool = False, **params: object
    ) -> Tensor:
        """Covariance of rows that carry weight, species counts and level."""
        level1, level2 = x1[..., -1], x2[..., -1]
        n1, n2 = (self.width * x[..., :1] * x[..., 1:-1] for x in (x1, x2))
        if diag:
            return (n1 * n2).sum(-1) * (level1 == level2)
        same = level1.unsqueeze(-1) == level2.unsqueeze(-2)
        return (n1 @ n2.mT) * same
