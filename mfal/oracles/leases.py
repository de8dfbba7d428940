"""Leases: how long an executor that cannot kill may keep a label."""

import time
from concurrent.futures import Future
from dataclasses import dataclass, field, replace

from mfal.oracles.request import LabelRequest, LabelResult
from mfal.oracles.spool import has_begun

LOOKS = 20
"""How often during a lease it is looked whether a label has begun."""


@dataclass(eq=False)
class Leases:
    """Labels that are given up after `seconds`, and those that may still report.

    The clock of a label starts when a worker is seen to have begun it: its future
    says so (`concurrent.futures` of the standard library) or its note is in the spool
    (any executor whose workers share that directory). The time in a queue is not
    counted. Where neither is seen, nothing is given up.

    Keep one object for as long as late results are to be taken.

    Raises:
        ValueError: a lease that is not above 0 seconds.
    """

    seconds: float
    late: dict[Future[LabelResult], LabelRequest] = field(default_factory=dict)
    _begun: dict[Future[LabelResult], float] = field(default_factory=dict)
    _looked: float = -float("inf")

    def __post_init__(self) -> None:
        if not self.seconds > 0:
            raise ValueError(f"a lease is above 0 seconds, got {self.seconds}")

    def expire(
        self, running: dict[Future[LabelResult], LabelRequest]
    ) -> list[tuple[LabelRequest, float]]:
        """Moves what is kept too long to `late`; the requests and their seconds."""
        now = time.monotonic()
        if now - self._looked < self.seconds / LOOKS:
            return []
        self._looked = now
        self._begun = {f: begun for f, begun in self._begun.items() if f in running}
        for future, request in running.items():
            if future not in self._begun and (future.running() or has_begun(request)):
                self._begun[future] = now
        over = [f for f, begun in self._begun.items() if now - begun > self.seconds]
        expired = []
        for future in over:
            self.late[future] = request = running.pop(future)
            expired.append((request, now - self._begun.pop(future)))
        return expired

    def uncharged(self, result: LabelResult) -> LabelResult:
        """A late result less what was charged when the label was given up."""
        return replace(
            result,
            wall_seconds=max(result.wall_seconds - self.seconds, 0.0),
            cpu_seconds=max(result.cpu_seconds - self.seconds, 0.0),
        )
