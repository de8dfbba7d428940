"""From the measured laws to 10^6 structures and 10^8 candidates, and what breaks first."""

import json
import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from benchmarks.scaling.laws import PowerLaw, curve, power_law

SELECTION = Path(__file__).parents[1] / "selection" / "results.json"
STRUCTURES, ATOMS, LEVELS, INDUCING = 10**6, 64, 2, 1500
CANDIDATES, BATCH, PARTS = 10**8, 50, 1000
GROUPS = 4
"""Energies and forces of a lower level, and of an upper one given the lower one."""

HOUR = 3600.0


@dataclass(frozen=True)
class Stage:
    """What a stage of the large problem takes: core hours (low to high) and bytes."""

    name: str
    kind: str
    hours: tuple[float, float]
    moved: float
    held: float
    """Bytes in one process, those of a mapped file among them."""


@dataclass(frozen=True)
class Limit:
    """What grows until a node is full: where that is, and how far beyond one goes."""

    name: str
    counts: str
    wanted: float
    possible: float
    instead: str

    @property
    def beyond(self) -> float:
        """How many times more is wanted than is possible."""
        return self.wanted / self.possible


class Laws:
    """The power laws of the document's points, made when they are asked for."""

    def __init__(self, document: Mapping[str, Any]) -> None:
        self.document = document

    def __call__(self, axis: str, stage: str, key: str = "cpu_seconds") -> PowerLaw:
        """The law of a stage along an axis."""
        return power_law(*curve(self.document["axes"][axis], stage, key))

    def features(
        self, n: float, atoms: float, inducing: float, levels: float
    ) -> tuple[float, float, float]:
        """CPU seconds of a pass: the product of four laws, and its range.

        Each law is a ratio to the size that the axis of structures has. The range is that
        of the exponent of structures, which lie far beyond the measured ones, and of exact
        proportion.
        """
        first = self("structures", "features")
        base = self.document["settings"]["structures"]
        factor = 1.0
        for axis, wanted, here in (
            ("atoms", atoms, base["n_atoms"]),
            ("inducing", inducing, base["n_inducing"]),
            ("levels", levels, 1),
        ):
            law = self(axis, "features")
            factor *= law(wanted) / law(here)
        low, high = first.range(n, known=1.0)
        return first(n) * factor, low * factor, high * factor

    def leave_out(
        self, n: float, inducing: float, levels: float
    ) -> tuple[float, float]:
        """CPU seconds of left-out labels; the weights of all levels count."""
        first, law = self("structures", "leave_out"), self("inducing", "leave_out")
        base = self.document["settings"]["structures"]["n_inducing"]
        factor = law(inducing * levels) / law(base)
        low, high = first.range(n, known=1.0)
        return low * factor, high * factor


def selection_curve(criterion: str) -> tuple[list[float], list[float]]:
    """Candidates and CPU seconds of a batch of 50, as `benchmarks/selection` has them."""
    if not SELECTION.exists():
        return [], []
    pool = json.loads(SELECTION.read_text()).get("pool", {"runs": []})
    runs = [r for r in pool["runs"] if r["criterion"] == criterion]
    runs.sort(key=lambda r: r["n_candidates"])
    return [r["n_candidates"] for r in runs], [r["cpu_seconds"] for r in runs]


def selection_law(criterion: str) -> PowerLaw | None:
    """The law of these, if there are two sizes."""
    sizes, seconds = selection_curve(criterion)
    return power_law(sizes, seconds) if len(set(sizes)) > 1 else None


def stages(document: Mapping[str, Any]) -> list[Stage]:
    """Every stage of a fit to the structures and of a batch of the candidates."""
    laws, rates = Laws(document), document["machine"]
    bandwidth = rates["bytes_per_second"]
    sums = GROUPS * 8.0 * (INDUCING + 3) ** 2
    q = LEVELS * (INDUCING + 1)
    _, low, high = laws.features(STRUCTURES, ATOMS, INDUCING, LEVELS)
    pickled = laws("dataset", "pickle", "bytes")(STRUCTURES)
    found = [
        Stage(
            "choice of inducing environments",
            "one process, of 6 environments a point",
            _hours(laws("inducing", "choice").range(INDUCING)),
            0.0,
            8.0 * 6 * INDUCING**2,
        ),
        Stage(
            "features and normal equations",
            "map over structures",
            _hours((low, high)),
            LEVELS * pickled,
            sums,
        ),
        Stage(
            f"sums of {PARTS:,} parts",
            "reduce",
            _hours((3 * PARTS * sums / bandwidth,) * 2),
            PARTS * sums,
            2 * sums,
        ),
        Stage(
            "hyperparameters",
            "one process",
            _hours(_search(laws)),
            0.0,
            8.0 * 3 * q**2,
        ),
    ]
    low_left, high_left = laws.leave_out(STRUCTURES, INDUCING, LEVELS)
    found.append(
        Stage(
            "left-out labels of all structures (a second pass)",
            "map over structures",
            _hours((low + low_left, high + high_left)),
            8.0 * q**2 / 2 * PARTS,
            8.0 * q**2 / 2,
        )
    )
    pool, n_cells = document["selection"][0]["stages"], CANDIDATES // LEVELS
    cell = pool["features"]["cpu_seconds"] / pool["features"]["cells"]
    stored = 4.0 * (1 + 3 * ATOMS) * pool["features"]["columns"]
    found.append(
        Stage(
            f"features of the {n_cells:,} cells of the pool",
            "map over cells",
            _hours((n_cells * cell,) * 2),
            n_cells * stored,
            stored,
        )
    )
    for criterion in ("parameters", "targets"):
        law = selection_law(criterion)
        if law is None:
            continue
        part, union = CANDIDATES / PARTS, PARTS * BATCH
        found.append(
            Stage(
                f"picks of {PARTS:,} parts, information about {criterion}",
                "map over parts",
                _hours(tuple(PARTS * s for s in law.range(part))),
                n_cells * stored,
                stored * part / LEVELS,
            )
        )
        each = pool["judge"]["cpu_seconds"] / pool["in parts"]["batch"] * BATCH
        judged = (PARTS + 1) * each
        found.append(
            Stage(
                f"picks of {union:,} picks, and {PARTS + 1:,} batches judged",
                "one process",
                _hours(tuple(s + judged for s in law.range(union))),
                union * stored,
                union * stored,
            )
        )
    return found


