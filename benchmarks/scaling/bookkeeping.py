"""Points of candidates: what choosing takes beside the criterion itself."""

import sys
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from benchmarks.in_process import InProcess
from benchmarks.scaling.measuring import stage
from mfal.acquisition import Candidate, Random, select_batch, select_partitioned


@dataclass(frozen=True)
class Nothing:
    """A pool of which nothing is asked but how many blocks it has."""

    n: int

    @property
    def slices(self) -> list[slice]:
        return [slice(0, 0)] * self.n


def of_candidates(size: int, settings: dict[str, Any], found: dict[str, Any]) -> None:
    """The objects of so many candidates, and a greedy batch by values that are there.

    A floor of one scan of costs and gains for each pick.
    """
    picks = settings["picks"]
    acquisition = Random(Nothing(size), 0)
    with stage(found, "objects", held=8.0 * 3 * size, moved=8.0 * 3 * size) as about:
        candidates = [
            Candidate(k // 2, ("low", "high")[k % 2], (1.0, 30.0)[k % 2])
            for k in range(size)
        ]
    about["object_bytes"] = sys.getsizeof(candidates[0]) + sys.getsizeof(
        vars(candidates[0])
    )
    with stage(found, "in parts", held=16.0 * size, moved=16.0 * size * picks):
        select_partitioned(
            values_of_part, candidates, picks, InProcess(), n_parts=8, seed=0
        )
    with stage(found, "greedy", held=16.0 * size, moved=16.0 * size * picks):
        select_batch(acquisition, candidates, picks)


def values_of_part(part: Sequence[int]) -> Random:
    """Values that are there for a part of the pool."""
    return Random(Nothing(len(part)), 0)
