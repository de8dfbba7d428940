r"""Information of labels of a pool: how much they tell, and of what."""

from collections.abc import Sequence

import torch
from jaxtyping import Float
from torch import Tensor

from mfal.acquisition.conditioned import ConditionedPool, TargetCovariance
from mfal.acquisition.pool import PoolAcquisition
from mfal.models.posterior import PoolPosterior, log_det


class ParameterInformation(PoolAcquisition):
    r"""Information of a label about the latent function (D-optimality, BALD), in nats.

    .. math:: I(y; f) = 1/2 [\log\det(Σ + N) - \log\det N]

    Monotone and submodular in the set of labels, with one exception: a lower label of a
    structure after a higher one, which has inherited its misfit, can count below zero.

    Source: Lindley (1956); Houlsby et al. (2011), arXiv:1112.5745, for a GP.
    """

    diminishing = submodular = True

    def __init__(self, posterior: PoolPosterior) -> None:
        self._given = given = ConditionedPool(posterior)
        super().__init__(len(posterior.slices), [given])

    def value(self, blocks: Sequence[int]) -> float:
        """Half the log det ratio of predicted and noise covariance."""
        noise = self._given.noise(blocks)
        return 0.5 * float(log_det(self._given.labels(blocks)) - noise.log().sum())

    def values(self, blocks: Sequence[int]) -> Float[Tensor, " b"]:
        """The same for each label, many at once."""
        noise = [self._given.noise([b]).log().sum() for b in blocks]
        return 0.5 * (_log_dets(self._given, blocks) - torch.stack(noise))


class TargetInformation(PoolAcquisition):
    r"""Information of a label about the highest level on a target set, in nats.

    .. math:: I(y_c; f_T) = 1/2 [\log\det(Σ_c + N) - \log\det(Σ_{c|T} + N)]

    T are blocks of the pool kept apart from the candidates (a trajectory, a part of the
    pool, a property: `mfal.acquisition.properties`), which one wants to know up to a
    tolerance: it enters as noise of T, and what is known well enough already attracts no
    label. Conditioning on T is done once for all candidates.

    Source: Cover & Thomas (2006), eq. 8.48.

    `tolerance` holds the variance tolerated per row of T. `at_hand` are blocks whose
    labels are there in production, such as the low level of the targets: they are taken
    as known before anything is counted, so that T is f_H given f_L (deployment with the
    low level at hand).

    Raises:
        ValueError: no targets, or a tolerance that is not positive.
    """

    def __init__(
        self,
        posterior: PoolPosterior,
        targets: Sequence[int],
        tolerance: Float[Tensor, " t"],
        *,
        at_hand: Sequence[int] = (),
    ) -> None:
        if not targets:
            raise ValueError(
                "target information needs targets: name blocks of the pool"
            )
        given = ConditionedPool(posterior, at_hand)
        n_targets = len(given.columns(targets))
        if len(tolerance) != n_targets or not (tolerance > 0).all():
            raise ValueError(
                f"the tolerance is a positive variance for each of the {n_targets} "
                f"rows of the targets, got {len(tolerance)} values"
            )
        largest = max(map(given.n_rows, range(len(posterior.slices))))
        self._side: _OfTargets | _OfLabels
        if n_targets < largest:
            self._side = _OfTargets(given, targets, tolerance)
        else:
            self._side = _OfLabels(given, targets, tolerance, at_hand)
        super().__init__(len(posterior.slices), [given, self._side])

    def value(self, blocks: Sequence[int]) -> float:
        """Half the log det ratio of the labels without and with the targets known."""
        return self._side.value(blocks)

    def values(self, blocks: Sequence[int]) -> Float[Tensor, " b"]:
        """The same for each label, many at once."""
        return self._side.values(blocks)


class _OfLabels:
    """Target information by determinants of labels: for many targets.

    Two posteriors, without and with the targets known, each given the picks.
    """

    def __init__(
        self,
        without: ConditionedPool,
        targets: Sequence[int],
        tolerance: Float[Tensor, " t"],
        at_hand: Sequence[int],
    ) -> None:
        self._without = without
        self._known = ConditionedPool(without.posterior, at_hand)
        self._known.observe(targets, tolerance)
        self.condition_on = self._known.condition_on
        self.keep = self._known.keep

    def value(self, blocks: Sequence[int]) -> float:
        one, other = self._without.labels(blocks), self._known.labels(blocks)
        return 0.5 * float(log_det(one) - log_det(other))

    def values(self, blocks: Sequence[int]) -> Float[Tensor, " b"]:
        return 0.5 * (_log_dets(self._without, blocks) - _log_dets(self._known, blocks))


class _OfTargets:
    r"""Target information by determinants of targets: for fewer of them than rows.

    .. math:: -1/2 \log\det(1 - W^T W), \quad W = L_c^{-1} Σ_{cT} L_T^{-T}

    with the factors L_c, L_T of the covariances of the labels and of T.
    """

    def __init__(
        self,
        without: ConditionedPool,
        targets: Sequence[int],
        tolerance: Float[Tensor, " t"],
    ) -> None:
        self._without = without
        self._covariance = TargetCovariance(without, targets)
        self._tolerance = tolerance
        self._factorise()

    def condition_on(self, block: int) -> None:
        self._covariance.condition_on(block)
        self._factorise()

    def keep(self, n_picks: int) -> None:
        self._covariance.keep(n_picks)
        self._factorise()

    def value(self, blocks: Sequence[int]) -> float:
        cross = torch.cat([self._covariance.of([b]) for b in blocks], dim=2)
        return float(self._of(self._without.labels(blocks).unsqueeze(0), cross)[0])

    def values(self, blocks: Sequence[int]) -> Float[Tensor, " b"]:
        found = torch.empty(len(blocks), dtype=torch.float64)
        for places, labels in self._without.single_labels(blocks, len(self._tolerance)):
            cross = self._covariance.of([blocks[p] for p in places])
            found[places] = self._of(labels, cross)
        return found

    def _of(self, labels: Float[Tensor, "b r r"], cross: Tensor) -> Tensor:
        factor = torch.linalg.cholesky(labels)
        half = torch.linalg.solve_triangular(self._factor, cross, upper=False)
        w = torch.linalg.solve_triangular(factor, half.mT, upper=False)
        one = torch.eye(w.shape[-1], dtype=w.dtype)
        return -0.5 * log_det(one - w.mT @ w)

    def _factorise(self) -> None:
        own = self._covariance.cross[:, self._covariance.rows]
        self._factor = torch.linalg.cholesky(own + self._tolerance.diag())


def _log_dets(given: ConditionedPool, blocks: Sequence[int]) -> Float[Tensor, " b"]:
    found = torch.empty(len(blocks), dtype=torch.float64)
    for places, labels in given.single_labels(blocks):
        found[places] = log_det(labels)
    return found
