"""One campaign on labels that are known: buy, fit, measure, until the budget is spent."""

import time
from collections.abc import Iterator
from functools import cached_property
from typing import Any

import numpy as np

from benchmarks.strategies_small.learners import Label, Learner
from benchmarks.strategies_small.strategies import (
    HIGH_ONLY,
    SWEEP,
    State,
    Strategy,
    choose,
    step_seed,
)
from benchmarks.strategies_small.systems import Split, System
from mfal.data import LabelledDataset

REFIT = 1.3
"""Hyperparameters are fitted anew when the cost has grown so many times,"""
DOUBLED = 2.0
"""or the number of low labels so many times."""
MEASURED = 1.02
"""Errors are measured when the cost has grown so many times."""


class Replay:
    """All campaigns of one system; the fit after a sweep is shared among strategies."""

    def __init__(self, system: System, learner: Learner) -> None:
        self.system, self.learner = system, learner
        self._start: tuple[tuple[int, frozenset[Label]], Any] | None = None

    def run(self, strategy: Strategy, seed: int) -> dict[str, Any]:
        """The learning curve of a strategy: a point for each measured step."""
        begin = time.process_time()
        points = list(self._campaign(strategy, seed))
        return {"curve": points, "cpu_seconds": time.process_time() - begin}

    def _campaign(self, strategy: Strategy, seed: int) -> Iterator[dict[str, Any]]:
        system, split = self.system, self.system.split(seed)
        bought = {(i, level) for i in split.pilot for level in system.data.levels}
        if strategy.levels == SWEEP:
            bought |= {(i, system.low) for i in split.candidates}
        model = self._first(strategy, seed, bought)
        fitted_at = (self._spent(bought), self._n_low(bought))
        measured_at, step, view = 0.0, 0, None
        while True:
            spent = self._spent(bought)
            labels = self._choose(
                strategy, split, bought, model, view, step_seed(seed, step)
            )
            if not labels or spent >= MEASURED * measured_at:
                measured_at = spent
                yield self._measured(model, split, bought, spent)
            if not labels:
                return
            chosen, view = labels
            low_stays = all(level == system.high for _, level in chosen)
            bought |= set(chosen)
            now = (self._spent(bought), self._n_low(bought))
            data = self._data(strategy, bought)
            if now[0] >= REFIT * fitted_at[0] or now[1] >= DOUBLED * fitted_at[1]:
                same = low_stays and now[1] == fitted_at[1]
                model = self.learner.fit(data, model, same)
                fitted_at = now
            else:
                model = self.learner.hold(data, model)
            step += 1

    def _choose(
        self,
        strategy: Strategy,
        split: Split,
        bought: set[Label],
        model: Any,
        before: Any,
        seed: int,
    ) -> tuple[list[Label], Any] | None:
        """The next labels and the view of the pool that was used, if any."""
        system = self.system
        high_only = strategy.levels == HIGH_ONLY
        wanted = [
            (i, level)
            for i in split.candidates
            for level in ((system.high,) if high_only else system.data.levels)
            if (i, level) not in bought
        ]
        views: list[Any] = []

        def view() -> Any:
            made = self.learner.view(model, wanted, split.targets, before)
            views.append(made)
            return made

        known = [i for i, level in bought if level == system.high]
        state = State(wanted, view, self._descriptors, sorted(known), seed)
        left = system.budget - self._spent(bought)
        labels = choose(strategy, state, dict(system.costs), left, system.high)
        return (labels, views[0] if views else None) if labels else None

    def _first(self, strategy: Strategy, seed: int, bought: set[Label]) -> Any:
        data = self._data(strategy, bought)
        key = (seed, frozenset((i, level) for i, level, _ in data))
        if self._start is None or self._start[0] != key:
            self._start = (key, self.learner.fit(data, None, False))
        return self._start[1]

    def _data(self, strategy: Strategy, bought: set[Label]) -> LabelledDataset:
        """The labels that are bought; a strategy without a low level uses the high."""
        data = self.system.data
        if strategy.levels == HIGH_ONLY:
            data = data.at_levels([self.system.high])
        labels = {k: label for k, label in data.labels.items() if k in bought}
        return LabelledDataset(data.structures, data.fidelities, labels)

    def _spent(self, bought: set[Label]) -> float:
        counts = self._counts(bought)
        return sum(n * self.system.costs[level] for level, n in counts.items())

    def _n_low(self, bought: set[Label]) -> int:
        return self._counts(bought)[self.system.low]

    def _counts(self, bought: set[Label]) -> dict[str, int]:
        levels = [level for _, level in bought]
        return {level: levels.count(level) for level in self.system.data.levels}

    def _measured(
        self, model: Any, split: Split, bought: set[Label], spent: float
    ) -> dict[str, Any]:
        data, high = self.system.data, self.system.high
        structures = [data.structures[i] for i in split.heldout]
        truth = [data.labels[i, high] for i in split.heldout]
        point = {"cost": spent, "labels": self._counts(bought)}
        point["standalone"] = errors(model.mean(structures), truth)
        if len(model.levels) > 1 and self.system.name == "methanol":
            low = [data.labels[i, self.system.low] for i in split.heldout]
            predicted = model.predict(structures, at_hand=low)
            point["at_hand"] = errors(predicted, truth)
        return point

    @cached_property
    def _descriptors(self) -> Any:
        return self.learner.descriptors()


def errors(predicted: Any, truth: Any) -> dict[str, float]:
    """Root mean square error of forces (eV/A), mean absolute one of energies (meV/atom)."""
    forces = [
        np.ravel(f - label.forces)
        for f, label in zip(predicted.forces, truth, strict=True)
    ]
    energies = [
        abs(e - label.energy) / len(label.forces)
        for e, label in zip(predicted.energy, truth, strict=True)
    ]
    rmse = float(np.sqrt(np.mean(np.concatenate(forces) ** 2)))
    return {"forces_rmse": rmse, "energy_mae": 1e3 * float(np.mean(energies))}
