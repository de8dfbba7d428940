"""One campaign on labels that are known: buy, fit, measure, until the budget is spent."""

import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from benchmarks.strategies import labels as other
from benchmarks.strategies.learners import Label, Learner, Wanted
from benchmarks.strategies.strategies import (
    ALL,
    DIFFERENCE,
    ONE,
    State,
    Strategy,
    choose,
    step_seed,
)
from benchmarks.strategies.systems import Split, System
from mfal.acquisition import estimate_cost
from mfal.acquisition.planner import FIRST_ABOVE
from mfal.campaign.planning import plan_levels, without_useless_levels
from mfal.data import Label as Answer
from mfal.data import LabelledDataset
from mfal.models.level_evidence import step_evidence

REFIT = 1.3
"""Hyperparameters are fitted anew when the cost has grown so many times,"""
DOUBLED = 2.0
"""or the number of labels of a lower level so many times."""


@dataclass
class Progress:
    """Where a campaign is: what it has, what it uses, what it last fitted to."""

    bought: set[Label]
    levels: tuple[str, ...]
    sweep: tuple[str, ...] = ()
    left: list[str] = field(default_factory=list)
    model: Any = None
    view: Any = None
    fitted_at: dict[str, int] = field(default_factory=dict)


class Replay:
    """All campaigns of one system; the fit to a pilot is shared among strategies."""

    def __init__(self, system: System, learner: Learner) -> None:
        self.system, self.learner = system, learner
        self._pilots: dict[Any, Any] = {}

    def run(self, strategy: Strategy, seed: int) -> dict[str, Any]:
        """The learning curve of a strategy: a point for each step."""
        begin = time.process_time()
        return {"curve": list(self._campaign(strategy, seed))} | {
            "cpu_seconds": time.process_time() - begin
        }

    def _campaign(self, strategy: Strategy, seed: int) -> Iterator[dict[str, Any]]:
        system, split = self.system, self.system.split(seed)
        source = self._source(strategy, seed)
        now = self._begin(strategy, split, source, seed)
        yield self._measured(strategy, now, split)
        sweep = {
            (i, name)
            for i in split.candidates
            for name in now.sweep
            if (i, name) in system.data.labels
        } - now.bought
        step = 0
        while True:
            labels = list(sweep)
            if not sweep:
                labels = self._choose(strategy, now, source, split, seed, step)
            if not labels:
                return
            now.bought |= set(labels)
            self._learn(strategy, now, source)
            yield self._measured(strategy, now, split)
            sweep, step = set(), step + 1

    def _source(self, strategy: Strategy, seed: int) -> LabelledDataset:
        """The labels that the strategy would get of all structures at all levels."""
        data = self.system.data
        if strategy.useless:
            data = other.scrambled(data, seed)
        return other.without_forces(data) if strategy.energies else data

    def _begin(
        self, strategy: Strategy, split: Split, source: LabelledDataset, seed: int
    ) -> Progress:
        """The pilot, the plan that follows from it, and the first model."""
        high = self.system.high
        levels = (high,) if strategy.learns == ONE else self.system.levels
        bought = {(i, name) for i in split.pilot for name in levels}
        now = Progress(bought, levels)
        if strategy.planned:
            costs = {n: estimate_cost([c]) for n, c in self.system.costs.items()}
            pilot = _some(source, bought, levels)
            plan = plan_levels(pilot, costs, FIRST_ABOVE)
            now.left = [name for name in levels if name not in plan["levels"]]
            now.levels = tuple(plan["levels"])
            now.sweep = tuple(plan["sweep"])
        kind = (strategy.learns, strategy.useless, strategy.energies, now.levels)
        key = (seed, kind)
        if key not in self._pilots:
            self._pilots = {k: m for k, m in self._pilots.items() if k[0] == seed}
            data = self._data(strategy, now, source)
            self._pilots[key] = self.learner.fit(data, None, 0)
        now.model = self._pilots[key]
        now.fitted_at = self._counts(now.bought)
        self._guard(strategy, now, source, 0)
        return now

    def _choose(
        self,
        strategy: Strategy,
        now: Progress,
        source: LabelledDataset,
        split: Split,
        seed: int,
        step: int,
    ) -> list[Label]:
        system = self.system
        buys = now.levels
        wanted = [
            (i, name)
            for i in split.candidates
            for name in buys
            if (i, name) in source.labels and (i, name) not in now.bought
        ]
        quantities = {
            name: next(lab.quantities for _, at, lab in source if at == name)
            for name in buys
        }
        asked = next(lab.quantities for _, at, lab in system.data if at == system.high)

        def view() -> Any:
            given = system.levels[0]
            with_low = strategy.given and given in buys
            about = Wanted(
                tuple(wanted),
                split.targets,
                quantities,
                asked,
                given if with_low else None,
            )
            now.view = self.learner.view(now.model, about, now.view)
            return now.view

        spent = self._spent(now.bought)
        costs = {name: system.costs[name] for name in buys}
        left = system.budget - spent
        state = State(wanted, costs, left, spent, view, step_seed(seed, step))
        return choose(strategy, state, system.high)

    def _learn(
        self, strategy: Strategy, now: Progress, source: LabelledDataset
    ) -> None:
        """The model of what is bought; fitted anew if there is much more than before."""
        data = self._data(strategy, now, source)
        counts, before = self._counts(now.bought), now.fitted_at
        grown = self._price(counts) >= REFIT * self._price(before)
        doubled = any(
            counts[n] >= DOUBLED * before[n] for n in now.levels[:-1] if before[n]
        )
        if not grown and not doubled:
            now.model = self.learner.hold(data, now.model)
            return
        changed = [k for k, n in enumerate(now.levels) if counts[n] > before[n]]
        hold_below = 0 if strategy.learns == DIFFERENCE else min(changed)
        now.model = self.learner.fit(data, now.model, hold_below)
        now.fitted_at = counts
        self._guard(strategy, now, source, hold_below)

    def _guard(
        self,
        strategy: Strategy,
        now: Progress,
        source: LabelledDataset,
        hold_below: int,
    ) -> None:
        """What a campaign asks after a fit: is there a level that tells nothing?"""
        if not strategy.planned or len(now.levels) < 2:
            return

        def refit(levels: Sequence[str]) -> Any:
            data = _some(source, now.bought, levels)
            return self.learner.fit(data, None, 0)

        found, left = without_useless_levels(
            now.model, step_evidence, refit, refitted_from=hold_below
        )
        if left:
            now.model, now.levels, now.view = found, tuple(found.levels), None
            now.sweep = tuple(name for name in now.sweep if name in now.levels)
            now.left += [one["level"] for one in left]

    def _data(
        self, strategy: Strategy, now: Progress, source: LabelledDataset
    ) -> LabelledDataset:
        """What is learned from."""
        data = _some(source, now.bought, now.levels)
        return other.differences(data) if strategy.learns == DIFFERENCE else data

    def _counts(self, bought: set[Label]) -> dict[str, int]:
        names = [name for _, name in bought]
        return {name: names.count(name) for name in self.system.levels}

    def _price(self, counts: Mapping[str, int]) -> float:
        return sum(n * self.system.costs[name] for name, n in counts.items())

    def _spent(self, bought: set[Label]) -> float:
        return self._price(self._counts(bought))

    def _measured(
        self, strategy: Strategy, now: Progress, split: Split
    ) -> dict[str, Any]:
        """Errors on the held-out structures, by the way of deployment."""
        data, model = self.system.data, now.model
        low_level, high = self.system.levels[0], self.system.high
        structures = [data.structures[i] for i in split.heldout]
        truth = [data.labels[i, high] for i in split.heldout]
        low = [data.labels[i, low_level] for i in split.heldout]
        counts = self._counts(now.bought)
        point: dict[str, Any] = {"cost": self._price(counts), "labels": counts}
        if now.left:
            point["left"] = list(now.left)
        mean = _answers(model.mean(structures), truth)
        if strategy.learns == DIFFERENCE:
            point["at_hand"] = errors(other.added(low, mean), truth)
            return point
        point["standalone"] = errors(mean, truth)
        if strategy.learns == ALL and not strategy.useless:
            point["at_hand"] = point["standalone"]
            if low_level in model.levels and len(model.levels) > 1:
                found = model.predict(structures, at_hand=low)
                point["at_hand"] = errors(_answers(found, truth), truth)
        return point


