"""The end of a campaign: its errors, and what its labels are compared with."""

from collections.abc import Sequence
from typing import Any

from mfal.campaign.baselines import comparison
from mfal.campaign.engines import Engine
from mfal.campaign.learning import HeldOut, heldout_predictions
from mfal.campaign.reader import StoreReader
from mfal.campaign.records import BUDGETED
from mfal.models.evaluation import calibration_curves, evaluation, parity
from mfal.models.storage import Potential


def compared(
    store: StoreReader,
    model: Potential,
    heldout: HeldOut,
    ids: Sequence[int],
    *,
    seed: int,
    engine: Engine,
) -> list[dict[str, Any]]:
    """The comparison with random and single-level labels, as plain JSON.

    `ids` are the structures of the model's data; those that were bought at the highest
    level count in the order they were bought. No new label is needed.
    """
    position = {structure: i for i, structure in enumerate(ids)}
    bought = [
        position[x.structure_id]
        for x in store.labels(state="done", level=model.levels[-1])
        if x.purpose in BUDGETED
    ]
    return comparison(model, heldout, bought, seed=seed, engine=engine)


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
