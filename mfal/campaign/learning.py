"""What a campaign learns at the end of a step: a fit, its errors, its record."""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch

from mfal.campaign.records import StoredStep
from mfal.data import Label, LabelledDataset
from mfal.models.calibration import Recalibration
from mfal.models.evaluation import evaluation, left_out_summary
from mfal.models.fitting import Fit
from mfal.models.hyperparameters import Hyperparameters
from mfal.models.leave_out import MODES, LeftOut, leave_one_out
from mfal.models.left_out_weights import leave_out
from mfal.models.storage import Potential
from mfal.models.weight_potential import WeightPotential

LEARNING = ("pilot", "sweep", "acquired")
"""Phases that end with a fit."""


@dataclass(frozen=True)
class HeldOut:
    """Labels of the highest level that no fit has seen, with those at hand below."""

    dataset: LabelledDataset

    def labels(self, level: str) -> list[Label]:
        """The labels of a level, for the structures that have one at every level."""
        return [self.dataset.labels[i, level] for i in self._complete]

    @property
    def structures(self) -> list:
        """The structures that have a label at every level."""
        return [self.dataset.structures[i] for i in self._complete]

    @property
    def _complete(self) -> list[int]:
        return [
            i
            for i in range(len(self.dataset))
            if all((i, level) in self.dataset.labels for level in self.dataset.levels)
        ]


def fit_record(fit: Fit) -> dict[str, Any]:
    """A fit as plain JSON, to the last bit."""
    return {
        "hyperparameters": fit.hyperparameters.to_json(),
        "rho_error": [None if e != e else e for e in fit.rho_error.tolist()],
        "log_evidence": fit.log_evidence,
        "converged": fit.converged,
    }


def fit_from_record(record: Mapping[str, Any]) -> Fit:
    """The fit that `fit_record` wrote; what it was converged from is not kept."""
    hyperparameters = Hyperparameters.from_json(record["hyperparameters"])
    errors = [float("nan") if e is None else e for e in record["rho_error"]]
    return Fit(
        hyperparameters,
        (None,) * hyperparameters.n_levels,
        torch.tensor(errors, dtype=torch.float64),
    )


def learn(
    model: Potential, heldout: HeldOut | None
) -> tuple[Potential, dict[str, Any]]:
    """The recalibrated model, and what is known of its errors as plain JSON.

    Leave-one-out is that of the way of deployment with the low level at hand where
    there is a level below, standalone else.
    """
    n_atoms = len(model.structures[0])
    left_out: dict[str, LeftOut] = {}
    factors: dict[str, Recalibration] = {}
    scales: dict[str, dict[str, float]] = {}
    for mode in MODES:
        if isinstance(model, WeightPotential):
            found = leave_out(
                model.kept,
                model.weights,
                model.hyperparameters,
                mode=mode,
                bars=model.bars,
            )
            factors[mode] = found.recalibration()
            left_out[mode] = found.of_one_size(n_atoms, factors[mode])
            scales[mode] = {"energy": 1.0, "forces": 1.0}
        else:
            left_out[mode] = leave_one_out(model, mode=mode)
            factors[mode] = left_out[mode].recalibration()
            scales[mode] = vars(factors[mode])
    model = model.with_recalibrations(factors)
    mode = "at_hand" if len(model.levels) > 1 else "standalone"
    record: dict[str, Any] = {
        "loo": left_out_summary(left_out[mode], scales[mode], n_atoms),
        "loo_mode": mode,
        "recalibration": {name: vars(factor) for name, factor in factors.items()},
        "jitter": model.jitter,
        "heldout": None,
    }
    if heldout is not None and heldout.structures:
        record["heldout"] = heldout_errors(model, heldout)
    return model, record


def held_levels(
    before: Sequence[StoredStep],
    levels: Sequence[str],
    phase: str,
    bought: Collection[str],
) -> tuple[Mapping[str, Any] | None, int]:
    """The record that a fit starts from, and the first level whose fit is not held.

    Levels below the lowest that was bought keep their fit; nothing is kept where levels
    were left, or after the pilot and a sweep, which change all.
    """
    fitted = [s for s in before if "fit" in s.info]
    if not fitted:
        return None, 0
    last = fitted[-1]
    changed = last.info["levels"] != list(levels)
    if changed or phase == "sweep" or last.phase == "pilot":
        return None, 0
    return last.info["fit"], min(list(levels).index(name) for name in bought)


def recalibrated(model: Potential, record: Mapping[str, Any]) -> Potential:
    """The model with the recalibration of its record."""
    return model.with_recalibrations(
        {name: Recalibration(**f) for name, f in record["recalibration"].items()}
    )


def heldout_errors(model: Potential, heldout: HeldOut) -> dict[str, Any]:
    """Metrics on the held-out labels in every way of deployment the model has."""
    return {
        mode: evaluation(prediction, heldout.labels(model.levels[-1]))
        for mode, prediction in heldout_predictions(model, heldout).items()
    }


def heldout_predictions(
    model: Potential, heldout: HeldOut, *, calibrated: bool = True
) -> dict[str, Any]:
    """Predictions of the held-out structures, standalone and with the low level at hand."""
    structures = heldout.structures
    found = {"standalone": model.predict(structures, calibrated=calibrated)}
    if len(model.levels) > 1:
        low: Sequence[Label] = heldout.labels(model.levels[0])
        found["at_hand"] = model.predict(structures, at_hand=low, calibrated=calibrated)
    return found
