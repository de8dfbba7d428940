r"""Errors of a model with confidence intervals, as the rules of stopping read them.

Configurations are resampled, since the rows of one err together: with n of them and
counts w_c ~ Multinomial(n, 1/n), the error of a resample is

    MAE = sum_c w_c |e_c| / sum_c w_c,
    RMSE^2 = sum_c w_c sum_i r_ci^2 / sum_c w_c m_c,
    ECE = mean_p |sum_c w_c k_cp / sum_c w_c m_c - p|

with the m_c rows of configuration c, k_cp of them inside the central interval of the
nominal probability p.

Labels that were chosen are harder than those that were not, so that errors of left-out
ones are too large for the places where the potential will be used. *Predicted* errors are
those of probes, structures of the pool without labels, from the sigmas s of labels there,

    RMSE^2 = z^2 mean_i s_i^2,    MAE = z sqrt(2 / pi) mean_i s_i,

where z^2 = mean (r / s)^2 of the left-out labels says by how much sigmas are wrong; both
are resampled. Source: Davison & Hinkley (1997), Bootstrap Methods and their
Application, sections 2.3 and 3.8 (percentile intervals, clusters).
"""

import logging
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from ase import Atoms
from jaxtyping import Float, Int
from scipy.stats import norm

from mfal.campaign.learning import HeldOut, heldout_predictions
from mfal.campaign.stopping_config import StoppingConfig
from mfal.models.calibration import NOMINAL
from mfal.models.prediction import Prediction, StructurePredictions
from mfal.models.residuals import Residuals, left_out_residuals, residuals_of
from mfal.models.storage import Potential

DRAWS = 1000
"""Resamples of the configurations."""

_logger = logging.getLogger(__name__)


def judgements(
    model: Potential,
    heldout: HeldOut | None,
    wanted: Sequence[StoppingConfig],
    *,
    seed: Sequence[int],
    probes: Sequence[Atoms] = (),
) -> dict[str, dict[str, Any]]:
    """The errors that the sections read, by `StoppingConfig.source`, as plain JSON.

    A model of one level stands alone, whatever way of deployment was asked for.
    `probes` are the structures of predicted errors.
    """
    found = {}
    for section in wanted:
        mode = section.deployment if len(model.levels) > 1 else "standalone"
        if section.errors == "validation":
            residuals = _held_out(model, heldout, mode)
        else:
            residuals = _left_out(model, mode)
        rng = np.random.default_rng([*seed])
        errors = judged(residuals, rng=rng, confidence=section.confidence)
        if section.errors == "predicted":
            sigmas = label_sigmas(model.predict(probes), probes)
            errors |= predicted_errors(
                residuals, sigmas, rng=rng, confidence=section.confidence
            )
        found[section.source] = errors
    return found


def judged(
    residuals: Mapping[str, Residuals],
    *,
    rng: np.random.Generator,
    confidence: float = 0.5,
) -> dict[str, Any]:
    """Errors and calibration, each with its central 68 % interval (`low`, `high`).

    `n` configurations; `energy_mae` (eV/atom), `forces_rmse` (eV/A), `ece_energy`,
    `ece_forces`, and `largest_residual`, the largest |residual| / sigma of energies and
    forces, which has no interval. `bound` is the upper limit at the one-sided
    `confidence`, and never below the value. What no label tells of is left out.
    """
    used = {q: residuals[q] for q in ("energy", "forces") if q in residuals}
    numbers = [r.structure for r in used.values()]
    structures = np.unique(np.concatenate(numbers)) if numbers else np.array([], int)
    n = len(structures)
    found: dict[str, Any] = {"n": n}
    if not n:
        return found
    weights = _resamples(rng, n)
    largest = 0.0
    for quantity, one in used.items():
        owner = np.searchsorted(structures, one.structure)
        total = np.maximum(weights @ np.bincount(owner, minlength=n), 1)
        if quantity == "energy":
            values = weights @ _summed(owner, np.abs(one.residual), n) / total
            found["energy_mae"] = _interval(values, confidence)
        else:
            squares = weights @ _summed(owner, np.square(one.residual), n)
            found["forces_rmse"] = _interval(np.sqrt(squares / total), confidence)
        inside = np.stack(
            [
                weights @ _summed(owner, _is_inside(one, float(p)), n) / total
                for p in NOMINAL
            ],
            axis=1,
        )
        values = np.abs(inside - NOMINAL).mean(axis=1)
        found[f"ece_{quantity}"] = _interval(values, confidence)
        sure = one.sigma > 0  # else by symmetry: no error either
        z = np.abs(one.residual[sure]) / one.sigma[sure]
        largest = max([largest, *z.tolist()])
    found["largest_residual"] = {
        "value": largest,
        "low": None,
        "high": None,
        "bound": largest,
    }
    return found


