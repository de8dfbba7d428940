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
# # Two levels of theory
#
# **Question.** A dear method says what you want to know, a cheap one something like it.
# How do cheap labels stand in for dear ones, what does one number, $\rho$, have to do with
# it, and how do you find out that a cheap method is of no use before you have paid for it?
#
# First in one dimension, where everything can be seen and written down; then for methanol,
# with GFN2-xTB (a millisecond) below MP2 (seven tenths of a second).

# %%
import mfal  # noqa: F401 (before torch, whose threads then sleep while they wait)

# isort: split
import os
from pathlib import Path

import matplotlib.pyplot as plt
import numpy as np
import torch
from botorch.fit import fit_gpytorch_mll
from gpytorch.mlls import ExactMarginalLogLikelihood
from matplotlib.ticker import LogLocator
from scipy.stats import multivariate_normal

from mfal import Label, LabelledDataset, read_extxyz
from mfal.models import AutoregressiveGP, ExactPotential, fidelity_diagnosis
from mfal.report.style import COLOURS, GREY, RC

plt.rcParams.update(RC | {"figure.dpi": 72, "text.parse_math": True})
HERE = Path(__file__).parent if "__file__" in globals() else Path.cwd()
SMOKE = "SMOKE_TEST" in os.environ
N_LOW, SIZES, DRAWS, N_TEST = (
    (16, (5, 8), 1, 10) if SMOKE else (80, (5, 10, 20, 40), 3, 60)
)
ROWS = 300 if SMOKE else 1000  # of the data that hyperparameters are fitted to
BLUE, ORANGE, PURPLE = (COLOURS[k] for k in ("standalone", "at_hand", "alone"))
_ = torch.manual_seed(0)


def plain(ax, labels, *, y=True):
    """Logarithmic axes with ticks in plain numbers."""
    ax.set(xscale="log", yscale="log" if y else "linear")
    ax.set_xticks(labels, labels)
    if y:
        ax.yaxis.set_major_locator(LogLocator(subs=(1, 1.5, 2, 3, 5, 7), numticks=20))
        ax.yaxis.set_major_formatter("{x:g}")
    ax.minorticks_off()


# %% [markdown]
# ## One dimension
#
# A low and a high curve that differ by a factor and by something smooth,
#
# $$ f_H(x) = \rho\, f_L(x) + \delta(x), \qquad \rho = 1.4 . $$
#
# With independent Gaussian processes for $f_L$ and for the discrepancy $\delta$, any two
# values have the covariance
#
# $$ \begin{aligned}
#    \mathrm{cov}(f_L(x), f_L(x')) &= k_0(x, x'), \\
#    \mathrm{cov}(f_H(x), f_L(x')) &= \rho\, k_0(x, x'), \\
#    \mathrm{cov}(f_H(x), f_H(x')) &= \rho^2 k_0(x, x') + k_1(x, x') .
#    \end{aligned} $$
#
# That is all there is to it: labels of both levels are values of one Gaussian process, and
# its posterior is the one you know (Rasmussen & Williams 2006, eqs. 2.23 and 2.24).

# %%
RHO = 1.4
grid = np.linspace(0, 1, 121)


def low_curve(x):
    return np.sin(9 * x) + 0.5 * np.cos(22 * x)


def high_curve(x):
    return RHO * low_curve(x) + 0.5 * np.sin(3 * x + 1)


def kernel(x, y, lengthscale, scale):
    return scale**2 * np.exp(-0.5 * ((x[:, None] - y) / lengthscale) ** 2)


def covariance(left, right, rho):
    """Covariance of values; each side is a pair (x at low, x at high)."""
    k0 = kernel(np.concatenate(left), np.concatenate(right), 0.09, 1.0)
    factor = [np.repeat([1.0, rho], [len(x) for x in side]) for side in (left, right)]
    joint = np.outer(*factor) * k0
    k1 = kernel(left[1], right[1], 0.5, 0.5)
    joint[len(left[0]) :, len(right[0]) :] += k1
    return joint


