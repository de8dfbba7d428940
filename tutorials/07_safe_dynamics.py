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
# # Safe molecular dynamics
#
# **Question.** A potential was trained at 300 K and you run it at 2000 K. It will meet
# what it does not know. How do you notice, what do you do about it, and can it learn on
# the way?
#
# The system is a cluster of 13 copper atoms with EMT as the reference method, so cheap
# that it can judge every single frame. With DFT you would only see what the potential
# says of itself; here you see both.

# %%
import logging
import os

import matplotlib.pyplot as plt
import numpy as np
from ase import Atoms, units
from ase.calculators.emt import EMT
from ase.cluster import Icosahedron
from ase.md.langevin import Langevin

from mfal import Fidelity, LabelledDataset
from mfal.calculators import (
    ExtrapolationMonitor,
    MfalCalculator,
    TrustRegionMD,
    Update,
)
from mfal.calculators.force_sigma import force_sigma
from mfal.calculators.trust_record import draw_record
from mfal.models import SparsePotential, calibrated_weights
from mfal.oracles import build_oracle
from mfal.report.style import COLOURS, GREY, RC

plt.rcParams.update(RC | {"figure.dpi": 72, "text.parse_math": True})
SMOKE = "SMOKE_TEST" in os.environ
N_TRAIN, N_POINTS, STEPS, SEEDS = (12, 16, 20, 1) if SMOKE else (60, 80, 250, 4)
TIMESTEP = 4 * units.fs
BLUE, ORANGE = COLOURS["standalone"], COLOURS["at_hand"]

# %% [markdown]
# ## A potential of the cold cluster

# %%
level = Fidelity("emt", {"code": "emt"})
oracle = build_oracle(level)


def langevin(atoms, temperature, seed):
    """Langevin dynamics that starts with momenta of its temperature (K)."""
    rng = np.random.RandomState(seed)
    width = np.sqrt(units.kB * temperature * atoms.get_masses())[:, None]
    momenta = width * rng.standard_normal((len(atoms), 3))
    atoms.set_momenta(momenta - momenta.mean(axis=0))
    settings = {"friction": 0.02 / units.fs, "fixcm": False, "rng": rng}
    return Langevin(atoms, TIMESTEP, temperature_K=temperature, **settings)


def fit(frames):
    """A sparse potential with calibrated error bars, from EMT labels of some frames."""
    labels = {(i, "emt"): oracle(atoms).label for i, atoms in enumerate(frames)}
    data = LabelledDataset(tuple(frames), (level,), labels)
    model = SparsePotential.fit(data, n_inducing=N_POINTS, zeta=2, cutoffs=(5.0,))
    return calibrated_weights(model)


cluster = Icosahedron("Cu", 2)
cluster = Atoms(cluster.numbers, cluster.positions, calculator=EMT())
cold = langevin(cluster, 300, seed=0)
cold.run(200)
train = []
for _ in range(N_TRAIN):
    cold.run(25)
    train.append(Atoms(cluster.numbers, cluster.positions))
model = fit(train)

# %% [markdown]
# ## Four ways to notice
#
# - **Force sigma** (eV/Å): how wrong may the force on an atom be? With features $\phi$
#   and the posterior covariance $S$ of the weights, $\sigma_i^2 = \sum_\alpha
#   \partial_{i\alpha}\phi^\top S\, \partial_{i\alpha}\phi$.
# - **Mahalanobis**: is the neighbourhood inside the cloud of the training set? $d^2 =
#   (q-\bar q)^\top C^{-1} (q-\bar q)$.
# - **Leverage**: how much would this datum pull on its own prediction? $h = \phi^\top
#   (\Phi^\top\Phi)^{-1} \phi$, up to a regularisation.
# - **Grade** (MaxVol, D-optimality): would it enlarge the volume that the training set
#   spans?
#
# `ExtrapolationMonitor.of` sets a threshold for each from the training set itself: each
# structure is left out and measured, and the threshold is a quantile of those values. No
# magic number, and a further structure like the training set exceeds it with the
# probability you chose, whatever the distribution.

# %%
calculator = MfalCalculator(model)
monitor = ExtrapolationMonitor.of(calculator, quantile=0.8)
for name, threshold in monitor.thresholds.items():
    print(f"{name:12s} threshold {threshold.value:.3g}")


