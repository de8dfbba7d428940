r"""Noise: what a smooth function of the descriptor cannot say of a label.

Reference codes repeat themselves: label a structure twice and the same numbers come.
What is called noise is the part of a level that the smooth function misses, and it
belongs to the structure. The levels above are built on the level below, misfit and all,

    y_l(x) = g_l(x) + w_l(x),   g_l(x) = smooth_l(x) + sum_{m < l} c_lm w_m(x),

with independent white w_m of variance sigma_m^2 per quantity (n_atoms sigma_E^2 for an
energy). So y_0 known at x fixes rho y_0 inside y_1, to the last digit: Delta-learning is
a special case. Two structures share no w. With c_lm from `path_weights`,

    cov(y_a, y_b) = sum_m c_am c_bm sigma_m^2,

and the same sum over m < b (m < a) where g_b (g_a) stands in the place of y.
"""

import torch
from jaxtyping import Float, Int
from torch import Tensor

from mfal.kernels import path_weights
from mfal.models.hyperparameters import Hyperparameters
from mfal.models.observations import ENERGY, Observations, StructureRows


def white_covariance(
    hyperparameters: Hyperparameters, *, labels: tuple[bool, bool] = (True, True)
) -> Float[Tensor, "levels levels 3"]:
    """cov of the white parts at levels a, b of one structure, per quantity.

    `labels` says for each side whether it is the label y (true) or g, the label without
    the misfit of its own level.
    """
    weights = path_weights(hyperparameters.rho)
    left, right = (weights if label else weights.tril(-1) for label in labels)
    return torch.einsum("am,bm,mq->abq", left, right, hyperparameters.noise.square())


def per_row(
    white: Float[Tensor, "n 3"], quantity: Int[Tensor, " n"], n_atoms: Int[Tensor, " n"]
) -> Float[Tensor, " n"]:
    """The entry of each row's quantity; of energies times the number of atoms."""
    chosen = white.gather(1, quantity.unsqueeze(1)).squeeze(1)
    return torch.where(quantity == ENERGY, chosen * n_atoms, chosen)


def white_rows(white: Float[Tensor, " 3"], block: StructureRows) -> Float[Tensor, " n"]:
    """The entry of each row of one structure."""
    n = len(block.rows)
    return per_row(white.expand(n, 3), block.quantity, torch.full((n,), block.n_atoms))


def data_noise(
    hyperparameters: Hyperparameters, observations: Observations
) -> tuple[Float[Tensor, " n"], Float[Tensor, " n_pairs"]]:
    """Variance of the white part of each row, and covariance of each of the `pairs`.

    The variance that a label itself brings is added to its rows.
    """
    white = white_covariance(hyperparameters)
    level, quantity = observations.row_level, observations.quantity
    variance = per_row(white[level, level], quantity, observations.n_atoms)
    later, earlier = observations.pairs
    shared = per_row(
        white[level[later], level[earlier]],
        quantity[later],
        observations.n_atoms[later],
    )
    return variance + observations.label_variance, shared
