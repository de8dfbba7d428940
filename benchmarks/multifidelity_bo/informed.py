r"""A search for the best by mfal's own criterion: what labels tell of where it could be.

The targets are the places of the high level at which draws of the posterior have their
maximum, of those that are not bought yet; the next label is the one that tells most about
the values there per cost,

.. math:: \arg\max_c I(y_c; f_T) / cost_c, \qquad
    T = \{\arg\max_x f^{(s)}(x)\}, \quad f^{(s)} \sim p(f_H | data).

Source: Thompson (1933), Biometrika 25, 285, for the draws.
"""

import time
import warnings
from collections.abc import Sequence
from typing import Any

import torch

from benchmarks.cokriging.optimisation import CHECKS, bought
from benchmarks.cokriging.searches import HIGH, Label, Search
from benchmarks.cokriging.strategies import Modelled, ours
from mfal.acquisition import LevelCostModel, qTargetInformation

DRAWS = 64
MOST = 100
"""Labels after the first ones: cheap labels first, so more than the others' limit."""
TOLERANCE = 0.1
"""How well the values at the targets are to be known, in standard deviations of what
the high level is expected to say over all places."""


class Informed(Modelled):
    """Information per cost about the places where the best could be."""

    def __init__(self, search: Search) -> None:
        super().__init__(search, ours)

    def next(self, labels: Sequence[Label]) -> Label:
        model = self.model(labels)
        taken = {label.row for label in labels if label.level == HIGH}
        free = [i for i in range(len(self._search.candidates)) if i not in taken]
        places = self._search.candidates[free]
        with torch.no_grad():
            posterior = model.posterior(places)
            draws = posterior.rsample(torch.Size([DRAWS])).squeeze(-1)
            spread = posterior.mean.var() + posterior.variance.mean()
        value = qTargetInformation(
            model,
            places[draws.argmax(dim=-1).unique()],
            float(TOLERANCE**2 * spread),
            cost_model=LevelCostModel(self._search.costs),
        )
        return self._search.maximum(value, labels, list(self.levels))


def searched(search: Search, seed: int) -> dict[str, Any]:
    """A run in the form of those of the other strategies, from the same first labels."""
    torch.manual_seed(seed)
    chooser, labels = Informed(search), search.first(seed)
    n_first = len(labels)
    start = spent = due = sum(label.cost for label in labels)
    began = time.process_time()
    expected: list[tuple[float, float]] = []
    over = False
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        while not over:
            over = spent >= search.budget or len(labels) - n_first >= MOST
            over = over or bought(labels, search.best)
            if spent >= due or over:
                expected.append((spent, chooser.expected_best(labels).value))
                due = spent + (search.budget - start) / CHECKS
            if not over:
                labels.append(chooser.next(labels))
                spent += labels[-1].cost
    return {
        "spent": [s for s, _ in expected],
        "expected": [e for _, e in expected],
        "first": n_first,
        "levels": [label.level for label in labels],
        "values": [label.value for label in labels],
        "costs": [label.cost for label in labels],
        "cpu_seconds": time.process_time() - began,
    }
