r"""Does a level explain the one above it? Two evidences of the same labels, in nats.

    joint: log p(y_l | y_below), y_l built on the levels below, rho integrated out;
    alone: log p(y_l), a process with hyperparameters of its own (rho = 0, fitted again).

What the levels below say of themselves is in both and cancels. The joint model holds
the other one at rho = 0 and would never lose at its maximum. So rho is integrated over
its prior (by Laplace's formula at its most probable value),

    log p(y) ~ log p(y | rho) + log p(rho) + 1/2 log 2 pi s^2,

s the standard error of rho: a rho that the data push to nothing pays for it.

Source: MacKay (2003), Information Theory, Inference, and Learning Algorithms, ch. 28.
"""

import math
from dataclasses import dataclass, replace

import numpy as np
import torch

from mfal.kernels import GramProducts
from mfal.models.evidence import log_evidence, maximise_evidence
from mfal.models.exact import ExactPotential
from mfal.models.fitting import typical_distance
from mfal.models.hyperparameters import Hyperparameters, default_prior
from mfal.models.moments import ALONE, Group, Moments, Statistics
from mfal.models.observations import Observations
from mfal.models.weight_fit import LeftOutErrors, fit_weight_hyperparameters
from mfal.models.weight_potential import WeightPotential
from mfal.models.weights import WeightHyperparameters
from mfal.models.weights import log_evidence as weight_evidence

RHO_PRIOR = (1.0, 0.3)
"""Mean and deviation of rho in the prior of both engines."""

MARGIN = 1.0
"""Nats by which independent levels have to be better: odds of 2.7 to 1. With less the
labels say nothing yet; Kass & Raftery (1995), J. Am. Stat. Assoc. 90, 773, section 3.2."""

NOISE_FLOOR = (1e-5, 1e-5, 1e-7)
"""Least noise of the sparse engine (`mfal.models.weight_fit`). There the features say
everything of the labels, misfit and all, and the evidence says nothing of the levels."""

LARGEST = 1000
"""Rows of an exact model that are compared: a random part, if there are more."""


@dataclass(frozen=True)
class StepEvidence:
    """The evidences of the labels of `level` with and without those `below`."""

    below: str
    level: str
    joint: float
    alone: float

    @property
    def joined(self) -> bool:
        """Whether independent levels do not explain the labels better by `MARGIN`."""
        return self.joint >= self.alone - MARGIN


def step_evidence(
    model: ExactPotential | WeightPotential, level: int, *, seed: int = 0
) -> StepEvidence | None:
    """The evidences for a step to `level` >= 1.

    `None` if a level has no labels, or a sparse model more features than labels can
    hold to account: noise at its bound.

    Costs a small part of the fit: two evidences of the joint model at its
    hyperparameters, and one search for level `level` alone.

    Raises:
        ValueError: a level that nothing is below.
    """
    if not 0 < level < len(model.levels):
        raise ValueError(
            f"there is no step to level {level} of {len(model.levels)}: steps lead to "
            "the levels from 1 on"
        )
    names = model.levels[level - 1], model.levels[level]
    rho, error = (
        float(x[level - 1]) for x in (model.hyperparameters.rho, model.fitted.rho_error)
    )
    price = integrated(rho, error, *RHO_PRIOR)
    if isinstance(model, ExactPotential):
        found = _exact(model, level, seed)
        return (
            None if found is None else StepEvidence(*names, found[0] + price, found[1])
        )
    alone = _weights_alone(model, level)
    if alone is None:
        return None
    joint, below = (_evidence_up_to(model, k) for k in (level, level - 1))
    step = StepEvidence(*names, joint + price - below, alone)
    if step.joined:
        return step
    # a search that ended in a lesser maximum is no reason to leave a level
    again = fit_weight_hyperparameters(
        _up_to(model, level),
        model.prior,
        _judge(model.fitted.ratio),
        ratios=(model.fitted.ratio or 0.1,),
    )
    price = integrated(
        float(again.hyperparameters.rho[-1]), float(again.rho_error[-1]), *RHO_PRIOR
    )
    below = max(below, _evidence_up_to(model, level - 1, again.hyperparameters))
    return replace(step, joint=max(step.joint, again.log_evidence + price - below))


def integrated(rho: float, error: float, mean: float, deviation: float) -> float:
    """log p(rho) + 1/2 log 2 pi s^2; an unknown error is that of the prior."""
    s = deviation if math.isnan(error) else error
    return math.log(s / deviation) - 0.5 * ((rho - mean) / deviation) ** 2


# --- function space


