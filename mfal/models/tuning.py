"""Shape of the kernel by evidence: cutoffs, width of the density and zeta.

The evidence is a good judge of descriptors, measured on Ge and Si: where it rose by
thousands the test errors fell, where it fell they did not. It is a bad judge of the noise
of energies, which is therefore tied to that of forces throughout (see
`mfal.models.weight_fit`).
"""

import logging
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from mfal.data import LabelledDataset
from mfal.models.feature_map import reference_energies
from mfal.models.gathering import gather
from mfal.models.sparse import CUTOFFS, ZETA, sparse_feature_map
from mfal.models.weight_fit import fit_weight_hyperparameters
from mfal.models.weights import Prior

_logger = logging.getLogger(__name__)

RATIO = 0.1
"""Noise of energies over that of forces while shapes are compared (A per sqrt atom)."""


@dataclass(frozen=True)
class KernelShape:
    """What the evidence chooses: cutoffs and density width (A), exponent zeta."""

    cutoffs: tuple[float, ...] = CUTOFFS
    zeta: int = ZETA
    width: float = 0.5


SHORTER_AND_LONGER: tuple[tuple[float, ...], ...] = (
    (4.0,),
    (5.0,),
    (5.0, 6.5),
    (4.0, 6.0),
)
ZETAS = (2, 3, 4, 6)
WIDTHS = (0.4, 0.5, 0.6)


@dataclass(frozen=True)
class Trial:
    """A shape and the log evidence that it has on the part of the data."""

    shape: KernelShape
    log_evidence: float


def tune_shape(
    dataset: LabelledDataset,
    start: KernelShape,
    *,
    n_structures: int = 48,
    n_inducing: int = 400,
    seed: int = 0,
    progress: Callable[[str], None] = lambda text: None,
    cutoffs: Sequence[tuple[float, ...]] = SHORTER_AND_LONGER,
    zetas: Sequence[int] = ZETAS,
    widths: Sequence[float] = WIDTHS,
    **options: Any,
) -> tuple[KernelShape, list[Trial]]:
    """The shape of largest evidence on random structures, one property after the other.

    First the cutoffs, then zeta, then the width, each with the best of those before.
    All shapes are judged on the same rows and the same number of inducing points.

    Raises:
        ValueError: no labels.
    """
    order = np.random.default_rng([seed, 7]).permutation(len(dataset))
    part = dataset.subset(sorted(int(i) for i in order[:n_structures]))
    known: dict[KernelShape, float] = {}

    def evidence(shape: KernelShape) -> float:
        if shape not in known:
            known[shape] = _evidence(part, shape, n_inducing, seed, options)
            text = f"{shape}: log evidence {known[shape]:.1f}"
            _logger.info("tuning: %s", text)
            progress(f"tuning: {text}")
        return known[shape]

    best = start
    best = max(
        (replace(best, cutoffs=c) for c in {*cutoffs, best.cutoffs}), key=evidence
    )
    best = max((replace(best, zeta=z) for z in {*zetas, best.zeta}), key=evidence)
    best = max((replace(best, width=w) for w in {*widths, best.width}), key=evidence)
    return best, [Trial(shape, value) for shape, value in known.items()]


def _evidence(
    part: LabelledDataset,
    shape: KernelShape,
    n_inducing: int,
    seed: int,
    options: dict[str, Any],
) -> float:
    feature_map = sparse_feature_map(
        part,
        n_inducing=n_inducing,
        zeta=shape.zeta,
        cutoffs=shape.cutoffs,
        seed=seed,
        width=shape.width,
        **options,
    )
    reference = reference_energies(part, feature_map.species)
    found = gather(part, feature_map, reference, seed=seed, kept_bytes=0)
    fit = fit_weight_hyperparameters(
        found.statistics,
        Prior(feature_map.block),
        lambda h: np.ones((1, 1)),
        ratios=(RATIO,),
    )
    return fit.log_evidence
