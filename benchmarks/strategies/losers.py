"""Where it loses: who pays more for the same error than who, in words."""

from collections.abc import Iterator, Mapping

import numpy as np

from benchmarks.strategies.strategies import (
    ACTIVE,
    AT_HAND,
    DELTA,
    ENERGIES,
    FIXED,
    JOINT,
    OTHERS,
    OURS,
    RANDOM,
    USELESS,
)
from benchmarks.strategies.summary import (
    SystemResults,
    best_of,
    costs_of,
    errors_of,
    has,
    interval,
    paid_over,
)

RATIOS = tuple(s.name for s in FIXED)
PLANNED = (OURS.name, *(s.name for s in OTHERS), ENERGIES.name, USELESS.name)


def losers(systems: Mapping[str, SystemResults]) -> str:
    """Every planned strategy that pays more than a baseline, by the median."""
    if not systems:
        return "Not measured yet."
    lines = []
    for name, system in systems.items():
        n = system["sizes"]["budget"]
        for who, mode, against, other in _pairs(system):
            values = paid_over(system, who, against, mode, other, n)
            middle, low, high = interval(values)
            if middle <= 1:
                continue
            reached = np.isfinite(costs_of(system, who, mode, n)).sum()
            words = "" if reached == len(values) else f"; there in {reached} seeds"
            lines.append(
                f"- {name}: **{who}** pays {middle:.2g} ({low:.2g} to {high:.2g}) times "
                f"what *{against}* pays (dearer in {(values > 1).sum()} of "
                f"{len(values)} seeds{words})."
            )
        lines += _ends(name, system)
    return "\n".join(lines) or "- nowhere."


def _ends(name: str, system: SystemResults) -> Iterator[str]:
    """Where ours ends with a larger error than another that spends as much."""
    n = system["sizes"]["budget"]
    for who, mode in ((OURS.name, "standalone"), (AT_HAND.name, "at_hand")):
        others = [*RATIOS, JOINT.name, *([DELTA.name] if mode == "at_hand" else [])]
        others += [s.name for s in ACTIVE] if mode == "standalone" else []
        for against in others:
            if not (has(system, who, mode) and has(system, against, mode)):
                continue
            mine, theirs = (errors_of(system, s, mode, n) for s in (who, against))
            middle, low, high = interval(mine / theirs)
            if middle > 1:
                yield (
                    f"- {name}: **{who}**, {mode.replace('_', ' ')}, ends with "
                    f"{middle:.2g} ({low:.2g} to {high:.2g}) times the error of "
                    f"*{against}* (larger in {(mine > theirs).sum()} of {len(mine)} "
                    "seeds)."
                )


def _pairs(system: SystemResults) -> Iterator[tuple[str, str, str, str]]:
    """Strategies and what they are held against, each with its way of deployment."""
    n = system["sizes"]["budget"]
    alone, hand = "standalone", "at_hand"
    baselines = [RANDOM.name]
    for kind in ("active", "fixed"):
        found = best_of(system, kind, alone, n)
        baselines += [] if found is None else [found[0]]
    for who in PLANNED:
        # ratios have the low level as it is: a useless one is held against one level
        names = [n for n in baselines if who != USELESS.name or n not in RATIOS]
        if has(system, who, alone):
            yield from ((who, alone, against, alone) for against in names)
    if has(system, AT_HAND.name, hand):
        fixed = best_of(system, "fixed", hand, n)
        others = [DELTA.name, *([] if fixed is None else [fixed[0]])]
        yield from ((AT_HAND.name, hand, against, hand) for against in others)
