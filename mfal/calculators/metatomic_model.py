"""A potential as a module that metatomic runs: systems in, energies and sigmas out.

What is asked for by the name of an output, e.g. "energy/pbe", is computed for each atom
or for each system, for the selected atoms only. Forces and stresses are the engine's:
derivatives of the energy by autograd.
"""

from dataclasses import dataclass
from typing import Any, Dict, List, Optional, no_type_check  # noqa: UP035 (metatomic's)

import torch
from jaxtyping import Float
from torch import Tensor, nn

from mfal.calculators.metatomic_descriptors import places, scripted_descriptor
from mfal.calculators.metatomic_energies import scripted_features, variance_roots
from mfal.models.calibration import Recalibration
from mfal.models.weight_potential import WeightPotential

try:
    from metatensor.torch import Labels, TensorBlock, TensorMap
    from metatomic.torch import ModelOutput, NeighborListOptions, System
except ImportError:  # said by `check_engines` before any of these is used
    Labels = TensorBlock = TensorMap = ModelOutput = NeighborListOptions = System = Any


@dataclass(frozen=True)
class Sigmas:
    """What the sigma of the energy of each level is made of (`variance_roots`).

    sigma_l^2 = factor_l^2 (|R_l z|^2 + sum_b left_lb u_b), u_b the prior variance of
    block b that no feature carries.
    """

    roots: Float[Tensor, "levels p p"]
    left: Float[Tensor, "levels blocks"]
    factor: Float[Tensor, " levels"]


def sigmas(model: WeightPotential) -> Sigmas:
    """Those of `MfalCalculator`: recalibrated at the highest level only."""
    last = len(model.levels) - 1
    factors = [Recalibration()] * last
    factors.append(model.recalibrations.get("standalone", Recalibration()))
    unexplained = torch.tensor([f.unexplained for f in factors]).double()
    left = model.path.square() @ model.hyperparameters.scale.square()
    return Sigmas(
        variance_roots(model),
        unexplained.square().unsqueeze(1) * left,
        torch.tensor([f.on_sigma("energy") for f in factors]).double(),
    )


@no_type_check
class AtomicEnergies(nn.Module):
    """Energies of atoms (eV) at every level and their sigmas, from pairs of atoms."""

    places: Tensor
    reference: Tensor
    roots: Tensor
    left: Tensor
    factor: Tensor

    def __init__(self, model: WeightPotential) -> None:
        super().__init__()
        feature_map = model.feature_map
        few = feature_map if model.bars is None else model.bars.feature_map
        sizes = [f.size for _, f in feature_map.parts]
        *shares, last = model.level_weights.split(
            [*sizes, len(feature_map.species)], dim=1
        )
        self.descriptors = nn.ModuleList(
            [scripted_descriptor(d) for d, _ in feature_map.parts]
        )
        self.features = nn.ModuleList(
            [
                scripted_features(f, share, less)
                for (_, f), share, (_, less) in zip(
                    feature_map.parts, shares, few.parts, strict=True
                )
            ]
        )
        self.n_species = len(feature_map.species)
        found = sigmas(model)
        self.register_buffer("places", places(list(feature_map.species)))
        self.register_buffer("reference", (model.training.reference + last).mT)
        self.register_buffer("roots", found.roots)
        self.register_buffer("left", found.left)
        self.register_buffer("factor", found.factor)

    def forward(
        self,
        vectors: Tensor,
        environments: Tensor,
        neighbours: Tensor,
        centres: Tensor,
        each: bool,
        total: bool,
    ) -> tuple[Tensor, Tensor, Tensor]:
        """Energies of atoms, "e l", their sigmas, "e l", that of their sum, "1 l".

        Without `each` the sigmas of atoms are left out, without `total` that of the sum.
        The other arguments are those of `PowerSpectra.forward`.
        """
        species = self.places.index_select(0, centres)
        energies = self.reference.index_select(0, species)
        n_env, n_levels = energies.shape
        rows: list[Tensor] = []
        lefts: list[Tensor] = []
        lefts_of_sum: list[Tensor] = []
        for descriptor, features in zip(self.descriptors, self.features):  # noqa: B905
            q = descriptor(vectors, environments, neighbours, centres)
            part, row, left, left_of_sum = features(q, centres, each or total, total)
            energies = energies + part
            rows.append(row)
            lefts.append(left.clamp_min(0.0))
            lefts_of_sum.append(left_of_sum.clamp_min(0.0))
        sigmas = energies.new_zeros(0, n_levels)
        sigma_of_sum = energies.new_zeros(0, n_levels)
        if each or total:
            counts = energies.new_zeros(n_env, self.n_species)
            rows.append(counts.scatter(1, species.unsqueeze(1), 1.0))
        if each:
            left = torch.stack(lefts, dim=1)
            sigmas = self.sigmas(torch.cat(rows, dim=1), left)
        if total:
            left = torch.stack(lefts_of_sum, dim=1)
            sigma_of_sum = self.sigmas(
                torch.cat(rows, dim=1).sum(0, keepdim=True), left
            )
        return energies, sigmas, sigma_of_sum

    def sigmas(self, rows: Tensor, left: Tensor) -> Tensor:
        """Sigmas, "n l", of rows of features, "n p", with what they leave, "n blocks"."""
        known = (self.roots @ rows.T).square().sum(1).T
        return (known + left @ self.left.T).sqrt() * self.factor


