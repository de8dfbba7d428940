r"""Acquisition functions over a pool: how much a label tells, and of what.

Each is a BoTorch acquisition function: `forward(X)` takes X of shape b x q x 1 that
holds positions in the pool (as floats, BoTorch's way) and returns b values, the joint
value of q labels given those already picked (`condition_on`, `X_pending`).
"""

from collections.abc import Sequence

import torch
from botorch.acquisition import AcquisitionFunction
from jaxtyping import Float
from torch import Tensor

from mfal.models.posterior import PoolPosterior, log_det


class PoolAcquisition(AcquisitionFunction):
    """Abstract: a value of labels of a pool, exact under conditioning on picks.

    Conditioning keeps U = M^-1 Σ(picks, pool), M the Cholesky factor of the covariance
    of the picks' labels (noise included), so that Σ | picks = Σ - U^T U: the variance of
    a Gaussian does not need the values, and pending labels are exact. The rows of U
    belong to the picks in order, so the last ones are taken back by cutting U.
    """

    def __init__(self, posterior: PoolPosterior) -> None:
        super().__init__(model=posterior)  # type: ignore[arg-type]
        self.posterior = posterior
        self._picked: list[int] = []
        n_rows = posterior.slices[-1].stop
        self._updates = torch.zeros(0, n_rows, dtype=torch.float64)

    @property
    def picked(self) -> tuple[int, ...]:
        """Blocks that are conditioned on, in order."""
        return tuple(self._picked)

    @property
    def X_pending(self) -> Float[Tensor, "m 1"] | None:  # type: ignore[override]
        """The blocks that are conditioned on, in BoTorch's form."""
        if not self._picked:
            return None
        return torch.tensor(self._picked, dtype=torch.float64).unsqueeze(-1)

    def condition_on(self, block: int) -> None:
        """Takes a label as bought (or running), with a value not known yet."""
        self._updates = self._conditioned(self._updates, block)
        self._picked.append(block)

    def set_X_pending(self, X_pending: Float[Tensor, "m 1"] | None = None) -> None:
        """BoTorch's protocol: condition on these labels, in place of all so far."""
        wanted = (
            [] if X_pending is None else X_pending.round().long().flatten().tolist()
        )
        kept = 0
        while self._picked[kept : kept + 1] == wanted[kept : kept + 1] != []:
            kept += 1
        self._keep(kept)
        for block in wanted[kept:]:
            self.condition_on(block)

    def _keep(self, n_picks: int) -> None:
        """Takes back all picks but the first ones."""
        taken_back = self._picked[n_picks:]
        del self._picked[n_picks:]
        n_rows = len(self._updates) - sum(map(self._n_rows, taken_back))
        self._updates = self._updates[:n_rows]

    def _n_rows(self, block: int) -> int:
        where = self.posterior.slices[block]
        return where.stop - where.start

    def _conditioned(
        self, given: Float[Tensor, "k n"], block: int
    ) -> Float[Tensor, "l n"]:
        """U of some labels with the rows of one more: Σ | given = Σ - U^T U."""
        where = self.posterior.slices[block]
        cross = self.posterior.cross([block]) - given[:, where].mT @ given
        observed = cross[:, where] + self.posterior.noise(block).diag()
        factor = torch.linalg.cholesky(observed)
        update = torch.linalg.solve_triangular(factor, cross, upper=False)
        return torch.cat([given, update])

    def covariance(self, block: int) -> Float[Tensor, "r r"]:
        """Covariance of a block's latent values given the data and the picks."""
        update = self._updates[:, self.posterior.slices[block]]
        return self.posterior.covariance(block) - update.mT @ update

    def joint_covariance(self, blocks: Sequence[int]) -> Float[Tensor, "r r"]:
        """Covariance of several blocks' latent values given the data and the picks."""
        columns = self._columns(blocks)
        update = self._updates[:, columns]
        return self.posterior.cross(blocks)[:, columns] - update.mT @ update

    def joint_noise(self, blocks: Sequence[int]) -> Float[Tensor, " r"]:
        """Noise variance of several blocks' labels."""
        return torch.cat([self.posterior.noise(b) for b in blocks])

    def value(self, blocks: Sequence[int]) -> float:
        """The value of these labels together."""
        raise NotImplementedError

    def forward(self, X: Float[Tensor, "b q 1"]) -> Float[Tensor, " b"]:
        """Values of sets of q labels, given by their positions in the pool."""
        sets = X.round().long().squeeze(-1).tolist()
        return X.new_tensor([self.value(blocks) for blocks in sets])

    def _columns(self, blocks: Sequence[int]) -> Tensor:
        slices = [self.posterior.slices[b] for b in blocks]
        return torch.cat([torch.arange(s.start, s.stop) for s in slices])

    def _covariance_of(self, blocks: Sequence[int]) -> Tensor:
        return (
            self.covariance(blocks[0])
            if len(blocks) == 1
            else self.joint_covariance(blocks)
        )


class MaximumVariance(PoolAcquisition):
    """Mean posterior variance of the rows of a label, energies and forces in their units.

    Source: MacKay (1992), Neural Comput. 4, 590, section 3.
    """

    def value(self, blocks: Sequence[int]) -> float:
        """Trace of the covariance over its size."""
        return float(self._covariance_of(blocks).diagonal().mean())


class ParameterInformation(PoolAcquisition):
    r"""Information of a label about the latent function (D-optimality, BALD), in nats.

    .. math:: I(y; f) = 1/2 [\log\det(Σ + N) - \log\det N]

    Source: Lindley (1956); Houlsby et al. (2011), arXiv:1112.5745, for a GP.
    """

    def value(self, blocks: Sequence[int]) -> float:
        """Half the log det ratio of predicted and noise covariance."""
        covariance = self._covariance_of(blocks)
        noise = self.joint_noise(blocks)
        return 0.5 * float(log_det(covariance + noise.diag()) - noise.log().sum())


