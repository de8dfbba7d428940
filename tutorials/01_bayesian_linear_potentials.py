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
# # Bayesian linear potentials
#
# **Question.** You fit a potential to energies and forces of a few cells. How sure can you
# be of what it says, what do forces add to energies, and which part of the error will
# never go away, however many cells you label?
#
# All of mfal rests on one picture: a prior over functions, labels that are linear in the
# function, and a posterior that can be written down. Here the function is as simple as it
# can be, a pair potential, so that you can see it.

# %%
import os

import matplotlib.pyplot as plt
import numpy as np
from ase import Atoms
from ase.build import bulk
from ase.calculators.emt import EMT
from ase.calculators.morse import MorsePotential

from mfal import Fidelity, Label, LabelledDataset
from mfal.descriptors import PairDistances
from mfal.models import LinearPotential
from mfal.report.style import COLOURS, GREY, RC

plt.rcParams.update(RC | {"figure.dpi": 72, "text.parse_math": True})
SMOKE = "SMOKE_TEST" in os.environ
SIZES, N_TEST = ((2, 4), 2) if SMOKE else ((2, 4, 8, 16, 32), 20)
BLUE, ORANGE = COLOURS["standalone"], COLOURS["at_hand"]

# %% [markdown]
# ## Cells and labels
#
# Cells of 32 copper atoms, strained and rattled. The "reference method" is a Morse pair
# potential, so that there is a truth to compare with; later it will be EMT, which is not
# a sum over pairs. Both come with ASE and take milliseconds.

# %%
R0, CUTOFF = 2.866, 6.0  # A
morse = MorsePotential(epsilon=0.343, r0=R0, rho0=3.9, rcut1=1.7, rcut2=2.0)


def cell(rng):
    atoms = bulk("Cu", cubic=True) * (2, 2, 2)
    strain = rng.normal(scale=0.02, size=(3, 3))
    atoms.set_cell(atoms.cell @ (np.eye(3) + strain + strain.T), scale_atoms=True)
    atoms.positions += rng.normal(scale=0.12, size=atoms.positions.shape)
    return atoms


def labelled(cells, calculator):
    """Cells with the energies (eV) and forces (eV/Å) of an ASE calculator."""
    labels = {}
    for i, atoms in enumerate(cells):
        atoms = atoms.copy()
        atoms.calc = calculator
        energy, forces = atoms.get_potential_energy(), atoms.get_forces()
        labels[i, "truth"] = Label(energy=energy, forces=forces)
    return LabelledDataset(tuple(cells), (Fidelity("truth"),), labels)


rng = np.random.default_rng(0)
train = [cell(rng) for _ in range(max(SIZES))]
test = [cell(rng) for _ in range(N_TEST)]

# %% [markdown]
# ## The prior, and what is observed
#
# The energy is a sum over atoms, each term linear in a descriptor $q_i$ of the atom's
# neighbourhood. With Gaussian bumps on the distances to its neighbours as $q_i$, the sum
# is one over pairs:
#
# $$ E = \sum_i \mathbf w^\top \mathbf q_i \; (+\; n\,e), \qquad
#    q_{ik} = \sum_j e^{-(r_{ij} - c_k)^2 / 2 h^2} f_c(r_{ij}), \qquad
#    \mathbf w \sim \mathcal N(0, s^2 \mathbf 1), $$
#
# with the energy $e$ of a free atom as one more weight. Forces are derivatives, so they are
# linear in the *same* weights: $F_{j\alpha} = -\sum_i \mathbf w^\top \partial \mathbf
# q_i / \partial r_{j\alpha}$. A label is a row of features times $\mathbf w$, plus noise;
# all labels together are $\mathbf y = \Phi \mathbf w + \boldsymbol\epsilon$.
#
# `LinearPotential.fit` builds the rows and finds $s$ and the noise of each quantity.

# %%
data = labelled(train[:4], morse)
model = LinearPotential.fit(data, PairDistances(["Cu"], cutoff=CUTOFF))
scale = float(model.hyperparameters.scale)
noise_energy, noise_forces, _ = model.hyperparameters.noise[0].tolist()
print(f"s = {scale:.2f} eV")
print(f"noise of energies {1e3 * noise_energy:.2f} meV per square root of an atom")
print(f"noise of forces   {1e3 * noise_forces:.2f} meV/Å")

# %% [markdown]
# ## The posterior, by hand
#
# Prior and noise are Gaussian, the rows are linear: the posterior of the weights is
# Gaussian too (Bishop 2006, eqs. 3.50 and 3.51),
#
# $$ \Sigma = \left(S_0^{-1} + \Phi^\top N^{-1} \Phi\right)^{-1}, \qquad
#    \mathbf m = \Sigma\, \Phi^\top N^{-1} \mathbf y , $$
#
# with the prior covariance $S_0$ and the noise covariance $N$. Matching forces and fitting
# energies is one and the same least-squares problem, and $N$ says how much a meV counts
# against a meV/Å. Here it is by hand, from the rows that mfal has built.


