"""One pass over a data set: structure by structure to statistics, in parts if wanted."""

import mmap
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import Executor
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
import torch
from ase import Atoms
from jaxtyping import Float
from torch import Tensor

from mfal.data import QUANTITIES, Label, LabelledDataset
from mfal.descriptors.environments import Environments
from mfal.models.feature_map import FeatureMap
from mfal.models.features import FeatureRows
from mfal.models.moments import ALONE, Group, RowBuffer, Rows, Statistics, merged

KEPT_BYTES = 256 * 2**20
"""Rows of so many bytes are kept for leave-one-out; of larger sets a random part."""


BAR_POINTS = 400
"""Points of a kernel that error bars are made of, see `mfal.models.error_bars`."""


class Block(NamedTuple):
    """Rows of one label and one quantity, energies divided by sqrt(n_atoms)."""

    group: Group
    augmented: Float[Tensor, "n q"]
    """[Phi, y, y_below]"""


@dataclass(frozen=True)
class Configuration:
    """All rows of one structure, kept for leave-one-out."""

    structure: int
    n_atoms: int
    species: np.ndarray
    blocks: tuple[Block, ...]
    unexplained: np.ndarray
    """Prior variance of the energy that the features of each block do not carry; in the
    last row with the first `BAR_POINTS` points only, where there are more."""

    def __reduce__(self) -> tuple[Any, ...]:
        """Pickled as arrays: each tensor on its way to a process holds a file open."""
        arrays = [(group, augmented.numpy()) for group, augmented in self.blocks]
        first = (self.structure, self.n_atoms, self.species)
        return _configuration, (*first, arrays, self.unexplained)


@dataclass
class Gathered:
    """What a pass over a data set gives: statistics, and some configurations."""

    statistics: Statistics
    kept: list[Configuration]


def gather(
    dataset: LabelledDataset,
    feature_map: FeatureMap,
    reference: Float[Tensor, "levels s"],
    *,
    executor: Executor | None = None,
    n_parts: int = 2,
    seed: int = 0,
    kept_bytes: int = KEPT_BYTES,
    progress: Callable[[int, int], None] | None = None,
) -> Gathered:
    """The statistics of every label, streamed: memory does not grow with the data.

    With an executor, `n_parts` parts of the data set go to its workers and the
    statistics are added; the result is the same to rounding. `progress` is told the
    number of structures done and their total (without an executor).

    Raises:
        ValueError: a structure that the feature map does not know, or a stress of a
            structure that is not periodic in all directions.
    """
    row_bytes = 8 * (feature_map.size + 2)
    sizes = [_n_rows(dataset, i) * row_bytes for i in range(len(dataset))]
    order = np.random.default_rng([seed, 5]).permutation(len(dataset))
    total = 0
    keep: set[int] = set()
    for i in order:
        if keep and total + sizes[i] > kept_bytes:
            break
        total += sizes[i]
        keep.add(int(i))
    if executor is None:
        return _gather_part(
            dataset, feature_map, reference, range(len(dataset)), keep, progress
        )
    parts_of = [range(k, len(dataset), n_parts) for k in range(n_parts)]
    futures = [
        executor.submit(_gather_part, dataset, feature_map, reference, part, keep, None)
        for part in parts_of
    ]
    parts = [future.result() for future in futures]
    kept = sorted((c for p in parts for c in p.kept), key=lambda c: c.structure)
    return Gathered(merged(p.statistics for p in parts), kept)


def _configuration(
    structure: int,
    n_atoms: int,
    species: np.ndarray,
    arrays: list[tuple[Group, np.ndarray]],
    unexplained: np.ndarray,
) -> Configuration:
    blocks = tuple(Block(group, torch.from_numpy(array)) for group, array in arrays)
    return Configuration(structure, n_atoms, species, blocks, unexplained)