def _exact(model: ExactPotential, level: int, seed: int) -> tuple[float, float] | None:
    data, h = model.observations, model.hyperparameters
    orders = model.builder.descriptor.orders(model.permutations)
    chosen = _labels_of(data, level, seed)
    below = [i for i in chosen if data.level[i] < level]
    own = [i for i in chosen if data.level[i] == level]
    if not own or not below:
        return None

    def evidence(labels: list[int]) -> float:
        part = data.blocks(labels)
        with torch.no_grad():
            return float(log_evidence(h, part, GramProducts(part.rows, orders=orders)))

    part = data.blocks(own)
    products = GramProducts(part.rows, orders=orders)
    best = -math.inf
    for kernel in dict.fromkeys((h.kernels[level], h.kernels[level - 1])):
        start, low, high = _alone(h, level, kernel)
        prior = default_prior(h.n_levels, typical_distance(data))
        mean = prior.mean.clone()
        mean[h.n_levels + level] = mean[h.n_levels]  # no discrepancy: a whole level
        free = low < high
        held = replace(
            prior,
            mean=mean,
            low=torch.where(free, prior.low, low),
            high=torch.where(free, prior.high, high),
        )
        best = max(best, maximise_evidence(part, products, held, [start]).log_evidence)
    return evidence(chosen) - evidence(below), best


def _alone(
    h: Hyperparameters, level: int, kernel: str
) -> tuple[Hyperparameters, torch.Tensor, torch.Tensor]:
    """Hyperparameters with rho_l = 0, and bounds that hold all but those of level l."""
    n = h.n_levels
    mine = torch.arange(n) == level
    total = h.scale[level].square() + (h.rho[level - 1] * h.scale[level - 1]) ** 2
    start = Hyperparameters(
        tuple(kernel if m else k for m, k in zip(mine, h.kernels, strict=True)),
        torch.where(mine, h.lengthscale[level - 1], h.lengthscale),
        torch.where(mine, total.sqrt(), h.scale),
        torch.where(mine[1:], 0.0, h.rho),
        h.noise,
    )
    free = torch.cat([mine, mine, torch.zeros(n - 1, dtype=torch.bool), mine.repeat(3)])
    vector = start.to_vector()
    return start, vector - free.double(), vector


def _labels_of(data: Observations, level: int, seed: int) -> list[int]:
    """Labels of a level with those of the same structures below, at random.

    Where structures have none below, other labels of the level below fill the room.
    """
    starts = data.rows.starts
    order = np.random.default_rng([seed, level, 5]).permutation(len(data.structure))
    families: dict[int, list[int]] = {}
    for i, structure in enumerate(data.structure):
        if data.level[i] <= level:
            families.setdefault(structure, []).append(i)
    heads = [i for i in order if data.level[i] == level]
    if any(len(families[data.structure[i]]) == 1 for i in heads):
        heads += [i for i in order if data.level[i] == level - 1]
    chosen: set[int] = set()
    n_rows = 0
    for i in heads:
        family = set(families[data.structure[i]]) - chosen
        size = sum(starts[k + 1] - starts[k] for k in family)
        if n_rows + size <= LARGEST or not chosen:
            chosen |= family
            n_rows += size
    return sorted(chosen)


# --- weight space


def _weights_alone(model: WeightPotential, level: int) -> float | None:
    """The largest evidence of a level's labels with weights of their own."""
    own: dict[Group, Moments] = {}
    for group, moments in model.statistics.groups.items():
        if group.level == level and moments.n_rows:
            single = Group(0, ALONE, group.quantity, group.sigma)
            known = own.get(single, Moments.empty(model.statistics.n_features))
            own[single] = known + moments
    below = _up_to(model, level - 1)
    if not own or not below.n_rows:
        return None
    h, ratio = model.hyperparameters, model.fitted.ratio
    if any(
        float(h.noise[level, g.quantity]) < 2 * NOISE_FLOOR[g.quantity] for g in own
    ):
        return None
    total = h.scale[level].square() + (h.rho[level - 1] * h.scale[level - 1]) ** 2
    start = WeightHyperparameters(
        total.sqrt().unsqueeze(0), h.rho[:0], h.noise[level : level + 1]
    )
    statistics = Statistics(model.statistics.n_features, 1, own)
    alone = fit_weight_hyperparameters(
        statistics, model.prior, _judge(ratio), ratios=(ratio or 0.1,), start=start
    )
    known_below = {g.quantity for g in below.groups}
    if ratio is not None and not {g.quantity for g in own} <= known_below:
        # forces that are not known below bring a noise of their own into the joint
        # model: there that of energies is at most what it is tied to
        free = fit_weight_hyperparameters(statistics, model.prior, None, start=start)
        noise = free.hyperparameters.noise[0]
        if noise[0] <= ratio * noise[1]:
            return max(alone.log_evidence, free.log_evidence)
    return alone.log_evidence


def _judge(ratio: float | None) -> LeftOutErrors | None:
    """What ties energies to forces, or leaves them free where no ratio does."""
    return None if ratio is None else lambda _: np.ones((1, 1))


def _up_to(model: WeightPotential, level: int) -> Statistics:
    groups = {
        g: m
        for g, m in model.statistics.groups.items()
        if g.level <= level and m.n_rows
    }
    return Statistics(model.statistics.n_features, level + 1, groups)


def _evidence_up_to(
    model: WeightPotential, level: int, h: WeightHyperparameters | None = None
) -> float:
    """Evidence of the labels of the levels up to one."""
    h, n = h or model.hyperparameters, level + 1
    part = WeightHyperparameters(h.scale[:n], h.rho[:level], h.noise[:n])
    with torch.no_grad():
        return float(weight_evidence(_up_to(model, level), model.prior, part))
