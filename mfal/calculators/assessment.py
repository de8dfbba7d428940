"""How good a potential is on labels: errors, honesty of its error bars, speed."""

import time
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import Any

from ase import Atoms

from mfal.data import LabelledDataset, structure_key
from mfal.models.evaluation import evaluation
from mfal.models.exact import ExactPotential
from mfal.models.storage import Potential

TIMED = 64
"""Largest number of structures that are predicted to measure the speed."""


def assess(
    model: Potential,
    dataset: LabelledDataset,
    level: str | None = None,
    at_hand: str | None = None,
) -> dict[str, Any]:
    """Errors and calibration on the labels of a level (the highest), as plain JSON.

    `energy` is in meV per atom, `forces` in eV/A, `stress` in eV/A^3
    (`mfal.models.calibration.metrics`, with sigmas of labels: epistemic and noise).
    With `at_hand` each prediction is conditioned on the label of that lower level which
    `dataset` holds for the same structure; `n_left_out` structures have none. `n_seen`
    are in the training set at the level: errors on them say little. `seconds_per_atom`
    leaves out what the label at hand costs.

    Raises:
        ValueError: a level that the model does not know or the data do not hold.
    """
    level = model.levels[model.level_index(level)]
    for name in (level, *([] if at_hand is None else [at_hand])):
        if name not in dataset.levels:
            model.level_index(name)
            raise ValueError(
                f"the data hold no label of level {name!r}, only of "
                f"{', '.join(dataset.levels) or 'none'}: if the files do not name "
                "their level, say it with --level"
            )
    chosen = dataset.labelled(level)
    complete = chosen if at_hand is None else dataset.paired(at_hand, level)
    if not complete:
        raise ValueError(
            f"no structure has a label both of {at_hand!r} (at hand) and of {level!r}: "
            f"label the same structures at {at_hand!r} first"
        )
    structures = [dataset.structures[i] for i in complete]

    def predict(chosen: slice, **options: Any) -> Any:
        low = (
            None if at_hand is None else [dataset.labels[i, at_hand] for i in complete]
        )
        return model.predict(
            structures[chosen],
            level,
            at_hand=None if low is None else low[chosen],
            at_hand_level=at_hand,
            calibrated=level == model.levels[-1],  # factors are of no other level
            **options,
        )

    found = predict(slice(None))
    labels = [dataset.labels[i, level] for i in complete]
    seen = model.seen(level)
    barred: Callable[[slice], Any] = predict
    if not isinstance(model, ExactPotential):  # which knows no stress
        barred = partial(predict, quantities=("energy", "forces"))
    bare = barred if at_hand is not None else partial(_bare, model, structures, level)
    return {
        "level": level,
        "at_hand": at_hand,
        "n_structures": len(structures),
        "n_atoms": sum(len(atoms) for atoms in structures),
        "n_left_out": len(chosen) - len(complete),
        "n_seen": sum(structure_key(atoms) in seen for atoms in structures),
        **evaluation(found, labels),
        **_seconds_per_atom(
            {"energy+forces": bare, "energy+forces+uncertainties": barred}, structures
        ),
    }


def summary_table(result: Mapping[str, Any]) -> list[list[str]]:
    """Errors and calibration of what `assess` gave, heads first."""
    rows = [["", "MAE", "RMSE", "max", "in 68 %", "in 95 %", "ECE", "z"]]
    for quantity, unit in (
        ("energy", "meV/atom"),
        ("forces", "eV/A"),
        ("stress", "eV/A^3"),
    ):
        if quantity in result:
            found = result[quantity]
            shares = [f"{100 * found[f'coverage_{p}']:.0f} %" for p in (68, 95)]
            rows.append(
                [
                    f"{quantity} ({unit})",
                    *(f"{found[name]:.4g}" for name in ("mae", "rmse", "max")),
                    *shares,
                    *(f"{found[name]:.3g}" for name in ("ece", "z_std")),
                ]
            )
    return rows


def summary_lines(result: Mapping[str, Any]) -> list[str]:
    """What has to be said beside the numbers."""
    lines = []
    if result["n_left_out"]:
        lines.append(
            f"{result['n_left_out']} structures have no label of {result['at_hand']}: "
            "left out"
        )
    if result["n_seen"]:
        lines.append(
            f"{result['n_seen']} structures are in the training set: errors on them "
            "say little"
        )
    return lines


def _bare(
    model: Potential, structures: Sequence[Atoms], level: str, chosen: slice
) -> Any:
    """Energies and forces without error bars."""
    if isinstance(model, ExactPotential):
        return model.mean(structures[chosen], level)
    return model.mean(structures[chosen], level, quantities=("energy", "forces"))


def _seconds_per_atom(
    functions: Mapping[str, Callable[[slice], Any]], structures: Sequence[Atoms]
) -> dict[str, dict[str, float]]:
    """Wall and CPU time per atom of the first structures, after one that is not timed."""
    n_atoms = sum(len(atoms) for atoms in structures[:TIMED])
    wall, cpu = {}, {}
    for name, predict in functions.items():
        predict(slice(1))
        began = time.perf_counter(), time.process_time()
        predict(slice(TIMED))
        wall[name] = (time.perf_counter() - began[0]) / n_atoms
        cpu[name] = (time.process_time() - began[1]) / n_atoms
    return {"seconds_per_atom": wall, "cpu_seconds_per_atom": cpu}
