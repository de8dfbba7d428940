"""A system: structures with labels at all levels, what labels cost, who has which part."""

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from mfal.data import LabelledDataset


@dataclass(frozen=True)
class Sizes:
    """How many structures have which part, and the budget in labels of the top level."""

    candidates: int
    targets: int
    heldout: int
    pilot: int = 3
    budget: int = 40


@dataclass(frozen=True)
class Split:
    """Structures by their part, and the pilot among the candidates; of one seed."""

    candidates: tuple[int, ...]
    targets: tuple[int, ...]
    heldout: tuple[int, ...]
    pilot: tuple[int, ...]


@dataclass(frozen=True)
class System:
    """Structures with labels at two levels or more, and what a label costs.

    `costs` are per label in `cost_unit`. `published` structures at the end are the
    held-out ones, else they are drawn. Molecules have the `permutations` that generate
    their group, cells have none. `tolerated` are the deviations that are good enough, of
    an energy (eV) and of forces (eV/A).
    """

    name: str
    title: str
    data: LabelledDataset
    costs: Mapping[str, float]
    cost_unit: str
    sizes: Sizes
    published: int = 0
    permutations: tuple[tuple[int, ...], ...] = ()
    tolerated: tuple[float, float] = (0.02, 0.1)

    @property
    def levels(self) -> tuple[str, ...]:
        """Names from low to high."""
        return self.data.levels

    @property
    def high(self) -> str:
        """The name of the dearest level."""
        return self.data.levels[-1]

    @property
    def budget(self) -> float:
        """What may be spent, pilot included."""
        return self.sizes.budget * self.costs[self.high]

    @property
    def measure(self) -> str:
        """The error that is looked at: of forces where the top level has them."""
        label = next(lab for _, name, lab in self.data if name == self.high)
        return "energy_mae" if label.forces is None else "forces_rmse"

    @property
    def molecular(self) -> bool:
        """Whether all structures are one molecule."""
        return bool(self.permutations)

    def split(self, seed: int) -> Split:
        """Parts by a random order; targets and low labels need no label at the top."""
        n, s, labels = len(self.data), self.sizes, self.data.labels
        order = np.random.default_rng([seed, 1]).permutation(n - self.published)
        dear = [int(i) for i in order if (int(i), self.high) in labels]
        plain = [int(i) for i in order if (int(i), self.high) not in labels]
        heldout = list(range(n - self.published, n))
        if not self.published:
            heldout, dear = dear[: s.heldout], dear[s.heldout :]
        n_plain = min(len(plain), s.targets)
        targets = [*plain[:n_plain], *dear[: s.targets - n_plain]]
        candidates = [*dear[s.targets - n_plain :], *plain[n_plain:]][: s.candidates]
        return Split(
            tuple(candidates),
            tuple(targets),
            tuple(heldout),
            tuple(candidates[: s.pilot]),
        )

    @property
    def fingerprint(self) -> str:
        """Hash of all that a result depends on of the data."""
        about = (self.costs, self.sizes, self.permutations, self.tolerated)
        digest = hashlib.sha256(repr(about).encode())
        for i, level, label in self.data:
            digest.update(f"{i} {level} {label.energy!r}".encode())
            if label.forces is not None:
                digest.update(np.ascontiguousarray(label.forces).tobytes())
            digest.update(self.data.structures[i].positions.tobytes())
        return digest.hexdigest()[:16]
