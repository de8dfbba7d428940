r"""Mean absolute errors on the same held-out structures, and intervals of their ratios.

The rows of one structure err together, so structures are resampled, the same ones for
both sides of a ratio: with sums S_s of the m_s absolute errors of structure s and counts
w ~ Multinomial(n, 1/n),

    MAE = sum_s w_s S_s / sum_s w_s m_s,    ratio = MAE_other / MAE_mine.

An interval holds the chance in which structures were held out, not that in which labels
were drawn for training. Source: Davison & Hinkley (1997), Bootstrap Methods and their
Application, section 2.3.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from jaxtyping import Float

from mfal.data import Label
from mfal.models.evaluation import AnyPrediction

QUANTITIES = ("energy", "forces")
DRAWS = 1000
"""Resamples of the structures."""
SHARE = 0.95
"""Share of the resamples inside an interval."""


@dataclass(frozen=True)
class StructureErrors:
    """Sum of absolute errors of each structure, and how many they are.

    Energies in meV per atom, forces in eV/A by component.
    """

    sums: Float[np.ndarray, " n"]
    counts: Float[np.ndarray, " n"]

    @property
    def mae(self) -> float:
        """Mean absolute error."""
        return float(self.sums.sum() / self.counts.sum())

    def resampled(self, weights: Float[np.ndarray, "draws n"]) -> np.ndarray:
        """Mean absolute error of each resample."""
        return (weights @ self.sums) / np.maximum(weights @ self.counts, 1)


Errors = Mapping[str, StructureErrors]
"""By quantity; a quantity that no label has is left out."""


def structure_errors(prediction: AnyPrediction, labels: Sequence[Label]) -> Errors:
    """The errors of each structure; zero of zero errors where a label lacks a quantity."""
    found = {}
    for quantity in QUANTITIES:
        sums, counts = np.zeros(len(labels)), np.zeros(len(labels))
        for i, label in enumerate(labels):
            truth = getattr(label, quantity)
            if truth is None:
                continue
            scale = 1e3 / len(prediction.forces[i]) if quantity == "energy" else 1.0
            predicted: Any = getattr(prediction, quantity)[i]
            error = scale * np.abs(np.subtract(predicted, truth))
            sums[i], counts[i] = error.sum(), error.size
        if counts.any():
            found[quantity] = StructureErrors(sums, counts)
    return found


def joined(parts: Sequence[Errors], order: Sequence[int]) -> Errors:
    """The errors of several parts, one after the other, put at the places `order`."""
    places = np.argsort(np.asarray(order))
    return {
        quantity: StructureErrors(
            np.concatenate([p[quantity].sums for p in parts])[places],
            np.concatenate([p[quantity].counts for p in parts])[places],
        )
        for quantity in QUANTITIES
        if all(quantity in p for p in parts)
    }


def maes(errors: Errors, *, seed: int) -> dict[str, float | None]:
    """`energy_mae` and `forces_mae` with `_low` and `_high`; null where there is none."""
    found: dict[str, float | None] = {}
    for quantity in QUANTITIES:
        name, one = f"{quantity}_mae", errors.get(quantity)
        low = high = None
        if one is not None and len(one.sums) > 1:
            low, high = _ends(one.resampled(_weights(len(one.sums), seed)))
        found[name] = None if one is None else one.mae
        found |= {f"{name}_low": low, f"{name}_high": high}
    return found


def ratios(mine: Errors, other: Errors, *, seed: int) -> dict[str, float]:
    """`energy_ratio` and `forces_ratio`, other over mine, with `_low` and `_high`."""
    found: dict[str, float] = {}
    for quantity in QUANTITIES:
        if quantity not in mine or quantity not in other or not mine[quantity].mae > 0:
            continue
        a, b = mine[quantity], other[quantity]
        weights = _weights(len(a.sums), seed)
        below = np.maximum(a.resampled(weights), np.finfo(float).tiny)
        low, high = _ends(b.resampled(weights) / below)
        name = f"{quantity}_ratio"
        found |= {name: b.mae / a.mae, f"{name}_low": low, f"{name}_high": high}
    return found


def _weights(n: int, seed: int) -> Float[np.ndarray, "draws n"]:
    rng = np.random.default_rng([seed, 6])
    return rng.multinomial(n, np.full(n, 1 / n), size=DRAWS).astype(float)


def _ends(values: np.ndarray) -> tuple[float, float]:
    low, high = np.quantile(values, [(1 - SHARE) / 2, (1 + SHARE) / 2])
    return float(low), float(high)
