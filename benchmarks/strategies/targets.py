"""The targets that were named beforehand, and which of them are met."""

from collections.abc import Iterator, Mapping
from typing import NamedTuple

import numpy as np
from jaxtyping import Float

from benchmarks.markdown import table
from benchmarks.strategies.strategies import ACTIVE, AT_HAND, OURS, RANDOM, USELESS
from benchmarks.strategies.summary import (
    SystemResults,
    best_of,
    costs_of,
    has,
    interval,
    labels_of,
    paid_over,
    ratio,
)

STANDALONE, HAND = "standalone", "at_hand"


class Row(NamedTuple):
    """A target of a system: the values of all seeds and what they should be."""

    target: str
    system: str
    values: Float[np.ndarray, " seeds"]
    bound: float
    at_least: bool

    @property
    def verdict(self) -> str:
        """By the median; said if the interval is not all on that side."""
        middle, low, high = interval(self.values)
        if self.at_least:
            met, sure = middle >= self.bound, (low if middle >= self.bound else high)
            clear = (sure >= self.bound) == met
        else:
            met, sure = middle <= self.bound, (high if middle <= self.bound else low)
            clear = (sure <= self.bound) == met
        words = "met" if met else "**not met**"
        return words if clear else f"{words}, the interval crosses it"


def targets_table(systems: Mapping[str, SystemResults]) -> str:
    """Every target with every system it is about."""
    rows = [
        [
            row.target,
            row.system,
            f"{'at least' if row.at_least else 'at most'} {row.bound:g}",
            _with_interval(row.values),
            row.verdict,
        ]
        for name, system in systems.items()
        for row in rows_of(name, system)
    ]
    rows.sort(key=lambda r: list(TARGETS).index(r[0]))
    return table(["target", "system", "asked", "found", ""], rows)


TARGETS = {
    "times cheaper, standalone": "cost of random at one level over ours",
    "times cheaper, low level at hand": "the same, with AT_HAND at hand",
    "cost over that of the best fixed ratio": "standalone",
    "cost over that of the best fixed ratio, at hand": "with AT_HAND",
    "useless low level, cost over one level: random": "guarded",
    "useless low level, cost over the same criterion at one level": "guarded",
    "times fewer coupled-cluster labels, standalone": "CCSD(T) on top",
    "times fewer coupled-cluster labels, MP2 at hand": "CCSD(T) on top",
}
"""In the order of the table; the values say what is compared."""


def rows_of(name: str, system: SystemResults) -> Iterator[Row]:
    """The targets that a system can say something about."""
    kinds = list(TARGETS)
    n = system["sizes"]["budget"]
    costs = system["costs"]
    coupled = system["levels"][-1] == "ccsdt"
    ten = costs[system["levels"][-1]] / costs[system["levels"][0]] >= 10 - 1e-9
    random = costs_of(system, RANDOM.name, STANDALONE, n)
    ours = costs_of(system, OURS.name, STANDALONE, n)
    hand_name = AT_HAND.name if has(system, AT_HAND.name, HAND) else OURS.name
    hand = costs_of(system, hand_name, HAND, n)
    if ten:
        yield Row(kinds[0], name, ratio(random, ours), 4, True)
        yield Row(kinds[1], name, ratio(random, hand), 10, True)
    for kind, who, mode in (
        (kinds[2], OURS.name, STANDALONE),
        (kinds[3], hand_name, HAND),
    ):
        best = best_of(system, "fixed", mode, n)
        if best is not None:
            over = paid_over(system, who, best[0], mode, mode, n)
            yield Row(kind, name, over, 1.1, False)
    if has(system, USELESS.name, STANDALONE):
        for kind, against in (
            (kinds[4], RANDOM.name),
            (kinds[5], ACTIVE[1].name),
        ):
            over = paid_over(system, USELESS.name, against, STANDALONE, STANDALONE, n)
            yield Row(kind, name, over, 1.1, False)
    if coupled:
        alone = labels_of(system, RANDOM.name, STANDALONE, n)
        for kind, who, mode in (
            (kinds[6], OURS.name, STANDALONE),
            (kinds[7], hand_name, HAND),
        ):
            yield Row(
                kind, name, ratio(alone, labels_of(system, who, mode, n)), 5, True
            )


def _with_interval(values: Float[np.ndarray, " seeds"]) -> str:
    middle, low, high = (f"{v:.2g}" for v in interval(values))
    return f"{middle} ({low} to {high})"
