r"""Thresholds from the training set itself: quantiles of left-out values.

The value of a training structure is the largest over its atoms, measured as if the
structure had not been in the training set. Of n such values the threshold at the
quantile p is the one of rank ceil((n + 1) p): a further structure like them exceeds it
with a probability of at most 1 - p, however the values are distributed.

Source: Vovk, Gammerman, Shafer (2005), section 2.2; the rank as in split conformal
prediction (Angelopoulos & Bates 2021, eq. 1).
"""

import logging
import math
from collections.abc import Sequence
from dataclasses import dataclass

_logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class Threshold:
    """A value that structures like the training set rarely exceed.

    `quantile` is what holds: the share of such structures below `value`, at the least;
    `n` the number of left-out structures that it was taken from (0: set by hand).

    Raises:
        ValueError: a value that is not positive.
    """

    value: float
    quantile: float = math.nan
    n: int = 0

    def __post_init__(self) -> None:
        if not self.value > 0:
            raise ValueError(f"a threshold is a positive number, got {self.value}")


def threshold(values: Sequence[float], quantile: float, *, name: str) -> Threshold:
    """The threshold at a quantile of left-out values.

    Too few values cannot tell of a high quantile: then the largest is taken, a warning
    is logged, and the threshold holds the quantile n / (n + 1) that it stands for.

    Raises:
        ValueError: no values, or a quantile that is not between 0 and 1.
    """
    if not 0 < quantile < 1:
        raise ValueError(f"a quantile is between 0 and 1, got {quantile}")
    n = len(values)
    if not n:
        raise ValueError(f"there is no left-out {name} to set a threshold from")
    rank = math.ceil((n + 1) * quantile - 1e-9)
    if rank > n:
        _logger.warning(
            "the threshold of the %s is the largest of %d left-out values, the quantile "
            "%.3g and not %.3g: that takes %d structures",
            name,
            n,
            n / (n + 1),
            quantile,
            math.ceil(quantile / (1 - quantile) - 1e-9),
        )
        rank, quantile = n, n / (n + 1)
    return Threshold(max(sorted(values)[rank - 1], 1e-300), quantile, n)