def frames_at(temperature, n):
    """Frames of a run with EMT itself."""
    atoms = Atoms(cluster.numbers, train[-1].positions, calculator=EMT())
    run, frames = langevin(atoms, temperature, seed=1), []
    for _ in range(n):
        run.run(10)
        frames.append(atoms.copy())
    return frames


for temperature in (300, 600, 2000):
    verdicts = monitor.of_trajectory(frames_at(temperature, 5 if SMOKE else 40))
    flagged = np.mean([v.extrapolates for v in verdicts])
    print(f"{temperature} K: {100 * flagged:.0f} % of the frames flagged")
print("the last one:", verdicts[-1])

# %% [markdown]
# A verdict names the measure, the atom and by how much. At 300 K the share that is
# flagged is small, and at 2000 K all of them; that says "not like the training set", and
# not "wrong by so much". For a run, the calibrated **force sigma** is the more useful
# one, since it has a unit in which you can say what you tolerate. Provided that it is
# right.
#
# ## How far can the sigma be trusted?
#
# Label a few frames of trial runs at rising temperature and see.

# %%
fig, axes = plt.subplots(figsize=(4.2, 3.0), layout="constrained")
for temperature, marker in ((300, "o"), (900, "s"), (2000, "^")):
    pairs = []
    for atoms in frames_at(temperature, 5 if SMOKE else 40):
        forces, true = calculator.get_forces(atoms), oracle(atoms).label.forces
        largest = np.linalg.norm(forces - true, axis=1).max()
        pairs.append((force_sigma(atoms, calculator).max(), largest))
    sigma, error = np.array(pairs).T
    axes.plot(sigma, error, marker, markersize=3.5, label=f"{temperature} K")
    ratio = np.sqrt(np.mean(error**2) / np.mean(sigma**2))
    print(f"{temperature} K: errors are {ratio:.1f} times the sigma")
axes.axline((0.01, 0.01), (0.1, 0.1), color=GREY, linestyle=":")
axes.set(xscale="log", yscale="log", xlabel="largest force sigma (eV/Å)")
axes.set_ylabel("largest true error (eV/Å)")
_ = axes.legend()

# %% [markdown]
# **How to read it.** On the dotted line errors are what the sigma says. They rise
# together, so that the sigma is a good alarm; but calibration was done at 300 K, and
# farther out the errors outgrow it. (These are the largest of 13 atoms, which are larger
# than the typical one to begin with.) If you tolerate an error of 0.5 eV/Å, the run has
# to stop at a sigma well below a fifth of that, since the highest points lie far above
# the mean.
#
# ## A run without and with a trust region
#
# `TrustRegionMD` wraps one of ASE's dynamics. After every move it looks at the grade $g$
# (here the largest force sigma of an atom):
#
# $$ g < g_\text{soft}: \text{go on}; \qquad g_\text{soft} \le g < g_\text{hard}:
#    \text{halve } \Delta t; \qquad
#    g \ge g_\text{hard}: \text{take the move back and stop.}$$
#
# We tolerate 0.5 eV/Å, and put the hard threshold at a seventh of that and the soft one
# at half of the hard one.

# %%
LIMIT = 0.5
SOFT, HARD = (0.015, 0.03) if SMOKE else (0.035, 0.07)


def true_error(atoms):
    """Largest |F - F_EMT| of an atom (eV/Å)."""
    reference = Atoms(atoms.numbers, atoms.positions, calculator=EMT())
    gap = reference.get_forces() - atoms.get_forces()
    return np.linalg.norm(gap, axis=1).max()


def start(calculator):
    return Atoms(cluster.numbers, train[-1].positions, calculator=calculator)


def free_run(seed, temperature=2000):
    """Full steps whatever comes: times (fs) and true errors."""
    atoms = start(MfalCalculator(model, uncertainties=False))
    run, errors = langevin(atoms, temperature, seed), []
    run.attach(lambda: errors.append((run.get_time() / units.fs, true_error(atoms))))
    run.run(STEPS)
    return np.array(errors)


def watched_run(seed, temperature=2000, on_hard=None):
    """The same within the trust region."""
    atoms = start(calculator)
    run, errors = langevin(atoms, temperature, seed), []
    md = TrustRegionMD(run, soft=SOFT, hard=HARD, halvings=2, on_hard=on_hard)
    run.attach(lambda: errors.append((md.time / units.fs, true_error(atoms))))
    md.run(STEPS)
    return md, np.array(errors)


