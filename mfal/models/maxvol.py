r"""Rows of largest volume, and how far another row lies beyond them.

Of n rows b of length m an active set A (m x m) is chosen whose |det A| no single exchange
raises. The grade of a row,

.. math:: γ = \max_j |b A^{-1}|_j,

is the largest factor by which exchanging a row of A for b would raise |det A|: at most
one for every row that A was chosen from, above one beyond them.

Source: Goreinov et al. (2010), How to find a good submatrix; Podryabinkin & Shapeev (2017),
Comput. Mater. Sci. 140, 171, for the grade.
"""

import torch
from jaxtyping import Float, Int
from scipy.linalg import qr
from torch import Tensor

THRESHOLD = 1.001
"""Grade above which rows are exchanged; a little above one, so that it ends."""


def independent_rows(rows: Float[Tensor, "n m"]) -> Int[Tensor, " m"]:
    """m linearly independent rows, by QR with pivoting.

    Raises:
        ValueError: fewer than m independent rows.
    """
    n, m = rows.shape
    r, pivot = qr(rows.numpy().T, mode="r", pivoting=True)
    diagonal = abs(r.diagonal())
    if n < m or diagonal[m - 1] <= 1e-12 * diagonal[0]:
        raise ValueError(
            f"an active set needs as many independent rows as they have entries, got "
            f"{n} rows of {m} entries that span less: leave out directions without spread"
        )
    return torch.from_numpy(pivot[:m]).long()


def maxvol(rows: Float[Tensor, "n m"], start: Int[Tensor, " m"]) -> Int[Tensor, " m"]:
    """m of the rows whose determinant no single exchange raises (by more than 0.1 %).

    `start` names m independent rows. Each exchange is an update of rank one of the
    coefficients C = rows A^-1.

    Raises:
        torch.linalg.LinAlgError: rows to start from that are dependent.
    """
    chosen = start.clone()
    c = torch.linalg.solve(rows[chosen], rows, left=False)
    while float(c.abs().max()) > THRESHOLD:
        i, j = divmod(int(c.abs().argmax()), c.shape[1])
        c = exchanged(c, i, j)
        chosen[j] = i
    return chosen


def exchanged(c: Float[Tensor, "n m"], i: int, j: int) -> Float[Tensor, "n m"]:
    """The coefficients C = rows A^-1 after row i has taken the place j of A."""
    leaving = c[i].clone()
    leaving[j] -= 1.0
    return c - torch.outer(c[:, j], leaving) / c[i, j]


def grades(
    rows: Float[Tensor, "n m"], active: Float[Tensor, "m m"]
) -> Float[Tensor, " n"]:
    """The grade of each row against an active set."""
    c = torch.linalg.solve(active, rows, left=False)
    return c.abs().amax(1)


def without_rows(
    rows: Float[Tensor, "n m"],
    active: Int[Tensor, " m"],
    left_out: Int[Tensor, " k"],
) -> Int[Tensor, " m"] | None:
    """An active set without some rows; `None` if the others do not span all entries.

    Where they stand in the active set, the best of the others take their places, and
    exchanges go on from there.
    """
    kept = torch.ones(len(rows), dtype=torch.bool)
    kept[left_out] = False
    chosen = active.clone()
    c = torch.linalg.solve(rows[chosen], rows, left=False)
    for j in (~kept[chosen]).nonzero().squeeze(1).tolist():
        column = torch.where(kept, c[:, j].abs(), 0.0)
        i = int(column.argmax())
        if float(column[i]) < 1e-9:
            return None
        c = exchanged(c, i, j)
        chosen[j] = i
    others = kept.nonzero().squeeze(1)
    place = torch.full((len(rows),), -1)
    place[others] = torch.arange(len(others))
    return others[maxvol(rows[others], place[chosen])]


def left_out_grades(
    rows: Float[Tensor, "n m"],
    active: Int[Tensor, " m"],
    left_out: Int[Tensor, " k"],
) -> Float[Tensor, " k"]:
    """The grades of some rows against an active set of the others; infinite if none is."""
    others = without_rows(rows, active, left_out)
    if others is None:
        return rows.new_full((len(left_out),), torch.inf)
    return grades(rows[left_out], rows[others])