def posterior(x_low, x_high, zeros=(0.0, 0.0)):
    """Mean and standard deviation of the high level on the grid.

    With energies that each level counts from a zero of its own.
    """
    data, wanted = (x_low, x_high), (grid[:0], grid)
    noisy = covariance(data, data, RHO) + 1e-6 * np.eye(len(x_low) + len(x_high))
    y = [low_curve(x_low) + zeros[0], high_curve(x_high) + zeros[1]]
    cross = covariance(data, wanted, RHO)
    mean = cross.T @ np.linalg.solve(noisy, np.concatenate(y)) - zeros[1]
    left = covariance(wanted, wanted, RHO) - cross.T @ np.linalg.solve(noisy, cross)
    return mean, np.sqrt(left.diagonal().clip(0))


x_high = np.array([0.03, 0.25, 0.5, 0.77, 0.98])
x_low = np.concatenate([x_high, np.linspace(0.08, 0.93, 10)])
beliefs = {
    "5 high labels alone": (grid[:0], x_high),
    "with 15 low labels": (x_low, x_high),
    "low level at hand": (grid, x_high),
}

# %%
fig, axes = plt.subplots(1, 3, figsize=(8.4, 2.9), sharey=True, layout="constrained")
for ax, (name, data), colour in zip(
    axes, beliefs.items(), (PURPLE, BLUE, ORANGE), strict=True
):
    mean, sigma = posterior(*data)
    ax.fill_between(grid, mean - 2 * sigma, mean + 2 * sigma, color=colour, alpha=0.2)
    ax.plot(grid, mean, color=colour, label="posterior")
    ax.plot(grid, high_curve(grid), "--", color="black", lw=1, label="high, true")
    ax.plot(grid, low_curve(grid), ":", color=GREY, label="low, true")
    if name == "with 15 low labels":
        ax.plot(x_low, low_curve(x_low), ".", color=GREY)
    ax.plot(x_high, high_curve(x_high), "o", color="black", label="high labels")
    error = np.sqrt(np.mean((mean - high_curve(grid)) ** 2))
    ax.set(title=name, xlabel="x", ylim=(-3.6, 3.6))
    print(f"{name:20s} RMSE {error:.3f}, mean sigma {sigma.mean():.3f}")
axes[0].set_ylabel("energy (arbitrary unit)")
_ = fig.legend(
    *axes[0].get_legend_handles_labels(), loc="outside lower center", ncols=4
)

# %% [markdown]
# **How to read it.** Bands are two sigma. *Alone*, five labels say little between
# themselves. *With low labels*, the low curve gives the shape wherever it is known; where
# low labels are too far apart to follow it the band opens again. *At hand*, the low value
# is known at every $x$ where you ask: only $\delta$ is left to learn, and it is smooth. The
# last two are one model, with the low level known at some points or at all of them:
#
# $$ f_H(x) \mid f_L(x) = \rho\, f_L(x) + \delta(x) . $$
#
# $\Delta$-learning is the same with $\rho = 1$ instead of what the data say.
#
# ## What $\rho$ is
#
# How far the high level goes up when the low level goes up by one. It is found as every
# other hyperparameter: by the evidence $p(\mathbf y_L, \mathbf y_H \mid \rho)$, the density
# of the labels under the joint covariance. We draw it with the first two, three and five of
# the high labels.


# %%
def log_evidence(x_high, rho):
    data = (x_low, x_high)
    noisy = covariance(data, data, rho) + 1e-4 * np.eye(len(x_low) + len(x_high))
    y = np.concatenate([low_curve(x_low), high_curve(x_high)])
    return multivariate_normal.logpdf(y, cov=noisy)


rhos = np.linspace(-0.5, 3, 351)
fig, axes = plt.subplots(1, 2, figsize=(7.2, 2.9), layout="constrained")
for n, style in ((2, ":"), (3, "--"), (5, "-")):
    found = np.array([log_evidence(x_high[:n], rho) for rho in rhos])
    density = np.exp(found - found.max())
    mean = rhos @ density / density.sum()
    error = np.sqrt((rhos - mean) ** 2 @ density / density.sum())
    print(f"{n} high labels: rho = {mean:.2f} +- {error:.2f}")
    axes[0].plot(rhos, density, style, color=BLUE, label=f"{n} high labels")
