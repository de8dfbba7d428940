"""A shadow baseline: what random and single-level labels would have reached.

The held-out labels of the highest level are random ones: trained on some of them and
tested on others (see `mfal.campaign.trials`), random choice can be compared with the labels
that were chosen, at the same numbers of labels and at no further cost.
"""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np

from mfal.campaign.engines import Engine
from mfal.campaign.learning import HeldOut
from mfal.campaign.paired_errors import Errors, maes, ratios
from mfal.campaign.trials import Trials, errors_on
from mfal.models.storage import Potential

FEWEST = 12
"""Held-out labels below which nothing is compared."""
NOTE = "tested on the held-out labels, a quarter at a time"


def comparison(
    model: Potential,
    heldout: HeldOut,
    bought: Sequence[int],
    *,
    seed: int,
    engine: Engine | None = None,
    between: Callable[[], None] = lambda: None,
) -> list[dict[str, Any]]:
    """Errors of each strategy at the same number of high-level labels, as plain JSON.

    `bought` are the positions in the model's data set of the structures with a label of
    the highest level, in the order they were bought. A row of a strategy has a `curve`
    of its errors at few to many labels, and `against`, the row that it is judged by with
    the ratios of errors (see `mfal.campaign.paired_errors`). `between` is called now and
    then, and may raise.
    """
    final = [_final(model, heldout, mode, len(bought), seed) for mode in _modes(model)]
    if len(heldout.structures) < FEWEST or not bought:
        return final
    trials = Trials(model, heldout, list(bought), seed, engine, between)
    high, most = model.levels[-1], trials.sizes[-1]
    joint = [("joint", mode) for mode in _modes(model)] if len(model.levels) > 1 else []
    first = f"{high} alone, random labels"
    rows: list[dict[str, Any]] = []
    curves: dict[str, dict[int, Errors]] = {}
    for kind, mode in [("alone", "standalone"), *joint]:
        name = f"{high} alone" if kind == "alone" else _name(model, mode)
        for labels, rival in (("random", first), ("chosen", f"{name}, random labels")):
            own = f"{name}, {labels} labels"
            found = {n: trials.tested(kind, labels, n)[mode] for n in trials.sizes}
            row, curves[own] = _row(own, found, NOTE, seed), found
            if own != rival:
                other = curves[rival][most]
                row["against"] = {
                    "name": rival,
                    **ratios(found[most], other, seed=seed),
                }
            rows.append(row)
    return rows + final


def _row(
    name: str, curve: Mapping[int, Errors], note: str, seed: int
) -> dict[str, Any]:
    """A strategy: its errors at the most labels, and at each number of them."""
    points = [{"n_high": n, **maes(curve[n], seed=seed)} for n in sorted(curve)]
    return {"name": name, **points[-1], "note": note, "curve": points}


def _final(
    model: Potential, heldout: HeldOut, mode: str, n_high: int, seed: int
) -> dict[str, Any]:
    errors = errors_on(model, heldout, np.arange(len(heldout.structures)))[mode]
    name, note = _name(model, mode), "all labels bought, all held-out labels"
    return {**_row(f"{name}, this campaign", {n_high: errors}, note, seed), "curve": []}


def _modes(model: Potential) -> tuple[str, ...]:
    return ("standalone", "at_hand") if len(model.levels) > 1 else ("standalone",)


def _name(model: Potential, mode: str) -> str:
    if len(model.levels) == 1:
        return f"{model.levels[0]} alone"
    return (
        f"joint, {model.levels[0]} at hand"
        if mode == "at_hand"
        else "joint, standalone"
    )