# %%
def rows(dataset, quantities):
    """Phi, y and the standard deviations of the noise."""
    features, values, noise = [], [], []
    zero = float(
        model.training.reference
    )  # energies are counted from here, eV per atom
    for i, _, label in dataset:
        atoms = dataset.structures[i]
        phi = model.feature_map.rows(atoms)
        if "energy" in quantities:
            features.append(phi.energy[None])
            values.append([label.energy - zero * len(atoms)])
            noise.append([noise_energy * np.sqrt(len(atoms))])
        if "forces" in quantities:
            features.append(phi.forces)
            values.append(label.forces.ravel())
            noise.append(np.full(label.forces.size, noise_forces))
    return np.concatenate(features), np.concatenate(values), np.concatenate(noise)


def posterior(dataset, quantities):
    phi, y, noise = rows(dataset, quantities)
    precision = np.diag(prior_sigma**-2.0) + (phi / noise[:, None] ** 2).T @ phi
    covariance = np.linalg.inv(precision)
    return covariance @ phi.T @ (y / noise**2), covariance


prior_sigma = model.prior.deviations(model.hyperparameters.scale)[0].numpy()
mean, covariance = posterior(data, ("energy", "forces"))
theirs = model.weights.mean.numpy()
print(f"{len(mean)} weights")
print(f"largest difference from mfal's: {np.abs(mean - theirs).max():.1e}")

# %% [markdown]
# ## What forces add
#
# A linear function of the weights is Gaussian as well. The pair potential is one: the
# energy of two atoms at a distance $r$ less that of the two alone, $u(r) = \mathbf
# z_r^\top \mathbf w$ with variance $\mathbf z_r^\top \Sigma\, \mathbf z_r$. We draw it
# before any label, after the energies of four cells, and after their forces.

# %%
distances = np.linspace(1.6, CUTOFF, 160)
dimers = [Atoms("Cu2", [[0, 0, 0], [r, 0, 0]]) for r in distances]
alone = model.feature_map.rows(Atoms("Cu")).energy.numpy()
z = np.array([model.feature_map.rows(d).energy.numpy() - 2 * alone for d in dimers])
truth = [morse.get_potential_energy(d) for d in dimers]
met = np.concatenate([atoms.get_all_distances(mic=True).ravel() for atoms in train[:4]])

beliefs = {
    "prior": (np.zeros_like(mean), np.diag(prior_sigma**2)),
    "4 energies": posterior(data, ("energy",)),
    "4 energies and 384 forces": (mean, covariance),
}


def spread(covariance):
    """Standard deviation of the pair potential at each distance."""
    return np.sqrt(np.einsum("nk,kl,nl->n", z, covariance, z).clip(0))


fig, axes = plt.subplots(4, 1, figsize=(4.8, 7.6), sharex=True, layout="constrained")
for ax, (name, (m, c)) in zip(axes, beliefs.items(), strict=False):
    draws = z @ rng.multivariate_normal(m, c, size=4, check_valid="ignore").T
    low, high = z @ m - 2 * spread(c), z @ m + 2 * spread(c)
    ax.fill_between(distances, low, high, color=BLUE, alpha=0.15)
    ax.plot(distances, draws, color=BLUE, lw=0.7)
    ax.plot(distances, truth, "--", color=ORANGE, label="truth")
    ax.set(title=name, ylabel="u (eV)", ylim=(-2, 2))
axes[0].legend(loc="upper right")
axes[3].semilogy(distances, 1e3 * spread(covariance), color=BLUE, label="sigma")
axes[3].semilogy(distances, 1e3 * abs(z @ mean - truth), color=ORANGE, label="error")
axes[3].set(title="after the forces", ylabel="meV", xlabel="distance (Å)")
axes[3].legend(loc="upper right")
below = axes[3].twinx()
below.hist(met[met > 0], bins=60, range=(1.6, CUTOFF), color=GREY, alpha=0.4)
below.set(yticks=[], ylim=(0, 1500))
below.grid(visible=False)

