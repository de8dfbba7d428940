"""The two systems with all their labels: methanol, and copper with EMT below PBE."""

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import ase.io
import numpy as np
from ase import Atoms
from ase.calculators.emt import EMT

from benchmarks.published_tables.sets import EXCERPT, LABELS, mlearn
from benchmarks.reference_data import reference_data
from mfal.data import Fidelity, Label, LabelledDataset, read_extxyz

METHANOL_EXCERPT = Path(__file__).parents[2] / "tests/files/methanol_gfn2_mp2.extxyz"
"""24 geometries for the smoke run."""
EMT_COST = 0.01
"""Of an EMT label, in PBE labels: an assumption (the truth is far below)."""


@dataclass(frozen=True)
class Sizes:
    """How many structures have which part, and the budget in labels of the high level."""

    candidates: int
    targets: int
    heldout: int
    pilot: int = 8
    budget: int = 32


@dataclass(frozen=True)
class Split:
    """Structures by their part, and the pilot among the candidates; of one seed."""

    candidates: tuple[int, ...]
    targets: tuple[int, ...]
    heldout: tuple[int, ...]
    pilot: tuple[int, ...]


@dataclass(frozen=True)
class System:
    """Structures with labels at a low and a high level, and what a label costs.

    `published` structures at the end are the held-out ones, else they are drawn.
    `cost_unit` is the name of what costs are counted in.
    """

    name: str
    data: LabelledDataset
    costs: Mapping[str, float]
    cost_unit: str
    sizes: Sizes
    published: int = 0

    @property
    def low(self) -> str:
        """The name of the cheap level."""
        return self.data.levels[0]

    @property
    def high(self) -> str:
        """The name of the dear level."""
        return self.data.levels[-1]

    @property
    def budget(self) -> float:
        """What may be spent, pilot included."""
        return self.sizes.budget * self.costs[self.high]

    def split(self, seed: int) -> Split:
        """Held-out structures, targets, candidates, and the pilot among these."""
        n, s = len(self.data), self.sizes
        order = np.random.default_rng([seed, 1]).permutation(n - self.published)
        drawn = [int(i) for i in order]
        heldout = list(range(n - self.published, n))
        if not self.published:
            heldout, drawn = drawn[: s.heldout], drawn[s.heldout :]
        targets, drawn = drawn[: s.targets], drawn[s.targets :]
        candidates = drawn[: s.candidates]
        return Split(
            tuple(candidates),
            tuple(targets),
            tuple(heldout),
            tuple(candidates[: s.pilot]),
        )

    @property
    def fingerprint(self) -> str:
        """Hash of all that a result depends on of the data."""
        digest = hashlib.sha256(repr((self.costs, self.sizes)).encode())
        for i, level, label in self.data:
            digest.update(f"{i} {level} {label.energy!r}".encode())
            digest.update(np.ascontiguousarray(label.forces).tobytes())
            digest.update(self.data.structures[i].positions.tobytes())
        return digest.hexdigest()[:16]


def methanol(smoke: bool) -> System:
    """GFN2-xTB below MP2/def2-SVP, costs in measured CPU seconds (means)."""
    names = ("gfn2", "mp2")
    if smoke:
        data = read_extxyz(METHANOL_EXCERPT)
        costs = {"gfn2": 0.001, "mp2": 0.72}
        return System("methanol", data, costs, "CPU s", Sizes(12, 4, 8, 3, 6))
    folder = reference_data("generated", "methanol_gfn2_hf_mp2_ccsdt")
    frames = list(ase.io.iread(folder / "frames.extxyz", ":"))
    labels = {
        (i, name): Label(
            float(atoms.info[f"{name}_energy"]), atoms.arrays[f"{name}_forces"]
        )
        for i, atoms in enumerate(frames)
        for name in names
    }
    data = LabelledDataset(_bare(frames), _levels(names), labels)
    costs = {
        name: float(np.mean([atoms.info[f"{name}_cpu_s"] for atoms in frames]))
        for name in names
    }
    return System("methanol", data, costs, "CPU s", Sizes(120, 20, 40))


def copper(smoke: bool) -> System:
    """mlearn's Cu, PBE, with EMT below; the published test set is held out."""
    folder = EXCERPT if smoke else mlearn(False)
    train, test = (
        read_extxyz(_file(folder, f"Cu_{part}"), level="pbe", keys=LABELS)
        for part in ("train", "test")
    )
    structures = (*train.structures, *test.structures)
    high = [d.labels[i, "pbe"] for d in (train, test) for i in range(len(d))]
    labels = {(i, "pbe"): label for i, label in enumerate(high)}
    labels |= {(i, "emt"): _emt(atoms) for i, atoms in enumerate(structures)}
    data = LabelledDataset(structures, _levels(("emt", "pbe")), labels)
    sizes = Sizes(4, 1, len(test), 2, 4) if smoke else Sizes(100, 8, len(test))
    costs = {"emt": EMT_COST, "pbe": 1.0}
    return System("copper", data, costs, "PBE labels", sizes, published=len(test))


SYSTEMS = {"methanol": methanol, "copper": copper}


def _emt(atoms: Atoms) -> Label:
    copy = atoms.copy()
    copy.calc = EMT()
    return Label(copy.get_potential_energy(), copy.get_forces())


def _levels(names: Sequence[str]) -> tuple[Fidelity, ...]:
    return tuple(Fidelity(name, {}) for name in names)


def _bare(frames: Sequence[Atoms]) -> tuple[Atoms, ...]:
    return tuple(Atoms(a.numbers, a.positions) for a in frames)


def _file(folder: Path, name: str) -> Path:
    plain = folder / f"{name}.extxyz"
    return plain if plain.exists() else folder / f"{name}.extxyz.xz"
