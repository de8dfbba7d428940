"""A batch from vector candidates at two levels: mfal's pool beside BoTorch's search."""

import time
from typing import Any

import torch
from botorch.acquisition import qNegIntegratedPosteriorVariance
from botorch.fit import fit_gpytorch_mll
from botorch.models import SingleTaskMultiFidelityGP
from botorch.models.transforms import Standardize
from botorch.optim import optimize_acqf_discrete
from botorch.sampling import SobolQMCNormalSampler
from botorch.test_functions import AugmentedHartmann
from botorch.utils.sampling import draw_sobol_samples
from gpytorch.mlls import ExactMarginalLogLikelihood
from torch import Tensor

from mfal.acquisition import Candidate, IntegratedVariance, select_batch
from mfal.models.input_pool import InputPool

N_TRAINING, N_TARGETS = 200, 128
AT_ONCE = 256
"""Candidates that BoTorch is given at a time; its default of 2,048 takes 20 GB here."""


def compared(n_candidates: int, size: int) -> dict[str, Any]:
    """CPU and wall seconds of both for the same criterion, and what they chose.

    The criterion: the variance at the targets (at the high level) that is left, summed;
    every label costs the same. One model, one pool, candidates at either level.
    """
    model = _model()
    places = draw_sobol_samples(_box(7), n_candidates, 1, seed=1).squeeze(1)
    places[:, -1] = 0.0
    high = places.clone()
    high[:, -1] = 1.0
    choices = torch.cat([places, high])
    targets = draw_sobol_samples(_box(7), N_TARGETS, 1, seed=2).squeeze(1)
    targets[:, -1] = 1.0
    ours, chosen = _timed(lambda: _by_mfal(model, choices, targets, size))
    theirs, expected = _timed(lambda: _by_botorch(model, choices, targets, size))
    return {
        "n_candidates": len(choices),
        "n_training": N_TRAINING,
        "n_targets": N_TARGETS,
        "batch": size,
        "mfal": ours,
        "botorch": theirs,
        "cpu_ratio": theirs["cpu_seconds"] / ours["cpu_seconds"],
        "same_set": sorted(chosen) == sorted(expected),
        "in_common": len(set(chosen) & set(expected)),
        "variance_left": {
            "mfal": _left(model, choices[chosen], targets),
            "botorch": _left(model, choices[expected], targets),
        },
    }


def _model() -> SingleTaskMultiFidelityGP:
    function = AugmentedHartmann(negate=True).to(torch.float64)
    X = draw_sobol_samples(_box(7), N_TRAINING, 1, seed=0).squeeze(1)
    X[:, -1] = (torch.arange(N_TRAINING) % 4 == 0).double()
    model = SingleTaskMultiFidelityGP(
        X,
        function(X).unsqueeze(-1),
        data_fidelities=[6],
        outcome_transform=Standardize(1),
    )
    fit_gpytorch_mll(ExactMarginalLogLikelihood(model.likelihood, model))
    return model


def _by_mfal(model: Any, choices: Tensor, targets: Tensor, size: int) -> list[int]:
    pool = InputPool(model, torch.cat([choices, targets]))
    acquisition = IntegratedVariance(
        pool, range(len(choices), len(choices) + len(targets))
    )
    candidates = [Candidate(i, str(int(x[-1])), 1.0) for i, x in enumerate(choices)]
    return [p.position for p in select_batch(acquisition, candidates, size)]


def _by_botorch(model: Any, choices: Tensor, targets: Tensor, size: int) -> list[int]:
    acquisition = qNegIntegratedPosteriorVariance(
        model, mc_points=targets, sampler=SobolQMCNormalSampler(torch.Size([1]))
    )
    found, _ = optimize_acqf_discrete(
        acquisition, size, choices=choices, max_batch_size=AT_ONCE, unique=True
    )
    return [int((choices - x).abs().sum(-1).argmin()) for x in found]


def _left(model: Any, bought: Tensor, targets: Tensor) -> float:
    """Mean variance of the targets with these labels, by conditioning the model."""
    values = model.posterior(bought).mean.detach()
    more = model.condition_on_observations(
        bought, values, noise=model.likelihood.noise.detach().expand_as(values)
    )
    with torch.no_grad():
        return float(more.posterior(targets).variance.mean())


def _timed(work: Any) -> tuple[dict[str, float], list[int]]:
    began = time.perf_counter(), time.process_time()
    found = work()
    wall, cpu = time.perf_counter() - began[0], time.process_time() - began[1]
    return {"wall_seconds": wall, "cpu_seconds": cpu}, found


def _box(d: int) -> Tensor:
    return torch.stack([torch.zeros(d), torch.ones(d)]).double()