def limits(document: Mapping[str, Any]) -> list[Limit]:
    """What fills a node with the memory of this machine, the worst first."""
    laws, memory = Laws(document), document["memory_bytes"]
    pool = document["selection"][0]["stages"]["features"]
    rows = STRUCTURES * LEVELS * (1 + 3 * ATOMS)
    stored = 4.0 * (1 + 3 * ATOMS) * pool["columns"]
    group = 8.0 * (INDUCING + 3) ** 2

    def bytes_of(axis: str, stage: str) -> Callable[[float], float]:
        law = laws(axis, stage, "grown_MB")
        return lambda n: 1e6 * law(n)

    objects, dealt = (
        bytes_of("candidates", "objects"),
        bytes_of("candidates", "in parts"),
    )
    data = bytes_of("dataset", "memory")
    evidence = bytes_of("inducing", "evidence")
    per_pick = laws("candidates", "greedy")(CANDIDATES)
    per_pick /= document["settings"]["candidates"]["picks"]
    found = [
        Limit(
            "the exact model: a square matrix of all rows",
            "rows",
            rows,
            math.sqrt(memory / 12.0),
            "the sparse model; the exact one stays for molecules and pilots",
        ),
        Limit(
            "labels with a standard deviation of their own: each value is a group of "
            "rows with a matrix of its own",
            "different values",
            STRUCTURES,
            memory / group,
            "round them to a few values, or leave them out",
        ),
        Limit(
            "features of the pool, mapped from a disk of 2 TB",
            "cells",
            CANDIDATES // LEVELS,
            2e12 / stored,
            "each part's worker computes its own and keeps none",
        ),
        Limit(
            "candidates as objects, and the pool dealt out, in the process that selects",
            "candidates",
            CANDIDATES,
            _where(lambda n: objects(n) + dealt(n), memory),
            "ranges instead of objects, parts that name themselves",
        ),
        Limit(
            "greedy choice of one process: looking through what is left, for a batch in "
            "an hour",
            "candidates",
            CANDIDATES,
            CANDIDATES * HOUR / (per_pick * BATCH),
            "parts (`select_partitioned`), in which it divides",
        ),
        Limit(
            "the data set in the memory of one process, and a pickled copy for each "
            f"of {PARTS:,} parts at a time",
            "structures",
            STRUCTURES,
            _where(
                lambda n: data(n) + PARTS * laws("dataset", "pickle", "bytes")(n),
                memory,
            ),
            "a file for each part, as here: sums come back, structures do not travel",
        ),
        Limit(
            "the data set in the memory of one process",
            "structures",
            STRUCTURES,
            _where(data, memory),
            "a file for each part",
        ),
        Limit(
            "the evidence of all weights in one process",
            "weights",
            LEVELS * (INDUCING + 1),
            _where(evidence, memory),
            "fewer inducing environments for the upper levels",
        ),
    ]
    return sorted(found, key=lambda limit: -limit.beyond)


def check(document: Mapping[str, Any]) -> tuple[float, float]:
    """Predicted and measured CPU seconds of the pass that no law was fitted to."""
    point = document["check"][0]
    settings = document["settings"]["check"]
    atoms = 4 * settings["edge"] ** 3
    predicted, _, _ = Laws(document).features(
        point["size"], atoms, settings["n_inducing"], settings["n_levels"]
    )
    return predicted, point["stages"]["features"]["cpu_seconds"]


def _search(laws: Laws) -> tuple[float, float]:
    """Seconds of all evaluations of the evidence, of as many as two levels took."""
    points = laws.document["axes"]["levels"]
    few = next(p for p in points if p["size"] == LEVELS)["stages"]
    evaluations = few["hyperparameters"]["evaluations"]
    low, high = laws("inducing", "evidence").range(LEVELS * (INDUCING + 1), known=3.0)
    return evaluations * low, evaluations * high


def _where(bytes_of: Callable[[float], float], memory: float) -> float:
    """The size at which the bytes of a growing law are those of the memory."""
    low, high = 1.0, 1e15
    while high / low > 1.001:
        middle = math.sqrt(low * high)
        low, high = (middle, high) if bytes_of(middle) < memory else (low, middle)
    return low


def _hours(seconds: tuple[float, ...]) -> tuple[float, float]:
    return seconds[0] / HOUR, seconds[-1] / HOUR
