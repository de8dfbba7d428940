"""What a person should look at after a step: odd labels, hyperparameters that ran away."""

from collections.abc import Sequence
from dataclasses import replace
from itertools import pairwise

from mfal.data import LabelledDataset
from mfal.data.checks import check_units
from mfal.models.outliers import paired_outliers
from mfal.models.runaway import at_bounds
from mfal.models.storage import Potential

Notice = tuple[str, str]
"""The kind of an event (fit_kept, at_bound, outlier, units) and its sentence."""

_COMPARED = 200
"""Structures of which energies are held against forces."""


def notices(
    model: Potential, dataset: LabelledDataset, ids: Sequence[int], kept: str | None
) -> list[Notice]:
    """The notices of a step; structures are named by their numbers in the pool.

    `kept` says why the last good hyperparameters were kept, see `fit_or_keep`.
    """
    found = [] if kept is None else [("fit_kept", kept)]
    found += [("at_bound", sentence) for sentence in at_bounds(model)]
    few = dataset.subset(range(min(len(dataset), _COMPARED)))
    for level in few.levels:
        if reason := check_units(few, level):
            found.append(("units", reason))
    for low, high in pairwise(dataset.levels):
        for odd in paired_outliers(dataset, low, high):
            named = replace(odd, structure=ids[odd.structure])
            found.append(("outlier", named.sentence(low, high)))
    return found
