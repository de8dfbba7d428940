"""What is searched for the best high-level value: a function, and two tables.

A place is a row of inputs in the unit cube with the level (0 low, 1 high) as last column.
Values are maximised.
"""

import csv
import re
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Protocol

import numpy as np
import torch
from botorch.acquisition import AcquisitionFunction
from botorch.optim import optimize_acqf_mixed
from botorch.test_functions.multi_fidelity import AugmentedHartmann
from scipy.stats import qmc
from torch import Tensor

from benchmarks.reference_data import reference_data

LOW, HIGH = 0, 1
CHUNK = 256
"""Candidates of a table that are valued at once."""


@dataclass(frozen=True)
class Label:
    """A place, its value, what it cost; its row if it is one of a table."""

    place: Tensor
    value: float
    cost: float
    row: int = -1

    @property
    def level(self) -> int:
        return round(float(self.place[-1]))


class Search(Protocol):
    """A problem. A strategy knows `costs`, those of the levels on average.

    The budget is in the same unit and holds the first labels; `good` is what counts as
    found, `candidates` are the high-level places among which the best is expected.
    """

    title: str
    unit: str
    costs: tuple[float, float]
    budget: float
    best: float
    good: float
    candidates: Tensor

    def first(self, seed: int) -> list[Label]:
        """The first labels: some of the low level, at a part of them the high one."""
        ...

    def any(self, rng: np.random.Generator, labels: Iterable[Label]) -> Label:
        """A label of the high level somewhere."""
        ...

    def maximum(
        self, value: AcquisitionFunction, labels: Iterable[Label], levels: list[int]
    ) -> Label:
        """The label of one of the levels where an acquisition function is largest."""
        ...


class Hartmann:
    """BoTorch's augmented Hartmann function at fidelities 0 (cost 1) and 1 (cost 10)."""

    title, unit = "Augmented Hartmann-6", "low-level evaluations"
    costs = (1.0, 10.0)
    best = AugmentedHartmann._optimal_value * -1
    good = best - 0.1

    def __init__(self, budget: float = 90.0, first: tuple[int, int] = (20, 5)) -> None:
        self.budget, self._first = budget, first
        self._function = AugmentedHartmann(negate=True)
        sobol = qmc.Sobol(6, rng=np.random.default_rng(0)).random_base2(9)
        self.candidates = at_level(torch.tensor(sobol), HIGH)

    def labelled(self, place: Tensor) -> Label:
        """The value there."""
        level = round(float(place[-1]))
        return Label(place, float(self._function(place[None])), self.costs[level])

    def first(self, seed: int) -> list[Label]:
        n_low, n_high = self._first
        rng = np.random.default_rng([7, seed])
        x = torch.tensor(qmc.LatinHypercube(6, rng=rng).random(n_low))
        places = torch.cat([at_level(x, LOW), at_level(x[:n_high], HIGH)])
        return [self.labelled(place) for place in places]

    def any(self, rng: np.random.Generator, labels: Iterable[Label]) -> Label:
        return self.labelled(at_level(torch.tensor(rng.random((1, 6))), HIGH)[0])

    def maximum(
        self, value: AcquisitionFunction, labels: Iterable[Label], levels: list[int]
    ) -> Label:
        place, _ = optimize_acqf_mixed(
            value,
            bounds=torch.tensor([[0.0] * 7, [1.0] * 7], dtype=torch.double),
            fixed_features_list=[{6: float(level)} for level in levels],
            q=1,
            num_restarts=1,
            raw_samples=32,
            options={"maxiter": 20},
        )
        return self.labelled(place[0].detach())