def _gather_part(
    dataset: LabelledDataset,
    feature_map: FeatureMap,
    reference: Tensor,
    indices: Sequence[int],
    keep: set[int],
    progress: Callable[[int, int], None] | None,
) -> Gathered:
    statistics = Statistics(feature_map.size, len(dataset.levels))
    buffer = RowBuffer(statistics)
    few = feature_map.leading(BAR_POINTS)[0]
    maps = [feature_map] if few.size == feature_map.size else [feature_map, few]
    kept = []
    for done, i in enumerate(indices, start=1):
        labels = {
            number: dataset.labels[i, level]
            for number, level in enumerate(dataset.levels)
            if (i, level) in dataset.labels
        }
        if labels:
            atoms = dataset.structures[i]
            strain = any(label.stress is not None for label in labels.values())
            environments = feature_map.environments(atoms, strain=strain)
            blocks = label_blocks(atoms, labels, feature_map, reference, environments)
            n = len(atoms)
            for group, rows in blocks:
                log_atoms = float(np.log(n)) if group.quantity == 0 else 0.0
                buffer.add(group, rows, log_atoms)
            if i in keep:
                lasting = tuple(Block(g, _on_own_pages(rows)) for g, rows in blocks)
                left = np.stack([m.unexplained(environments).numpy() for m in maps])
                kept.append(Configuration(i, n, atoms.numbers.copy(), lasting, left))
        if progress is not None:
            progress(done, len(indices))
    return Gathered(buffer.flush(), kept)


def label_blocks(
    atoms: Atoms,
    labels: Mapping[int, Label],
    feature_map: FeatureMap,
    reference: Float[Tensor, "levels s"],
    environments: Sequence[Environments],
) -> list[Block]:
    """The rows of the labels of one structure, each given the nearest label below.

    `environments` are those of the feature map, with strain if a label has a stress.

    Raises:
        ValueError: a stress of a structure that is not periodic in all directions; a
            label with a standard deviation of its own below another label.
    """
    _check_own_sigmas(labels)
    rows = feature_map.rows(atoms, environments)
    counts = feature_map.counts(atoms)
    blocks = []
    for level, label in labels.items():
        for quantity, name in enumerate(QUANTITIES):
            if getattr(label, name) is None:
                continue
            below = max(
                (
                    k
                    for k, other in labels.items()
                    if k < level
                    and getattr(other, name) is not None
                    and not other.sigma.get(name)
                ),
                default=ALONE,
            )
            scale = 1 / np.sqrt(len(atoms)) if name == "energy" else 1.0
            zero = float(reference[level] @ counts)
            values = observed(label, name, zero)
            lower = torch.zeros_like(values)
            if below != ALONE:
                lower = observed(labels[below], name, float(reference[below] @ counts))
            features = quantity_rows(rows, name)
            group = Group(level, below, quantity, scale * label.sigma.get(name, 0.0))
            rows_of_label = Rows(features, values, lower)
            blocks.append(Block(group, scale * rows_of_label.augmented))
    return blocks


def _on_own_pages(rows: Float[Tensor, "n q"]) -> Float[Tensor, "n q"]:
    """A copy outside the heap, where it would pin what is freed around it.

    A long pass that keeps a row here and there would else grow with the data.
    """
    pages = mmap.mmap(-1, max(rows.numel() * rows.element_size(), 1))
    copy = torch.frombuffer(pages, dtype=rows.dtype, count=rows.numel())
    return copy.reshape(rows.shape).copy_(rows)


def _check_own_sigmas(labels: Mapping[int, Label]) -> None:
    for level, label in labels.items():
        for name in QUANTITIES:
            above = any(
                k > level and getattr(other, name) is not None
                for k, other in labels.items()
            )
            if getattr(label, name) is not None and label.sigma.get(name) and above:
                raise ValueError(
                    f"a label of level {level} (from 0) brings its own standard "
                    f"deviation of the {name}, and its structure has a label above: "
                    "their misfits would not be white. Leave the deviation out, or fit "
                    "the exact model"
                )


def quantity_rows(rows: FeatureRows, quantity: str) -> Float[Tensor, "n p"]:
    """The rows of one quantity.

    Raises:
        ValueError: a stress of a structure that is not periodic in all directions.
    """
    if quantity == "energy":
        return rows.energy.unsqueeze(0)
    if quantity == "forces":
        return rows.forces
    if rows.stress is None:
        raise ValueError(
            "a stress belongs to a structure that is periodic in all directions: set "
            "pbc, or leave the stress out"
        )
    return rows.stress


def observed(label: Label, quantity: str, zero: float) -> Float[Tensor, " n"]:
    """The values of one quantity of a label, energies relative to `zero`."""
    value = np.array(getattr(label, quantity), dtype=float).reshape(-1)
    return torch.from_numpy(value - zero if quantity == "energy" else value)


def _n_rows(dataset: LabelledDataset, index: int) -> int:
    n = len(dataset.structures[index])
    per = {"energy": 1, "forces": 3 * n, "stress": 6}
    return sum(
        per[q]
        for level in dataset.levels
        if (index, level) in dataset.labels
        for q in dataset.labels[index, level].quantities
    )
