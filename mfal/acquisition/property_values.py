r"""What a model says of a property: its value and error, for both engines."""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import torch
from ase import Atoms
from torch import Tensor

from mfal.acquisition.properties import Property, PropertyTerm
from mfal.data import QUANTITIES, structure_key
from mfal.kernels import Rows
from mfal.models.calibration import Recalibration
from mfal.models.exact import ExactPotential
from mfal.models.gathering import quantity_rows
from mfal.models.observations import ENERGY
from mfal.models.storage import Potential
from mfal.models.weight_potential import WeightPotential
from mfal.models.weights import level_rows, unexplained_variance


class PropertyEstimate(NamedTuple):
    """What a model says of a property: value and epistemic sigma, in the unit of it."""

    value: float
    error: float


def property_posterior(
    model: Potential,
    wanted: Property,
    level: str | None = None,
    *,
    calibrated: bool = True,
) -> PropertyEstimate:
    r"""Value and error of a property at a level (the highest unless one is named).

    .. math:: \sum_t w_t^T y_t, \quad \sqrt{\sum_{tt'} w_t^T Σ_{tt'} w_{t'}}

    The errors of its structures are correlated, and mostly cancel in differences. The
    error is that of the smooth function; with `calibrated` the rows carry the factors of
    the model. The part of energies that no feature of a sparse model carries is taken as
    independent between structures, which is an upper bound where they share
    environments.
    """
    names = [term.quantity for term in wanted.terms]
    keys = [structure_key(term.atoms) for term in wanted.terms]
    structures = {k: t.atoms for k, t in zip(keys, wanted.terms, strict=True)}
    means = dict(
        zip(structures, model.mean(list(structures.values()), level), strict=True)
    )
    value = sum(
        float(np.ravel(getattr(means[key], term.quantity)) @ term.weights)
        for key, term in zip(keys, wanted.terms, strict=True)
    )
    factor = Recalibration()
    if calibrated:
        factor = model.recalibrations.get("standalone", factor)
    terms = [
        PropertyTerm(t.atoms, name, factor.on_sigma(name) * t.weights)
        for t, name in zip(wanted.terms, names, strict=True)
    ]
    index = model.level_index(level)
    if isinstance(model, ExactPotential):
        variance = _exact_variance(model, terms, index)
    else:
        variance = _weight_variance(model, terms, index, factor.unexplained)
    return PropertyEstimate(value, float(variance.clamp_min(0.0).sqrt()))


def _exact_variance(
    model: ExactPotential, terms: Sequence[PropertyTerm], level: int
) -> Tensor:
    blocks = [model.builder(t.atoms, level, (t.quantity,)) for t in terms]
    rows = Rows.stack([b.rows for b in blocks])
    weights = [
        b.basis.mT @ torch.tensor(t.weights)
        if t.quantity == "forces"
        else torch.tensor(t.weights)
        for t, b in zip(terms, blocks, strict=True)
    ]
    w = torch.cat(weights)
    _, v = model.project(rows)
    return w @ model.covariance(rows, rows) @ w - (v @ w).square().sum()


def _weight_variance(
    model: WeightPotential,
    terms: Sequence[PropertyTerm],
    level: int,
    unexplained_factor: float,
) -> Tensor:
    bars = model.bars
    feature_map = model.feature_map if bars is None else bars.feature_map
    weights = model.weights if bars is None else bars.weights
    row = torch.zeros(feature_map.size, dtype=torch.float64)
    energies: dict[str, tuple[Atoms, float]] = {}
    for term in terms:
        rows = feature_map.rows(term.atoms, strain=term.quantity == "stress")
        row = row + torch.tensor(term.weights) @ quantity_rows(rows, term.quantity)
        if QUANTITIES.index(term.quantity) == ENERGY:
            key = structure_key(term.atoms)
            before = energies.get(key, (term.atoms, 0.0))[1]
            energies[key] = term.atoms, before + float(term.weights[0])
    z = level_rows(row.unsqueeze(0), model.path, level)
    variance = weights.whiten(z).square().sum()
    for atoms, weight in energies.values():
        if unexplained_factor:
            left = feature_map.unexplained(
                feature_map.environments(atoms, strain=False)
            )
            part = unexplained_variance(left, model.hyperparameters, model.path, level)
            variance = variance + (unexplained_factor * weight) ** 2 * part
    return variance