# %% [markdown]
# **How to read it.** Thin lines are draws, bands two sigma, dashes the truth. *Prior*:
# anything goes; the curves end at the cutoff since the descriptor does. *Energies*: each
# is one number about a sum over more than a thousand pairs, so that a few of them pin
# down next to nothing about single distances. *Forces*: a cell of 32 atoms gives 96 of
# them, and each speaks of the slope of $u$ at the distances of one atom. The band is
# gone, at the scale of this figure.
#
# The last panel looks closer, on a logarithmic scale, with the distances that occur in the
# four cells in grey. Sigma is small where there are distances and opens where there are
# none: left of them, where atoms have never come so close, it grows a hundredfold. That is
# the part of the uncertainty that labels can remove: **epistemic**, $\mathbf z^\top
# \Sigma\, \mathbf z$. It needs no truth to compare with, which is why active learning can
# use it to choose labels.
#
# ## The part that stays
#
# Now the same cells, descriptor and model, but EMT as the reference method. In EMT the
# energy of a bond depends on how many other neighbours an atom has; no pair potential can
# say that. What the model cannot represent it has to take for noise: **aleatoric**, the
# $N$ of the equations. A label at a new cell has the variance of both together,
#
# $$ \sigma^2 = \underbrace{\mathbf z^\top \Sigma\, \mathbf z}_{\text{epistemic}}
#    + \underbrace{N}_{\text{aleatoric}} . $$
#
# `predict` returns them apart, as `forces_sigma` and `forces_noise`. We fit both truths to
# more and more cells and look at forces of cells that were never seen.


# %%
def learn(calculator, n_cells, descriptor):
    """Errors of forces of the test cells with what the model says of them (eV/Å)."""
    model = LinearPotential.fit(labelled(train[:n_cells], calculator), descriptor)
    held_out = labelled(test, calculator)
    told = model.predict(held_out.structures, quantities=("energy", "forces"))
    errors = [told[i].forces - label.forces for i, _, label in held_out]
    return [
        np.sqrt(np.mean(np.square(x)))
        for x in (errors, told.forces_sigma, told.forces_noise)
    ]


pairs = PairDistances(["Cu"], cutoff=CUTOFF)
curves = {
    name: np.array([learn(calculator, n, pairs) for n in SIZES])
    for name, calculator in (("Morse", morse), ("EMT", EMT()))
}
print("cells  RMSE, epistemic, noise (meV/Å)")
for name, curve in curves.items():
    for n, found in zip(SIZES, 1e3 * curve, strict=True):
        print(f"{name:5s} {n:3d}  " + "  ".join(f"{x:5.2f}" for x in found))

# %%
fig, axes = plt.subplots(1, 2, figsize=(6.4, 2.9), sharey=True, layout="constrained")
for ax, (name, curve) in zip(axes, curves.items(), strict=True):
    error, epistemic, noise = 1e3 * curve.T
    ax.loglog(SIZES, error, "o", color="black", label="RMSE, new cells")
    ax.loglog(SIZES, epistemic, "--", color=BLUE, label="epistemic")
    ax.loglog(SIZES, noise, ":", color=ORANGE, label="aleatoric")
    ax.loglog(SIZES, np.hypot(epistemic, noise), "-", color=GREY, label="both")
    ax.set(title=f"truth: {name}", xlabel="cells in the fit")
    ax.set_xticks(SIZES, SIZES, minor=False)
    ax.minorticks_off()
axes[0].set(ylabel="forces (meV/Å)")
_ = axes[1].legend(loc="lower left", fontsize=8)

# %% [markdown]
# **How to read it.** Both axes are logarithmic. The epistemic part falls as more cells
# are labelled (for EMT from 8 on). The aleatoric part does not: it stays, or rises until
# there are enough labels to see it (EMT), and the error of new cells follows whichever is
# larger: from the first few cells on it is all misfit. It is several times higher for
# EMT, where pairs are not enough, than for Morse, where only the bumps and the cutoff of
# the descriptor stand in the way. Labelling more cells would be money thrown away here; a
# better descriptor is what is needed.
#
# Two cautions. The misfit is called noise, but it is a function of the structure: the
# label of a cell comes out the same each time, and the misfits of neighbouring atoms are
# alike. So with very few cells the fit can make some of it disappear, and says less than
# the error turns out to be (left ends). And sigma is right for cells like those of
# the fit; Tutorial 2 tests that, Tutorial 6 leaves it.
#
# ## Exercise
#
# Give EMT a descriptor that sees more than pairs: `Soap(["Cu"], cutoffs=(5.0,),
# max_radial=4, max_angular=4)` from `mfal.descriptors` has angles in it. What becomes of
# the two parts of the uncertainty with 8 cells?
#
# <details><summary>Solution</summary>
#
# ```python
# from mfal.descriptors import Soap
#
# angles = Soap(["Cu"], cutoffs=(5.0,), max_radial=4, max_angular=4)
# for name, descriptor in (("pairs", pairs), ("angles", angles)):
#     error, epistemic, noise = 1e3 * np.array(learn(EMT(), 8, descriptor))
#     print(f"{name}: RMSE {error:.1f}, epistemic {epistemic:.1f}, noise {noise:.1f}")
# ```
# It prints
#
# ```text
# pairs: RMSE 19.9, epistemic 9.8, noise 21.3
# angles: RMSE 25.9, epistemic 5.1, noise 17.7
# ```
#
# Angles explain some of what pairs have to call noise. But with 8 cells the error is
# larger, and larger than the two parts together say (18): the larger descriptor fits these
# few labels better than it predicts others. The evidence chooses among models on the same
# labels; it is no promise.
#
# </details>
