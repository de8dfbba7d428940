r"""Information by the spread of an ensemble: any set of potentials, no Gaussian process."""

from collections.abc import Sequence

import torch
from jaxtyping import Float
from torch import Tensor

from mfal.acquisition.pool import PoolAcquisition
from mfal.models.posterior import log_det


class EnsembleInformation(PoolAcquisition):
    r"""Information of a label about which member of an ensemble is right, in nats.

    The K members' predictions of the rows of a label, less their mean, are the columns
    of D (r x K). Taken as a Gaussian, f = mean + D z / sqrt(K - 1) with z ~ N(0, 1), so

    .. math:: I = 1/2 [\log\det(A + W^T W) - \log\det A], \quad
              W = N^{-1/2} D / \sqrt{K - 1}, \quad A = 1 + \sum_{picks} W^T W

    with the noise N of the label: determinants of members, however many rows there are.
    For a single row and no picks it is 1/2 log(1 + s_e^2 / s_a^2), s_e the spread of
    the members and s_a the noise. Monotone and submodular.

    `predictions` hold the rows of each block (K x r) and `noise` their variances, energy
    and forces in any units as long as they agree.

    Source: Lindley (1956); Seung, Opper, Sompolinsky (1992), COLT, for the committee.

    Raises:
        ValueError: fewer than two members, another number of them in some block, or a
            noise that is not positive.
    """

    diminishing = submodular = True

    def __init__(
        self,
        predictions: Sequence[Float[Tensor, "_ _"]],
        noise: Sequence[Float[Tensor, " _"]],
    ) -> None:
        sizes = {len(p) for p in predictions}
        if len(sizes) != 1 or min(sizes) < 2:
            raise ValueError(
                "an ensemble has the same two or more members for every label, got "
                f"{sorted(sizes)}"
            )
        if len(noise) != len(predictions) or not all((n > 0).all() for n in noise):
            raise ValueError(
                "each row of each label carries a noise of positive variance; got that "
                f"of {len(noise)} labels for predictions of {len(predictions)}"
            )
        (n_members,) = sizes
        spreads = [
            (p - p.mean(0)) / (n * (n_members - 1)).sqrt()
            for p, n in zip(predictions, noise, strict=True)
        ]
        self._told = torch.stack([w @ w.mT for w in spreads])
        self._known = [torch.eye(n_members, dtype=self._told.dtype)]
        super().__init__(len(predictions))

    def condition_on(self, block: int) -> None:
        """Takes a label as bought: what it tells of the members is known."""
        super().condition_on(block)
        self._known.append(self._known[-1] + self._told[block])

    def keep(self, n_picks: int) -> None:
        """Takes back all picks but the first ones."""
        super().keep(n_picks)
        del self._known[n_picks + 1 :]

    def value(self, blocks: Sequence[int]) -> float:
        """Half the log det ratio of what is known of the members after and before."""
        known = self._known[-1]
        told = self._told[list(blocks)].sum(0)
        return 0.5 * float(log_det(known + told) - log_det(known))

    def values(self, blocks: Sequence[int]) -> Float[Tensor, " b"]:
        """The same for each label, all at once."""
        known = self._known[-1]
        return 0.5 * (log_det(known + self._told[list(blocks)]) - log_det(known))
