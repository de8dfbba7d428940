"""What `mfal fit` reads: the schema of FIT.yaml, and labelled files by it."""

import logging
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Literal, NamedTuple

import numpy as np
from pydantic import AfterValidator, Field, NonNegativeInt, PositiveInt, field_validator

from mfal.campaign.sections import ExistingFile, Section, suggestion
from mfal.campaign.settings import ExactConfig, SparseConfig
from mfal.data import LabelledDataset, read_extxyz
from mfal.data.checks import check_label, check_structure, check_units
from mfal.data.joining import joined
from mfal.units import unit_factors

LARGEST_EXACT = 10_000
"""Rows up to which a molecule is fitted by the exact model."""

_logger = logging.getLogger(__name__)

Keys = dict[str, str]
"""Quantity -> key of its values in a file."""


def _known_units(units: Keys) -> Keys:
    unit_factors(units)
    return units


Units = Annotated[Keys, AfterValidator(_known_units)]
"""Quantity -> unit of its values in a file, see `mfal.units`."""


class SourceConfig(Section):
    """A labelled file: the level of frames that name none, keys and units of labels."""

    path: ExistingFile
    level: str | None = None
    keys: Annotated[Keys, Field(min_length=1)] | None = None
    units: Units | None = None


class SparseFitConfig(SparseConfig):
    """What a fit takes of the labels, and whether it chooses the shape of the kernel.

    `tune`: cutoffs, zeta and width are chosen by evidence on a part of the data.
    """

    quantities: tuple[Literal["energy", "forces", "stress"], ...] = (
        "energy",
        "forces",
        "stress",
    )
    tune: bool = False


class FitConfig(ExactConfig):
    """All keys of FIT.yaml; each has a default.

    `kind` auto takes the exact model for geometries of one molecule that fit into it,
    the sparse model for anything else. The keys of the exact model have no meaning for
    the others, which read `sparse`.

    `level`, `keys` and `units` are those of the files named on the command line; `files`
    adds others (or the same again), each with its own.
    """

    kind: Literal["auto", "exact", "sparse", "linear"] = "auto"
    sparse: SparseFitConfig = SparseFitConfig()
    levels: tuple[str, ...] | None = None
    level: str | None = None
    keys: Annotated[Keys, Field(min_length=1)] | None = None
    units: Units | None = None
    files: tuple[SourceConfig, ...] = ()
    seed: NonNegativeInt = 0
    evidence_rows: PositiveInt = 2500
    restarts: NonNegativeInt = 1

    @field_validator("levels")
    @classmethod
    def _each_level_once(cls, levels: tuple[str, ...] | None) -> tuple[str, ...] | None:
        check_levels(levels or ())
        return levels


def check_levels(levels: Sequence[str]) -> None:
    """Refuse a list of levels with an empty name or a name that stands twice.

    Raises:
        ValueError: the level.
    """
    for name in levels:
        if not name.strip():
            raise ValueError(f"a level needs a name, got {', '.join(levels)!r}")
        if levels.count(name) > 1:
            raise ValueError(
                f"level {name!r} is listed twice: name each level once, low to high"
            )


def read_training_data(config: FitConfig, paths: Sequence[Path]) -> LabelledDataset:
    """The labels of all files at the levels of the fit, low to high, checked.

    Labels of other levels are left out and logged, with the structures that have no
    other.

    Raises:
        DataFileError: a file that is not what it says.
        ValueError: no files; levels in no order, or a level that no file holds; a
            structure or label that cannot be; energies and forces that contradict
            each other.
    """
    only = config.levels[0] if config.levels and len(config.levels) == 1 else None
    dataset = _ordered(read_labels(config, paths, only), config.levels)
    if config.kind == "exact" or (config.kind == "auto" and _one_size(dataset)):
        _check_one_molecule(dataset)
    _check(dataset)
    return dataset


def model_kind(config: FitConfig, dataset: LabelledDataset) -> str:
    """The engine of a fit: as configured, or by what the data are."""
    if config.kind != "auto":
        return config.kind
    first = dataset.structures[0].numbers
    molecule = all(
        not a.pbc.any() and np.array_equal(a.numbers, first) for a in dataset.structures
    )
    stress = any(label.stress is not None for _, _, label in dataset)
    n_rows = sum(
        int(label.energy is not None) + (0 if label.forces is None else 3 * len(first))
        for _, _, label in dataset
    )
    small = molecule and not stress and len(first) > 1 and n_rows <= LARGEST_EXACT
    return "exact" if small else "sparse"


