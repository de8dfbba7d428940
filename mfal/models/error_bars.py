"""Error bars from the first inducing points: a small posterior beside the large one.

The epistemic sigma of a row needs the row itself, which costs several times the mean. But
how uncertain a force is, as against another, fewer points tell as well (in the order of
pivoted Cholesky), and what is left is a factor, which recalibration finds. The Gram matrix
of the first features is the leading part of that of all, so that the small posterior is
there for the asking.
"""

from dataclasses import dataclass

from jaxtyping import Int
from torch import Tensor

from mfal.models import gathering
from mfal.models.feature_map import FeatureMap
from mfal.models.moments import Statistics
from mfal.models.weights import Prior, WeightHyperparameters, Weights, posterior


@dataclass(frozen=True)
class ErrorBars:
    """Features that sigmas are made of, their columns among all, and their posterior."""

    feature_map: FeatureMap
    columns: Int[Tensor, " p"]
    weights: Weights


def error_bars(
    feature_map: FeatureMap, statistics: Statistics, h: WeightHyperparameters
) -> ErrorBars | None:
    """The small posterior; `None` where it would not be smaller, or not do.

    Where a label of an upper level stands without one below, a label at hand tells of
    all weights, and the mean with it: then the whole posterior is needed.
    """
    few, columns = feature_map.leading(gathering.BAR_POINTS)
    if statistics.levels_share or few.size == feature_map.size:
        return None
    weights = posterior(statistics.of_columns(columns), Prior(few.block), h)
    return ErrorBars(few, columns, weights)
