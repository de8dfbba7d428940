"""What a store adds to the results of the campaign that never ran: map and times."""

import numpy as np

LOW, HIGH = "gfn2", "pbe"
STRATEGIES = {  # force error (eV/A) of 32 labels, exponent of its fall
    "pbe alone, random labels": (0.30, 0.35),
    "pbe alone, chosen labels": (0.28, 0.35),
    "joint, standalone, random labels": (0.19, 0.3),
    "joint, standalone, chosen labels": (0.16, 0.35),
    "joint, gfn2 at hand, random labels": (0.06, 0.5),
    "joint, gfn2 at hand, chosen labels": (0.045, 0.6),
}


def pool_map(rng, n=360):
    """Points of a pool, those of the documents' campaign labelled."""
    points = []
    for i in range(n):
        role = "heldout" if i < 40 else "candidate"
        steps = {LOW: 1 + (i > 48)}
        if i < 40:
            steps = {LOW: 2, HIGH: 2}
        elif i % 10 == 0:
            steps[HIGH] = 3 + i // 40
        elif i % 7 == 0:
            steps = {}
        x, y = rng.normal(size=2)
        points.append(
            {"structure": i, "role": role, "x": 3 * x, "y": y, "steps": steps}
        )
    return {
        "descriptor": "inverse distances",
        "explained": [0.61, 0.17],
        "n_structures": 400,
        "points": points,
    }


def timeline(rng):
    """Three workers: a sweep of a cheap level, then batches of three; one hangs."""
    labels = []

    def add(level, start, took, state="done"):
        labels.append(
            {
                "level": level,
                "state": state,
                "purpose": "acquired",
                "host": "node1",
                "attempts": 1,
                "cpu_seconds": took,
                "start": start,
                "end": start + took,
            }
        )

    for i in range(90):
        add(LOW, 0.1 * (i // 3), 0.09)
    for step in range(12):
        for _ in range(3):
            add(HIGH, 12 + 9 * step + rng.uniform(0, 0.2), rng.uniform(4, 6))
    add(HIGH, 120, 20.0, state="quarantined")
    return {"first": "2025-03-04T09:12:44+00:00", "labels": labels}


def strategies():
    """Rows of the comparison with their curves."""
    rows = []
    for name, (force, exponent) in STRATEGIES.items():
        curve = []
        for n in (8, 16, 32):
            f = force * (n / 32) ** -exponent
            point = {"n_high": n}
            for key, value in (("forces_mae", f), ("energy_mae", 20 * f)):
                point |= {
                    key: value,
                    f"{key}_low": 0.9 * value,
                    f"{key}_high": 1.15 * value,
                }
            curve.append(point)
        rows.append(
            {"name": name, **curve[-1], "note": "a quarter at a time", "curve": curve}
        )
    return rows


def stored(document):
    """The parts that a page reads beside the document."""
    rng = np.random.default_rng(3)
    return {
        **document,
        "comparison": [*strategies(), *document["comparison"][-2:]],
        "pool": {"candidates": 320, "validation_open": {}},
        "map": pool_map(rng),
        "timeline": timeline(rng),
    }