def read_labels(
    config: FitConfig, paths: Sequence[Path], default: str | None = None
) -> LabelledDataset:
    """The labels of the files named here and in the configuration, at every level.

    `default` is the level of frames that name none where the configuration does not
    say it. Where keys are given, a frame may have no label under them (one frame may
    hold the labels of several levels, each under its own keys); this is logged.

    Raises:
        DataFileError: a file that is not what it says.
        ValueError: no files, no label under the keys of a file, or a label twice.
    """
    level = config.level or default
    sources = [_Source(path, level, config.keys, config.units) for path in paths]
    sources += [
        _Source(
            s.path,
            s.level or level,
            s.keys or config.keys,
            config.units if s.units is None else s.units,
        )
        for s in config.files
    ]
    if not sources:
        raise ValueError(
            "there are no data: name labelled extxyz files, or list them as `files` in "
            "the configuration"
        )
    groups: list[list[_Source]] = []
    for source in sources:
        alike = next((g for g in groups if g[0][1:] == source[1:]), None)
        if alike is None:
            groups.append([source])
        else:
            alike.append(source)
    return joined([_read(group) for group in groups])


class _Source(NamedTuple):
    """A file, and how it is read."""

    path: Path
    level: str | None
    keys: Keys | None
    units: Keys | None


def _read(group: Sequence[_Source]) -> LabelledDataset:
    """The labels of files that are read in one way."""
    paths, keys = [source.path for source in group], group[0].keys
    dataset = read_extxyz(
        paths,
        level=group[0].level,
        keys=keys,
        units=group[0].units,
        labels_required=keys is None,
    )
    unlabelled = len(dataset) - len({i for i, _ in dataset.labels})
    if unlabelled and keys is not None:
        where = f"under {', '.join(keys.values())} in {', '.join(map(str, paths))}"
        if not dataset.labels:
            raise ValueError(f"there is no label {where}: check the keys")
        _logger.warning("%d structures have no label %s", unlabelled, where)
    return dataset


def _ordered(dataset: LabelledDataset, levels: Sequence[str] | None) -> LabelledDataset:
    """The levels of the fit, and the structures that have a label at one of them."""
    found = dataset.levels
    if levels is None:
        if len(found) > 1:
            raise ValueError(
                f"the files hold {len(found)} levels ({', '.join(found)}): say their "
                f"order, low to high, e.g. --levels {','.join(found)}"
            )
        levels = found
    for name in levels:
        if name not in found:
            raise ValueError(
                f"no label of level {name!r} in the files, {suggestion(name, found)}"
            )
    left_out = [name for name in found if name not in levels]
    if left_out:
        _logger.warning(
            "levels in the files that are left out: %s", ", ".join(left_out)
        )
    chosen = dataset.at_levels(levels)
    return chosen.subset(sorted({i for i, _ in chosen.labels}))


def _one_size(dataset: LabelledDataset) -> bool:
    """Molecules of one size: meant to be one, so that a change of atoms is a mistake."""
    sizes = {len(atoms) for atoms in dataset.structures}
    return len(sizes) == 1 and not any(a.pbc.any() for a in dataset.structures)


def _check_one_molecule(dataset: LabelledDataset) -> None:
    symbols = dataset.structures[0].get_chemical_symbols()
    for i, atoms in enumerate(dataset.structures):
        if atoms.get_chemical_symbols() != symbols:
            raise ValueError(
                f"the exact model describes one molecule, its atoms always in the same "
                f"order: structure {i} (from 0) is "
                f"{''.join(atoms.get_chemical_symbols())}, the first is "
                f"{''.join(symbols)}: reorder its atoms, leave it out, or fit the sparse "
                "model (--model sparse)"
            )


def _check(dataset: LabelledDataset) -> None:
    for i, atoms in enumerate(dataset.structures):
        reason = check_structure(atoms, multiplicity=None)
        if reason:
            raise ValueError(f"structure {i} (from 0): {reason}: leave it out")
    for i, level, label in dataset:
        reason = check_label(dataset.structures[i], label, label.quantities)
        if reason:
            raise ValueError(
                f"structure {i} (from 0), level {level!r}: {reason}: leave it out"
            )
    for level in dataset.levels:
        reason = check_units(dataset, level)
        if reason:
            raise ValueError(reason)
