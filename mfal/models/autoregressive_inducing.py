r"""A Gaussian process given many values, through few inducing points (FITC).

With f ~ GP(0, k), M inducing points z, K_zz = L L^T and the features
\varphi(x) = L^{-1} k(z, x), the process is f(x) = \varphi(x)^T v + r(x), v ~ N(0, I), r
independent of v with covariance k - \varphi^T \varphi. FITC takes r as independent
between the training points x_1 ... x_n, and between them and everywhere else:

.. math:: y \sim \mathcal N(0, \Phi^T \Phi + \Lambda), \qquad
    \Lambda = \mathrm{diag}\big(k(x_i, x_i) - |\varphi(x_i)|^2 + \sigma_i^2\big).

The data are then known through v alone, and by Woodbury's identity

.. math:: B = I + \Phi \Lambda^{-1} \Phi^T, \quad b = B^{-1} \Phi \Lambda^{-1} y, \quad
    v \mid y \sim \mathcal N(b, B^{-1}), \qquad
    f \mid y \sim \mathrm{GP}\big(\varphi^T b,\ k - \varphi^T (I - B^{-1}) \varphi'\big),

    \log p(y) = -\tfrac12 \big(y^T \Lambda^{-1} y - b^T B b + \log\det B
        + \log\det \Lambda + n \log 2\pi\big).

Cost n M^2, memory M^2 and a block of rows.

Source: Quinonero-Candela & Rasmussen (2005), J. Mach. Learn. Res. 6, 1939, section 6;
Snelson & Ghahramani (2006), NIPS 18, 1257, equations 6 to 10.
"""

import math
from dataclasses import dataclass
from typing import Any

import torch
from gpytorch.kernels import Kernel
from jaxtyping import Float
from torch import Tensor

from mfal.models.cholesky import factorise, solve_lower

NEGLIGIBLE = 1e-11
"""Share of the largest variance below which a point is no use as an inducing point."""

CANDIDATES_PER_POINT = 4
FEW = 4
"""A set of points is few beside one that has more than so many times as many."""

BLOCK = 2048
"""Training rows whose features are held at once."""


@dataclass(frozen=True)
class InducingPosterior:
    """The process k(x, x') + offset given n values, see the module."""

    kernel: Kernel
    offset: float
    inducing: Float[Tensor, "m d"]
    root: Float[Tensor, "m m"]
    """L, lower."""
    precision_root: Float[Tensor, "m m"]
    """R of B = R R^T, lower."""
    coefficients: Float[Tensor, " m"]
    """L^-T b."""
    log_evidence: float

    def features(self, x: Float[Tensor, "*b n d"]) -> Float[Tensor, "*b n m"]:
        """phi(x), one row a point."""
        return _solved(self.root, self._cross(x), upper=False)

    def mean(self, x: Float[Tensor, "*b n d"]) -> Float[Tensor, "*b n"]:
        """phi^T b."""
        return self._cross(x) @ self.coefficients

    def explained(
        self, x1: Float[Tensor, "*#b n d"], x2: Float[Tensor, "*#b k d"]
    ) -> Float[Tensor, "*b n k"]:
        """phi^T (I - B^-1) phi': what the data take from the covariance."""
        n1, n2 = x1.shape[-2], x2.shape[-2]
        if n2 > FEW * n1:  # no features of the many
            return self._weights(x1) @ self._cross(x2).mT
        if n1 > FEW * n2:
            return self._cross(x1) @ self._weights(x2).mT
        left, right = self.features(x1), self.features(x2)
        return left @ right.mT - self._whitened(left) @ self._whitened(right).mT

    def explained_pairs(
        self, x1: Float[Tensor, "*#b n d"], x2: Float[Tensor, "*#b n d"]
    ) -> Float[Tensor, "*b n"]:
        """`explained` of each point of x1 with that of the same index in x2."""
        left, right = self.features(x1), self.features(x2)
        known = self._whitened(left) * self._whitened(right)
        return (left * right - known).sum(-1)

    def __deepcopy__(self, memo: Any) -> "InducingPosterior":
        return self  # nothing in it changes

    def _cross(self, x: Tensor) -> Tensor:
        return self.kernel(x, self.inducing).to_dense() + self.offset

    def _whitened(self, features: Tensor) -> Tensor:
        return _solved(self.precision_root, features, upper=False)

    def _weights(self, x: Tensor) -> Tensor:
        """L^-T (I - B^-1) phi."""
        features = self.features(x)
        white = self._whitened(features)
        known = features - _solved(self.precision_root.mT, white, upper=True)
        return _solved(self.root.mT, known, upper=True)