axes[0].axvline(RHO, color=GREY, lw=1)
axes[0].set(xlabel="rho", ylabel="evidence over its maximum")
axes[0].legend(loc="upper left")
x, y = low_curve(x_high), high_curve(x_high)
axes[1].plot(x, y, "o", color="black", label="labels at the same x")
axes[1].axline((0, np.mean(y - RHO * x)), slope=RHO, color=BLUE, label="slope rho")
axes[1].set(xlabel="low label", ylabel="high label")
_ = axes[1].legend(loc="upper left")

# %% [markdown]
# **How to read it.** Left: with two pairs of labels $\rho$ may be anything between one and
# two and a half, with five it is known to 0.02; the grey line is the truth. The width of
# this curve is the error of $\rho$. Right: $\rho$ is the slope of the high labels over the
# low ones, up to what $\delta$ explains: points off the line are not noise here, they are
# $\delta$, which takes other values at other $x$.
#
# `AutoregressiveGP` learns all of it, lengthscales, scales, noise and $\rho$ with its
# error, and takes the mean of each level out by itself. The level stands in the last
# column of the inputs.

# %%
column = np.repeat([0.0, 1.0], [len(x_low), len(x_high)])
X = torch.tensor(np.stack([np.concatenate([x_low, x_high]), column], axis=1))
Y = torch.tensor(np.concatenate([low_curve(x_low), high_curve(x_high)]))[:, None]
model = AutoregressiveGP(X, Y)
fit_gpytorch_mll(ExactMarginalLogLikelihood(model.likelihood, model))
print(f"rho = {float(model.rho):.2f} +- {float(model.rho_error):.2f}")

# %% [markdown]
# ## Methanol
#
# 180 geometries at 700 K with energies and forces at GFN2-xTB and at MP2/def2-SVP, see
# `data6/PROVENANCE.md`. We keep 60 for tests.

# %%
everything = read_extxyz(HERE / "data6" / "methanol.extxyz")
LOW, HIGH = everything.levels
COSTS = {LOW: 0.001, HIGH: 0.72}  # CPU seconds of a label, median
order = np.random.default_rng(0).permutation(len(everything)).tolist()
test, pool = everything.subset(order[:N_TEST]), everything.subset(order[60:])


def column_of(data, level, quantity):
    return np.array(
        [getattr(data.labels[i, level], quantity) for i in range(len(data))]
    )


energy = {level: column_of(pool, level, "energy") for level in (LOW, HIGH)}
forces = {level: column_of(pool, level, "forces").ravel() for level in (LOW, HIGH)}


def scale(low, high):
    """The slope of a line through the origin."""
    return low @ high / (low @ low)


from_mean = {level: e - e.mean() for level, e in energy.items()}
for level, e in energy.items():
    print(f"{level}: energies {e.mean():9.2f} eV on average, spread {e.std():.2f} eV")
print(f"scale of total energies      {scale(energy[LOW], energy[HIGH]):6.2f}")
print(f"scale of energies from means {scale(from_mean[LOW], from_mean[HIGH]):6.2f}")
print(f"scale of forces              {scale(forces[LOW], forces[HIGH]):6.2f}")

# %%
fig, axes = plt.subplots(1, 2, figsize=(7.2, 3.1), layout="constrained")
axes[0].plot(from_mean[LOW], from_mean[HIGH], ".", color=GREY)
raw = scale(energy[LOW], energy[HIGH])
axes[0].axline((0, 0), slope=raw, color=PURPLE, ls="--", label="of total energies")
slope = scale(from_mean[LOW], from_mean[HIGH])
axes[0].axline((0, 0), slope=slope, color=BLUE, label="from their means")
axes[0].set(xlabel="GFN2 energy from its mean (eV)", ylabel="MP2 from its mean (eV)")
axes[0].set(ylim=(-1.1, 1.5))
axes[0].legend(loc="lower right", fontsize=8)
axes[1].plot(forces[LOW], forces[HIGH], ".", color=GREY, ms=2)
axes[1].axline((0, 0), slope=scale(forces[LOW], forces[HIGH]), color=BLUE)
_ = axes[1].set(xlabel="GFN2 force component (eV/Å)", ylabel="MP2 (eV/Å)")

