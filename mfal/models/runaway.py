"""Hyperparameters that ran away: seen at their bounds, or replaced by the last good ones.

Priors and bounds (`mfal.models.hyperparameters.default_prior`) keep a fit to very few
labels sane. An entry at its bound says that the labels want what the prior excludes:
wrong units, a level without any relation to the one below, labels that are all alike.
"""

from collections.abc import Callable
from typing import TypeVar

import numpy as np
import torch

from mfal.models.cholesky import NotPositiveDefiniteError
from mfal.models.exact import ExactPotential
from mfal.models.fitting import typical_distance
from mfal.models.hyperparameters import default_prior
from mfal.models.storage import Potential

FAILURES = (NotPositiveDefiniteError, np.linalg.LinAlgError, torch.linalg.LinAlgError)
"""What a search for hyperparameters may end with, beside numbers that are not finite."""

Model = TypeVar("Model")

_NEAR = 1e-3


def fit_or_keep(
    fit: Callable[[], Model],
    keep: Callable[[], Model] | None,
    hyperparameters: Callable[[Model], torch.Tensor],
) -> tuple[Model, str | None]:
    """The model of a new fit or, if that failed, of the last good hyperparameters.

    With the second comes a sentence that says why, to be shown as an event. `keep` gives
    the model of the same labels with the hyperparameters of the last good fit (`None`
    before the first one), `hyperparameters` those of a model as a vector.

    Raises:
        NotPositiveDefiniteError: and its like, if there is nothing to be kept.
        FloatingPointError: hyperparameters that are not finite, and nothing to be kept.
    """
    try:
        model = fit()
        if not bool(torch.isfinite(hyperparameters(model)).all()):
            raise FloatingPointError("hyperparameters that are not finite")
    except (*FAILURES, FloatingPointError) as failure:
        if keep is None:
            raise
        reason = " ".join(str(failure).split())
        said = f"the fit failed, the last good hyperparameters are kept: {reason}"
        return keep(), said
    return model, None


def at_bounds(model: Potential) -> list[str]:
    """The hyperparameters of a fitted potential that are at a bound, in words.

    Of an exact one; those of a sparse potential have no bounds of this kind, and nothing
    is said of them. An entry is at a bound if it is within a thousandth of its prior's
    deviation. The noise of a quantity without labels is at its prior, thus not among them.
    """
    if not isinstance(model, ExactPotential):
        return []
    names = _names(tuple(model.levels))
    prior = default_prior(len(model.levels), typical_distance(model.observations))
    vector = model.hyperparameters.to_vector()
    found = []
    for which, bound, toward in (
        ("lower", prior.low, vector - prior.low),
        ("upper", prior.high, prior.high - vector),
    ):
        for i in torch.nonzero(toward <= _NEAR * prior.deviation).flatten().tolist():
            value = float(bound[i] if names[i].startswith("rho") else bound[i].exp())
            found.append((i, f"{names[i]} is at its {which} bound, {value:.3g}"))
    return [sentence for _, sentence in sorted(found)]


def vector_of(model: Potential) -> torch.Tensor:
    """The hyperparameters of a potential as one vector, for `fit_or_keep`."""
    values = vars(model.hyperparameters).values()
    return torch.cat([v.flatten() for v in values if isinstance(v, torch.Tensor)])


def _names(levels: tuple[str, ...]) -> list[str]:
    """The entries of `Hyperparameters.to_vector`, in its order."""
    return [
        *(f"the lengthscale of {name}" for name in levels),
        *(f"the scale of {name}" for name in levels),
        *(f"rho of {name}" for name in levels[1:]),
        *(
            f"the {quantity} noise of {name}"
            for quantity in ("energy", "forces", "stress")
            for name in levels
        ),
    ]
