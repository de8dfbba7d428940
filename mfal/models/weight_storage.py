"""Sparse and linear potentials on disk: features, statistics and hyperparameters.

The statistics are saved, not the posterior: loading makes the factor anew, and more
labels can be added to what was loaded. Configurations kept for leave-one-out are not
saved. Files hold JSON and arrays, with hashes (`mfal.data.artefact`).
"""

from collections.abc import Callable, Mapping
from dataclasses import asdict
from typing import Any

import numpy as np
import torch

from mfal.data import Fidelity
from mfal.data.artefact import ArtefactError
from mfal.descriptors.environments import Descriptor
from mfal.descriptors.pair_distances import pair_distances_from_specification
from mfal.descriptors.soap import soap_from_specification
from mfal.models.calibration import Recalibration
from mfal.models.feature_map import FeatureMap
from mfal.models.features import Features, KernelFeatures, LinearFeatures
from mfal.models.moments import Group, Moments, Statistics
from mfal.models.sparse import (
    LinearPotential,
    SparsePotential,
    Training,
    WeightPotential,
)
from mfal.models.weight_fit import WeightFit

VERSION = 1

DESCRIPTORS: dict[str, Callable[[Mapping[str, Any]], Descriptor]] = {
    "soap": soap_from_specification,
    "pair_distances": pair_distances_from_specification,
}
"""How descriptors are built from their specification, by its `name`: add your own."""

KINDS: dict[str, type[WeightPotential]] = {
    "sparse": SparsePotential,
    "linear": LinearPotential,
}


def weight_artefact(model: WeightPotential) -> tuple[dict[str, Any], dict[str, Any]]:
    """Header and arrays of a potential."""
    kind = next(name for name, cls in KINDS.items() if type(model) is cls)
    fit = model.fitted
    parts: list[dict[str, Any]] = []
    arrays: dict[str, np.ndarray] = {}
    descriptors: list[Descriptor] = []
    for k, (descriptor, features) in enumerate(model.feature_map.parts):
        if not any(descriptor is d for d in descriptors):
            descriptors.append(descriptor)
        which = next(i for i, d in enumerate(descriptors) if d is descriptor)
        part, mine = _features_to_arrays(features, f"part_{k}_")
        parts.append({"descriptor": which, **part})
        arrays |= mine
    groups = []
    for g, (group, moments) in enumerate(model.statistics.groups.items()):
        groups.append(
            {
                "group": list(group),
                "n_rows": moments.n_rows,
                "log_atoms": moments.log_atoms,
            }
        )
        arrays[f"products_{g}"] = moments.products.numpy()
    training = model.training
    arrays["reference"] = training.reference.numpy()
    header = {
        "kind": kind,
        "version": VERSION,
        "levels": [fidelity.to_dict() for fidelity in training.fidelities],
        "species": list(model.feature_map.species),
        "descriptors": [d.specification() for d in descriptors],
        "parts": parts,
        "groups": groups,
        "n_labels": training.n_labels,
        "keys": {level: sorted(keys) for level, keys in training.keys.items()},
        "fit": fit.to_json(),
        "recalibrations": {k: asdict(r) for k, r in model.recalibrations.items()},
    }
    return header, arrays


def weight_potential(
    header: Mapping[str, Any], arrays: Mapping[str, np.ndarray], where: str
) -> WeightPotential:
    """The potential of a header and arrays.

    Raises:
        ArtefactError: another version, or a descriptor that nobody registered.
    """
    if header.get("version") != VERSION:
        raise ArtefactError(
            f"{where} holds a {header['kind']} potential of version "
            f"{header.get('version')}, this mfal reads {VERSION}: upgrade mfal, or fit "
            "it again"
        )
    descriptors = []
    for specification in header["descriptors"]:
        name = specification.get("name")
        if name not in DESCRIPTORS:
            raise ArtefactError(
                f"{where} needs the descriptor {name!r}: add how it is built to "
                "mfal.models.weight_storage.DESCRIPTORS"
            )
        descriptors.append(DESCRIPTORS[name](specification))
    parts = tuple(
        (descriptors[part["descriptor"]], _features(part, arrays, f"part_{k}_"))
        for k, part in enumerate(header["parts"])
    )
    feature_map = FeatureMap(tuple(header["species"]), parts)
    fidelities = tuple(Fidelity.from_dict(level) for level in header["levels"])
    statistics = Statistics(feature_map.size, len(fidelities))
    for g, entry in enumerate(header["groups"]):
        level, below, quantity, sigma = entry["group"]
        statistics.groups[Group(level, below, quantity, sigma)] = Moments(
            torch.from_numpy(arrays[f"products_{g}"].copy()),
            entry["n_rows"],
            entry["log_atoms"],
        )
    training = Training(
        fidelities,
        torch.from_numpy(arrays["reference"].copy()),
        {k: dict(v) for k, v in header["n_labels"].items()},
        {level: frozenset(keys) for level, keys in header["keys"].items()},
    )
    fitted = WeightFit.from_json(header["fit"])
    return KINDS[header["kind"]](
        feature_map,
        training,
        statistics,
        fitted,
        {k: Recalibration(**r) for k, r in header["recalibrations"].items()},
    )


def _features_to_arrays(
    features: Features, prefix: str
) -> tuple[dict[str, Any], dict[str, np.ndarray]]:
    if isinstance(features, LinearFeatures):
        size = features.size // len(features.species)
        part = {"name": "linear", "species": list(features.species), "size": size}
        return part, {}
    if isinstance(features, KernelFeatures):
        arrays = {f"{prefix}projection": features.projection.numpy()}
        for species, points in features.inducing.items():
            arrays[f"{prefix}inducing_{species}"] = points.numpy()
        return {
            "name": "kernel",
            "species": list(features.inducing),
            "zeta": features.zeta,
            "softening": features.softening,
        }, arrays
    raise ArtefactError(
        f"features of type {type(features).__name__} cannot be saved: save what they "
        "are made from and build them again"
    )


def _features(
    part: Mapping[str, Any], arrays: Mapping[str, np.ndarray], prefix: str
) -> Features:
    if part["name"] == "linear":
        return LinearFeatures(part["species"], part["size"])
    return KernelFeatures(
        torch.from_numpy(arrays[f"{prefix}projection"].copy()),
        {
            z: torch.from_numpy(arrays[f"{prefix}inducing_{z}"].copy())
            for z in part["species"]
        },
        part["zeta"],
        softening=part["softening"],
    )