# %% [markdown]
# ## Reference energies
#
# Each code counts energies from a zero of its own: here almost 3000 eV apart, and the part
# that matters is a ten-thousandth of that. A scale found on total energies is the ratio of
# the two zeros (dashed, left) and has nothing to do with how the molecule moves. And a
# process that expects energies about zero returns to zero between the labels, which is now
# far away: see what becomes of the curves of above with the zeros of methanol.

# %%
for zeros in ((0, 0), (-10, -140), (-223, -3137)):
    mean, _ = posterior(x_low, x_high, zeros)
    print(f"zeros {zeros}: RMSE {np.sqrt(np.mean((mean - high_curve(grid)) ** 2)):.3f}")

# %% [markdown]
# So each level needs a zero of its own before levels can be compared. In mfal it is a part
# of the prior,
#
# $$ E_l(R) = \sum_s n_s e_{sl} + f_l(R), $$
#
# with $n_s$ atoms of species $s$ and reference energies $e_{sl}$ of level $l$, a wide
# normal prior around their least-squares estimate. With one composition only the sum
# matters and the mean of a level is all one needs; with several, the offsets per atom tell
# compositions apart. Nothing to subtract by hand, and no isolated atoms to compute. Test:
# move all MP2 energies by 1000 eV.


# %%
def dataset(n_low, high, *, energies_only=False, shift=0.0, low_of=None):
    """The first low labels of the pool, with high labels of some of these geometries."""
    labels = {}
    for i in range(n_low):
        labels[i, LOW] = pool.labels[i if low_of is None else low_of[i], LOW]
    for i in map(int, high):
        known = pool.labels[i, HIGH]
        kept = None if energies_only else known.forces
        labels[i, HIGH] = Label(energy=known.energy + shift, forces=kept)
    levels = pool if n_low else pool.at_levels([HIGH])
    numbers = sorted({i for i, _ in labels})
    return LabelledDataset(pool.structures, levels.fidelities, labels).subset(numbers)


def fit(data, **options):
    return ExactPotential.fit(data, evidence_rows=ROWS, kernel="matern52", **options)


few = [
    fit(dataset(20, range(10), shift=shift)).predict(test.structures)
    for shift in (0.0, 1000.0)
]
moved = few[1].energy - few[0].energy
print(f"energies moved by {moved.min():.6f} to {moved.max():.6f} eV")
print(f"forces by at most {np.abs(few[1].forces - few[0].forces).max():.1e} eV/Å")

# %% [markdown]
# ## Who wins where
#
# Now the learning curve. With MP2 labels of $n$ geometries, drawn at random:
#
# - **high alone**: a Gaussian process of the $n$ labels;
# - **joint**: the same labels over GFN2 labels of all the pool. The potential stands alone
#   when it is used;
# - **at hand**: the same model, told the GFN2 label of the geometry that is asked for;
# - **differences**: $\Delta$-learning as it is mostly done, a Gaussian process of
#   MP2 - GFN2 with $\rho = 1$. It needs GFN2 where it is used, too.
#
# `start` and `hold_below` keep what was learned of the low level, whose labels stay the
# same.

# %%
truth = {q: column_of(test, HIGH, q) for q in ("energy", "forces")}
below = [test.labels[i, LOW] for i in range(len(test))]


def errors(energy, forces, sigma):
    """meV per atom, eV/Å, and the share of force components within two sigma (%)."""
    off = forces - truth["forces"]
    per_atom = 1e3 * np.abs(energy - truth["energy"]).mean() / off.shape[1]
    within = 100 * np.mean(np.abs(off) < 2 * sigma)
    return per_atom, np.sqrt(np.mean(off**2)), within


def judged(model, **options):
    told = model.predict(test.structures, **options)
    return errors(told.energy, told.forces, told.total_sigma("forces"))


