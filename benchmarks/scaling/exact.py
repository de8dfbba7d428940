"""Points of the exact model: rows of an ethanol molecule at two levels."""

from pathlib import Path
from typing import Any

import torch

from benchmarks.scaling.measuring import stage
from mfal.data import Fidelity, read_extxyz
from mfal.descriptors import InverseDistances, find_group
from mfal.kernels import GramProducts
from mfal.models import ExactPotential
from mfal.models.evidence import log_evidence
from mfal.models.fitting import Fit, at_prior_mean, typical_distance
from mfal.models.hyperparameters import default_prior
from mfal.models.observations import RowBuilder, observe

LABELS = Path(__file__).parents[1] / "ethanol" / "ethanol_gfn2_pbe.extxyz"
LEVELS = ("gfn2", "pbe")
PREDICTED = 8
"""Structures that are predicted at once."""


def of_rows(size: int, settings: dict[str, Any], found: dict[str, Any]) -> None:
    """Conditioning on so many rows, predictions, the evidence and the fit.

    A geometry has 44 rows: 1 + 21 at either level.
    """
    every = read_extxyz(LABELS, fidelities=[Fidelity(name) for name in LEVELS])
    data = every.subset(range(size // 44))
    others = every.structures[-PREDICTED:]
    descriptor = InverseDistances(every.structures[0].get_chemical_symbols())
    group = find_group(every.structures[:100])
    permutations = [row.tolist() for row in group]
    observations = observe(data, RowBuilder(descriptor))
    h = at_prior_mean(
        ("matern52",) * 2, default_prior(2, typical_distance(observations))
    )
    fit = Fit(h, (None, None), torch.zeros(1, dtype=torch.float64))
    few = ExactPotential.with_fit(every.subset([0, 1]), fit, permutations=permutations)
    few.predict(others[:1])
    n, d = len(observations), observations.rows.descriptor.shape[1]
    products = len(group) * d * n**2
    with stage(
        found, "condition", flops=n**3 / 3 + products, moved=16 * n**2, held=8 * n**2
    ):
        model = ExactPotential.with_fit(data, fit, permutations=permutations)
    new = PREDICTED * 22
    cross = 2 * new * n * d * len(group)
    with stage(found, "mean", flops=cross, moved=8 * n * new):
        model.mean(others)
    with stage(found, "predict", flops=cross + n**2 * new, moved=4 * n**2):
        model.predict(others)
    if n <= settings["largest_evidence"]:
        gram = GramProducts(
            observations.rows, orders=descriptor.orders(group), keep=False
        )
        with stage(
            found, "evidence", flops=n**3 + 2 * products, moved=24 * n**2, held=8 * n**2
        ):
            free = h.from_vector(h.to_vector().requires_grad_(True))
            log_evidence(free, observations, gram).backward()
    if n <= settings["largest_fit"]:
        with stage(found, "fit") as about:
            fitted = ExactPotential.fit(data, permutations=permutations).fitted
        optima = [o for o in fitted.optima if o is not None]
        about["evaluations"] = sum(o.evaluations for o in optima)
        about["flops"] = sum(
            o.evaluations * (o.n_rows**3 + 2 * len(group) * d * o.n_rows**2)
            for o in optima
        )
