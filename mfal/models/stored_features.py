"""Features of many structures in one mapped file: pools that do not fit into memory."""

import json
import logging
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import numpy as np
import torch
from ase import Atoms
from jaxtyping import Float
from torch import Tensor

from mfal.data.files import write_text
from mfal.models.feature_map import FeatureMap

_logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class StoredFeatures:
    """Rows of energy and forces (1 + 3 n_atoms) of structures, mapped and not read.

    In single precision: a rounding of 6e-8 of the prior's standard deviation, far below
    the noise of any label. What is computed from them is in double precision.
    """

    path: Path
    n_features: int
    n_atoms: tuple[int, ...]

    def __len__(self) -> int:
        return len(self.n_atoms)

    def rows(self, structure: int) -> Float[Tensor, "c p"]:
        """The energy row of a structure and its force rows, in single precision."""
        n = 1 + 3 * self.n_atoms[structure]
        begin = int(self._starts[structure])
        return torch.from_numpy(np.array(self._mapped[begin : begin + n]))

    @cached_property
    def _starts(self) -> np.ndarray:
        return _starts(self.n_atoms)

    @cached_property
    def _mapped(self) -> np.ndarray:
        shape = (int(self._starts[-1]), self.n_features)
        return np.memmap(self.path, dtype=np.float32, mode="r", shape=shape)


def store_features(
    structures: Sequence[Atoms],
    feature_map: FeatureMap,
    path: Path,
    *,
    on_progress: Callable[[int], None] = lambda done: None,
) -> StoredFeatures:
    """Computes the features of all structures and writes them, one after the other.

    Needs 4 (1 + 3 n_atoms) n_features bytes on disk for each. The file takes its name
    only when it is whole; a description in JSON stands beside it.

    Raises:
        ValueError: no structures, or a species that the feature map does not know.
        OSError: the disk is full.
    """
    if not structures:
        raise ValueError("there are no structures whose features could be stored")
    temporary = path.with_name(f".{path.name}.tmp")
    try:
        with temporary.open("wb") as file:
            for number, atoms in enumerate(structures):
                rows = feature_map.rows(atoms, strain=False)
                block = torch.cat([rows.energy.unsqueeze(0), rows.forces])
                block.to(torch.float32).numpy().tofile(file)
                on_progress(number + 1)
        temporary.replace(path)
    finally:
        temporary.unlink(missing_ok=True)
    found = StoredFeatures(
        path, feature_map.size, tuple(len(atoms) for atoms in structures)
    )
    about = {"n_features": found.n_features, "n_atoms": found.n_atoms}
    write_text(_description(path), json.dumps(about))
    _logger.info(
        "features of %d structures: %.1f GB in %s",
        len(found),
        path.stat().st_size / 1e9,
        path,
    )
    return found


def open_features(path: Path) -> StoredFeatures:
    """The features that `store_features` wrote.

    Raises:
        ValueError: a file that is not as its description says.
    """
    about = json.loads(_description(path).read_text())
    found = StoredFeatures(path, int(about["n_features"]), tuple(about["n_atoms"]))
    size = 4 * found.n_features * int(_starts(found.n_atoms)[-1])
    if path.stat().st_size != size:
        raise ValueError(
            f"{path} should hold {size} bytes, but it holds {path.stat().st_size}: "
            "store the features again"
        )
    return found


def _starts(n_atoms: Sequence[int]) -> np.ndarray:
    return np.cumsum([0, *(1 + 3 * n for n in n_atoms)])


def _description(path: Path) -> Path:
    return path.with_name(path.name + ".json")