def of_differences(high):
    """Errors of a model of the differences between the labels of the levels."""
    labels = {}
    for k, i in enumerate(map(int, high)):
        a, b = pool.labels[i, LOW], pool.labels[i, HIGH]
        labels[k, HIGH] = Label(energy=b.energy - a.energy, forces=b.forces - a.forces)
    geometries = [pool.structures[i] for i in map(int, high)]
    levels = pool.at_levels([HIGH]).fidelities
    model = fit(LabelledDataset(tuple(geometries), levels, labels))
    told = model.predict(test.structures)
    energy = told.energy + [label.energy for label in below]
    forces = told.forces + [label.forces for label in below]
    return errors(energy, forces, told.total_sigma("forces"))


ways = {
    "high alone": (PURPLE, "^-"),
    "joint": (BLUE, "o-"),
    "differences": (GREY, "d--"),
    "at hand": (ORANGE, "s-"),
}
found = {name: np.zeros((DRAWS, len(SIZES), 3)) for name in ways}
rho = np.zeros((DRAWS, len(SIZES), 2))
known = {}  # of the low level, once it has been learned
for draw in range(DRAWS):
    drawn = np.random.default_rng([1, draw]).permutation(N_LOW)
    for k, n in enumerate(SIZES):
        high = drawn[:n]
        model = fit(dataset(N_LOW, high), **known)
        known = {"start": model.hyperparameters, "hold_below": 1}
        found["high alone"][draw, k] = judged(fit(dataset(0, high)))
        found["joint"][draw, k] = judged(model)
        found["at hand"][draw, k] = judged(model, at_hand=below)
        found["differences"][draw, k] = of_differences(high)
        rho[draw, k] = model.hyperparameters.rho[0], model.fitted.rho_error[0]

print(f"{'':12s} MP2 labels  meV/atom    eV/Å   within two sigma")
for name, values in found.items():
    for n, (e, f, within) in zip(SIZES, values.mean(axis=0), strict=True):
        print(f"{name:12s} {n:10d} {e:9.2f} {f:7.3f} {within:14.0f} %")

# %%
fig, axes = plt.subplots(1, 3, figsize=(9.4, 3.3), layout="constrained")
for name, (colour, style) in ways.items():
    for ax, which in ((axes[0], 1), (axes[1], 0)):
        values = found[name][:, :, which]
        ax.plot(SIZES, values.mean(axis=0), style, color=colour, label=name)
        ax.plot(SIZES, values.T, ".", color=colour, alpha=0.4, ms=3)
axes[0].set(ylabel="force RMSE (eV/Å)")
axes[1].set(ylabel="energy MAE (meV/atom)")
for draw in range(DRAWS):
    at = np.array(SIZES) * 1.05 ** (draw - 1)
    axes[2].errorbar(at, *rho[draw].T, fmt="o", color=BLUE, ms=3.5)
axes[2].axhline(
    scale(forces[LOW], forces[HIGH]), color=GREY, ls="--", label="of forces"
)
axes[2].set(ylabel="rho, one standard error")
axes[2].legend(loc="upper right")
for ax in axes:
    ax.set_xlabel("MP2 labels")
    plain(ax, SIZES, y=ax is not axes[2])
_ = fig.legend(
    *axes[0].get_legend_handles_labels(), loc="outside lower center", ncols=4
)