class Table:
    """Rows with known values and costs of both levels; inputs are scaled to [0, 1]."""

    def __init__(
        self,
        title: str,
        unit: str,
        features: np.ndarray,
        values: np.ndarray,
        costs: np.ndarray,
        *,
        first: tuple[int, int] = (10, 4),
        n_high: int = 25,
    ) -> None:
        """`values` and `costs` have a column for each level; the budget is that of
        `n_high` labels of the high level."""
        self.title, self.unit = title, unit
        self._first, self._values, self._prices = first, values, costs
        spread = np.ptp(features, axis=0)
        scaled = (features - features.min(axis=0))[:, spread > 0] / spread[spread > 0]
        self.inputs = torch.tensor(scaled)
        self.candidates = at_level(self.inputs, HIGH)
        low, high = costs.mean(axis=0).tolist()
        self.costs, self.budget = (low, high), n_high * high
        ranked = np.sort(values[:, HIGH])
        self.best = float(ranked[-1])
        self.good = float(ranked[-max(1, round(len(ranked) / 100))])

    def labelled(self, row: int, level: int) -> Label:
        """A cell of the table."""
        place = at_level(self.inputs[row : row + 1], level)[0]
        value, cost = self._values[row, level], self._prices[row, level]
        return Label(place, float(value), float(cost), row)

    def first(self, seed: int) -> list[Label]:
        n_low, n_high = self._first
        rows = np.random.default_rng([7, seed]).permutation(len(self.inputs))
        low = [self.labelled(int(row), LOW) for row in rows[:n_low]]
        return low + [self.labelled(int(row), HIGH) for row in rows[:n_high]]

    def any(self, rng: np.random.Generator, labels: Iterable[Label]) -> Label:
        taken = {label.row for label in labels if label.level == HIGH}
        free = [row for row in range(len(self.inputs)) if row not in taken]
        return self.labelled(int(rng.choice(free)), HIGH)

    def maximum(
        self, value: AcquisitionFunction, labels: Iterable[Label], levels: list[int]
    ) -> Label:
        taken = {(label.row, label.level) for label in labels}
        free = [
            (row, level)
            for level in levels
            for row in range(len(self.inputs))
            if (row, level) not in taken
        ]
        places = torch.stack(
            [at_level(self.inputs[row : row + 1], level) for row, level in free]
        )
        with torch.no_grad():
            values = torch.cat([value(part) for part in places.split(CHUNK)])
        return self.labelled(*free[int(values.argmax())])


def at_level(x: Tensor, level: int) -> Tensor:
    """Inputs with the level as last column."""
    return torch.cat([x, x.new_full((len(x), 1), level)], dim=1)


TARGETS = ("lf_henry_selectivity", "hf_gcmc_selectivity", "lf_minutes", "hf_minutes")


def frameworks() -> Table:
    """Xe/Kr selectivity of 608 covalent organic frameworks: Henry's law, then GCMC.

    Costs are the measured minutes (three rows lack them: the median). Source: Gantzler et
    al. (2023), as prepared by Sabanza-Gil et al. (2024), arXiv:2410.00544.
    """
    rows = _rows("cofs_xe_kr.csv")
    names = [name for name in rows[0] if name not in ("cof", *TARGETS)]
    features = np.array([[float(row[name]) for name in names] for row in rows])
    values = np.array([[float(row[name]) for name in TARGETS[:2]] for row in rows])
    costs = np.array(
        [[float(row[name] or "nan") for name in TARGETS[2:]] for row in rows]
    )
    costs = np.where(np.isnan(costs), np.nanmedian(costs, axis=0), costs)
    return Table("COF, Xe/Kr selectivity", "minutes", features, values, costs)


def solvation() -> Table:
    """Hydration of 640 molecules, the strongest wanted: computed, then measured.

    A computation is taken to cost a tenth of a measurement. Inputs are counts in the
    SMILES. Source: FreeSolv (Mobley and Guthrie 2014), as prepared by Sabanza-Gil et al.
    """
    rows = _rows("freesolv.csv")
    features = np.array([counts(row["smiles"]) for row in rows])
    names = ("lf_calc_kcal_mol", "hf_expt_kcal_mol")
    values = -np.array([[float(row[name]) for name in names] for row in rows])
    costs = np.broadcast_to([0.1, 1.0], values.shape)
    return Table("FreeSolv, hydration", "measurements", features, values, costs)


COUNTED = {
    "carbon": "C(?!l)",
    "aromatic carbon": "c",
    "oxygen": "O",
    "hydroxyl": r"(?<!=)O(?=\)|$)|^O",
    "carbonyl": r"=O",
    "ether or ester": r"O(?=[Cc])",
    "aromatic oxygen": "o",
    "nitrogen": "N",
    "aromatic nitrogen": "n",
    "nitro": r"\[N\+\]",
    "sulfur": "[Ss]",
    "phosphorus": "P",
    "fluorine": "F",
    "chlorine": "Cl",
    "bromine": "Br",
    "iodine": "I",
    "double bond": "=",
    "triple bond": "#",
    "branch": r"\(",
    "ring bond": r"\d",
}
"""What is counted in a SMILES, and its pattern."""


def counts(smiles: str) -> list[float]:
    """How often each pattern stands there, and the number of heavy atoms."""
    found = [float(len(re.findall(pattern, smiles))) for pattern in COUNTED.values()]
    return [*found, float(len(re.findall("Cl|Br|[A-GI-Zcnos]", smiles)))]


def _rows(name: str) -> list[dict[str, str]]:
    with reference_data("mfbo_tabular", name).open(newline="") as file:
        return list(csv.DictReader(file))


SEARCHES: dict[str, Callable[[], Search]] = {
    "hartmann": Hartmann,
    "frameworks": frameworks,
    "solvation": solvation,
}
