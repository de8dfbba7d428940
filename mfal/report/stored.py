"""What the page shows of a store that the document does not hold: pool and times."""

import json
from collections import Counter
from datetime import datetime
from pathlib import Path
from typing import Any

from mfal.campaign.forecast import pool_counts
from mfal.campaign.reader import StoreReader
from mfal.campaign.records import StoredLabel
from mfal.report.components import pool_map
from mfal.report.structures import write_structures

STORE = "campaign.sqlite"


def stored_parts(directory: Path) -> dict[str, Any]:
    """`pool`, `map`, `timeline` and `structures` of the campaign in a directory.

    Nothing where there is no store, as of results that were copied elsewhere. Writes the
    page of structures (see `mfal.report.structures`).
    """
    if not (directory / STORE).exists():
        return {}
    store = StoreReader(directory / STORE, read_only=True)
    try:
        structures, labels = store.structures(), store.labels()
        group = json.loads(store.meta("permutations") or "null")
    finally:
        store.close()
    if not structures:
        return {}
    steps: dict[int, dict[str, int]] = {}
    for label in labels:
        if label.state == "done":
            steps.setdefault(label.structure_id, {})[label.level] = label.step
    pool = [(s.id, s.atoms, s.role) for s in structures]
    found = pool_map(pool, steps, group)
    return {
        "pool": pool_counts(Counter(s.role for s in structures), labels),
        "map": found,
        "timeline": timeline(labels),
        "structures": write_structures(directory, pool, found),
    }


def timeline(labels: list[StoredLabel]) -> dict[str, Any] | None:
    """When each label ran, in seconds since the first; `None` if none took any time.

    A label ends when its result was stored (to the second) and begins its wall time
    earlier, that of all its attempts. `charged` says whether the budget pays for it.
    """
    ended = [x for x in labels if x.finished_at and x.wall_seconds > 0]
    if not ended:
        return None
    spans = []
    for label in ended:
        end = datetime.fromisoformat(str(label.finished_at)).timestamp()
        spans.append((end - label.wall_seconds, end, label))
    first = min(start for start, _, _ in spans)
    return {
        "first": datetime.fromtimestamp(first).astimezone().isoformat(),
        "labels": [
            {
                "level": label.level,
                "state": label.state,
                "purpose": label.purpose,
                "host": label.host,
                "attempts": label.attempts,
                "cpu_seconds": label.cpu_seconds,
                "start": start - first,
                "end": end - first,
            }
            for start, end, label in sorted(spans, key=lambda s: (s[0], s[2].id))
        ],
    }