# %% [markdown]
# **How to read it.** Lines are means over three draws of the MP2 labels, dots single draws.
# All logarithmic, but $\rho$.
#
# *Few labels*: everything that knows GFN2 wins by far. At hand, 5 MP2 labels do what 40 do
# alone (0.136 and 0.135 eV/Å). The joint potential, which stands alone in use, needs about
# 10 for it. *More labels*: the joint curve flattens. What it lacks is GFN2 itself, which it
# knows from 80 geometries only: told the GFN2 label, the same model has half the error
# (0.046 against 0.097 eV/Å). With 40 MP2 labels it is still ahead of those alone, but no
# longer by much.
#
# *At hand or differences?* The same errors, within what the draws differ by. $\rho$ is
# 1.1 here, so that $\rho = 1$ is a good guess; the learned one is ahead with 5 labels and
# behind with 20. What the joint model adds is the rest: a potential that can also stand
# alone, error bars in both ways of use, and missing quantities (below).
#
# *Error bars* of two sigma should hold 95 % of the force components and hold 98 to 100 %:
# as fitted they are too wide. `calibrated` mends that, see Tutorial 2.
#
# *Right*: $\rho$ and its error, per draw. It is not the slope of a line through all forces
# (dashed): what goes along with the low level smoothly may be given to $\rho$ or to
# $\delta$. The standard error is of the labels at hand; two draws can differ by more.
#
# ## Is the low level worth it?
#
# That is a question for the pilot: eight geometries with both labels. `fidelity_diagnosis`
# scales the low forces to the high ones, each geometry left out of its own scale, and
# reports the share $R^2$ of the high forces that is explained. With the ratio $r$ of costs
# the same error is expected to cost
#
# $$ \left( \sqrt{1 - R^2} + \sqrt{R^2 / r} \right)^{-2} $$
#
# times less. We ask it of GFN2, and of a low level that was made useless: the same labels,
# each given to another geometry.

# %%
N_PILOT = 8
dealt = np.random.default_rng(5).permutation(N_LOW)
low_levels = {"GFN2": None, "GFN2, shuffled": dealt}
pilots = {
    name: dataset(N_PILOT, range(N_PILOT), low_of=of) for name, of in low_levels.items()
}
for name, pilot in pilots.items():
    print(f"{name}: {fidelity_diagnosis(pilot, costs=COSTS).sentence}\n")

# %% [markdown]
# If you go on nevertheless: a joint model, and with it the evidence of the MP2 labels with
# the levels joined, $\rho$ integrated out, against that of levels that share nothing.

# %%
n_high = SIZES[-2]
outcome = {"no low level": judged(fit(dataset(0, range(n_high))))}
for name, of in low_levels.items():
    model = fit(dataset(N_LOW, range(n_high), low_of=of))
    verdict = fidelity_diagnosis(model, costs=COSTS)
    outcome[name] = judged(model)
    print(
        f"{name}: rho = {verdict.rho:.2f} +- {verdict.rho_error:.2f}, log evidence "
        f"{verdict.log_evidence_joint:.0f} joint, "
        f"{verdict.log_evidence_independent:.0f} independent"
    )
for name, (e, f, within) in outcome.items():
    print(
        f"{name:15s} {e:5.2f} meV/atom {f:6.3f} eV/Å, {within:.0f} % within two sigma"
    )

# %%
fig, axes = plt.subplots(1, 3, figsize=(9.0, 2.9), layout="constrained")
for ax, (name, pilot) in zip(axes, pilots.items(), strict=False):
    a, b = (column_of(pilot, level, "forces").ravel() for level in (LOW, HIGH))
    ax.plot(a, b, ".", color=GREY, ms=3)
    ax.axline((0, 0), slope=scale(a, b), color=BLUE)
    ax.set(title=f"pilot, {name}", xlabel="low force (eV/Å)")
axes[0].set_ylabel("MP2 force (eV/Å)")
rows = np.arange(len(outcome))[::-1]
axes[2].barh(rows, [f for _, f, _ in outcome.values()], 0.6, color=[PURPLE, BLUE, BLUE])
axes[2].set_yticks(rows, list(outcome))
axes[2].set(xlabel="force RMSE (eV/Å)", title=f"{n_high} MP2 labels")
axes[2].grid(axis="y", visible=False)

# %% [markdown]
# **How to read it.** Left and middle: the same eight MP2 labels over the right and over the
# wrong GFN2 forces. The sentence needs no fit. Its "25 times less" is an expectation for
# the best split of a budget; the learning curve above has 40 labels alone against 5 at hand
# or some 10 joint, 8 or 4 times less MP2, with 80 low labels that cost next to nothing.
# Take it as a sign, not as a promise.
#
# The evidence says the same: for GFN2 joint levels are better by 361 nats, for the shuffled
# one independent levels by 9, and $\rho = 0.00 \pm 0.01$. Right: because $\rho$ goes to
# zero and each level has a noise of its own, a useless low level does the errors no harm.
# It costs what its labels cost. A campaign asks both questions by itself, the first after
# the pilot, the second after every fit, and stops buying a level that loses.
#
# ## Energies only
#
# Coupled cluster gives energies, and rarely forces. So forget the MP2 forces, and keep
# those of GFN2: a missing quantity is nothing but rows that are not there.

