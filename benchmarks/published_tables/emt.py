"""Copper with EMT at hand: how few DFT cells give the accuracy of all of them, and why.

    python -m benchmarks.published_tables.emt [--seeds 3]

Random cells of mlearn's Cu training set get both an EMT and the PBE label; every model
is judged on the published test set with EMT evaluated there, and alone (PBE only).
Errors of energies are told for each kind of cell, because that is where they differ.
"""

import argparse
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from ase import Atoms
from ase.calculators.emt import EMT

from benchmarks.markdown import table, write_sections
from benchmarks.published_tables.sets import mlearn, prepared
from mfal.data import Fidelity, Label, LabelledDataset, read_extxyz
from mfal.data.files import write_text
from mfal.models import SparsePotential
from mfal.models.evaluation import evaluation
from mfal.models.sparse import sparse_feature_map

HERE = Path(__file__).parent
SIZES = (10, 20, 40, 80)
KINDS = {108: "bulk", 107: "vacancy"}
"""What cells of so many atoms are; of any other number, surfaces."""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--work", type=Path, default=Path("campaigns/published-tables"))
    options = parser.parse_args()
    files = prepared("Cu", mlearn(False), options.work)
    train, test = (read_extxyz(path, level="pbe") for path in (files.train, files.test))
    runs = []
    for n in SIZES:
        for seed in range(options.seeds):
            order = np.random.default_rng(seed).permutation(len(train))[:n]
            runs.append(one(train.subset([int(i) for i in order]), test, n, seed))
            print(json.dumps(runs[-1]), flush=True)
    write_text(HERE / "emt.json", json.dumps(runs, indent=1) + "\n")
    write_sections(HERE / "README.md", {"emt": section(runs)})


def one(
    few: LabelledDataset, test: LabelledDataset, n: int, seed: int
) -> dict[str, Any]:
    """Errors with EMT at hand and of PBE alone from the same cells."""
    both = LabelledDataset(
        few.structures,
        (Fidelity("emt", {"code": "emt"}), *few.fidelities),
        {**few.labels, **{(i, "emt"): emt(a) for i, a in enumerate(few.structures)}},
    )
    truth = [test.labels[i, "pbe"] for i in range(len(test))]
    low = [emt(atoms) for atoms in test.structures]
    found: dict[str, Any] = {"cells": n, "seed": seed}
    feature_map = sparse_feature_map(few, n_inducing=300, zeta=2, cutoffs=(5.0,))
    for name, data in (("at_hand", both), ("alone", few)):
        model = SparsePotential.fit(data, feature_map)
        at_hand = low if name == "at_hand" else None
        predicted = model.predict(test.structures, at_hand=at_hand)
        judged = evaluation(predicted, truth)
        found[name] = {q: judged[q]["mae"] for q in ("energy", "forces")}
        found[name]["ratio"] = model.fitted.ratio
        if name == "at_hand":
            found[name]["rho"] = model.hyperparameters.rho.tolist()
            found[name]["kinds"] = by_kind(predicted.energy, truth, test.structures)
    found["training"] = counted(few.structures)
    return found


def emt(atoms: Atoms) -> Label:
    """Energy and forces of EMT."""
    copy = atoms.copy()
    copy.calc = EMT()
    return Label(copy.get_potential_energy(), copy.get_forces())


def kind(atoms: Atoms) -> str:
    """Bulk, vacancy or surface, by the number of atoms."""
    return KINDS.get(len(atoms), "surface")


def counted(structures: Sequence[Atoms]) -> dict[str, int]:
    """How many cells of each kind there are."""
    kinds = [kind(a) for a in structures]
    return {k: kinds.count(k) for k in ("bulk", "vacancy", "surface")}


def by_kind(
    predicted: Sequence[float], truth: Sequence[Label], structures: Sequence[Atoms]
) -> dict[str, float]:
    """Mean absolute error of energies (meV per atom) for each kind of cell."""
    errors: dict[str, list[float]] = {}
    for energy, label, atoms in zip(predicted, truth, structures, strict=True):
        error = abs(energy - (label.energy or 0.0)) / len(atoms)
        errors.setdefault(kind(atoms), []).append(1e3 * error)
    return {k: float(np.mean(v)) for k, v in sorted(errors.items())}


def section(runs: Sequence[dict[str, Any]]) -> str:
    """A row for each number of cells, means over the seeds."""
    heads = ["cells", "surfaces among them", "EMT at hand", "PBE alone"]
    heads += ["bulk", "vacancy", "surface"]
    rows = []
    for n in dict.fromkeys(r["cells"] for r in runs):
        mine = [r for r in runs if r["cells"] == n]
        cells = [str(n), ", ".join(str(r["training"]["surface"]) for r in mine)]
        for name in ("at_hand", "alone"):
            energy, forces = (
                np.mean([r[name][q] for r in mine]) for q in ("energy", "forces")
            )
            cells.append(f"{energy:.2f} / {forces:.4f}")
        for k in ("bulk", "vacancy", "surface"):
            cells.append(f"{np.mean([r['at_hand']['kinds'][k] for r in mine]):.2f}")
        rows.append(cells)
    return table(heads, rows)


if __name__ == "__main__":
    main()