@torch.no_grad()
def inducing_posterior(
    kernel: Kernel,
    offset: float,
    inducing: Float[Tensor, "m d"],
    x: Float[Tensor, "n d"],
    y: Float[Tensor, " n"],
    noise: Float[Tensor, " n"],
) -> InducingPosterior:
    """The process of covariance k + offset given y with variances of the noise.

    Raises:
        NotPositiveDefiniteError: the covariance of the inducing points.
    """
    root, _ = factorise(
        lambda: (kernel(inducing).to_dense() + offset).contiguous(),
        what="covariance of the inducing points",
    )
    root = root.tril()
    precision = torch.eye(len(inducing)).to(root)
    projected, square, log_det = root.new_zeros(len(inducing)), 0.0, 0.0
    for some in torch.arange(len(x), device=x.device).split(BLOCK):
        cross = kernel(inducing, x[some]).to_dense() + offset
        phi = solve_lower(root, cross)
        left = kernel(x[some], diag=True) + offset - phi.square().sum(0)
        # exact zeros at the inducing points, which rounding may make negative
        diagonal = left.clamp_min(0.0) + noise[some]
        scaled = phi / diagonal
        precision += scaled @ phi.mT
        projected += scaled @ y[some]
        square += float((y[some].square() / diagonal).sum())
        log_det += float(diagonal.log().sum())
    factor, _ = factorise(precision.contiguous, what="precision of the inducing values")
    factor = factor.tril()
    white = solve_lower(factor, projected[:, None])
    square -= float(white.square().sum())
    log_det += 2 * float(factor.diagonal().log().sum())
    b = _solved(factor.mT, white.mT, upper=True)
    return InducingPosterior(
        kernel,
        offset,
        inducing,
        root,
        factor,
        _solved(root.mT, b, upper=True)[0],
        -0.5 * (square + log_det + len(x) * math.log(2 * math.pi)),
    )


def _solved(triangle: Tensor, rows: Tensor, *, upper: bool) -> Tensor:
    """triangle^-1 of each row; all rows of a batch at once."""
    columns = rows.reshape(-1, rows.shape[-1]).mT
    solved = torch.linalg.solve_triangular(triangle, columns, upper=upper)
    return solved.mT.reshape(rows.shape)


@torch.no_grad()
def pivoted_inducing(
    kernel: Kernel,
    x: Float[Tensor, "n d"],
    size: int,
    first: Float[Tensor, "k d"] | None = None,
) -> Float[Tensor, "m d"]:
    """Points of largest variance given those taken before (pivoted Cholesky).

    From at most about `CANDIDATES_PER_POINT` evenly spaced points for each; fewer than
    `size` where the others are explained already. Those of `first`, at most half of
    all, evenly spaced, go before. Deterministic.
    """
    x = x[:: max(1, len(x) // (CANDIDATES_PER_POINT * size))]
    n_first = 0
    if first is not None and size > 1:
        first = first[:: -(-len(first) // (size // 2))]
        n_first = len(first)
        x = torch.cat([first, x])
    left = kernel(x, diag=True).clone()
    least = NEGLIGIBLE * float(left.max())
    factor = x.new_zeros(size, len(x))
    chosen: list[int] = []
    while (k := len(chosen)) < min(size, len(x)):
        among = left[:n_first]
        best = int((among if (among > least).any() else left).argmax())
        if left[best] <= least:
            break
        row = kernel(x[best : best + 1], x).to_dense()[0]
        row = row - factor[:k, best] @ factor[:k]
        factor[k] = row / math.sqrt(float(left[best]))
        left -= factor[k].square()
        left[best] = -math.inf
        chosen.append(best)
    return x[torch.tensor(chosen)]
