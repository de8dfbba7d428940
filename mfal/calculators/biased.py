r"""Dynamics that are drawn to where a potential is unsure: E - tau sigma_E.

sigma_E is the epistemic standard deviation of the energy of the whole structure. Its
slope needs no second derivative of the descriptor. In function space

    d sigma_E^2 / dr = -2 cov(E, F),

by the posterior covariance of energy and forces. In weight space sigma_E^2 = z^T C z with
z = sum_e phi(q_e), plus what no feature carries: a function of the descriptors q_e alone,
differentiated by autograd through the posterior down to q_e, then times dq_e/dr.

Source: van der Oord et al. (2023), npj Comput. Mater. 9, 168 (hyperactive learning).
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
import torch
from ase import Atoms
from ase.calculators.calculator import Calculator, all_changes
from ase.outputs import Properties
from jaxtyping import Float
from torch import Tensor

from mfal.calculators.potential import MfalCalculator, given, named_results
from mfal.models.calibration import Recalibration
from mfal.models.exact import ExactPotential
from mfal.models.storage import Potential
from mfal.models.weight_potential import WeightPotential
from mfal.models.weights import level_rows, unexplained_variance


@dataclass(frozen=True)
class EnergySigma:
    """sigma_E (eV), -dsigma_E/dr (eV/A) and (1/V) dsigma_E/dstrain (eV/A^3), as ASE has it.

    `stress` is `None` where the structure is not periodic in all directions.
    """

    value: float
    forces: Float[np.ndarray, "n 3"]
    stress: Float[np.ndarray, " 6"] | None = None


def energy_sigma(
    model: Potential, atoms: Atoms, level: str | None = None
) -> EnergySigma:
    """The standard deviation of the energy at a level (the highest), and its slopes.

    Standalone, with the recalibration of the highest level: what `MfalCalculator` calls
    `energy_uncertainty`. Where the variance is zero the slope is, too. Cost: of a sparse
    potential two triangular solves and one contraction with dq/dr, of an exact one the
    covariance of its energy and forces: about a prediction with uncertainties.

    Raises:
        TypeError: a model that is no potential over structures.
        ValueError: an unknown level, or a structure that the model cannot describe.
    """
    check_potential(model)
    index = model.level_index(level)
    factor = Recalibration()
    if index == len(model.levels) - 1:  # factors are of no other level
        factor = model.recalibrations.get("standalone", factor)
    if isinstance(model, ExactPotential):
        variance, slope, strained = _of_rows(model, atoms, index)
    else:
        variance, slope, strained = _of_weights(model, atoms, index, factor.unexplained)
    value = float(variance.clamp_min(0.0).sqrt())
    per = factor.on_sigma("energy") / (2 * value) if value else 0.0
    stress = None
    if strained is not None:
        stress = per * strained.numpy() / float(atoms.cell.volume)
    return EnergySigma(factor.on_sigma("energy") * value, -per * slope.numpy(), stress)


def relative_tau(
    model: Potential,
    structures: Sequence[Atoms],
    share: float,
    level: str | None = None,
) -> float:
    """The tau whose bias is on average so large a share of the forces.

    tau = share <|F_i|> / <|dsigma_E/dr_i|>, means over all atoms of the structures.

    Raises:
        ValueError: no structures, a share that is negative, or a sigma that is constant.
    """
    if share < 0 or not len(structures):
        raise ValueError(
            "the bias is a share >= 0 of the forces on one structure or more, got "
            f"{share} and {len(structures)} structures"
        )
    forces = [p.forces for p in model.mean(structures, level)]
    pulls = [energy_sigma(model, atoms, level).forces for atoms in structures]
    force, pull = (
        float(np.linalg.norm(np.concatenate(x), axis=1).mean()) for x in (forces, pulls)
    )
    if not pull > 0:
        raise ValueError(
            "the energy sigma has no slope at any of these structures: give ones that "
            "are not at rest by symmetry"
        )
    return share * force / pull


class RelativeTau:
    """A tau that keeps the bias at a share of the forces as a run goes.

    tau = share <|F_i|> / <|dsigma_E/dr_i|>, running means over about `memory` structures.
    Where little is unsure a fixed tau that suits it pulls far too hard a few steps on.
    Make a new one for each run.

    Raises:
        ValueError: a share that is negative or not finite, or no memory.
    """

    def __init__(self, share: float, *, memory: int = 10) -> None:
        if not (np.isfinite(share) and share >= 0 and memory >= 1):
            raise ValueError(
                "the share is a finite number >= 0 and the memory 1 structure or more, "
                f"got {share} and {memory}"
            )
        self.share, self.memory = share, memory
        self._means: Float[np.ndarray, " 2"] | None = None

    def __call__(
        self, forces: Float[np.ndarray, "n 3"], pull: Float[np.ndarray, "n 3"]
    ) -> float:
        """The tau for a structure with these forces and -dsigma_E/dr."""
        now = np.array([np.linalg.norm(x, axis=1).mean() for x in (forces, pull)])
        if self._means is None:
            self._means = now
        else:
            self._means = self._means + (now - self._means) / self.memory
        force, slope = self._means
        return float(self.share * force / slope) if slope > 0 else 0.0


class BiasedCalculator(Calculator):
    """E - tau sigma_E of a potential, with the forces and the stress that belong to it.

    `energy`, `forces` and `stress` are those of the biased surface, F = -d(E - tau
    sigma_E)/dr to rounding; the uncertainties are those of the potential (`unbiased`, an
    `MfalCalculator`), so that monitors and `TrustRegionMD` judge it as ever. `tau` has no
    unit: a number (`relative_tau` finds one that suits some structures), or a
    `RelativeTau`, which follows the run; the surface is then another one at each step,
    and the energy not conserved. `results["tau"]` is what was taken. A call costs a
    prediction with uncertainties and one `energy_sigma`.

    >>> from ase.optimize import BFGS
    >>> def most_unsure_nearby(model, atoms):  # of the least energy
    ...     atoms.calc = BiasedCalculator(model, tau=2.0)
    ...     return BFGS(atoms, logfile=None).run(fmax=0.05)

    Raises:
        TypeError: a model without the slope of its sigma (a committee, a calculator).
        ValueError: a tau that is negative or not finite, or an unknown level.
    """

    implemented_properties = ["energy", "free_energy", "forces"]  # noqa: RUF012 (of ASE)

    def __init__(
        self, model: Potential, tau: float | RelativeTau, *, level: str | None = None
    ) -> None:
        super().__init__()
        check_potential(model)
        if not isinstance(tau, RelativeTau) and not (np.isfinite(tau) and tau >= 0):
            raise ValueError(f"tau is a finite number >= 0, got {tau}")
        self.model = model
        self.tau = tau
        self.unbiased = MfalCalculator(model, level=level)
        self.implemented_properties = list(self.unbiased.implemented_properties)

    def get_property(
        self, name: str, atoms: Atoms | None = None, allow_calculation: bool = True
    ) -> object:
        """As in ASE; the stress of a molecule is refused with its reason."""
        if name == "stress" and name not in self.implemented_properties:
            return self.unbiased.get_property(name, atoms)
        return super().get_property(name, atoms, allow_calculation)

    def export_properties(self) -> Properties:
        """The results that ASE has a name for: all but the uncertainties."""
        return Properties(named_results(self.results))

    def calculate(
        self,
        atoms: Atoms | None = None,
        properties: Sequence[str] = ("energy",),
        system_changes: Sequence[str] = all_changes,
    ) -> None:
        """Fills `results` for one structure."""
        atoms = given(atoms)
        super().calculate(atoms, properties, system_changes)
        self.unbiased.get_property("energy", atoms)
        results = dict(self.unbiased.results)
        sigma = energy_sigma(self.model, atoms, self.unbiased.level)
        tau = self.tau
        if isinstance(tau, RelativeTau):
            tau = tau(results["forces"], sigma.forces)
        energy = results["energy"] - tau * sigma.value
        results |= {
            "energy": energy,
            "free_energy": energy,
            "forces": results["forces"] - tau * sigma.forces,
            "tau": tau,
        }
        if "stress" in results and sigma.stress is not None:
            results["stress"] = results["stress"] - tau * sigma.stress
        self.results = results


def check_potential(model: object) -> None:
    """Refuse what does not know the slope of its sigma.

    Raises:
        TypeError: says which models do.
    """
    if not isinstance(model, ExactPotential | WeightPotential):
        raise TypeError(
            "a bias along sigma needs a potential that knows its slope "
            "(ExactPotential, SparsePotential, LinearPotential), got "
            f"{type(model).__name__}: fit one of these, or run without bias"
        )


Slopes = tuple[Tensor, Float[Tensor, "n 3"], Float[Tensor, " 6"] | None]
"""A variance, its gradient in positions, and in strain."""


def _of_rows(model: ExactPotential, atoms: Atoms, level: int) -> Slopes:
    """Of the exact process, from the covariance of the energy with the forces."""
    block = model.builder(atoms, level, ("energy", "forces"))
    _, v = model.project(block.rows)
    prior = model.covariance(block.rows, block.rows)[:, 0]  # the lower triangle
    covariance = prior - v.mT @ v[:, 0]
    slope = -2 * (block.basis @ covariance[1:]).reshape(-1, 3)
    return covariance[0], slope, None


def _of_weights(
    model: WeightPotential, atoms: Atoms, level: int, unexplained: float
) -> Slopes:
    """Of weights, by autograd down to the descriptors of the environments."""
    bars = model.bars
    feature_map = model.feature_map if bars is None else bars.feature_map
    weights = model.weights if bars is None else bars.weights
    counts = feature_map.counts(atoms)
    periodic = bool(atoms.pbc.all())
    environments = [
        replace(e, values=e.values.detach().requires_grad_())
        for e in feature_map.environments(atoms, strain=periodic)
    ]
    with torch.enable_grad():
        phi = [
            features.energies(e).sum(0)
            for (_, features), e in zip(feature_map.parts, environments, strict=True)
        ]
        z = level_rows(torch.cat([*phi, counts]).unsqueeze(0), model.path, level)
        variance = weights.whiten(z).square().sum()
        if unexplained:
            left = feature_map.unexplained(environments)
            variance = variance + unexplained**2 * unexplained_variance(
                left, model.hyperparameters, model.path, level
            )
        slopes = torch.autograd.grad(variance, [e.values for e in environments])
    gradient = counts.new_zeros(len(atoms), 3)
    strained: Tensor | None = counts.new_zeros(6) if periodic else None
    for e, slope in zip(environments, slopes, strict=True):
        pulls = (e.gradients @ slope[e.pair_environment].unsqueeze(-1)).squeeze(-1)
        gradient.index_add_(0, e.pair_atom, pulls)
        if strained is not None and e.strain is not None:
            strained = strained + torch.einsum("evd,ed->v", e.strain, slope)
    return variance.detach(), gradient, strained