def predicted_errors(
    residuals: Mapping[str, Residuals],
    sigmas: Mapping[str, Sequence[Float[np.ndarray, " _"]]],
    *,
    rng: np.random.Generator,
    confidence: float = 0.5,
) -> dict[str, Any]:
    """`energy_mae` and `forces_rmse` of probes, as `judged` gives them, and `n_probes`.

    `residuals` are of left-out labels, `sigmas` of the labels of each probe (eV per atom,
    eV/A). A quantity without left-out labels is left out.
    """
    found: dict[str, Any] = {"n_probes": max(map(len, sigmas.values()), default=0)}
    for quantity, name in (("energy", "energy_mae"), ("forces", "forces_rmse")):
        one, probes = residuals.get(quantity), sigmas.get(quantity, ())
        if one is None or not len(probes):
            continue
        sure = one.chosen(one.sigma > 0)  # else by symmetry: no error either
        owners, owner = np.unique(sure.structure, return_inverse=True)
        squares = _summed(owner, np.square(sure.standardised), len(owners))
        sizes = np.bincount(owner, minlength=len(owners))
        z_squared = _ratio(_resamples(rng, len(owners)), squares, sizes)
        weights = _resamples(rng, len(probes))
        numbers = np.array([len(s) for s in probes])
        if quantity == "energy":
            sums = np.array([np.sum(s) for s in probes])
            mean = np.sqrt(2 / np.pi) * _ratio(weights, sums, numbers)
            found[name] = _interval(np.sqrt(z_squared) * mean, confidence)
        else:
            sums = np.array([np.square(s).sum() for s in probes])
            square = z_squared * _ratio(weights, sums, numbers)
            found[name] = _interval(np.sqrt(square), confidence)
    return found


def label_sigmas(
    prediction: Prediction | StructurePredictions, structures: Sequence[Atoms]
) -> dict[str, list[Float[np.ndarray, " _"]]]:
    """Sigmas of the labels of each structure: of energies per atom, of force rows."""
    energies, forces = (prediction.total_sigma(q) for q in ("energy", "forces"))
    return {
        "energy": [
            np.atleast_1d(e) / len(a) for e, a in zip(energies, structures, strict=True)
        ],
        "forces": [np.ravel(f) for f in forces],
    }


def _resamples(rng: np.random.Generator, n: int) -> Int[np.ndarray, "draws n"]:
    """How often each of n is drawn; first the sample itself."""
    weights = rng.multinomial(n, np.full(n, 1 / n), size=DRAWS)
    return np.concatenate([np.ones((1, n), int), weights])


def _ratio(
    weights: Int[np.ndarray, "draws n"],
    sums: Float[np.ndarray, " n"],
    sizes: Int[np.ndarray, " n"],
) -> Float[np.ndarray, " draws"]:
    """Weighted sums over weighted sizes."""
    return (weights @ sums) / np.maximum(weights @ sizes, 1)


def _left_out(model: Potential, mode: str) -> dict[str, Residuals]:
    try:
        return left_out_residuals(model, mode=mode)
    except ValueError as error:
        _logger.warning("errors for the stopping rule are not known: %s", error)
        return {}


def _held_out(
    model: Potential, heldout: HeldOut | None, mode: str
) -> dict[str, Residuals]:
    if heldout is None or not heldout.structures:
        return {}
    level = model.levels[-1]
    prediction = heldout_predictions(model, heldout)[mode]
    return residuals_of(prediction, heldout.labels(level), heldout.structures, level)


def _is_inside(one: Residuals, nominal: float) -> Float[np.ndarray, " n"]:
    """One for each residual within its central interval, else zero."""
    width = norm.ppf(0.5 + 0.5 * nominal)
    return (np.abs(one.residual) <= width * one.sigma).astype(float)


def _summed(
    owner: Int[np.ndarray, " r"], values: Float[np.ndarray, " r"], n: int
) -> Float[np.ndarray, " n"]:
    return np.bincount(owner, weights=values, minlength=n)


def _interval(
    values: Float[np.ndarray, " draws"], confidence: float
) -> dict[str, float]:
    """The value (of the sample, which stands first), its interval and its bound."""
    value, drawn = float(values[0]), values[1:]
    low, high = (float(x) for x in np.quantile(drawn, [0.16, 0.84]))
    limit = float(np.quantile(drawn, confidence)) if confidence > 0.5 else value
    return {
        "value": value,
        "low": min(low, value),  # an ECE is biased upwards when it is resampled
        "high": max(high, value),
        "bound": max(value, limit),
    }