for seed in range(SEEDS):
    free, (md, watched) = free_run(seed), watched_run(seed)
    print(
        f"run {seed}: largest error {free[:, 1].max():6.2f} eV/Å free, "
        f"{watched[:, 1].max():.2f} watched; {md.reason or 'went to the end'}"
    )

# %%
fig, axes = plt.subplots(3, 1, figsize=(5.6, 5.4), sharex=True, layout="constrained")
draw_record(md.record, axes[0], axes[1])
axes[0].set_ylabel("force sigma (eV/Å)")
axes[1].set_xlabel("")
axes[1].set_ylim(bottom=0)
axes[2].plot(*free.T, color=GREY, label="no monitor")
axes[2].plot(*watched.T, color=BLUE, label="trust region")
axes[2].axhline(LIMIT, color=ORANGE, linestyle="--", label="tolerated")
axes[2].set(xlabel="time (fs)", ylabel="true error (eV/Å)", yscale="log")
axes[2].set_xlim(0, max(3 * md.time / units.fs, 200))
axes[2].set_ylim(top=10)
_ = axes[2].legend(loc="upper left", ncols=3)

# %% [markdown]
# **How to read it.** Top: the force sigma of the watched run, with the soft (dotted) and
# the hard threshold (dashed); the cross is the move that was taken back. Middle: the step
# is halved at the soft threshold. Bottom: the true error, which the run itself never
# sees. The watched run ends while its forces are still good; its free twin, with the same
# start and the same random numbers, goes on into structures where they are not.
#
# The price is that the run ends. Unless it may learn.
#
# ## Labels on the fly
#
# At the hard threshold the refused structure is handed to `on_hard`. Ours labels it with
# EMT, fits again and returns an `Update` with the new calculator, and the run goes on
# from the last safe state. `None` would end it.

# %%
known = list(train)


def learn(atoms, verdict):
    known.append(Atoms(atoms.numbers, atoms.positions))
    return Update(MfalCalculator(fit(known)))


logging.getLogger("mfal").setLevel(logging.ERROR)  # refits that may take a jitter
md, errors = watched_run(seed, on_hard=learn)
print(f"{md.time / units.fs:.0f} fs of {STEPS * TIMESTEP / units.fs:.0f}, {md.reason}")
print(f"{len(known) - len(train)} labels in {len(errors)} moves")
print(f"largest true error {errors[:, 1].max():.2f} eV/Å")

# %%
fig, axes = plt.subplots(3, 1, figsize=(5.6, 5.4), sharex=True, layout="constrained")
draw_record(md.record, axes[0], axes[1])
axes[0].set_ylabel("force sigma (eV/Å)")
axes[1].set_xlabel("")
axes[1].set_ylim(bottom=0)
axes[2].plot(*free.T, color=GREY, label="no monitor")
axes[2].plot(*errors.T, color=BLUE, label="learns on the fly")
axes[2].axhline(LIMIT, color=ORANGE, linestyle="--", label="tolerated")
axes[2].set(xlabel="time (fs)", ylabel="true error (eV/Å)", yscale="log")
axes[2].set_ylim(top=10)
_ = axes[2].legend(loc="upper left", ncols=3)

# %% [markdown]
# **How to read it.** Each cross is a label: the move is taken back, the structure
# learned, and the sigma falls at once. The run gets to its end, with a few labels spread
# over it, and its forces stay about as good as was asked for, at a temperature that the
# potential had never seen. (The step stays short since the sigma hardly falls below the
# soft threshold.)
#
# Two things to know before you do this with DFT. The callback may do what it likes: buy a
# low level first, ask for a batch, or write the structure to a file and return `None`.
# And every update changes the potential under the running dynamics, so the energy is not
# conserved across it: use what follows for exploring, and take averages from a run with
# the final potential.
#
# ## Exercise
#
# How much of what was learned carries over? Start another run at 2000 K with other random
# numbers from the potential that has learned (`fit(known)`), and count the labels that it
# still asks for.
#
# <details><summary>Solution</summary>
#
# ```python
# calculator, before = MfalCalculator(fit(known)), len(known)
# md, errors = watched_run(seed=11, on_hard=learn)
# print(f"{len(known) - before} labels, {md.reason or 'went to the end'}")
# print(f"largest true error {errors[:, 1].max():.2f} eV/Å")
# ```
# It prints
#
# ```text
# 6 labels, went to the end
# largest true error 0.39 eV/Å
# ```
#
# </details>
