"""A shadow baseline: what random and single-level labels would have reached.

The held-out labels of the highest level are random ones. Trained on three quarters of
them and tested on the last quarter, in turn, every strategy can be compared with the
labels that were chosen, at the same number of labels and at no further cost.
"""

from collections.abc import Sequence
from typing import Any

import numpy as np

from mfal.campaign.engines import Engine
from mfal.campaign.learning import HeldOut
from mfal.data import LabelledDataset
from mfal.models.evaluation import evaluation
from mfal.models.exact import ExactPotential
from mfal.models.storage import Potential
from mfal.models.weight_potential import WeightPotential

FOLDS = 4
FEWEST = 12
"""Held-out labels below which nothing is compared."""


def comparison(
    model: Potential,
    heldout: HeldOut,
    bought: Sequence[int],
    *,
    seed: int,
    engine: Engine | None = None,
) -> list[dict[str, Any]]:
    """Errors of each strategy at the same number of high-level labels, as plain JSON.

    `bought` are the positions in the model's data set of the structures with a label of
    the highest level, in the order they were bought.
    """
    n = len(heldout.structures)
    high = model.levels[-1]
    if n < FEWEST:
        return [_final(model, heldout, mode, len(bought)) for mode in _modes(model)]
    n_train = n - n // FOLDS
    order = np.random.default_rng([seed, 4]).permutation(n)
    folds = [order[k * (n // FOLDS) : (k + 1) * (n // FOLDS)] for k in range(FOLDS)]
    chosen = list(bought[:n_train])
    rows = []
    dataset = _data(model)
    alone = dataset.at_levels([high])
    random_alone = [
        _errors(
            _fit_alone(model, _random(heldout, fold, [high]), seed, engine),
            heldout,
            fold,
        )
        for fold in folds
    ]
    rows.append(
        _row(f"{high} alone, random labels", n_train, random_alone, "standalone")
    )
    chosen_alone = _fit_alone(model, alone.subset(chosen), seed, engine)
    errors = [_errors(chosen_alone, heldout, fold) for fold in folds]
    rows.append(_row(f"{high} alone, chosen labels", len(chosen), errors, "standalone"))
    if len(model.levels) > 1:
        below = dataset.at_levels(model.levels[:-1])
        random_joint = [
            _errors(
                _fit_top(
                    model, below, _random(heldout, fold, model.levels), seed, engine
                ),
                heldout,
                fold,
            )
            for fold in folds
        ]
        chosen_joint = _fit_top(model, _without(model, chosen), None, seed, engine)
        chosen_errors = [_errors(chosen_joint, heldout, fold) for fold in folds]
        for mode in _modes(model):
            name = _name(model, mode)
            rows.append(_row(f"{name}, random labels", n_train, random_joint, mode))
            rows.append(
                _row(f"{name}, chosen labels", len(chosen), chosen_errors, mode)
            )
    rows += [_final(model, heldout, mode, len(bought)) for mode in _modes(model)]
    return rows


def verdicts(rows: Sequence[dict[str, Any]], levels: Sequence[str]) -> dict[str, str]:
    """Whether the second level and the choosing paid, in words with numbers."""
    by_name = {row["name"]: row for row in rows}
    high = levels[-1]
    alone = by_name.get(f"{high} alone, random labels")
    if alone is None:
        return {}
    if len(levels) == 1:
        chosen = by_name[f"{high} alone, chosen labels"]
        return {"choosing": _paid("The choosing", chosen, alone, "random labels")}
    joint = f"joint, {levels[0]} at hand"
    second = _paid(
        f"The level {levels[0]}",
        by_name[f"{joint}, random labels"],
        alone,
        f"{high} labels alone",
    )
    choosing = _paid(
        "The choosing",
        by_name[f"{joint}, chosen labels"],
        by_name[f"{joint}, random labels"],
        "random labels",
    )
    return {"second_level": second, "choosing": choosing}


def _paid(what: str, mine: dict, other: dict, than: str) -> str:
    factor = other["forces_mae"] / mine["forces_mae"]
    paid = "paid" if factor > 1.05 else "did not pay"
    return (
        f"{what} {paid}: with {mine['n_high']} labels a force error of "
        f"{mine['forces_mae']:.3f} eV/A against {other['forces_mae']:.3f} eV/A with as "
        f"many {than} ({factor:.1f} times)."
    )


def _random(
    heldout: HeldOut, fold: np.ndarray, levels: Sequence[str]
) -> LabelledDataset:
    """The held-out labels outside a fold: random labels."""
    keep = [i for i in range(len(heldout.structures)) if i not in set(fold.tolist())]
    labels = {
        (k, level): heldout.labels(level)[i]
        for level in levels
        for k, i in enumerate(keep)
    }
    structures = tuple(heldout.structures[i] for i in keep)
    return LabelledDataset(
        structures, heldout.dataset.at_levels(levels).fidelities, labels
    )


def _without(model: Potential, chosen: Sequence[int]) -> LabelledDataset:
    """The model's data with only these labels of the highest level."""
    high, dataset = model.levels[-1], _data(model)
    labels = {
        key: label
        for key, label in dataset.labels.items()
        if key[1] != high or key[0] in set(chosen)
    }
    return LabelledDataset(dataset.structures, dataset.fidelities, labels)


def _data(model: Potential) -> LabelledDataset:
    assert model.dataset is not None  # a model of this campaign
    return model.dataset


def _fit_alone(
    model: Potential, dataset: LabelledDataset, seed: int, engine: Engine | None
) -> Potential:
    if isinstance(model, WeightPotential):
        assert engine is not None  # only the exact model can do without
        return engine.fit(dataset, start=None, hold_below=0, reuse=None)
    return ExactPotential.fit(
        dataset, permutations=model.permutations.tolist(), seed=seed, restarts=0
    )


def _fit_top(
    model: Potential,
    below: LabelledDataset,
    more: LabelledDataset | None,
    seed: int,
    engine: Engine | None,
) -> Potential:
    """The joint model with other high-level labels; the levels below are held."""
    dataset = below
    if more is not None:
        shift = len(below)
        labels = {(i + shift, level): x for (i, level), x in more.labels.items()}
        dataset = LabelledDataset(
            (*below.structures, *more.structures),
            more.fidelities,
            {**below.labels, **labels},
        )
    if isinstance(model, WeightPotential):
        return _fit_alone(model, dataset, seed, engine)
    return ExactPotential.fit(
        dataset,
        permutations=model.permutations.tolist(),
        start=model.hyperparameters,
        hold_below=len(model.levels) - 1,
        seed=seed,
        reuse=model,
    )


def _errors(model: Potential, heldout: HeldOut, fold: np.ndarray) -> dict[str, dict]:
    structures = [heldout.structures[i] for i in fold]
    truth = [heldout.labels(model.levels[-1])[i] for i in fold]
    found = {"standalone": evaluation(model.predict(structures), truth)}
    if len(model.levels) > 1:
        low = [heldout.labels(model.levels[0])[i] for i in fold]
        found["at_hand"] = evaluation(model.predict(structures, at_hand=low), truth)
    return found


def _row(
    name: str, n_high: int, errors: Sequence[dict[str, dict]], mode: str
) -> dict[str, Any]:
    row: dict[str, Any] = {"name": name, "n_high": n_high}
    for quantity in ("energy", "forces"):
        values = [e[mode][quantity]["mae"] for e in errors if quantity in e[mode]]
        row[f"{quantity}_mae"] = float(np.mean(values)) if values else None
    row["note"] = "tested on the held-out labels, a quarter at a time"
    return row


def _final(
    model: Potential, heldout: HeldOut, mode: str, n_high: int
) -> dict[str, Any]:
    errors = _errors(model, heldout, np.arange(len(heldout.structures)))
    row = _row(f"{_name(model, mode)}, this campaign", n_high, [errors], mode)
    row["note"] = "all labels bought, all held-out labels"
    return row


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
