"""Labels that were computed before, looked up in a labelled extxyz file."""

from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from functools import lru_cache
from pathlib import Path
from typing import ClassVar

from ase import Atoms

from mfal.data.dataset import Label, structure_key
from mfal.data.extxyz import LEVEL_KEYS, read_extxyz
from mfal.data.fidelity import QUANTITIES, Fidelity
from mfal.data.frames import DataFileError, read_frames
from mfal.oracles.oracle import Calculation, OracleError
from mfal.oracles.specification import check_quantities
from mfal.units import unit_factors

COST_KEY = "mfal_cpu_seconds"
"""Key in the comment line of a frame: what the label cost when it was computed."""


@dataclass(frozen=True)
class Replay:
    """The stored labels of `path` at the level `level` (by default, its own name).

    `units` are those of the file, as in `read_extxyz`.
    A structure is found by `structure_key`. The cost charged is the stored
    `mfal_cpu_seconds`, else 0. The file is read once per process.

    Raises:
        ValueError: a file that is not there, or a unit that is not known.
    """

    counts_electrons: ClassVar[bool] = False
    fidelity: Fidelity
    path: str
    level: str = ""
    units: dict = field(default_factory=dict)

    def __post_init__(self) -> None:
        check_quantities(self.fidelity, QUANTITIES, "a replayed file")
        unit_factors(self.units)  # refused before a file is read
        if not Path(self.path).is_file():
            raise ValueError(
                f"level {self.fidelity.name!r}: there is no file {self.path!r} to "
                f"replay (looked for in {Path.cwd()})"
            )

    def check(self, species: Collection[str]) -> None:
        self._labels()

    def __call__(self, atoms: Atoms, attempt: int = 1) -> Calculation:
        wanted = self.fidelity.quantities
        label, cost = self._labels().get(structure_key(atoms), (None, 0.0))
        if label is None:
            raise OracleError(
                "not_in_replay",
                f"level {self.fidelity.name!r}: {self.path} holds no label of this "
                f"structure of {len(atoms)} atoms ({atoms.get_chemical_formula()})",
            )
        missing = [q for q in wanted if q not in label.quantities]
        if missing:
            raise OracleError(
                "not_in_replay",
                f"level {self.fidelity.name!r}: the label in {self.path} holds no "
                f"{missing[0]}",
            )
        return Calculation(
            label.only(wanted),
            converged=True,  # what a file holds was accepted when it was written
            versions={"replay": self.path},
            cpu_seconds=cost,
        )

    def _labels(self) -> Mapping[str, tuple[Label, float]]:
        level = self.level or self.fidelity.name
        state = Path(self.path).stat()
        units = tuple(sorted(self.units.items()))
        return _read(self.path, level, units, state.st_mtime_ns, state.st_size)


@lru_cache(maxsize=16)
def _read(
    path: str, level: str, units: tuple[tuple[str, str], ...], modified: int, size: int
) -> Mapping[str, tuple[Label, float]]:
    """Key of the structure -> its label at this level and what that once cost."""
    dataset = read_extxyz(path, level=level, units=dict(units), labels_required=False)
    if level not in dataset.levels:
        raise ValueError(
            f"{path} holds no level {level!r}, but {', '.join(dataset.levels)}: "
            "name one of them as `level`"
        )
    costs: dict[str, float] = {}
    for frame in read_frames(path):
        names = [frame.header[key] for key in LEVEL_KEYS if key in frame.header]
        if COST_KEY in frame.header and (names or [level])[0] == level:
            cost = frame.header[COST_KEY]
            if isinstance(cost, bool) or not isinstance(cost, int | float) or cost < 0:
                raise DataFileError(
                    path, frame.number, f"{COST_KEY} is a number >= 0, got {cost!r}"
                )
            costs[structure_key(frame.atoms)] = float(cost)
    keys = {i: structure_key(dataset.structures[i]) for i in dataset.labelled(level)}
    return {
        key: (dataset.labels[i, level], costs.get(key, 0.0)) for i, key in keys.items()
    }