class TargetInformation(PoolAcquisition):
    r"""Information of a label about the highest level on a target set, in nats.

    .. math:: I(y_c; f_T) = 1/2 [\log\det(Σ_c + N) - \log\det(Σ_{c|T} + N)]

    T are blocks of the pool kept apart from the candidates (a trajectory, a part of the
    pool), which one wants to know up to a tolerance: it enters as noise of T, and what
    is known well enough already attracts no label. Conditioning on T is done once for
    all candidates. See DESIGN.md section 4; Cover & Thomas (2006), eq. 8.48.

    `tolerance` holds the variance tolerated per row of T.

    Raises:
        ValueError: no targets, or a tolerance that is not positive.
    """

    def __init__(
        self,
        posterior: PoolPosterior,
        targets: Sequence[int],
        tolerance: Float[Tensor, " t"],
    ) -> None:
        super().__init__(posterior)
        if not targets:
            raise ValueError(
                "target information needs targets: name blocks of the pool"
            )
        columns = self._columns(targets)
        if len(tolerance) != len(columns) or not (tolerance > 0).all():
            raise ValueError(
                f"the tolerance is a positive variance for each of the {len(columns)} "
                f"rows of the targets, got {len(tolerance)} values"
            )
        cross = posterior.cross(targets)
        factor = torch.linalg.cholesky(cross[:, columns] + tolerance.diag())
        self._on_targets = torch.linalg.solve_triangular(factor, cross, upper=False)

    def condition_on(self, block: int) -> None:
        """Takes a label as bought, in the posterior with and without the targets."""
        self._on_targets = self._conditioned(self._on_targets, block)
        super().condition_on(block)

    def _keep(self, n_picks: int) -> None:
        n_rows = sum(map(self._n_rows, self._picked[n_picks:]))
        self._on_targets = self._on_targets[: len(self._on_targets) - n_rows]
        super()._keep(n_picks)

    def value(self, blocks: Sequence[int]) -> float:
        """Half the log det ratio of the labels without and with the targets known."""
        noise = self.joint_noise(blocks).diag()
        without = self._covariance_of(blocks) + noise
        columns = self._columns(blocks)
        update = self._on_targets[:, columns]
        own = self._updates[:, columns]
        # own updates belong to the posterior without targets: put them back first
        given = without + own.mT @ own - update.mT @ update
        return 0.5 * float(log_det(without) - log_det(given))


class IntegratedVariance(PoolAcquisition):
    r"""Reduction of the summed variance of target rows by a label.

    .. math:: \sum_t w_t [Σ_{Tc} (Σ_c + N)^{-1} Σ_{cT}]_{tt}

    The expected fall of the squared error of the targets, as the posterior sees it.
    `targets` are blocks of the pool; `weights`, one per row of theirs (default 1), make
    one number of rows in different units, such as 1 / tolerance.

    Source: Cohn (1996), Neural Netw. 9, 1071; Seo et al. (2000), IJCNN 3, 241.

    Raises:
        ValueError: no targets, or weights that are negative or not one per row.
    """

    def __init__(
        self,
        posterior: PoolPosterior,
        targets: Sequence[int],
        weights: Float[Tensor, " t"] | None = None,
    ) -> None:
        super().__init__(posterior)
        self._targets = torch.cat(
            [torch.zeros(0, dtype=torch.long), *(self._columns([t]) for t in targets)]
        )
        n = len(self._targets)
        self._weights = torch.ones(n).double() if weights is None else weights
        check_weights(self._weights, n)
        self._cross = posterior.cross(targets)

    def value(self, blocks: Sequence[int]) -> float:
        """What the labels take away from the variance of the targets."""
        columns = self._columns(blocks)
        own = self._updates[:, columns]
        cross = self._cross[:, columns] - self._updates[:, self._targets].mT @ own
        observed = self._covariance_of(blocks) + self.joint_noise(blocks).diag()
        return float(explained_variance(observed, cross, self._weights))


class Random(PoolAcquisition):
    """A random value for each label: the honest baseline.

    The values are drawn once, from the seed.
    """

    def __init__(self, posterior: PoolPosterior, seed: int) -> None:
        super().__init__(posterior)
        generator = torch.Generator().manual_seed(seed)
        self._values = torch.rand(
            len(posterior.slices), generator=generator, dtype=torch.float64
        )

    def _conditioned(
        self, given: Float[Tensor, "k n"], block: int
    ) -> Float[Tensor, "l n"]:
        """Nothing depends on the picks."""
        return given

    def _n_rows(self, block: int) -> int:
        return 0

    def value(self, blocks: Sequence[int]) -> float:
        """The sum of the labels' random values."""
        return float(self._values[list(blocks)].sum())


def explained_variance(
    observed: Float[Tensor, "*b r r"],
    cross: Float[Tensor, "*b t r"],
    weights: Float[Tensor, " t"],
) -> Float[Tensor, "*b"]:
    """sum_t w_t [C S^-1 C^T]_tt: variance of targets that labels of covariance S explain.

    C is the covariance of the targets with the labels.
    """
    factor = torch.linalg.cholesky(observed)
    half = torch.linalg.solve_triangular(factor, cross.mT, upper=False)
    return (half.square() * weights).sum((-2, -1))


def check_weights(weights: Tensor, n_targets: int) -> None:
    """Raises a ValueError unless there are targets, each with a weight >= 0."""
    if not n_targets or weights.shape != (n_targets,) or not (weights >= 0).all():
        raise ValueError(
            f"integrated variance needs targets with one weight >= 0 each, got "
            f"{n_targets} targets and weights of shape {tuple(weights.shape)}"
        )
