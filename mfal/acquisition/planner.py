"""What to do with the levels, in plain words, before anything is chosen."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float

USEFUL = 0.5
"""Leave-one-out R^2 from which a low level is used. In trials useful low levels had 0.71
to 0.98, useless ones less than 0.38."""


@dataclass(frozen=True)
class Diagnosis:
    """Whether a low level is worth buying: the verdict on paired labels."""

    r2: float
    scale: float
    n_pairs: int
    useful: bool
    sentence: str


def diagnose(
    low: Sequence[Float[np.ndarray, "n 3"]],
    high: Sequence[Float[np.ndarray, "n 3"]],
    names: tuple[str, str],
) -> Diagnosis:
    """How well scaled low-level forces give the high-level forces they are paired with.

    R^2 = 1 - sum |F_H - s F_L|^2 / sum |F_H|^2, with the scale s of each geometry fitted
    to the others (leave one geometry out).

    Raises:
        ValueError: fewer than three pairs.
    """
    if len(low) != len(high) or len(low) < 3:
        raise ValueError(
            f"a diagnosis takes at least three paired labels, got {len(low)} and "
            f"{len(high)}"
        )
    across = np.array([float((a * b).sum()) for a, b in zip(low, high, strict=True)])
    square = np.array([float((a * a).sum()) for a in low])
    scales = (across.sum() - across) / np.maximum(square.sum() - square, 1e-30)
    residual = sum(
        float(np.square(b - s * a).sum())
        for a, b, s in zip(low, high, scales, strict=True)
    )
    total = sum(float(np.square(b).sum()) for b in high)
    r2 = 1 - residual / total if total > 0 else 0.0
    useful = r2 >= USEFUL
    scale = float(across.sum() / max(square.sum(), 1e-30))
    sentence = (
        f"{len(low)} paired labels: {names[0]} forces, scaled by {scale:.3f}, explain "
        f"{100 * r2:.0f} % of the {names[1]} forces (leave-one-out): "
        + ("the low level is used." if useful else "the low level is left.")
    )
    return Diagnosis(float(r2), scale, len(low), useful, sentence)


def low_level_first(ratio: float, threshold: float) -> bool:
    """Whether the pool is labelled at the low level before anything is chosen."""
    return ratio > threshold
