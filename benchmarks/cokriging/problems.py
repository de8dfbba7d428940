"""The problems: which function, how many points of each level, nested or not, noise."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from scipy.stats import qmc

from benchmarks.cokriging import functions
from benchmarks.cokriging.functions import Family

N_TEST = 10_000
"""Points that every model predicts, and is judged on."""


@dataclass(frozen=True)
class Problem:
    """One row of the tables. Points and noise (standard deviations) are low to high."""

    title: str
    family: Family
    points: tuple[int, ...]
    nested: bool = True
    noise: tuple[float, ...] = ()
    seeds: dict[str, int] | None = None
    """Fewer seeds for models that take too long here."""


PROBLEMS = {
    "forrester": Problem("Forrester, 12 / 4", functions.FORRESTER, (12, 4)),
    "currin": Problem("Currin, 100 / 20", functions.CURRIN, (100, 20)),
    "park": Problem("Park, 100 / 20", functions.PARK, (100, 20)),
    "hartmann": Problem("Hartmann-6, 200 / 30", functions.HARTMANN, (200, 30)),
    "borehole": Problem("Borehole, 100 / 20", functions.BOREHOLE, (100, 20)),
    "borehole_1000": Problem(
        "Borehole, 1000 / 100",
        functions.BOREHOLE,
        (1000, 100),
        seeds={"botorch_mf": 3, "botorch_mt": 3, "smt_mfk": 3, "smt_mfck": 3}
        | {"emukit_linear": 3},
    ),
    "branin": Problem("Branin, 80 / 40 / 20", functions.BRANIN, (80, 40, 20)),
    "not_nested": Problem(
        "Currin, 100 / 20, not nested", functions.CURRIN, (100, 20), nested=False
    ),
    "useless": Problem("Currin, useless low level", functions.USELESS, (100, 20)),
    "noisy": Problem(
        "Currin, 100 / 20, noisy", functions.CURRIN, (100, 20), noise=(0.5, 0.1)
    ),
}


@dataclass(frozen=True)
class Data:
    """What every model gets, inputs in the unit cube, and the noise-free truth."""

    X: tuple[np.ndarray, ...]
    Y: tuple[np.ndarray, ...]
    test_X: np.ndarray
    test_Y: np.ndarray
    noisy: bool
    seed: int

    def save(self, path: Path) -> None:
        """Writes all but the truth, for a process that has only numpy."""
        levels = {f"X{k}": x for k, x in enumerate(self.X)}
        levels |= {f"Y{k}": y for k, y in enumerate(self.Y)}
        np.savez(path, test_X=self.test_X, noisy=self.noisy, seed=self.seed, **levels)


def drawn(problem: Problem, seed: int, n_test: int = N_TEST) -> Data:
    """The data of a seed: Latin hypercubes, and a scrambled Sobol set for the test."""
    family = problem.family
    dimension = family.dimension
    rng = np.random.default_rng([seed, *map(ord, problem.title)])
    sets = hypercubes(problem.points, dimension, rng)
    X = nested(sets) if problem.nested else sets
    noise = problem.noise or (0.0,) * len(X)
    Y = [
        family(level, x) + sigma * rng.standard_normal(len(x))
        for level, (x, sigma) in enumerate(zip(X, noise, strict=True))
    ]
    sobol = qmc.Sobol(dimension, rng=np.random.default_rng([1, seed]))
    test_X = sobol.random_base2(int(np.ceil(np.log2(n_test))))[:n_test]
    truth = family(len(X) - 1, test_X)
    return Data(tuple(X), tuple(Y), test_X, truth, bool(problem.noise), seed)


def hypercubes(
    points: Sequence[int], dimension: int, rng: np.random.Generator
) -> list[np.ndarray]:
    """A Latin hypercube for each level, improved by random swaps (centred discrepancy)."""
    return [
        qmc.LatinHypercube(dimension, optimization="random-cd", rng=rng).random(n)
        for n in points
    ]


def nested(sets: Sequence[np.ndarray]) -> list[np.ndarray]:
    """The sets, each with the points of the next higher one in the place of the nearest.

    Source: Le Gratiet (2013), thesis, section 3.2 (nested space-filling designs).
    """
    found = [sets[-1]]
    for lower in reversed(sets[:-1]):
        higher, free = found[0], np.ones(len(lower), dtype=bool)
        for point in higher:
            distance = np.linalg.norm(lower - point, axis=1)
            free[np.argmin(np.where(free, distance, np.inf))] = False
        found.insert(0, np.vstack([lower[free], higher]))
    return found
