r"""Is the low level worth it? One answer, from pilot data or from a fitted model.

The verdict is that of the labels that both levels have (`mfal.models.paired`): a low
level is used if, scaled, it explains at least half of what the high level says, each
pair left out of its own scale. Beside it stands the evidence of the levels joined
against that of independent ones, and what the low level can be expected to save.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import replace
from functools import singledispatch
from typing import Any

import numpy as np
from jaxtyping import Float
from torch import Tensor

from mfal.data import LabelledDataset
from mfal.models.autoregressive import AutoregressiveGP
from mfal.models.exact import ExactPotential
from mfal.models.level_evidence import step_evidence
from mfal.models.paired import FEWEST_PAIRS, paired_regression
from mfal.models.vector_levels import TwoLevels
from mfal.models.verdict import FidelityDiagnosis, judged
from mfal.models.weight_potential import WeightPotential

FEWEST_ENERGIES = 5
"""Paired energies below which nothing is said: a line through three says little. With
three, two of five pilots left a level that was of use (`benchmarks/strategies`)."""

Costs = Mapping[str, float] | Sequence[float]
"""What a label costs, by the name or the number of its level, in any one unit."""


@singledispatch
def fidelity_diagnosis(data: Any, *arguments: Any, **options: Any) -> FidelityDiagnosis:
    r"""Is the low level worth it? From pilot data or a fitted model.

    .. math:: R^2 = 1 - \frac{\sum_i (y_i - \hat\rho_{-i} x_i - \hat c_{-i})^2}
        {\sum_i (y_i - \bar y_{-i})^2}

    over pairs of a high label y and a low label x of one structure, each predicted by a
    scale that was fitted to the others (of forces without the constant c).

    `fidelity_diagnosis(train_X, train_Y, train_Yvar=None, *, fidelity_column=-1)` for
    vectors, `(model)` for an `AutoregressiveGP`, `(dataset)` for labelled structures
    (paired forces; energies where there are none), `(potential)` for an exact or sparse
    potential with its data (its two highest levels). All take `costs`, one per level, all
    but potentials also `low` and `high`, the levels to compare (numbers or names; by
    default the two highest).

    A fitted `AutoregressiveGP` gives its data, and the rho of its draws if it has two
    levels; the evidences are those of models of the two levels with default kernels.
    Vectors need no paired points: where less than half of the high ones have a low
    label, the low level is predicted there by a process of its own.

    Raises:
        TypeError: something else.
        ValueError: levels that are not there, or a cost that is not positive.
    """
    raise TypeError(
        "a diagnosis takes train_X and train_Y, an AutoregressiveGP, a LabelledDataset "
        f"or a potential, got {type(data).__name__}"
    )


@fidelity_diagnosis.register
def _of_vectors(
    train_X: Tensor,
    train_Y: Float[Tensor, "n 1"],
    train_Yvar: Float[Tensor, "n 1"] | None = None,
    *,
    fidelity_column: int = -1,
    costs: Costs | None = None,
    low: int | None = None,
    high: int | None = None,
) -> FidelityDiagnosis:
    levels = sorted({int(v) for v in train_X[:, fidelity_column].tolist()})
    low, high = _chosen(levels, low, high)
    data = TwoLevels.of(train_X, train_Y, train_Yvar, fidelity_column, low, high)
    return _of_two_levels(data, costs)


@fidelity_diagnosis.register
def _of_autoregressive(
    model: AutoregressiveGP,
    *,
    costs: Costs | None = None,
    low: int | None = None,
    high: int | None = None,
) -> FidelityDiagnosis:
    low, high = _chosen(list(range(model.n_levels)), low, high)
    found = _of_two_levels(TwoLevels.of_model(model, low, high), costs)
    if model.n_levels == 2 and model.hyperparameter_batch:
        rho, error = float(model.rho), float(model.rho_error)
        found = replace(found, rho=rho, rho_error=error)
    return found


@fidelity_diagnosis.register
def _of_dataset(
    dataset: LabelledDataset,
    *,
    costs: Costs | None = None,
    low: str | None = None,
    high: str | None = None,
) -> FidelityDiagnosis:
    low, high = _chosen(list(dataset.levels), low, high)
    pairs = _paired_forces(dataset, low, high)
    quantity = "forces"
    if not pairs:
        pairs, quantity = _paired_energies(dataset, low, high), "energies"
    fit = None
    if len(pairs) >= (FEWEST_PAIRS if quantity == "forces" else FEWEST_ENERGIES):
        fit = paired_regression(
            [a for a, _ in pairs],
            [b for _, b in pairs],
            intercept=quantity == "energies",
        )
    return judged(low, high, quantity, len(pairs), fit, _ratio(costs, low, high))


@fidelity_diagnosis.register(ExactPotential)
@fidelity_diagnosis.register(WeightPotential)
def _of_potential(
    model: ExactPotential | WeightPotential, *, costs: Costs | None = None
) -> FidelityDiagnosis:
    if model.dataset is None or len(model.levels) < 2:
        raise ValueError(
            "a diagnosis takes a potential of two levels or more with its data, got "
            f"levels {model.levels}{'' if model.dataset else ' and no data'}"
        )
    low, high = model.levels[-2:]
    found = _of_dataset(model.dataset, costs=costs, low=low, high=high)
    evidence = step_evidence(model, len(model.levels) - 1)
    error = float(model.fitted.rho_error[-1])
    return replace(
        found,
        rho=float(model.hyperparameters.rho[-1]),
        rho_error=None if math.isnan(error) else error,
        log_evidence_joint=None if evidence is None else evidence.joint,
        log_evidence_independent=None if evidence is None else evidence.alone,
    )


def _of_two_levels(data: TwoLevels, costs: Costs | None) -> FidelityDiagnosis:
    names = (f"level {data.low}", f"level {data.high}")
    ratio = _ratio(costs, data.low, data.high)
    x, y, n_pairs = data.paired()
    predicted = 2 * n_pairs < len(data.high_y) or n_pairs < FEWEST_PAIRS
    evidence = data.evidences()
    if predicted:
        x, y = evidence.low_at_high, data.high_y.numpy()
    fit = None
    if len(y) >= FEWEST_PAIRS:
        fit = paired_regression(list(x[:, None]), list(y[:, None]), intercept=True)
    found = judged(*names, "values", len(y), fit, ratio, predicted)
    return replace(
        found,
        n_pairs=n_pairs,
        rho=evidence.rho,
        rho_error=evidence.rho_error,
        log_evidence_joint=evidence.joint,
        log_evidence_independent=evidence.independent,
    )


def _paired_forces(
    dataset: LabelledDataset, low: str, high: str
) -> list[tuple[np.ndarray, np.ndarray]]:
    """Forces (eV/A) of the structures that have them at both levels."""
    pairs = [
        (dataset.labels[i, low].forces, dataset.labels[i, high].forces)
        for i in dataset.paired(low, high)
    ]
    return [(a, b) for a, b in pairs if a is not None and b is not None]


def _paired_energies(
    dataset: LabelledDataset, low: str, high: str
) -> list[tuple[np.ndarray, np.ndarray]]:
    """Energies of both levels, if all structures are of one composition."""
    pairs = []
    formulas = set()
    for i in dataset.paired(low, high):
        a, b = dataset.labels[i, low].energy, dataset.labels[i, high].energy
        if a is not None and b is not None:
            pairs.append((a, b))
            formulas.add(dataset.structures[i].get_chemical_formula())
    if len(formulas) != 1:
        return []
    zero = np.mean(pairs, axis=0)  # energies of 1e5 eV: leave digits for what differs
    return [(np.array([a - zero[0]]), np.array([b - zero[1]])) for a, b in pairs]


def _chosen(levels: Sequence[Any], low: Any, high: Any) -> tuple[Any, Any]:
    """The two levels to compare.

    Raises:
        ValueError: fewer than two levels, or a level that is not there.
    """
    if len(levels) < 2:
        raise ValueError(f"a diagnosis takes at least two levels, got {list(levels)}")
    high = levels[-1] if high is None else high
    below = levels[: levels.index(high)] if high in levels else []
    low = below[-1] if below and low is None else low
    if low not in below:
        raise ValueError(
            f"there is no level {low!r} below {high!r}: the levels are {list(levels)}"
        )
    return low, high


def _ratio(costs: Costs | None, low: Any, high: Any) -> float | None:
    if costs is None:
        return None
    pair = [float(costs[level]) for level in (low, high)]
    if not all(0 < c < math.inf for c in pair):
        raise ValueError(f"the cost of a label must be positive, got {pair}")
    return pair[1] / pair[0]
