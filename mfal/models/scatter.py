r"""Leverage and Mahalanobis distance of rows against known rows, with rows left out.

With the known rows X (n x m) and a small ridge, A = X^T X + δ 1, the leverage of a row z is

    h(z) = z^T A^-1 z,

the weight that a label of z would have in its own prediction, before it is added. Without
the rows X_b of a configuration, and H = X_b A^-1 X_b^T (Woodbury),

    z^T (A - X_b^T X_b)^-1 z = diag [H (1 - H)^-1]   for the rows of b themselves.

For rows (1, x - mean) it is h = (1 + d^2) / n, d the Mahalanobis distance to the mean of
the known x with their covariance.

Source: Hoaglin & Welsch (1978), Am. Stat. 32, 17; Mahalanobis (1936).
"""

from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor

from mfal.models.cholesky import factorise, solve_lower

RIDGE = 1e-6
"""Share of the mean diagonal of X^T X that the ridge δ is."""


@dataclass(frozen=True)
class Scatter:
    """The factor of A = X^T X + δ 1 and the number of rows that are in it."""

    factor: Float[Tensor, "m m"]
    n_rows: int

    @staticmethod
    def of(rows: Float[Tensor, "n m"]) -> "Scatter":
        """The scatter of known rows."""
        products = rows.mT @ rows
        ridge = RIDGE * float(products.diagonal().mean())
        unit = torch.eye(len(products), dtype=rows.dtype)
        factor, _ = factorise(
            lambda: products + ridge * unit, what="scatter of environments"
        )
        return Scatter(factor.tril(), len(rows))

    def leverage(self, rows: Float[Tensor, "k m"]) -> Float[Tensor, " k"]:
        """z^T A^-1 z of each row."""
        return solve_lower(self.factor, rows.mT).square().sum(0)

    def left_out_leverage(self, rows: Float[Tensor, "k m"]) -> Float[Tensor, " k"]:
        """The same of rows that are in A, without them all."""
        half = solve_lower(self.factor, rows.mT)
        share, axes = torch.linalg.eigh(half.mT @ half)
        share = share.clamp(0.0, 1.0 - 1e-12)
        return axes.square() @ (share / (1.0 - share))


@dataclass(frozen=True)
class Cloud:
    """Where known descriptors lie: their mean, root mean square distance to it, and the
    scatter of (1, x) with x the descriptors in these units."""

    mean: Float[Tensor, " d"]
    width: Float[Tensor, ""]
    scatter: Scatter

    @staticmethod
    def of(values: Float[Tensor, "n d"]) -> "Cloud":
        """The cloud of known descriptors."""
        mean = values.mean(0)
        width = (values - mean).square().mean().sqrt().clamp_min(1e-300)
        return Cloud(mean, width, Scatter.of(_standard(values, mean, width)))

    def distance(self, values: Float[Tensor, "k d"]) -> Float[Tensor, " k"]:
        """The Mahalanobis distance of each descriptor."""
        rows = _standard(values, self.mean, self.width)
        return _distance(self.scatter.leverage(rows), self.scatter.n_rows)

    def left_out_distance(self, values: Float[Tensor, "k d"]) -> Float[Tensor, " k"]:
        """That of descriptors which are in the cloud, to the cloud without them."""
        rows = _standard(values, self.mean, self.width)
        h = self.scatter.left_out_leverage(rows)
        return _distance(h, self.scatter.n_rows - len(values))


def _standard(
    values: Float[Tensor, "k d"], mean: Float[Tensor, " d"], width: Float[Tensor, ""]
) -> Float[Tensor, "k e"]:
    return torch.cat([values.new_ones(len(values), 1), (values - mean) / width], dim=1)


def _distance(h: Float[Tensor, " k"], n: int) -> Float[Tensor, " k"]:
    if n < 1:  # there is no cloud without them
        return torch.full_like(h, torch.inf)
    return (n * h - 1.0).clamp_min(0.0).sqrt()