@no_type_check
class MetatomicPotential(nn.Module):
    """Energies and sigmas of systems; `level_of` says which level each output is of."""

    def __init__(
        self, model: WeightPotential, level_of: dict[str, int], cutoff: float
    ) -> None:
        super().__init__()
        self.level_of = level_of
        self.neighbours = NeighborListOptions(
            cutoff=cutoff, full_list=True, strict=True
        )
        self.energies = AtomicEnergies(model)

    def requested_neighbor_lists(self) -> List[NeighborListOptions]:  # noqa: UP006
        """All pairs within the longest cutoff."""
        return [self.neighbours]

    def forward(
        self,
        systems: List[System],  # noqa: UP006
        outputs: Dict[str, ModelOutput],  # noqa: UP006
        selected_atoms: Optional[Labels],  # noqa: UP045
    ) -> Dict[str, TensorMap]:  # noqa: UP006
        """Each output of all systems, of the selected atoms only, as metatomic has it."""
        each, total = False, False
        for name, output in outputs.items():
            if name.startswith("energy_uncertainty"):
                each = each or output.sample_kind == "atom"
                total = total or output.sample_kind != "atom"
        nothing = self.energies.factor.new_zeros(0, self.energies.factor.shape[0])
        energies, sums, sigmas, sigmas_of_sums = (
            [nothing],
            [nothing],
            [nothing],
            [nothing],
        )
        device = nothing.device
        samples = [torch.zeros(0, 2, dtype=torch.int32, device=device)]
        for number, system in enumerate(systems):
            atoms = torch.arange(len(system), device=device)
            if selected_atoms is not None:
                mine = selected_atoms.column("system") == number
                atoms = selected_atoms.column("atom")[mine].to(torch.long)
            if len(atoms) == 0:
                continue
            pairs = system.get_neighbor_list(self.neighbours)
            types = system.types.to(torch.long)
            home = torch.full_like(types, -1)
            home[atoms] = torch.arange(len(atoms), device=device)
            home = home[pairs.samples.column("first_atom").to(torch.long)]
            near = (home >= 0).nonzero().squeeze(1)
            other = pairs.samples.column("second_atom").to(torch.long)[near]
            found = self.energies(
                pairs.values.squeeze(2).index_select(0, near),
                home[near],
                types[other],
                types[atoms],
                each,
                total,
            )
            energies.append(found[0])
            sums.append(found[0].sum(0, keepdim=True))
            sigmas.append(found[1])
            sigmas_of_sums.append(found[2])
            sample = torch.stack([torch.full_like(atoms, number), atoms], dim=1)
            samples.append(sample.to(torch.int32))
        of_atoms = torch.cat(samples)
        of_systems = torch.unique(of_atoms[:, :1], dim=0)
        one = torch.zeros(1, 1, dtype=torch.int32, device=device)
        results: Dict[str, TensorMap] = {}  # noqa: UP006
        for name, output in outputs.items():
            by_atom = output.sample_kind == "atom"
            if name.startswith("energy_uncertainty"):
                parts = sigmas if by_atom else sigmas_of_sums
            else:
                parts = energies if by_atom else sums
            level = self.level_of[name]
            block = TensorBlock(
                torch.cat(parts)[:, level : level + 1],
                Labels(["system", "atom"], of_atoms)
                if by_atom
                else Labels(["system"], of_systems),
                torch.jit.annotate(List[Labels], []),  # noqa: UP006
                Labels(["energy"], one),
            )
            results[name] = TensorMap(Labels(["_"], one), [block])
        return results
