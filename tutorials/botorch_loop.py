# ---
# jupyter:
#   jupytext:
#     text_representation:
#       extension: .py
#       format_name: percent
#   kernelspec:
#     display_name: Python 3
#     language: python
#     name: python3
# ---

# %% [markdown]
# # Two lines in a BoTorch loop
#
# **Question.** You have a BoTorch loop that buys labels of a cheap and a dear method. What
# has to change to use mfal's co-kriging and its information per cost? Two lines: the one
# that builds the model and the one that builds the acquisition function.
#
# The dear method is Currin's function, the cheap one its published low level, a tenth of
# the price. What is wanted is the dear function everywhere on the unit square, for as
# little as possible.

# %%
import os
import warnings

import matplotlib.pyplot as plt
import torch
from botorch.acquisition.active_learning import qNegIntegratedPosteriorVariance
from botorch.fit import fit_gpytorch_mll
from botorch.models import SingleTaskMultiFidelityGP
from botorch.models.transforms import Standardize
from botorch.optim import optimize_acqf_mixed
from gpytorch.mlls import ExactMarginalLogLikelihood
from torch.quasirandom import SobolEngine

from mfal.acquisition import LevelCostModel, qTargetInformation
from mfal.models import AutoregressiveGP

# the search for the largest integrated variance ends in rounding and says so
warnings.filterwarnings("ignore", message="Optimization failed")
SMOKE = "SMOKE_TEST" in os.environ  # as in BoTorch's own tutorials
BUDGET = 4.0 if SMOKE else 40.0
LOW, HIGH = 0.0, 1.0
cost = LevelCostModel([1.0, 10.0])

# %% [markdown]
# The two methods. A place is $(x_1, x_2, \ell)$ with the level $\ell$ in the last column,
# as BoTorch's multi-fidelity models have it.


# %%
def currin(x):
    a, b = x.unbind(-1)
    above = 2300 * a**3 + 1900 * a**2 + 2092 * a + 60
    below = 100 * a**3 + 500 * a**2 + 4 * a + 20
    return (1 - torch.exp(-0.5 / b)) * above / below


def label(places):
    """What each method says at its places."""
    x = places[:, :2]
    steps = torch.tensor([[0.05, 0.05], [0.05, -0.05], [-0.05, 0.05], [-0.05, -0.05]])
    corners = x + steps.to(x)[:, None]
    corners[..., 1].clamp_(min=0)
    low = currin(corners).mean(dim=0)
    return torch.where(places[:, 2] == HIGH, currin(x), low)[:, None]


def at(x, level):
    return torch.cat([x, torch.full_like(x[:, :1], level)], dim=1)


sobol = SobolEngine(2, scramble=True, seed=0)
first = sobol.draw(12, dtype=torch.double)
targets = at(sobol.draw(64, dtype=torch.double), HIGH)  # where one wants to know it
test = at(sobol.draw(500, dtype=torch.double), HIGH)
truth = label(test)

# %% [markdown]
# ## The loop as it is
#
# BoTorch's multi-fidelity model, and its acquisition function for learning a function,
# the integrated posterior variance $\int \sigma^2(x \mid D, x_+)\,dx$.


# %%
def build(X, Y):
    return SingleTaskMultiFidelityGP(
        X, Y, data_fidelities=[2], outcome_transform=Standardize(m=1)
    )


def acquisition(model):
    return qNegIntegratedPosteriorVariance(model, targets)


# %%
def loop(build, acquisition):
    """Buys labels until the budget is spent; error of the dear method against cost."""
    X = torch.cat([at(first, LOW), at(first[:4], HIGH)])
    Y = label(X)
    curve = []
    while True:
        model = build(X, Y)
        fit_gpytorch_mll(ExactMarginalLogLikelihood(model.likelihood, model))
        with torch.no_grad():
            error = (model.posterior(test).mean - truth).square().mean().sqrt()
        spent = float(cost(X).sum())
        curve.append((spent, float(error)))
        if spent >= start + BUDGET:
            return curve, X
        place, _ = optimize_acqf_mixed(
            acquisition(model),
            bounds=torch.tensor(
                [[0.0, 0.0, LOW], [1.0, 1.0, HIGH]], dtype=torch.double
            ),
            fixed_features_list=[{2: LOW}, {2: HIGH}],
            q=1,
            num_restarts=2,
            raw_samples=32,
            options={"maxiter": 30},
        )
        X, Y = torch.cat([X, place]), torch.cat([Y, label(place)])


start = float(12 * cost.costs[0] + 4 * cost.costs[1])
theirs, bought_theirs = loop(build, acquisition)


# %% [markdown]
# ## Two lines changed
#
# The model: $f_1 = \rho f_0 + \delta$, each with its own lengthscales, scale and noise.
#
# The acquisition function: what a label tells of the dear function at the targets, in nats,
#
# $$ I(y; f_T) = \tfrac12 [\log\det(\Sigma + N) - \log\det(\Sigma_{\cdot\mid T} + N)], $$
#
# over its cost. The targets need to be known to a standard deviation of 0.1 only, and what
# is known that well attracts no more labels.


# %%
def build_ours(X, Y):
    return AutoregressiveGP(X, Y)  # the first line


def acquisition_ours(model):
    return qTargetInformation(model, targets, 0.1**2, cost_model=cost)  # the second


# %%
ours, bought_ours = loop(build_ours, acquisition_ours)

# %% [markdown]
# ## How to read it
#
# Error of the dear method against what was spent. The first loop has no notion of cost and
# buys the dear label each time, since it always tells more; the second weighs what a label
# tells against its price.

# %%
fig, axes = plt.subplots(figsize=(4.2, 2.8), layout="constrained")
axes.plot(*zip(*theirs, strict=True), "s--", color="#d55e00", label="BoTorch as it was")
axes.plot(*zip(*ours, strict=True), "o-", color="#0072b2", label="two lines changed")
axes.set(xlabel="cost (low-level labels)", ylabel="RMSE of the dear method")
axes.set_yscale("log")
axes.legend()
for name, bought in (("as it was", bought_theirs), ("changed", bought_ours)):
    n_high = int((bought[16:, 2] == HIGH).sum())
    print(f"{name}: {len(bought) - 16 - n_high} cheap and {n_high} dear labels bought")
