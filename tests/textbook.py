"""The mathematics of the models the long way: autodiff, loops and dense matrices.

Nothing here is taken from mfal but the container of the hyperparameters, so that a
formula of mfal and its reference here agree only if both are right.
"""

import math
from collections import defaultdict
from typing import NamedTuple

import numpy as np
import torch
from torch.func import jacrev, jvp, vmap

ENERGY, FORCES = 0, 1


def rbf(q1, q2, lengthscale):
    """exp(-|q - q'|² / 2 ℓ²)."""
    return torch.exp(-0.5 * (q1 - q2).square().sum() / lengthscale**2)


def matern52(q1, q2, lengthscale):
    """(1 + x + x²/3) exp(-x), x = √5 |q - q'| / ℓ; autodiff needs the series at x = 0."""
    squared = 5 * (q1 - q2).square().sum() / lengthscale**2
    close = squared < 1e-12
    x = torch.where(close, torch.ones_like(squared), squared).sqrt()
    series = 1 - squared / 6 + squared.square() / 24
    return torch.where(close, series, (1 + x + x**2 / 3) * torch.exp(-x))


SCALAR_KERNELS = {"rbf": rbf, "matern52": matern52}


def observed(function, b, v, q):
    """b f(q) + v · ∇f(q)."""
    value, slope = jvp(function, (q,), (v,))
    return b * value + slope


def covariance(kernel, rows1, rows2):
    """Covariance of rows (b, v, q) of a function with this scalar kernel, by autodiff."""

    def pair(b1, v1, q1, b2, v2, q2):
        def right(x1):
            return observed(lambda x2: kernel(x1, x2), b2, v2, q2)

        return observed(right, b1, v1, q1)

    line = vmap(pair, in_dims=(None, None, None, 0, 0, 0))
    return vmap(line, in_dims=(0, 0, 0, None, None, None))(*rows1, *rows2)


def symmetrised(kernel, orders):
    """The mean of k(q, P q') over the orders P of the entries of q'."""

    def mean(q1, q2):
        return sum(kernel(q1, q2[order]) for order in orders) / len(orders)

    return mean


def recursion(rho, level):
    """The weights of eps_0, delta_1, ... in f_l = rho_l f_(l-1) + delta_l, step by step."""
    weights = [torch.ones((), dtype=torch.float64)]
    for step in rho[:level]:
        weights = [step * w for w in weights]
        weights.append(torch.ones((), dtype=torch.float64))
    zero = torch.zeros((), dtype=torch.float64)
    return torch.stack(weights + [zero] * (len(rho) - level))


class Molecule(NamedTuple):
    """Rows of energies and Cartesian forces of structures of one molecule.

    y = b f(q) + v · ∇f(q) at a level; `observable` names (structure, quantity,
    component), the same for the same observable at two levels.
    """

    b: torch.Tensor
    v: torch.Tensor
    q: torch.Tensor
    level: torch.Tensor
    counts: torch.Tensor
    n_atoms: torch.Tensor
    observable: list


def inverse_distances(positions):
    """1 / r_ij over i < j."""
    n = len(positions)
    return torch.stack(
        [
            1 / (positions[i] - positions[j]).norm()
            for i in range(n)
            for j in range(i + 1, n)
        ]
    )


def molecule_rows(asked):
    """Rows of (structure's name, atoms, level, quantities): F = -dE/dr by autodiff."""
    columns = defaultdict(list)
    for name, atoms, level, quantities in asked:
        positions = torch.tensor(atoms.positions)
        q = inverse_distances(positions)
        slope = jacrev(inverse_distances)(positions).flatten(1)
        rows = []
        if "energy" in quantities:
            rows.append((1.0, torch.zeros_like(q), (name, ENERGY, 0)))
        if "forces" in quantities:
            rows += [
                (0.0, -slope[:, c], (name, FORCES, c)) for c in range(len(slope.T))
            ]
        _, counts = np.unique(atoms.numbers, return_counts=True)
        for b, v, observable in rows:
            columns["b"].append(torch.tensor(b, dtype=torch.float64))
            columns["v"].append(v)
            columns["q"].append(q)
            columns["level"].append(torch.tensor(level))
            columns["counts"].append(torch.tensor(counts, dtype=torch.float64))
            columns["n_atoms"].append(torch.tensor(len(atoms)))
            columns["observable"].append(observable)
    observable = columns.pop("observable")
    return Molecule(
        **{k: torch.stack(v) for k, v in columns.items()}, observable=observable
    )


def smooth(hyperparameters, rows1, rows2, orders, reference_width=1.0):
    """cov of the smooth parts: independent parts one by one, carried up the levels."""
    h = hyperparameters
    up1 = torch.stack([recursion(h.rho, int(level)) for level in rows1.level])
    up2 = torch.stack([recursion(h.rho, int(level)) for level in rows2.level])
    same = rows1.level[:, None] == rows2.level
    both = rows1.b[:, None] * rows2.b * same
    total = reference_width**2 * both * (rows1.counts @ rows2.counts.T)
    for m, name in enumerate(h.kernels):
        scalar = SCALAR_KERNELS[name]

        def kernel(q1, q2, scalar=scalar, m=m):
            return h.scale[m] ** 2 * scalar(q1, q2, h.lengthscale[m])

        part = covariance(symmetrised(kernel, orders), rows1[:3], rows2[:3])
        total = total + up1[:, m, None] * part * up2[:, m]
    return total


def white(hyperparameters, rows1, rows2, *, own1=True, own2=True):
    """cov of the misfits: every white variable (observable, level) on its own.

    `own` says whether the misfit of the row's own level belongs to it.
    """
    h = hyperparameters
    everything = dict.fromkeys([*rows1.observable, *rows2.observable])
    names = {name: i for i, name in enumerate(everything)}

    def loadings(rows, own):
        matrix = []
        for i, (_, quantity, _) in enumerate(rows.observable):
            level = int(rows.level[i])
            extent = math.sqrt(int(rows.n_atoms[i])) if quantity == ENERGY else 1.0
            weights = recursion(h.rho, level) * h.noise[:, quantity] * extent
            if not own:
                weights = torch.where(
                    torch.arange(len(weights)) < level, weights, torch.zeros(())
                )
            line = [torch.zeros_like(weights)] * len(names)
            line[names[rows.observable[i]]] = weights
            matrix.append(torch.cat(line))
        return torch.stack(matrix)

    return loadings(rows1, own1) @ loadings(rows2, own2).T


def log_normal(values, covariance):
    """log N(values | 0, covariance)."""
    _, log_det = torch.linalg.slogdet(covariance)
    square = values @ torch.linalg.solve(covariance, values)
    return -0.5 * (square + log_det + len(values) * math.log(2 * math.pi))


def conditioned(prior, cross, data, residual):
    """Mean and covariance of a Gaussian given data: no factor, no triangle, a solve."""
    mean = cross @ np.linalg.solve(data, residual)
    return mean, prior - cross @ np.linalg.solve(data, cross.T)