def errors(predicted: Sequence[Answer], truth: Sequence[Answer]) -> dict[str, float]:
    """Root mean square error of forces (eV/A), mean absolute one of energies (meV/atom
    for forces, meV for energies alone), of what the truth has."""
    found = {}
    pairs = list(zip(predicted, truth, strict=True))
    if truth[0].forces is not None:
        misses = [np.ravel(p.forces - t.forces) for p, t in pairs]
        found["forces_rmse"] = float(np.sqrt(np.mean(np.concatenate(misses) ** 2)))
    if truth[0].energy is not None:
        missed = [
            abs(p.energy - t.energy) / (1 if t.forces is None else len(t.forces))
            for p, t in pairs
        ]
        found["energy_mae"] = 1e3 * float(np.mean(missed))
    return found


def _answers(predicted: Any, truth: Sequence[Answer]) -> list[Answer]:
    """Predictions of what the truth has, as labels."""
    found = zip(predicted.energy, predicted.forces, truth, strict=True)
    return [Answer(float(e), np.asarray(f)).only(t.quantities) for e, f, t in found]


def _some(
    source: LabelledDataset, bought: set[Label], levels: Sequence[str]
) -> LabelledDataset:
    data = source.at_levels(list(levels))
    labels = {k: label for k, label in data.labels.items() if k in bought}
    return LabelledDataset(data.structures, data.fidelities, labels)
