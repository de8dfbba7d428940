"""The errors of a campaign at its end, and what its labels are compared with."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from mfal.campaign.baselines import comparison
from mfal.campaign.engines import Engine
from mfal.campaign.learning import HeldOut, heldout_predictions
from mfal.campaign.reader import StoreReader
from mfal.campaign.records import BUDGETED
from mfal.models.evaluation import calibration_curves, evaluation, parity
from mfal.models.storage import Potential

SHARE = 0.05
"""Of the time that labels took (wall seconds), what comparisons on the way may take."""
FITS = 40
"""Fits that the first comparison is expected to take as long as."""


@dataclass
class Shadow:
    """How often a running campaign is compared: as far as its labels' time allows.

    Where labels take hours there is a comparison after every step, where they take less
    than the fits (or are replayed) only that of the end.
    """

    spent: float = 0.0
    last: float | None = None

    def due(self, labelled: float, fit: float) -> bool:
        """Whether one more keeps to the share, after a fit that took so many seconds."""
        expected = FITS * fit if self.last is None else self.last
        return self.spent + expected <= SHARE * labelled

    def took(self, seconds: float) -> None:
        """Notes what a comparison took."""
        self.spent += seconds
        self.last = seconds


def compared(
    store: StoreReader,
    model: Potential,
    heldout: HeldOut,
    place: Mapping[int, int],
    *,
    seed: int,
    engine: Engine,
    between: Callable[[], None],
) -> list[dict[str, Any]]:
    """The comparison with random and single-level labels, as plain JSON.

    `place` is where structures stand in the model's data; those of them that were bought
    at the highest level count in the order they were bought. No new label is needed.
    `between` may raise to end it.
    """
    bought = [
        place[x.structure_id]
        for x in store.entries(model.levels[-1], BUDGETED, ("done",))
        if x.structure_id in place
    ]
    return comparison(model, heldout, bought, seed=seed, engine=engine, between=between)


def final_evaluation(model: Potential, heldout: HeldOut | None) -> dict[str, Any]:
    """Errors, parity and calibration on the held-out labels, per way of deployment."""
    if heldout is None or not heldout.structures:
        return {"n_structures": 0}
    truth = heldout.labels(model.levels[-1])
    raw = heldout_predictions(model, heldout, calibrated=False)
    result: dict[str, Any] = {"n_structures": len(truth)}
    for mode, prediction in heldout_predictions(model, heldout).items():
        result[mode] = {
            **evaluation(prediction, truth),
            "parity": parity(prediction, truth),
            "calibration": calibration_curves(prediction, raw[mode], truth),
        }
    return result
