"""Potentials on disk: what their posterior is made of, without factors.

Sparse and linear ones: see `mfal.models.weight_storage`. Of an exact one, structures,
labels, permutations, and every hyperparameter to its last bit are saved. The Cholesky
factor (n^2 numbers) is not; loading makes it anew, which costs one factorisation,
n^3 / 3. Files hold JSON and arrays, with hashes (`mfal.data.artefact`); nothing that is
read can run code.
"""

import math
import os
from collections.abc import Mapping
from dataclasses import asdict, fields
from typing import Any

import numpy as np
import torch
from ase import Atoms

from mfal.data import QUANTITIES, Fidelity, Label, LabelledDataset
from mfal.data.artefact import ArtefactError, load_artefact, save_artefact
from mfal.descriptors import InverseDistances
from mfal.models.calibration import Recalibration
from mfal.models.evidence import Optimum
from mfal.models.exact import ExactPotential
from mfal.models.fitting import Fit
from mfal.models.hyperparameters import Hyperparameters
from mfal.models.observations import RowBuilder, observe
from mfal.models.weight_potential import WeightPotential
from mfal.models.weight_storage import KINDS, weight_artefact, weight_potential

Potential = ExactPotential | WeightPotential
"""What a fit gives and a directory holds."""

KIND = "exact"
VERSION = 1
"""Version of what stands in the header and the arrays of an exact potential."""


def save_potential(model: Potential, directory: str | os.PathLike[str]) -> None:
    """Saves a potential as the newest generation of an artefact.

    Raises:
        ArtefactError: `directory` is a file.
        OSError: the disk is full or not writable; what was saved before stands.
    """
    if isinstance(model, WeightPotential):
        save_artefact(directory, *weight_artefact(model))
        return
    fit = model.fitted
    header = {
        "kind": KIND,
        "version": VERSION,
        "descriptor": model.builder.descriptor.specification(),
        "levels": [fidelity.to_dict() for fidelity in model.dataset.fidelities],
        "hyperparameters": fit.hyperparameters.to_json(),
        "optima": [None if o is None else _optimum_to_json(o) for o in fit.optima],
        "recalibrations": {k: asdict(r) for k, r in model.recalibrations.items()},
    }
    arrays = {
        **_structures_to_arrays(model.dataset),
        "permutations": model.permutations.numpy(),
        "rho_error": fit.rho_error.numpy(),
    }
    for number, level in enumerate(model.levels):
        arrays |= _labels_to_arrays(model.dataset, number, level)
    save_artefact(directory, header, arrays)


def load_potential(directory: str | os.PathLike[str]) -> Potential:
    """The potential that was saved last; its predictions are those of the saved one.

    Raises:
        ArtefactError: nothing intact is there, or it is no potential that this
            version reads.
        TooLargeError: the covariance matrix would not fit into memory.
    """
    header, arrays = load_artefact(directory)
    if header.get("kind") in KINDS:
        return weight_potential(header, arrays, str(directory))
    if header.get("kind") != KIND:
        raise ArtefactError(
            f"{directory} holds no potential, but {header.get('kind')!r}"
        )
    if header.get("version") != VERSION:
        raise ArtefactError(
            f"{directory} holds an exact potential of version {header.get('version')}, "
            f"this mfal reads {VERSION}: upgrade mfal, or fit it again"
        )
    dataset = _dataset(header["levels"], arrays)
    builder = RowBuilder(InverseDistances(header["descriptor"]["symbols"]))
    return ExactPotential(
        dataset,
        builder,
        torch.from_numpy(arrays["permutations"]),
        observe(dataset, builder),
        Fit(
            Hyperparameters.from_json(header["hyperparameters"]),
            tuple(None if o is None else _optimum(o) for o in header["optima"]),
            torch.from_numpy(arrays["rho_error"]),
        ),
        {k: Recalibration(**r) for k, r in header["recalibrations"].items()},
    )


def _structures_to_arrays(dataset: LabelledDataset) -> dict[str, np.ndarray]:
    structures = dataset.structures
    return {
        "numbers": structures[0].numbers,  # one molecule, see `InverseDistances`
        "positions": np.stack([a.positions for a in structures]),
        "cells": np.stack([np.asarray(a.cell) for a in structures]),
    }


def _labels_to_arrays(
    dataset: LabelledDataset, number: int, level: str
) -> dict[str, np.ndarray]:
    """The labels of a level as arrays; NaN (which no label holds) where one is missing."""
    indices = dataset.labelled(level)
    labels = [dataset.labels[i, level] for i in indices]
    nothing = np.full((len(dataset.structures[0]), 3), math.nan)
    forces = [nothing if lab.forces is None else lab.forces for lab in labels]
    columns = {
        "structures": np.array(indices, dtype=np.int64),
        "energy": _column(lab.energy for lab in labels),
        "forces": np.array(forces).reshape(-1, *nothing.shape),
        **{
            f"{quantity}_sigma": _column(lab.sigma.get(quantity) for lab in labels)
            for quantity in QUANTITIES
        },
    }
    return {f"level_{number}_{name}": array for name, array in columns.items()}


def _column(values: Any) -> np.ndarray:
    return np.array([math.nan if v is None else v for v in values], dtype=float)


def _dataset(
    levels: list[Mapping[str, Any]], arrays: Mapping[str, np.ndarray]
) -> LabelledDataset:
    fidelities = [Fidelity.from_dict(level) for level in levels]
    structures = [
        Atoms(numbers=arrays["numbers"], positions=positions, cell=cell)
        for positions, cell in zip(arrays["positions"], arrays["cells"], strict=True)
    ]
    labels = {
        (int(index), fidelity.name): _label(arrays, f"level_{number}_", row)
        for number, fidelity in enumerate(fidelities)
        for row, index in enumerate(arrays[f"level_{number}_structures"])
    }
    return LabelledDataset(tuple(structures), tuple(fidelities), labels)


def _label(arrays: Mapping[str, np.ndarray], prefix: str, row: int) -> Label:
    energy = float(arrays[f"{prefix}energy"][row])
    forces = arrays[f"{prefix}forces"][row]
    sigmas = {q: float(arrays[f"{prefix}{q}_sigma"][row]) for q in QUANTITIES}
    return Label(
        energy=None if math.isnan(energy) else energy,
        forces=None if np.isnan(forces).all() else forces,
        sigma={q: sigma for q, sigma in sigmas.items() if not math.isnan(sigma)},
    )


def _optimum_to_json(optimum: Optimum) -> dict[str, Any]:
    gradient = optimum.gradient if math.isfinite(optimum.gradient) else None
    return {
        **{f.name: getattr(optimum, f.name) for f in fields(optimum)},
        "hyperparameters": optimum.hyperparameters.to_json(),
        "gradient": gradient,
    }


def _optimum(values: Mapping[str, Any]) -> Optimum:
    gradient = math.nan if values["gradient"] is None else values["gradient"]
    found = Hyperparameters.from_json(values["hyperparameters"])
    return Optimum(**{**values, "hyperparameters": found, "gradient": gradient})