# %%
reached = np.zeros((3, len(SIZES), 2))
known = {}
for k, n in enumerate(SIZES):
    high = np.random.default_rng([1, 0]).permutation(N_LOW)[:n]
    joint = fit(dataset(N_LOW, high, energies_only=True), **known)
    known = {"start": joint.hyperparameters, "hold_below": 1}
    alone = fit(dataset(0, high, energies_only=True))
    tried = judged(alone), judged(joint), judged(joint, at_hand=below)
    reached[:, k] = [t[:2] for t in tried]

names = ("energies alone", "over low forces, joint", "at hand")
for name, values in zip(names, reached, strict=True):
    for n, (e, f) in zip(SIZES, values, strict=True):
        print(f"{name:24s} {n:3d} energies {e:6.2f} meV/atom {f:6.3f} eV/Å")

# %%
fig, axes = plt.subplots(1, 2, figsize=(7.2, 3.2), layout="constrained")
for name, values, kind in zip(
    names, reached, ("high alone", "joint", "at hand"), strict=True
):
    colour, style = ways[kind]
    for ax, which in ((axes[0], 0), (axes[1], 1)):
        ax.plot(SIZES, values[:, which], style, color=colour, label=name)
for ax, what in zip(axes, ("energy MAE (meV/atom)", "force RMSE (eV/Å)"), strict=True):
    ax.set(xlabel="MP2 energies", ylabel=what)
    plain(ax, SIZES)
_ = fig.legend(
    *axes[0].get_legend_handles_labels(), loc="outside lower center", ncols=3
)

# %% [markdown]
# **How to read it.** Logarithmic axes. A geometry gives one energy, but 12 independent
# components of forces, so energies alone teach next to nothing about forces: an error of
# more than 0.6 eV/Å after 40 of them. Over the forces of the low level the same energies
# only have to correct a surface whose shape is known: 3.5 instead of 17.4 meV per atom with
# 40, and forces of MP2, of which it has never seen one, to 0.17 eV/Å. With 5 energies it is
# not yet good for much. The low level at hand helps little more here, since it is the
# discrepancy that is badly known. Compare 0.097 eV/Å (joint, 40 labels with forces): have
# the forces where you can.
#
# ## Exercise
#
# How many pairs does the verdict need? Ask `fidelity_diagnosis` for $R^2$ with 3, 4, 5, 8
# and 16 pairs of both low levels, for a few draws of the geometries.
#
# <details><summary>Solution</summary>
#
# ```python
# for n in (3, 4, 5, 8, 16):
#     for name, of in low_levels.items():
#         found = [
#             fidelity_diagnosis(dataset(N_LOW, drawn, low_of=of)).r2
#             for seed in range(20)
#             for drawn in [np.random.default_rng(seed).permutation(N_LOW)[:n]]
#         ]
#         print(f"{n:2d} pairs, {name:14s} R2 from {min(found):5.2f} to {max(found):5.2f}")
# ```
# It prints
#
# ```text
#  3 pairs, GFN2           R2 from  0.95 to  0.99
#  3 pairs, GFN2, shuffled R2 from -0.39 to  0.13
#  4 pairs, GFN2           R2 from  0.95 to  0.99
#  4 pairs, GFN2, shuffled R2 from -0.30 to  0.08
#  5 pairs, GFN2           R2 from  0.96 to  0.98
#  5 pairs, GFN2, shuffled R2 from -0.21 to  0.06
#  8 pairs, GFN2           R2 from  0.97 to  0.98
#  8 pairs, GFN2, shuffled R2 from -0.08 to  0.02
# 16 pairs, GFN2           R2 from  0.97 to  0.98
# 16 pairs, GFN2, shuffled R2 from -0.03 to  0.02
# ```
#
# For two levels as far apart as these, three pairs would do: each holds 18 force
# components. The pairs of a pilot are for the fit: $\rho$ and the noise.
#
# </details>
